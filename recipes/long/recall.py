"""Practice in looking back, for models far too small to learn it from prose alone: numbers are told, and told again later.

A `format` that makes of a text the same text with telephone numbers between its sentences, or pages of a directory of them.
They are worded as the needles of `evaluation.needle` are, and drawn anew for each text; so what is learnt is to look up a number,
not the number. `recall:near` tells a number again soon, which teaches to look it up at all; `recall:far` tells it again from any
distance, which a model learns only once it can look up. This is practice for what is examined, and says nothing of models that
were not coached.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

from hfrecipes.evaluation.needle_text import DIGITS, WORDINGS, Wording, split_sentences

Entry = tuple[Wording, str, str]

# Sentences of a text that has become practice; short texts are repeated up to it.
SENTENCES = 80
# Of the numbers that are told, this share was told before.
AGAIN = 0.6
# Told again soon: among the last so many that were new.
SOON = 4


def near(row: dict[str, Any]) -> str:
    """Pages of a directory for one half of the texts, for the other numbers among prose that are soon told again."""
    draw = _draw(row)
    if draw.random() < 0.5:
        return _directory(draw)
    return _scattered(row["text"], draw, often=2.0, again=lambda known: draw.choice(known[-SOON:]))


def far(row: dict[str, Any]) -> str:
    """Numbers among much or little prose, told again from near and far: each distance as often as its double."""
    draw = _draw(row)
    often = draw.choice((0.3, 1.0, 2.0))
    return _scattered(row["text"], draw, often, again=lambda known: known[-int(len(known) ** draw.random())])


def _draw(row: dict[str, Any]) -> random.Random:
    return random.Random(zlib.crc32(row["text"].encode()))


def _directory(draw: random.Random) -> str:
    """Pages of two to six numbers, each page repeated in other orders: without prose between, looking up is learnt far sooner."""
    lines = []
    for _ in range(8):
        page = [_entry(draw, *place) for place in draw.sample(_places(), draw.randint(2, 6))]
        for _ in range(draw.randint(2, 4)):
            draw.shuffle(page)
            lines += [f"{wording.before}{city}{wording.gap}{number}{wording.end}" for wording, city, number in page]
    return "".join(lines)


def _scattered(text: str, draw: random.Random, often: float, again: Callable[[list[Entry]], Entry]) -> str:
    """Sentences of a text, with `often` numbers between two of them on average."""
    sentences, known, told = split_sentences(text), [], []
    for place in range(SENTENCES):
        told.append(sentences[place % len(sentences)])
        while draw.random() < often / (1 + often):
            if not known or draw.random() > AGAIN:
                wording, city = draw.choice(_places())
                # An office that moves has no other number any more.
                known = [entry for entry in known if entry[1] != city] + [_entry(draw, wording, city)]
            told.append(_told(again(known)))
    return "".join(told)


def _places() -> list[tuple[Wording, str]]:
    return [(wording, city) for wording in WORDINGS.values() for city in wording.cities]


def _entry(draw: random.Random, wording: Wording, city: str) -> Entry:
    return wording, city, "".join(draw.sample("0123456789", DIGITS))


def _told(entry: Entry) -> str:
    wording, city, number = entry
    return f"{wording.before}{wording.cue.format(city=city)}{wording.gap}{number}{wording.end}"
