"""Numbers that name a person or an account and can be checked: cards, bank accounts, identity numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hfrecipes.data.clean.checksums import IBAN_LENGTH, is_card_number, is_cn_id, is_iban, is_us_ssn
from hfrecipes.data.clean.context import words_before

# No part of a longer number, of a name or of a formula. A comma may be that of a table (CSV), so a number may begin or end there.
_LEFT = r"(?<![0-9A-Za-z_*^])(?<![0-9][./])(?<![A-Za-z0-9]-)"
_RIGHT = r"(?![0-9A-Za-z_*^]|[-./][0-9])"

# As printed on cards: in fours, 4-6-5 (Amex), 4-6-4 (Diners), or without anything between.
_CARD = re.compile(
    _LEFT + r"(?:[2-6][0-9]{12,18}"
    r"|[2-6][0-9]{3}(?P<gap>[ -])(?:[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}(?:(?P=gap)[0-9]{3})?|[0-9]{6}(?P=gap)[0-9]{4,5}))"
    + _RIGHT
    + r"(?! [0-9]{3})"
)
_CN_ID = re.compile(_LEFT + r"[1-9][0-9]{14}(?:[0-9]{2}[0-9Xx])?" + _RIGHT)
_SSN = re.compile(_LEFT + r"[0-8][0-9]{2}(?:(?P<gap>[- ])[0-9]{2}(?P=gap)[0-9]{4}|[0-9]{6})" + _RIGHT)
_SSN_NAMED = re.compile(r"(?<![a-z])(?:ssn|social security)(?![a-z])[^0-9]{0,14}\Z")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?=[ -]?[A-Z0-9])")

# A bare number this long is a card's only for an issuer whose cards have it: other long numbers pass Luhn one time in ten.
_LONGEST_BARE = 16


def find_cards(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of payment card numbers."""
    for match in _CARD.finditer(text, start, end):
        digits = "".join(filter(str.isdigit, match.group()))
        bare_and_long = len(digits) == len(match.group()) > _LONGEST_BARE and not digits.startswith("62")
        if not bare_and_long and is_card_number(digits):
            yield match.span()


def find_cn_ids(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of Chinese resident identity numbers, of 18 places or (before 1999) 15."""
    for match in _CN_ID.finditer(text, start, end):
        if is_cn_id(match.group()):
            yield match.span()


def find_us_ssns(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of US social security numbers: with hyphens, or with what they are called before them."""
    for match in _SSN.finditer(text, start, end):
        if is_us_ssn("".join(filter(str.isdigit, match.group()))) and (
            match["gap"] == "-" or _SSN_NAMED.search(words_before(text, match.start(), 40))
        ):
            yield match.span()


def find_ibans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of international bank account numbers, in one piece or in groups."""
    for match in _IBAN.finditer(text):
        start = match.start()
        length = IBAN_LENGTH.get(match.group()[:2])
        if length is None or (
            start and text[start - 1].isascii() and (text[start - 1].isalnum() or text[start - 1] == "_")
        ):
            continue
        end = _after_letters(text, start, length)
        if end and is_iban("".join(filter(str.isalnum, text[start:end]))):
            yield start, end


def _after_letters(text: str, start: int, length: int) -> int | None:
    """Where `length` capital letters and digits, with single spaces or hyphens, end; None where there are fewer or more."""
    place, count = start, 0
    while count < length:
        letter = text[place : place + 1]
        if letter.isascii() and (letter.isdigit() or letter.isupper()):
            count += 1
        elif letter not in (" ", "-") or text[place - 1] in " -":
            return None
        place += 1
    follows = text[place : place + 1]
    return None if follows == "_" or (follows.isascii() and follows.isalnum()) else place
