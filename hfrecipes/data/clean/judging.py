"""One rule over the documents of one part: who stays, with which texts, and what is counted."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hfrecipes.data.clean.records import Record
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.tally import Amount, RuleTally, measure
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

# The reason where a rule takes the last of a text away: an empty prompt or turn is no example.
NOTHING_LEFT = "nothing_left"

T = TypeVar("T")
Judge = Callable[[Sequence[Document]], list[Verdict]]


@dataclass(frozen=True, slots=True)
class Held:
    """A record in memory, with what the rules see of it and how much that is."""

    record: Record
    document: Document
    amount: Amount


def hold(records: Sequence[Record], tokenizer: Tokenizer | None) -> list[Held]:
    """Records as the rules take them. Tokens that were counted before are not counted again."""
    documents = [record.document for record in records]
    uncounted = any(record.tokens is None for record in records)
    held = []
    for record, document, amount in zip(
        records, documents, measure(documents, tokenizer if uncounted else None), strict=True
    ):
        tokens = amount.tokens if record.tokens is None else record.tokens
        held.append(Held(replace(record, tokens=tokens), document, replace(amount, tokens=tokens)))
    return held


def apply_rule(
    name: str, judge: Judge, held: Sequence[Held], tokenizer: Tokenizer | None
) -> tuple[list[Held], RuleTally]:
    """What a rule makes of documents.

    Args:
        name: The recipe's word for it.
        judge: Gives a verdict for each document.
        held: The documents of one part.
        tokenizer: Counts the tokens of what was changed.

    Returns:
        The documents that stay, in their order, and what was done.
    """
    tally = RuleTally(before=amount_of(held))
    kept: list[Held] = []
    changed: list[int] = []
    verdicts = judge([one.document for one in held]) if held else []
    for one, verdict in zip(held, verdicts, strict=True):
        tally.counts.update(verdict.counts)
        if verdict.reason is not None:
            tally.drop(one.document, verdict.reason, verdict.detail)
        elif verdict.texts is None or verdict.texts == one.document.texts:
            kept.append(one)
        elif _emptied(one.document.texts, verdict.texts):
            tally.drop(one.document, NOTHING_LEFT, verdict.detail)
        else:
            changed.append(len(kept))
            kept.append(replace(one, document=replace(one.document, texts=verdict.texts)))
    amounts = measure([kept[position].document for position in changed], tokenizer)
    for position, amount in zip(changed, amounts, strict=True):
        one = kept[position]
        record = replace(one.record.with_texts(one.document.texts), tokens=amount.tokens)
        kept[position] = replace(one, record=record, amount=amount)
    tally.changed = len(changed)
    tally.after = amount_of(kept)
    return kept, tally


def amount_of(held: Sequence[Held]) -> Amount:
    """How much documents hold together."""
    total = Amount()
    for one in held:
        total.add(one.amount)
    return total


def _emptied(before: Sequence[str], after: Sequence[str]) -> bool:
    return any(old.strip() and not new.strip() for old, new in zip(before, after, strict=True))


def blaming(
    name: str, function: Callable[[Sequence[Document]], T], alone: bool = True
) -> Callable[[Sequence[Document]], T]:
    """A rule's function that says, where it fails, which rule and which row.

    Args:
        name: The recipe's word for the rule.
        function: Takes the documents of a part.
        alone: Whether it can be asked about one of them alone, by which the row is found.

    Raises:
        RecipeError: from the function that is returned.
    """

    def call(documents: Sequence[Document]) -> T:
        try:
            return function(documents)
        except RecipeError:
            raise
        except Exception as error:  # a rule may call a model, or a function of the user's
            where = next(filter(None, (_fails(function, one) for one in documents)), None) if alone else None
            raise failure(name, where or f"{documents[0].where} to {documents[-1].where}", error) from error

    return call


def failure(name: str, where: str, error: Exception) -> RecipeError:
    """A rule's failure as a person is told of it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    message = f"the rule {name} fails here: {type(error).__name__}: {error} ({place})"
    return RecipeError(Problem(where, message, "correct the row or what the rule calls, or take the rule out"))


def _fails(function: Callable[[Sequence[Document]], Any], document: Document) -> str | None:
    try:
        function([document])
    except Exception:
        return document.where
    return None
