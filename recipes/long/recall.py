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
DIRECTORY_SHARE = 0.5
# Sentences of a text that has become practice; short texts are repeated up to it.
SENTENCES = 80
# Between two sentences of prose so many numbers are told, on average; of them this share for at least the second time.
TOLD, AGAIN = 2.0, 0.6
# A number is told again while it is among the last so many that were told first.
REMEMBERED = 4


def practice(row: dict[str, Any]) -> str:
    """The text of a row turned into practice; the same text always into the same."""
    draw = random.Random(zlib.crc32(row["text"].encode()))
    return directory(draw) if draw.random() < DIRECTORY_SHARE else scattered(row["text"], draw)


def directory(draw: random.Random) -> str:
    """Pages of two to six numbers, each page repeated in other orders."""
    lines = []
    for _ in range(8):
        page = [_entry(draw, wording, city) for wording, city in draw.sample(_places(), draw.randint(2, 6))]
        for _ in range(draw.randint(2, 4)):
            draw.shuffle(page)
            lines += [f"{wording.before}{city}{wording.gap}{number}{wording.end}" for wording, city, number in page]
    return "".join(lines)


def scattered(text: str, draw: random.Random) -> str:
    """Sentences of a text with numbers between them."""
    sentences, known, told = split_sentences(text), [], []
    for place in range(SENTENCES):
        told.append(sentences[place % len(sentences)])
        while draw.random() < TOLD / (1 + TOLD):
            if not known or draw.random() > AGAIN:
                known.append(_entry(draw, *draw.choice(_places())))
            told.append(_told(draw.choice(known[-REMEMBERED:])))
    return "".join(told)


def _places() -> list[tuple[Wording, str]]:
    return [(wording, city) for wording in WORDINGS.values() for city in wording.cities]


def _entry(draw: random.Random, wording: Wording, city: str) -> Entry:
    return wording, city, "".join(draw.sample("0123456789", DIGITS))


def _told(entry: Entry) -> str:
    wording, city, number = entry
    return f"{wording.before}{wording.cue.format(city=city)}{wording.gap}{number}{wording.end}"
