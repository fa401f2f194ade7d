"""What stands before and around a number, where its meaning hangs on it."""

from __future__ import annotations

MASKS = {
    "secret": "<SECRET>",
    "iban": "<IBAN>",
    "cn_id": "<ID>",
    "credit_card": "<CARD>",
    "email": "<EMAIL>",
    "ip": "<IP>",
    "us_ssn": "<ID>",
    "phone": "<PHONE>",
}
# Stands in for what was found already, at its length; it cannot be in a mask, nor in what is looked for.
BLANK = "\x00"
_WRITTEN = sorted(set(MASKS.values()))
_ENDS, _BEGINNINGS = (BLANK + ">", *_WRITTEN), ("<" + BLANK, *_WRITTEN)


def words_before(text: str, start: int, width: int) -> str:
    """The end of the line before `start`, in lower case: at most `width` characters, and nothing before what was masked.

    What was masked cuts it off because a mask is shorter than what it replaced: else the text would be judged differently
    once it is masked, and masking twice would not be masking once.
    """
    first = max(0, start - width)
    while 0 < first < start and text[first - 1].isalpha() and text[first].isalpha():
        first += 1  # no end of a word that was cut in two
    line = text[first:start]
    return _behind_masks(line[line.rfind("\n") + 1 :]).lower()


def text_around(text: str, start: int, end: int, width: int) -> str:
    """A piece of text with at most `width` characters on either side, and nothing beyond what was masked, as above."""
    after = text[end : end + width]
    for beginning in _BEGINNINGS:
        after = after.partition(beginning)[0]
    return _behind_masks(text[max(0, start - width) : start]) + text[start:end] + after


def _behind_masks(text: str) -> str:
    for end in _ENDS:
        text = text.rpartition(end)[2]
    return text
