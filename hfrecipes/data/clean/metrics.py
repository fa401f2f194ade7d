"""How good a corpus is, in figures: added up over documents of any number, told before and after cleaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from hfrecipes.data.clean.sample_facts import sample_facts
from hfrecipes.data.clean.sketches import DistinctCount, TextSample
from hfrecipes.data.clean.text_measures import effective_number
from hfrecipes.data.hashing import stable_key


class CorpusMetrics:
    """Figures of a corpus, in bounded memory (some 10 MB at most) and mergeable over processes.

    Duplication across documents is counted over all of them. Spelling, form, density and diversity of style are measured
    on a sample by hash, which is the same whatever the order; where there are fewer documents than that, on all.

    Args:
        sample_size: Documents of the sample.
    """

    def __init__(self, sample_size: int = 1000) -> None:
        self._characters = 0
        self._documents = DistinctCount()
        self._lines = DistinctCount()
        self._sample = TextSample(sample_size)
        self._sources: Counter[str] = Counter()
        self._topics: Counter[str] = Counter()

    def add(self, texts: Iterable[str], source: str | None = None, topics: Sequence[str] = ()) -> None:
        """Takes documents into account.

        Args:
            texts: One string for each document.
            source: Where all of them come from, for the diversity of sources.
            topics: One label for each document, where there are any.
        """
        number = 0
        for text in texts:
            key = stable_key(text)
            self._characters += len(text)
            self._documents.add((key,))
            self._lines.add(stable_key(line.strip()) for line in text.split("\n") if line.strip())
            self._sample.add(key, text)
            number += 1
        if source is not None:
            self._sources[source] += number
        self._topics.update(topics)

    def merge(self, other: CorpusMetrics) -> None:
        """Adds what another has seen, in another process or part."""
        self._characters += other._characters
        self._documents.merge(other._documents)
        self._lines.merge(other._lines)
        self._sample.merge(other._sample)
        self._sources.update(other._sources)
        self._topics.update(other._topics)

    def facts(self) -> dict[str, Any]:
        """The figures, as JSON takes them; None where there was nothing to measure.

        Returns:
            `documents`, `characters`; `sample` (its documents and characters); `languages` (share of the sample by
            language, code set apart); `spelling`, `form`, `density`, `duplication`, `diversity`.
        """
        facts = sample_facts(self._sample.texts())
        facts["duplication"] = {
            "documents": self._documents.repeated,
            "lines": self._lines.repeated,
            **facts["duplication"],
        }
        facts["diversity"] = {
            "effective_sources": effective_number(self._sources),
            "effective_topics": effective_number(self._topics),
            **facts["diversity"],
        }
        return {"documents": self._documents.total, "characters": self._characters, **_rounded(facts)}


def _rounded(value: Any) -> Any:
    """Figures to six digits after the point: what differs beyond that is the order of sums."""
    if isinstance(value, float):
        return round(value, 6)
    return {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value
