"""What the rules did, counted as documents pass: small enough to be kept for each part and added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hfrecipes.data.clean.personal_data import mask_personal_data
from hfrecipes.data.clean.rule import Document
from hfrecipes.data.hashing import stable_key
from hfrecipes.tokenization.tokenizer import Tokenizer

# Examples of what was left out that a report shows, for each reason.
EXAMPLES_PER_REASON = 3
_SHOWN_CHARACTERS = 240
# Personal data is masked in the beginning of a document before it is cut to what is shown: half an address is not known for one.
_MASKED_CHARACTERS = 1000


@dataclass(slots=True)
class Amount:
    """How much text there is.

    Args:
        documents: Examples.
        characters: Unicode code points of their texts.
        bytes: The same in UTF-8.
        tokens: Without special tokens and without what a chat template adds; 0 where no tokenizer counts them.
    """

    documents: int = 0
    characters: int = 0
    bytes: int = 0
    tokens: int = 0

    def add(self, other: Amount) -> None:
        self.documents += other.documents
        self.characters += other.characters
        self.bytes += other.bytes
        self.tokens += other.tokens


def measure(documents: Sequence[Document], tokenizer: Tokenizer | None) -> list[Amount]:
    """How much each document holds."""
    texts = [text for document in documents for text in document.texts]
    tokens = iter(
        [len(ids) for ids in tokenizer.encode_ids(texts, add_special_tokens=False)] if tokenizer else [0] * len(texts)
    )
    return [
        Amount(
            1,
            sum(map(len, document.texts)),
            sum(len(text.encode("utf-8", "surrogatepass")) for text in document.texts),
            sum(next(tokens) for _ in document.texts),
        )
        for document in documents
    ]


@dataclass(slots=True)
class Dropped:
    """A document that was left out, as a report shows it.

    Args:
        key: Decides which of them are shown: an even choice that does not depend on who came first.
    """

    key: int
    where: str
    reason: str
    detail: str
    excerpt: str


@dataclass(slots=True)
class RuleTally:
    """What one rule did to the documents of one source.

    Args:
        before: What came to the rule.
        after: What it let pass, as it let it pass.
        reasons: Reason -> documents left out.
        changed: Documents kept with other texts.
        counts: What the rule counted, such as e-mail addresses or lines.
        dropped: Examples, a few for each reason.
    """

    before: Amount = field(default_factory=Amount)
    after: Amount = field(default_factory=Amount)
    reasons: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    dropped: list[Dropped] = field(default_factory=list)

    def drop(self, document: Document, reason: str, detail: str) -> None:
        self.reasons[reason] += 1
        excerpt = document.text[:_MASKED_CHARACTERS]
        self.dropped.append(Dropped(stable_key(document.where), document.where, reason, detail, excerpt))
        if len(self.dropped) > 2 * EXAMPLES_PER_REASON * len(self.reasons):
            self._trim()

    def merge(self, other: RuleTally) -> None:
        self.before.add(other.before)
        self.after.add(other.after)
        self.reasons.update(other.reasons)
        self.changed += other.changed
        self.counts.update(other.counts)
        self.dropped += other.dropped
        self._trim()

    def _trim(self) -> None:
        shown: Counter[str] = Counter()
        kept = []
        for one in sorted(self.dropped, key=lambda one: (one.key, one.where)):
            shown[one.reason] += 1
            if shown[one.reason] <= EXAMPLES_PER_REASON:
                kept.append(one)
        self.dropped = kept

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; personal data in examples is masked."""
        self._trim()
        shown = [replace(one, detail=_safe(one.detail), excerpt=_safe(one.excerpt)) for one in self.dropped]
        return {
            "before": asdict(self.before),
            "after": asdict(self.after),
            "reasons": dict(self.reasons),
            "changed": self.changed,
            "counts": dict(self.counts),
            "dropped": [asdict(one) for one in shown],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RuleTally:
        return cls(
            Amount(**values["before"]),
            Amount(**values["after"]),
            Counter(values["reasons"]),
            values["changed"],
            Counter(values["counts"]),
            [Dropped(**one) for one in values["dropped"]],
        )


def _safe(text: str) -> str:
    masked, _ = mask_personal_data(text[:_MASKED_CHARACTERS], allow_private=False)
    return masked[:_SHOWN_CHARACTERS]
