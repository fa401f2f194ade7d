"""Check digits, dates and ranges: what tells a number that was issued from one that only looks like it."""

from __future__ import annotations

from calendar import monthrange

# Lengths by country: SWIFT's IBAN registry.
_IBAN_LENGTHS = {
    int(length): countries.split()
    for length, countries in {
        "15": "NO",
        "16": "BE",
        "18": "DK FO FI GL NL SD FK",
        "19": "MK SI",
        "20": "AT BA EE KZ XK LT LU MN",
        "21": "HR LV LI CH",
        "22": "BH BG CR GE DE IE ME RS GB VA",
        "23": "TL GI IQ IL AE OM SO",
        "24": "AD CZ MD PK RO SA SK ES SE TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MR MC SM",
        "28": "AL AZ BY CY DO SV GT HU LB PL NI",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
}
IBAN_LENGTH = {country: length for length, countries in _IBAN_LENGTHS.items() for country in countries}

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# Provinces of GB/T 2260, the first two digits of a Chinese identity number.
_PROVINCE_LIST = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 91"
)
_PROVINCES = frozenset(_PROVINCE_LIST.split())
_CN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CN_CHECKS = "10X98765432"
# The numbers were introduced in 1984, for people of whom the oldest were born about then; a year to come is a misprint.
_CN_BIRTHS = range(1880, 2050)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the one that ISO/IEC 7812-1 (Luhn) asks for."""
    odd = sum(int(digit) for digit in digits[-1::-2])
    return (odd + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether range, length and Luhn's digit are an issuer's (Visa, Mastercard, Amex, Discover, Diners, JCB, UnionPay, Mir)."""
    return len(digits) in _card_lengths(digits) and passes_luhn(digits)


def _card_lengths(digits: str) -> tuple[int, ...] | range:
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    if two // 10 == 4:
        return (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return (16,)
    if two in (34, 37):
        return (15,)
    if four == 6011 or 644 <= three <= 649 or two == 65 or two == 62 or 3528 <= four <= 3589 or 2200 <= four <= 2204:
        return range(16, 20)
    if 300 <= three <= 305 or four == 3095 or two in (36, 38, 39):
        return (14,)
    return ()


def is_iban(letters: str) -> bool:
    """Whether letters and digits without spaces have their country's length and leave 1 when divided by 97 (ISO 13616)."""
    if IBAN_LENGTH.get(letters[:2]) != len(letters):
        return False
    number = "".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])
    return int(number) % 97 == 1


def is_cn_id(number: str) -> bool:
    """Whether a Chinese resident identity number has a province, a date of birth and, with 18 places, its check (GB 11643)."""
    if number[:2] not in _PROVINCES or number[2:6] == "0000" or len(set(number)) == 1:
        return False
    if len(number) == 15:
        return _is_date(1900 + int(number[6:8]), int(number[8:10]), int(number[10:12]))
    if len(number) != 18 or not _is_date(int(number[6:10]), int(number[10:12]), int(number[12:14])):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _CN_WEIGHTS, strict=False))
    return number[17].upper() == _CN_CHECKS[total % 11]


def _is_date(year: int, month: int, day: int) -> bool:
    return year in _CN_BIRTHS and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]


def is_us_ssn(digits: str) -> bool:
    """Whether nine digits are in a range that is issued (area not 000, 666 or 900-999; group and serial not zero)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return len(digits) == 9 and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
