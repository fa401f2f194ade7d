"""What stands before a number, where its meaning hangs on it."""

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
_STOPS = (BLANK + ">", *sorted(set(MASKS.values())))


def words_before(text: str, start: int, width: int) -> str:
    """The end of the line before `start`, in lower case: at most `width` characters, and nothing before what was masked.

    What was masked cuts it off because a mask is shorter than what it replaced: else the text would be judged differently
    once it is masked, and masking twice would not be masking once.
    """
    first = max(0, start - width)
    while 0 < first < start and text[first - 1].isalpha() and text[first].isalpha():
        first += 1  # no end of a word that was cut in two
    line = text[first:start]
    line = line[line.rfind("\n") + 1 :]
    for stop in _STOPS:
        if (place := line.rfind(stop)) >= 0:
            line = line[place + len(stop) :]
    return line.lower()
