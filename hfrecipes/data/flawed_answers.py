"""Docstrings with a flaw: what a reward model is to tell from the same docstring without one.

Each flaw changes a function's own docstring, so that pairs differ in the flaw alone:

    cut        breaks off in the middle
    shuffled   the words stand in another order, each with the marks behind it
    repeated   a stretch of words is said twice
    renamed    a name that stands in the function is replaced by one that does not; both are names that docstrings of the same
               file, or else of the same split, take from their own functions, so that a name alone tells nothing
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from hfrecipes.data.hashing import stable_key
from hfrecipes.data.mining import Piece

FLAWS = ("cut", "shuffled", "repeated", "renamed")
# Shares of the words that a docstring keeps which breaks off.
_KEPT = (0.4, 0.8)
# Words that are said twice.
_STRETCH = (2, 4)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
_MARKS = ".,;:!?"


def mine_flaws(pieces: Sequence[Piece], flaws: Sequence[str] = FLAWS) -> Iterator[tuple[Piece, str]]:
    """Each function with its docstring spoilt, once for each flaw that it can have.

    Args:
        pieces: From `mine_docstrings`, without repeats.
        flaws: Of `FLAWS`.

    Returns:
        Functions in the order of `pieces`, with flawed docstrings; the same ones on every machine.
    """
    names = _names_said(pieces) if "renamed" in flaws else {}
    for piece in pieces:
        for flaw in flaws:
            draw = random.Random(stable_key(f"{flaw} {piece.file}:{piece.line}"))
            text = _renamed(piece, names, draw) if flaw == "renamed" else _SPOIL[flaw](piece.summary.split(), draw)
            if text is not None and text != piece.summary:
                yield piece, text


def _cut(words: list[str], draw: random.Random) -> str | None:
    kept = round(len(words) * draw.uniform(*_KEPT))
    return " ".join(words[:kept]).rstrip(_MARKS) if 2 <= kept < len(words) else None


def _shuffled(words: list[str], draw: random.Random) -> str | None:
    if len(set(words)) < 3:
        return None
    mixed = words
    while mixed == words:
        mixed = draw.sample(words, len(words))
    return " ".join(mixed)


def _repeated(words: list[str], draw: random.Random) -> str | None:
    length = draw.randint(*_STRETCH)
    # The last word ends the sentence.
    if len(words) <= length + 1:
        return None
    start = draw.randrange(len(words) - length)
    return " ".join(words[: start + length] + words[start:])


_SPOIL: dict[str, Callable[[list[str], random.Random], str | None]] = {
    "cut": _cut,
    "shuffled": _shuffled,
    "repeated": _repeated,
}


def _own_names(piece: Piece) -> list[str]:
    """Names of the function that its docstring says, in the order of the docstring."""
    known = set(_NAME.findall(piece.text))
    # A capital at the beginning is the sentence's.
    said = _NAME.findall(piece.summary)[1:]
    return [name for name in dict.fromkeys(said) if name in known]


def _names_said(pieces: Sequence[Piece]) -> dict[str, list[str]]:
    """What docstrings take from their functions, by file and by split; a name as often as it is said."""
    names = defaultdict(list)
    for piece in pieces:
        for name in _own_names(piece):
            names[piece.file].append(name)
            names[piece.split].append(name)
    return names


def _renamed(piece: Piece, names: dict[str, list[str]], draw: random.Random) -> str | None:
    own = _own_names(piece)
    if not own:
        return None
    there = {name.lower() for name in _NAME.findall(f"{piece.text} {piece.summary}")}
    for pool in (names[piece.file], names[piece.split]):
        strange = [name for name in pool if name.lower() not in there]
        if strange:
            pattern = rf"(?<![A-Za-z0-9_]){re.escape(draw.choice(own))}(?![A-Za-z0-9_])"
            return re.sub(pattern, draw.choice(strange), piece.summary)
    return None
