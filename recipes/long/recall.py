"""Practice in looking back, for models far too small to learn it from prose alone: numbers are told, and told again later.

`format: recall:practice` makes of a text the same text with telephone numbers between its sentences, or a page of a directory of
them. They are worded as the needles of `evaluation.needle` are, and drawn anew for each text; so what is learnt is to look up a
number, not the number. This is practice for what is examined, and says nothing about models that were not coached.
"""

from __future__ import annotations

import random
import zlib
from typing import Any

from hfrecipes.evaluation.needle_text import DIGITS, WORDINGS, Wording, split_sentences

Entry = tuple[Wording, str, str]

# Of the texts, so many become pages of a directory: numbers without prose between them teach looking up far sooner.
DIRECTORY_SHARE = 0.4
# Sentences of a text that has become practice; short texts are repeated up to it.
SENTENCES = 80
# How many numbers are told for each sentence of prose, on average: one of these for each text.
TOLD = (0.3, 1.0, 2.0)
# Of them, this share was told before.
AGAIN = 0.6


def practice(row: dict[str, Any]) -> str:
    """The text of a row turned into practice; the same text always into the same."""
    draw = random.Random(zlib.crc32(row["text"].encode()))
    return directory(draw) if draw.random() < DIRECTORY_SHARE else scattered(row["text"], draw)


def directory(draw: random.Random) -> str:
    """Pages of two to twelve numbers, each page repeated in other orders."""
    lines = []
    for _ in range(6):
        page = [_entry(draw, wording, city) for wording, city in draw.sample(_places(), draw.randint(2, 12))]
        for _ in range(draw.randint(2, 4)):
            draw.shuffle(page)
            lines += [f"{wording.before}{city}{wording.gap}{number}{wording.end}" for wording, city, number in page]
    return "".join(lines)


def scattered(text: str, draw: random.Random) -> str:
    """Sentences of a text with numbers between them. Those told again are from near and far, each distance as often as its double."""
    sentences, known, told = split_sentences(text), [], []
    often = draw.choice(TOLD)
    for place in range(SENTENCES):
        told.append(sentences[place % len(sentences)])
        while draw.random() < often / (1 + often):
            if not known or draw.random() > AGAIN:
                wording, city = draw.choice(_places())
                # An office that moves has no other number any more.
                known = [entry for entry in known if entry[1] != city] + [_entry(draw, wording, city)]
                told.append(_told(known[-1]))
            else:
                told.append(_told(known[-int(len(known) ** draw.random())]))
    return "".join(told)


def _places() -> list[tuple[Wording, str]]:
    return [(wording, city) for wording in WORDINGS.values() for city in wording.cities]


def _entry(draw: random.Random, wording: Wording, city: str) -> Entry:
    return wording, city, "".join(draw.sample("0123456789", DIGITS))


def _told(entry: Entry) -> str:
    wording, city, number = entry
    return f"{wording.before}{wording.cue.format(city=city)}{wording.gap}{number}{wording.end}"
