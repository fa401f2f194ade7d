"""Personal data in texts: found, and masked or a reason to leave a document out.

Numbers are found in two steps. One fast expression finds stretches of digits; what each could be is asked only there.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from hfrecipes.data.clean.addresses import find_emails, find_ipv4, find_ipv6
from hfrecipes.data.clean.context import BLANK, MASKS
from hfrecipes.data.clean.personal_numbers import find_cards, find_cn_ids, find_ibans, find_us_ssns
from hfrecipes.data.clean.phones import find_phones
from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.recipe.cleaning import PersonalData
from hfrecipes.recipe.secrets import find_secrets, redact

# Of two that cover the same characters, the one that is surer to be what it looks like comes first.
KINDS = tuple(MASKS)
# Counted up when the patterns change, so that a corpus cleaned by older ones is not taken for one cleaned by these.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Match:
    """A piece of personal data: its kind, and the half-open span of its characters."""

    kind: str
    start: int
    end: int


class PersonalDataRule:
    """Masks personal data, or leaves documents with any of it out (the reason is the kind there is most of).

    Args:
        settings: The words of the recipe; those that are left out have their defaults.
    """

    name = "pii"
    columns: tuple[str, ...] = ()
    fingerprint = f"patterns {_VERSION}"

    def __init__(self, settings: PersonalData) -> None:
        self.kinds: frozenset[str] = frozenset(KINDS if settings.kinds is None else settings.kinds)
        self.drops = settings.action == "drop"
        self.allow_private = settings.allow_private is not False

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        """One verdict for each document, in their order."""
        return [self._judge(document) for document in documents]

    def _judge(self, document: Document) -> Verdict:
        masked = [mask_personal_data(text, self.kinds, self.allow_private) for text in document.texts]
        counts: Counter[str] = sum((Counter(found) for _, found in masked), Counter())
        if not counts:
            return KEPT
        if not self.drops:
            return Verdict(texts=tuple(text for text, _ in masked), counts=dict(counts))
        detail = ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
        return Verdict(reason=counts.most_common(1)[0][0], counts=dict(counts), detail=detail)


def mask_personal_data(
    text: str, kinds: Collection[str] = KINDS, allow_private: bool = True
) -> tuple[str, Mapping[str, int]]:
    """The text with `<EMAIL>`, `<PHONE>` and the like in place of what `find_personal_data` finds, and how many of each kind.

    Masking what is masked changes nothing.
    """
    matches = find_personal_data(text, kinds, allow_private)
    if not matches:
        return text, {}
    masked = _replaced(text, matches, lambda match: MASKS[match.kind])
    return masked, dict(Counter(match.kind for match in matches))


def find_personal_data(text: str, kinds: Collection[str] = KINDS, allow_private: bool = True) -> list[Match]:
    """Personal data in a text, in order and without overlap: of two that overlap, the longer.

    What is looked for: addresses of mail; public IP addresses; telephone numbers as written in North America, Britain,
    Germany, France, China and their like, or with a country's code; payment cards, IBANs and Chinese identity numbers
    whose check digits are right; US social security numbers; keys and tokens. Names of people and postal addresses are not.

    Args:
        text: Any text, of any language, or a program.
        kinds: Those of `KINDS` that are wanted.
        allow_private: Leave out addresses that nobody has: private networks, documentation, example.com.
    """
    plain = _plain(text)
    found: list[Match] = []
    # A number beside another may be plain only once that one is masked: look again until there is nothing more.
    while more := _without_overlap(_candidates(plain, kinds, allow_private)):
        found += more
        plain = _replaced(plain, more, lambda match: f"<{BLANK * (match.end - match.start - 2)}>")
    return sorted(found, key=lambda match: match.start)


def _replaced(text: str, matches: Sequence[Match], by: Callable[[Match], str]) -> str:
    """The text with something else in place of matches, which are in order."""
    parts, place = [], 0
    for match in matches:
        parts += [text[place : match.start], by(match)]
        place = match.end
    return "".join((*parts, text[place:]))


# Digits, signs and spaces of East Asian widths, and spaces and hyphens that do not break, for what they stand for.
_WIDE = re.compile(r"[\u00a0\u2009\u2010-\u2013\u202f\uff0b\uff0d\uff0e\uff10-\uff19\uff20-\uff3a\uff41-\uff5a]")
_NARROW = {**dict.fromkeys("\u00a0\u2009\u202f", " "), **dict.fromkeys("\u2010\u2011\u2012\u2013", "-")}


def _plain(text: str) -> str:
    """The text at the same length, its numbers and addresses written in ASCII."""
    if text.isascii():
        return text
    text = text.replace("（", "(").replace("）", ")")
    return _WIDE.sub(lambda match: _NARROW.get(match.group()) or chr(ord(match.group()) - 0xFEE0), text)


_DIGIT = re.compile("[0-9]")
_STRETCH = re.compile(r"[0-9][0-9 ().\-/]{5,}")
# How far an expression may look beyond a stretch, to see what a number is followed by; less than any number's length.
_BEYOND = 6


def _candidates(text: str, kinds: Collection[str], allow_private: bool) -> Iterator[Match]:
    """All that could be personal data; pieces may overlap."""
    if "email" in kinds and "@" in text:
        yield from (Match("email", *span) for span in find_emails(text, allow_private))
    if "secret" in kinds:
        yield from (Match("secret", *span) for span in _secret_spans(text))
    if not _DIGIT.search(text):
        return
    if "ip" in kinds and ":" in text:
        yield from (Match("ip", *span) for span in find_ipv6(text, allow_private))
    if "iban" in kinds:
        yield from (Match("iban", *span) for span in find_ibans(text))
    for stretch in _STRETCH.finditer(text):
        yield from _numbers(text, stretch, kinds, allow_private)


def _numbers(text: str, stretch: re.Match[str], kinds: Collection[str], allow_private: bool) -> Iterator[Match]:
    """What a stretch of digits holds. How many there are rules most kinds out."""
    written, start, end = stretch.group(), stretch.start(), stretch.end() + _BEYOND
    digits = sum(map(written.count, "0123456789"))
    while start and text[start - 1] in "+(":
        start -= 1
    if "ip" in kinds and written.count(".") >= 3:
        yield from (Match("ip", *span) for span in find_ipv4(text, start, end, allow_private))
    if digits < 7:
        return
    if "phone" in kinds:
        yield from (Match("phone", *span) for span in find_phones(text, start, end))
    if digits >= 9 and "us_ssn" in kinds:
        yield from (Match("us_ssn", *span) for span in find_us_ssns(text, start, end))
    if digits >= 13 and "credit_card" in kinds:
        yield from (Match("credit_card", *span) for span in find_cards(text, start, end))
    if digits >= 15 and "cn_id" in kinds:
        yield from (Match("cn_id", *span) for span in find_cn_ids(text, start, end))


# How the forms that `find_secrets` knows begin. It takes longer than all the rest, and most texts hold none of these.
_SECRET_SIGNS = (
    *("hf_", "api_org_", "sk-", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "AIza", "xox"),
    "PRIVATE KEY-----",
)
_REDACTED = "<redacted: "


def _secret_spans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of secrets known by their form. Those known by their value on this machine would clean a corpus differently
    on each, so they are left to whoever publishes."""
    if not any(sign in text for sign in _SECRET_SIGNS):
        return
    starts = sorted({place for place, kind in find_secrets(text) if not kind.startswith("the ")})
    for start, after in pairwise([*starts, len(text)]):
        yield start, _secret_end(text, start, after)


def _secret_end(text: str, start: int, after: int) -> int:
    """Where a secret ends: what it is `find_secrets` does not tell, but `redact` leaves what stands behind it."""
    word = len(text[start:after].split(None, 1)[0])
    for end in (after, start + word):
        left = redact(text[start:end])
        if left.startswith(_REDACTED) and left.count(_REDACTED) == 1:
            return end - (len(left) - left.index(">") - 1)
    return start + word


def _without_overlap(matches: Iterator[Match]) -> list[Match]:
    """The longest first, then by the order of KINDS, then from the left; what overlaps one that was taken is left."""
    taken: list[tuple[int, int, Match]] = []
    ranked = sorted(set(matches), key=lambda match: (match.start - match.end, KINDS.index(match.kind), match.start))
    for match in ranked:
        place = bisect(taken, match.start, key=itemgetter(0))
        free_before = not place or taken[place - 1][1] <= match.start
        if free_before and (place == len(taken) or match.end <= taken[place][0]):
            taken.insert(place, (match.start, match.end, match))
    return [match for _, _, match in taken]
