"""Continued pretraining in card and report: old and new domain before, during and after, and what added pieces save."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from hfrecipes.publish import curves
from hfrecipes.publish.evaluations import Measurement
from hfrecipes.publish.figures import DASH, count, dig, is_number, number
from hfrecipes.publish.svg import Point, Series
from hfrecipes.publish.tables import Rows

# Tokens that are named in a sentence.
_NAMED = 16
_TRAINED_ROWS = {
    "new": "Their rows of the embeddings are trained, and lie in the adapter; all other rows are those of the base.",
    "all": "The embeddings are trained whole, new rows and old.",
}
# Places of the columns of figures.
CHANGES_FIGURES = (2, 3, 4)
COMPRESSION_FIGURES = (2, 3, 4, 5)
_SUMS = (("new", "gain on the new domain", "gain"), ("old", "forgetting of the old domain", "forgetting"))


def changes_table(facts: dict[str, Any]) -> Rows:
    """Heading, a row for each held-out set of the old or new domain, and the sums; bits per byte. Empty where none is."""
    rows = [
        [name, domain, _figure(change.get("before")), _figure(change.get("after")), _signed(change.get("change"))]
        for name, domain, change in _changes(facts)
    ]
    if not rows:
        return []
    continued = facts["continued"]
    sums = [
        [title, domain, DASH, DASH, _signed(continued[key])]
        for domain, title, key in _SUMS
        if _measurement(continued.get(key))
    ]
    return [["Data set", "Domain", "Before", "After", "Change"], *rows, *sums]


def compression_table(facts: dict[str, Any]) -> Rows:
    """Heading and a row for each held-out set; empty where no pieces were added to the tokenizer."""
    rows = []
    for entry in _entries(facts, "tokenizer", "compression"):
        places = [
            f"{when}.{name}" for name in ("bytes_per_token", "tokens_per_character") for when in ("before", "after")
        ]
        cells = [number(dig(entry, place), 3) for place in places]
        rows.append([str(entry.get("dataset") or DASH), str(entry.get("domain") or DASH), *cells])
    if not rows:
        return []
    figures = [f"{name} {when}" for name in ("Bytes a token", "Tokens a character") for when in ("before", "after")]
    return [["Data set", "Domain", *figures], *rows]


def tokenizer_sentence(facts: dict[str, Any], spell: Callable[[str], str] = str) -> str:
    """What was added to the tokenizer, and which rows of the embeddings were trained for it; empty where nothing was.

    Args:
        facts: The contents of run.json.
        spell: How a token is written where the sentence will stand.
    """
    added, entries = dig(facts, "tokenizer.added"), dig(facts, "tokenizer.entries")
    if not (is_number(added) and is_number(entries)):
        return ""
    tokens = [spell(str(token)) for token in dig(facts, "tokenizer.tokens") or []]
    named = f" ({', '.join(tokens[:_NAMED])}{' …' if len(tokens) > _NAMED else ''})" if tokens else ""
    what = f"{count(added)} {'special tokens' if tokens else 'pieces'}{named}"
    added_to = f"{what} were added to the tokenizer of the starting model, which then has {count(entries)}."
    return f"{added_to} {_TRAINED_ROWS.get(str(dig(facts, 'tokenizer.trained')), '')}".strip()


def domain_series(facts: dict[str, Any], metrics: curves.Log) -> list[Series]:
    """Bits per byte of each set of the old or new domain over the steps: of the starting model, in training, at the end.

    What is logged in training is nats a token, of which the bytes of the set make bits per byte.
    """
    logged = curves.loss_curves(metrics)
    last = dig(facts, "training.steps")
    series = []
    for place, (name, domain, change) in enumerate(_changes(facts)):
        before, after = dig(change, "before.value"), dig(change, "after.value")
        scale = _bits_per_nat(facts, name)
        points: list[Point] = [(0, before)] if is_number(before) else []
        if scale is not None:
            points += [(step, loss * scale) for step, loss in logged.get(name, []) if step and step != last]
        if is_number(after) and is_number(last):
            points.append((last, after))
        series.append(Series(f"{domain}: {name}", points, place, dashed=domain == "old"))
    return series


def _bits_per_nat(facts: dict[str, Any], name: str) -> float | None:
    """From the mean loss of a token of a set to bits per byte."""
    for entry in facts.get("data") or []:
        tokens, size = entry.get("supervised_tokens"), entry.get("bytes")
        title = f"{entry.get('name')}/{entry['split']}" if entry.get("split") else entry.get("name")
        if title == name and entry.get("role") != "train" and is_number(tokens) and is_number(size) and size:
            return tokens / size / math.log(2)
    return None


def _changes(facts: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for change in _entries(facts, "continued", "changes"):
        if _measurement(change.get("change")):
            yield str(change.get("dataset") or DASH), str(change.get("domain") or DASH), change


def _entries(facts: dict[str, Any], section: str, name: str) -> list[dict[str, Any]]:
    found = dig(facts, f"{section}.{name}")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _measurement(figure: Any) -> Measurement | None:
    if not is_number(dig(figure, "value")):
        return None
    low, high = (figure[key] if is_number(figure.get(key)) else None for key in ("low", "high"))
    return Measurement(float(figure["value"]), low, high, None)


def _figure(figure: Any) -> str:
    measured = _measurement(figure)
    return DASH if measured is None else number(measured.value, 3)


def _signed(figure: Any) -> str:
    """`+0.123 [+0.100, +0.146]`."""
    measured = _measurement(figure)
    if measured is None:
        return DASH
    interval = f" [{measured.low:+.3f}, {measured.high:+.3f}]" if measured.has_interval else ""
    return f"{measured.value:+.3f}{interval}"
