"""Finds training documents that share text with the recipe's own evaluation sets (Brown et al. 2020, appendix C)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hfrecipes.data.clean.evaluation_index import MIN_WHOLE_WORDS, EvaluationIndex, build_index
from hfrecipes.data.clean.minhash import batched_by_characters
from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.data.clean.whole_texts import whole_keys
from hfrecipes.data.clean.word_hashes import WordHashes, hash_windows, hash_words
from hfrecipes.recipe.cleaning import Decontaminate

_NGRAM = 13
_MAX_EVALUATION_ROWS = 10
_MIN_MATCHES = 1
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Overlap:
    """A training document that shares text with an evaluation row.

    Args:
        index: The position of the document among those that were looked at.
        where: Its place.
        title: The evaluation set.
        evaluation_where: The place of the row in it: that of the longest shared run, where there are several.
        words: The longest shared run of words, as they were compared, cut to 200 characters.
        num_matches: Shared n-grams, one by one; 0 where the row, or its prompt, is equal as a whole and too short for one.
    """

    index: int
    where: str
    title: str
    evaluation_where: str
    words: str
    num_matches: int

    def __str__(self) -> str:
        return f'shares "{self.words}" with {self.evaluation_where} of {self.title}'


@dataclass(frozen=True, slots=True)
class _Found:
    """The longest shared run in one text."""

    row: int
    length: int
    words: str
    num_matches: int


class Decontaminator:
    """Leaves out training documents that share a run of words with an evaluation row.

    - Case, spaces, punctuation, symbols and forms of characters do not count; a character of a script without spaces
      is a word.
    - What more evaluation rows than `max_evaluation_rows` share, or half of a small set, is a template and no match; a run that
      is a template but for less than two thirds of its words is none either, nor is one that repeats few words.
    - A row (or a prompt: all texts but the last) without any other run is matched by documents, or prompts, that are equal to
      it as a whole, when it has at least 3 words. A completion alone never matches, nor does a label.

    Args:
        evaluation_texts: For each evaluation row the title of its set, its place (`test.jsonl:7`) and its texts, the completion
            last. Read once, here.
        settings: The recipe's words; `enabled` is for the caller.
    """

    name = "decontaminate"
    columns: tuple[str, ...] = ()

    def __init__(self, evaluation_texts: Iterable[tuple[str, str, Sequence[str]]], settings: Decontaminate) -> None:
        self._ngram = settings.ngram or _NGRAM
        self._min_matches = settings.min_matches or _MIN_MATCHES
        max_rows = settings.max_evaluation_rows or _MAX_EVALUATION_ROWS
        self._index: EvaluationIndex = build_index(evaluation_texts, self._ngram, max_rows)

    @property
    def fingerprint(self) -> str:
        return self._index.fingerprint

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        verdicts = [KEPT] * len(documents)
        for overlap in self.overlaps(documents):
            verdicts[overlap.index] = Verdict(reason="evaluation_overlap", detail=str(overlap))
        return verdicts

    def overlaps(self, documents: Sequence[Document]) -> list[Overlap]:
        """What documents share with evaluation rows, for a recipe that leaves nothing out and should know.

        Args:
            documents: Training documents.

        Returns:
            One for each that `judge` would leave out, in their order.
        """
        found: dict[int, list[_Found]] = {}
        num_words = np.zeros(len(documents), dtype=np.int64)
        owners = [index for index, document in enumerate(documents) for _ in document.texts]
        done = 0
        for texts in batched_by_characters(text for document in documents for text in document.texts):
            words = hash_words(texts, symbols=False)
            np.add.at(num_words, owners[done : done + len(texts)], np.diff(words.bounds))
            for text, run in self._shared_runs(words):
                found.setdefault(owners[done + text], []).append(run)
            done += len(texts)
        enough = {
            index: runs for index, runs in found.items() if sum(run.num_matches for run in runs) >= self._min_matches
        }
        short = [index for index in np.flatnonzero(num_words <= self._index.max_whole_words) if index not in enough]
        enough.update(self._equal_rows(documents, short))
        return [self._overlap(index, documents[index], enough[index]) for index in sorted(enough)]

    def _shared_runs(self, words: WordHashes) -> Iterator[tuple[int, _Found]]:
        """The texts that share n-grams with evaluation rows, and the longest shared run of each."""
        places, rows = self._index.ngrams.find(hash_windows(words.hashes, self._ngram))
        texts = np.searchsorted(words.bounds, places, side="right") - 1
        within = places + self._ngram <= words.bounds[texts + 1]
        places, rows, texts = places[within], rows[within], texts[within]
        for text in np.unique(texts):
            of_text = texts == text
            yield int(text), self._longest_run(words, places[of_text], rows[of_text])

    def _longest_run(self, words: WordHashes, places: np.ndarray, rows: np.ndarray) -> _Found:
        runs = np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) > 1) + 1)
        longest = max(runs, key=len)
        candidates, votes = np.unique(rows[longest], return_counts=True)
        first, end = places[longest[0]], places[longest[-1]] + self._ngram
        return _Found(int(candidates[votes.argmax()]), len(longest), words.between(first, end), len(places))

    def _equal_rows(self, documents: Sequence[Document], short: Sequence[int]) -> Iterator[tuple[int, list[_Found]]]:
        """Those of some short documents that are equal to an evaluation row, or to its prompt."""
        if not short:
            return
        keys = whole_keys([documents[index].texts for index in short])
        for hashes, weights, are_full in (
            (keys.prompt, keys.prompt_weight, False),
            (keys.full, keys.full_weight, True),
        ):
            places, rows = self._index.wholes.find(hashes)
            for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                if weights[place] >= MIN_WHOLE_WORDS:
                    texts = documents[short[place]].texts
                    shared = " ".join(" ".join(texts if are_full else texts[:-1]).split())
                    yield int(short[place]), [_Found(row, 0, shared, 0)]

    def _overlap(self, index: int, document: Document, runs: Sequence[_Found]) -> Overlap:
        longest = max(runs, key=lambda run: run.length)
        title, place = self._index.names[longest.row]
        words = longest.words if len(longest.words) <= _SHOWN_CHARACTERS else longest.words[:_SHOWN_CHARACTERS] + " …"
        return Overlap(index, document.where, title, place, words, sum(run.num_matches for run in runs))
