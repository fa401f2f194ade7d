"""Numbers of telephones: international, and as written in North America, Britain, Germany, France, China and their like."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hfrecipes.data.clean.context import text_around, words_before

# Calling codes of ITU-T E.164; three digits are assigned under these two where they are no country of their own.
_ONE_OR_TWO = """
1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86
90 91 92 93 94 95 98
"""
_CODES = frozenset(_ONE_OR_TWO.split())
_OF_THREE = "21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99"
_LONG_CODES = frozenset(_OF_THREE.split())

# No part of a longer number, a name, a decimal or a price on either side. `x` may follow: 415-555-0132x12.
_LEFT = r"(?<![0-9A-Za-z_*^#$€£¥])(?<![0-9][-./:])(?<![A-Za-z]-)"
_RIGHT = r"(?![0-9A-WYZa-wyz_*^%]|[-./:][0-9]| ?[€$£])"
# Groups that stand between spaces could be a row of a table.
_ALONE = r"(?<![0-9] )"
_ENDS = r"(?! [0-9])"

_INTERNATIONAL = re.compile(_LEFT + r"\+[0-9](?:[ .\-/()]{0,3}[0-9]){7,14}" + _RIGHT)
_DOUBLE_ZERO = re.compile(
    _LEFT + _ALONE + r"00 ?[1-9][0-9]{0,2}[ \-/](?:\(0\) ?)?[0-9](?:[ .\-/]?[0-9]){6,12}" + _RIGHT
)
_DOMESTIC = re.compile(
    "|".join(
        (
            # North America: (415) 555-0132, 415-555-0132, 1.800.555.0199, 415 555-0132
            _LEFT + r"(?:1[-. ])?\([2-9][0-9]{2}\)[ -]?[2-9][0-9]{2}[-. ][0-9]{4}" + _RIGHT,
            _LEFT
            + r"(?:1[-. ])?[2-9][0-9]{2}(?:(?P<dash>[-.])|[ /])[2-9][0-9]{2}(?(dash)(?P=dash)|-)[0-9]{4}"
            + _RIGHT,
            # France and its like: 01 99 00 12 34, 06-39-98-12-34
            _LEFT + _ALONE + r"0[1-9](?P<pair>[ .\-])[0-9]{2}(?:(?P=pair)[0-9]{2}){3}" + _RIGHT + _ENDS,
            # China: 400-820-1234
            _LEFT + _ALONE + r"[48]00(?P<free>[- ])[0-9]{3}(?P=free)[0-9]{4}" + _RIGHT + _ENDS,
        )
    )
)
# China's mobiles: 139 1234 5678
_MOBILE = re.compile(
    _LEFT
    + r"(?<![.-])1(?:[38][0-9]|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|9[0-35-9])(?P<cell>[ -]?)[0-9]{4}(?P=cell)[0-9]{4}"
    + _RIGHT
)
_CHINESE = re.compile("[\u4e00-\u9fff]")
_NEAR = 30
# A trunk prefix 0, an area and its groups, as most of Europe and Asia write: 020 7946 0123, 030/23125-045, (0571) 87654321
_TRUNK = re.compile(
    _LEFT + _ALONE + r"(?:\(0[1-9][0-9]{0,4}\)|0[1-9][0-9]{0,4})(?: ?[/\-] ?| )?"
    r"(?:[0-9]{3,8}(?:[ \-][0-9]{2,5}){0,3}|[0-9]{2}(?: [0-9]{2}){2,3})" + _RIGHT + _ENDS
)
_ANY = re.compile(_LEFT + r"[0-9(](?:[ .\-/()]{0,3}[0-9]){6,14}" + _RIGHT)

_DATE = re.compile(
    r"(?<![0-9])(?:(?:19|20)[0-9]{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12][0-9]|3[01])"
    r"|(?:0?[1-9]|[12][0-9]|3[01])[-./](?:0?[1-9]|1[0-2])[-./](?:19|20)[0-9]{2})(?![0-9])"
)

# What a number was called just before it: a telephone's, or something else's. The last word counts.
_CALLED = re.compile(
    r"(?P<phone>(?<![a-z])(?:(?:tel|tele?phone|telefono?|teléfono|t[ée]l[ée]phone|tél|phone|fax|mob|mobile?|móvil|whatsapp|"
    r"sms|hotline|handy|appele[rz]|rufen|anrufen|llame|chiam[a-z]+)(?![a-z])|(?:call|ring|dial|cell|portable)(?![a-z_(]))"
    r"|电话|電話|手机|手機|座机|传真|傳真|热线|熱線|拨打|撥打|致电|来电)"
    r"|(?P<other>(?<![a-z])(?:isbn|issn|doi|order|invoice|ids?|ref|part|model|sku|serial|case|ticket|account|acct|konto|kto|"
    r"routing|tracking|patent|version|build|imei|siret|siren|zip|plz|postcode|timestamp|lat|lo?ng|lon|commande|facture"
    r"|bestell[a-z]*|rechnung[a-z]*|auftrag[a-z]*|kunden[a-z]*|artikel[a-z]*|patent[a-z]*)(?![a-z])"
    r"|订单|訂單|编号|編號|流水|单号|單號|票号|代码|邮编|账号|帳號|#)"
)
_REACH = 20


def find_phones(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of telephone numbers within a stretch of digits and what may stand between them.

    Args:
        text: The whole text, for what stands before and after.
        start: Where the stretch begins.
        end: Where it ends.
    """
    found = False
    for pattern, fits in _FORMS:
        for match in pattern.finditer(text, start, end):
            written = _balanced(match.group())
            if fits(written) and not _DATE.search(written) and _called(text, match.start()) != "other":
                found = True
                yield match.start(), match.start() + len(written)
    # Eleven digits in one piece are a mobile's where people write Chinese, and any number elsewhere.
    for match in _MOBILE.finditer(text, start, end):
        near = text_around(text, match.start(), match.end(), _NEAR)
        if (match["cell"] or _CHINESE.search(near)) and _called(text, match.start()) != "other":
            found = True
            yield match.span()
    if not found and _called(text, start) == "phone":
        for match in _ANY.finditer(text, start, end):
            written = _balanced(match.group())
            if len(_digits(written)) in range(7, 16) and not _DATE.search(written):
                yield match.start(), match.start() + len(written)
                return


def _digits(written: str) -> str:
    return "".join(filter(str.isdigit, written))


def _balanced(written: str) -> str:
    """Without what follows a bracket that opens and does not close: `030 23125123 (12`."""
    opened = written.rfind("(")
    return written if opened < written.find(")", opened) or opened < 0 else written[:opened].rstrip(" -./")


def _fits_international(written: str) -> bool:
    digits = _digits(written)
    number = digits[3:] if digits[:2] in _LONG_CODES else digits[2:] if digits[:2] in _CODES else digits[1:]
    if digits[0] == "1":
        return len(digits) == 11 and digits[1] > "1" and digits[4] > "1"
    if not (digits[0] in _CODES or digits[:2] in _CODES or digits[:2] in _LONG_CODES):
        return False
    # One point and few places are a decimal, such as a latitude.
    decimal = written.count(".") == 1 and not any(mark in written for mark in " -/(") and len(number) < 9
    return len(digits) in range(8, 16) and not decimal and number[:2] != "00"


def _fits_double_zero(written: str) -> bool:
    return len(_digits(written)) in range(10, 16) and _fits_international(_digits(written)[2:])


def _fits_trunk(written: str) -> bool:
    # Without anything between the digits it is any number, with nine it is a US postal code such as 02110-0001: only what
    # it is called can tell.
    return len(_digits(written)) in range(10, 13) and not written.isdigit()


_FORMS = (
    (_INTERNATIONAL, _fits_international),
    (_DOUBLE_ZERO, _fits_double_zero),
    (_DOMESTIC, lambda written: True),
    (_TRUNK, _fits_trunk),
)


def _called(text: str, start: int) -> str | None:
    """`phone` or `other`, by the last word before a number that says what it is."""
    last = None
    for match in _CALLED.finditer(words_before(text, start, _REACH)):
        last = match.lastgroup
    return last
