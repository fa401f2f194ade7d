"""What stands between two spaces, taken apart into words and marks, the way treebanks and spaCy's English rules do.

Close enough to spaCy (whose tokens datatrove counts) that thresholds published for its counts keep their meaning; a table
of characters instead of a chain of expressions, since this runs for every new chunk of a corpus. Nothing here needs the
text to be English: what is no mark stays in its word, whatever the script.
"""

from __future__ import annotations

import re

# Marks that are words of their own at either end of a chunk. A hyphen, a slash, an at sign or a backslash is not: -x, /etc.
_BRACKETS_AND_STOPS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।॥،۔؛٪"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉"
_CURRENCY = "$£€¥฿₹₽₩₺₴"
_OPENING = frozenset(_BRACKETS_AND_STOPS + _QUOTES + _CURRENCY + "§%=—–")
_CLOSING = frozenset(_BRACKETS_AND_STOPS + _QUOTES + "—–")
# A full stop is a word of its own after these, or after a small letter, a digit or two capitals: `J.` and `U.S.` keep theirs.
_BEFORE_STOP = frozenset(_BRACKETS_AND_STOPS + _QUOTES + "%²-+")
_UNITS = re.compile(
    r"(?<=\d)(?:[kcmnµ]?m[²³]?|ha|yd|in|ft|kg|mg|[µ]g|[gtTGMK]|lb|oz|m/s|km/h|kmh|mph|h?Pa|mbar|[mMkKgGtT][bB]|%)\Z"
)
_ICON = re.compile("[\u00a6\u00a9\u00ae\u00b0\u2100-\u214f\u2195-\u21f3\u2300-\u2bff\ufffc\ufffd\U0001f000-\U0001faff]")
_INSIDE = re.compile(
    rf"\.\.+|[…，。、；：！？（）「」『』《》〈〉【】〔〕]|{_ICON.pattern}"  # marks without spaces around them
    r"|(?<=\d)[+\-*^](?=[\d-])"
    r"|(?<=[^\W_A-Z])(?<!\d)\.(?=[A-Z])"  # `end.Next`: a space is missing
    r"|(?<=[^\W\d_]),(?=[^\W\d_])"
    r"|(?<=[^\W_])(?:--?-?|–|——?|~)(?=[^\W\d_])"
    r"|(?<=[^\W_])[:<>=/](?=[^\W\d_])"
)
# Other words keep their apostrophe: `banish'd` is one word, `he'd` are two.
_CONTRACTION = re.compile(
    r"(?i:i|you|he|she|it|we|they|there|that|this|who|what|when|where|why|how|could|should|would|might|must)"
    r"(?P<verb>(?i:['’](?:re|ve|ll|d|m)))"
    r"|(?i:ca|could|did|does|do|had|has|have|is|are|was|were|wo|would|should|might|must|need|sha|ai|dare|may|ought)"
    r"(?P<not>(?i:n['’]t))"
)
_ADDRESS = re.compile(r"(?i:[a-z][a-z+.-]*://\S|www\.\S|[\w.+-]+@[\w-]+\.\w|(?:[\w-]+\.)+[a-z]{2,}/\S)")
_ABBREVIATED = """
    a.m. p.m. e.g. i.e. E.g. I.e. vs. v.s. Mr. Mrs. Ms. Dr. Prof. Rev. Gen. Gov. Sen. Rep. Lt. Sgt. Capt. Col. St. Mt.
    Jr. Sr. Co. Corp. Inc. Ltd. Bros. Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. Oct. Nov. Dec. Ph.D. U.S. U.K.
"""
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
# Two marks that count as one, as they do in spaCy, which takes them for faces: `f(x):` would else have a mark more.
_PAIRS = frozenset(("):", ":)", ":(", ":]", "[:", "(:", "(=", "=)", ":*", ":>", ";)", "(;", "''"))
_TWO_WORDS = {"cannot": 3, "gonna": 3, "gotta": 3, "Cannot": 3}


def split_chunk(chunk: str) -> list[str]:
    """The words and marks of one chunk, which together are the chunk.

    Args:
        chunk: Text without white space. Time is linear in its length, so a line of megabytes does no harm.
    """
    if chunk.isalnum():
        return _split_alphanumeric(chunk)
    if chunk in _ABBREVIATIONS:
        return [chunk]
    start, end, before, after = _strip(chunk)
    core = chunk[start:end]
    if not core:
        middle = []
    else:
        middle = _split_alphanumeric(core) if core.isalnum() else _split_core(core)
    words = before + middle + after[::-1]
    return _join_pairs(words) if len(words) > 1 else words


def _join_pairs(words: list[str]) -> list[str]:
    joined = words[:1]
    for word in words[1:]:
        if len(word) == 1 and joined[-1] + word in _PAIRS:
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _strip(chunk: str) -> tuple[int, int, list[str], list[str]]:
    """Where the core begins and ends, the marks before it in their order, and those after it from the last."""
    start, end = 0, len(chunk)
    before: list[str] = []
    after: list[str] = []
    while start < end and (width := _opening(chunk, start, end)):
        before.append(chunk[start : start + width])
        start += width
    while start < end and (width := _closing(chunk, start, end)):
        if chunk[end - 1] == "." and end - start < 6 and chunk[start:end] in _ABBREVIATIONS:
            break
        after.append(chunk[end - width : end])
        end -= width
    return start, end, before, after


def _opening(chunk: str, start: int, end: int) -> int:
    """How many characters of a mark stand at the beginning."""
    first = chunk[start]
    if first in _OPENING:
        return 1
    if first == ".":
        run = start
        while run < end and chunk[run] == ".":
            run += 1
        return run - start if run - start > 1 else 0
    if first == "+":
        return 0 if chunk[start + 1 : start + 2].isdigit() else 1
    return 1 if ord(first) > 127 and _ICON.match(first) else 0


def _closing(chunk: str, start: int, end: int) -> int:
    """How many characters of a mark stand at the end."""
    last = chunk[end - 1]
    if last in _CLOSING:
        return 1
    if end - start < 2:
        return 0
    previous = chunk[end - 2]
    if last == ".":
        return _closing_stop(chunk, start, end, previous)
    if last in "sS" and previous in "'’":
        return 2
    if last == "+" or last in _CURRENCY:
        return 1 if previous.isdigit() else 0
    return 1 if ord(last) > 127 and _ICON.match(last) else 0


def _closing_stop(chunk: str, start: int, end: int, previous: str) -> int:
    if previous == ".":
        run = end
        while run > start and chunk[run - 1] == ".":
            run -= 1
        return end - run
    if previous.islower() or previous.isdigit() or previous in _BEFORE_STOP:
        return 1
    if previous.isupper():
        return 1 if end - start > 2 and chunk[end - 3].isupper() else 0
    return 1 if previous.isalpha() else 0  # scripts without capitals


def _split_core(core: str) -> list[str]:
    """What is left between the marks at the ends: taken apart at marks inside, at contractions and at units."""
    if _ADDRESS.match(core):
        return [core]
    parts: list[str] = []
    begin = 0
    for mark in _INSIDE.finditer(core):
        if mark.start() > begin:
            parts.append(core[begin : mark.start()])
        parts.append(mark.group())
        begin = mark.end()
    if begin < len(core):
        parts += _split_end(core[begin:])
    return parts


def _split_end(part: str) -> list[str]:
    contraction = _CONTRACTION.fullmatch(part) if len(part) < 12 else None
    if contraction:
        cut = contraction.start(contraction.lastgroup or 0)
        return [part[:cut], part[cut:]]
    return _take_unit(part)


def _split_alphanumeric(part: str) -> list[str]:
    if part[0].isdigit():
        return _take_unit(part)
    cut = _TWO_WORDS.get(part, 0)
    return [part[:cut], part[cut:]] if cut else [part]


def _take_unit(part: str) -> list[str]:
    unit = _UNITS.search(part, max(0, len(part) - 5))
    return [part[: unit.start()], unit.group()] if unit else [part]
