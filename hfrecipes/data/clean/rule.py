"""What cleaning rules look like to the engine that runs them: documents in, a verdict for each out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Document:
    """An example on its way through the rules.

    Args:
        where: The place of its row: `web.jsonl:7`.
        texts: The strings it is made of: one for plain text; prompt and completion, or the turns of a conversation.
        values: The columns that a rule asked for, as the row has them.
    """

    where: str
    texts: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All of it, as rules about whole documents read it."""
        return self.texts[0] if len(self.texts) == 1 else "\n\n".join(self.texts)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says about a document.

    Args:
        reason: Why it is left out, in one word of the rule's own (`mean_word_length`); None keeps it.
        texts: Its texts as the rule changed them, as many as there were; None where nothing was changed.
        counts: How often what was changed or found: `{"email": 2}`, `{"lines": 5}`.
        detail: What a person wants to know of a document that is left out: the figure, the words that matched.
    """

    reason: str | None = None
    texts: tuple[str, ...] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""


KEPT = Verdict()


class Rule(Protocol):
    """A rule that looks at each document by itself.

    `name` is the recipe's word for it; `columns` are those of the row that it needs beside the text. `fingerprint` changes
    with all that its verdicts depend on and that its settings do not say: the content of a list of words, weights of a model.
    Rules are picklable, and cheap to make: a model is loaded at the first document.
    """

    name: str
    columns: tuple[str, ...]

    @property
    def fingerprint(self) -> str: ...

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        """One verdict for each document, in their order."""
        ...


class CorpusRule(Protocol):
    """A rule that has to see all documents before it can judge one, such as the removal of duplicates.

    The engine keeps documents in numbered parts on disk. It calls `sketch` for each part (in any order, in several processes),
    `resolve` once over the sketches of all parts in their order, and `judge` for each part with its decisions. Nothing but
    sketches has to be held in memory, and the result does not depend on how many processes there were.
    """

    name: str
    columns: tuple[str, ...]

    @property
    def fingerprint(self) -> str: ...

    def sketch(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """What has to be known of the documents of one part; the engine keeps the arrays in one `.npz` file."""
        ...

    def resolve(self, sketches: Sequence[Path], decisions: Sequence[Path]) -> None:
        """Reads the sketches of all parts and writes an `.npz` of decisions for each."""
        ...

    def judge(self, documents: Sequence[Document], decisions: Mapping[str, np.ndarray]) -> list[Verdict]:
        """One verdict for each document of a part."""
        ...
