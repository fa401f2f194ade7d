"""Words, sentences and code in text of any language, as metrics and augmentation see them."""

from __future__ import annotations

import re

from hfrecipes.data.clean.scripts import IS_UNSPACED, UNSPACED

_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+(?:['’\-][^\W_{UNSPACED}]+)*")

_CLOSING = "\"'”’»)\\]」』）】》*_"
# A full stop in Western writing ends a sentence before a space only, in Chinese it stands alone.
_SENTENCE_END = re.compile(
    rf"(?:[.!?…]+[{_CLOSING}]*(?=\s|$)|[。！？…｡]+[{_CLOSING}]*|\n[ \t]*\n|\n(?=[ \t]*(?:[-*•]|\d+[.)])[ \t]))"
)
# Words after which a full stop is part of the word, in lower case and without it.
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "rev",
        "st",
        "jr",
        "sr",
        "vs",
        "etc",
        "cf",
        "al",
        "fig",
        "eq",
        "no",
        "vol",
        "pp",
        "ed",
        "eds",
        "inc",
        "ltd",
        "co",
        "corp",
        "gen",
        "col",
        "lt",
        "sgt",
        "capt",
        "hon",
        "approx",
        "dept",
        "est",
        "min",
        "max",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "mt",
        "ca",
        "bzw",
        "usw",
        "ggf",
        "sog",
        "nr",
        "z.b",
        "d.h",
        "u.a",
        "i.e",
        "e.g",
        "p.ex",
        "mme",
        "mlle",
        "sra",
        "srta",
        "ud",
        "uds",
        "dra",
    ]
)
_LAST_WORD = re.compile(r"[\w.]+$")

# A line as programs have them: a statement that opens a block, an assignment, a call, an import, a comment, an end mark.
_CODE_LINE = re.compile(
    r"[;{}]\s*$"
    r"|^\s*(?:def|class|if|elif|else|for|while|try|except|with|function|public|private|static|void|fn|func|struct)\b.*[:{}()]\s*$"
    r"|^\s*(?:import\s[\w.]+|from\s+[\w.]+\s+import\b|return\b(?:$|\s+[\w(\[{\"'-]+[^ ]*$)|#include|package\s+[\w.]+;?$)"
    r"|^\s*(?:const|let|var|int|float|char|auto)\s+\w+\s*[=;(]"
    r"|^\s*[A-Za-z_][\w.\[\]\"']*(?:,\s*[\w.]+)*\s*(?:[-+*/|&%]|:)?=(?!=)"
    r"|^\s*[\w.]+\(.*\)?\s*[;,(]?$|^\s*(?://|/\*|\*/|@\w|>>> )|^\s*#(?![#\s]*\w+\s*$)|^\s*[\])}]+[,;)]*\s*$"
)
# A larger share of lines that look like code makes a text code.
_CODE_SHARE = 0.3


def plain_words(text: str) -> list[str]:
    """The words of a text, without marks; each character counts as one in scripts without spaces.

    As people count them, `don't` being one. What the published rules count, marks included, `words.split_words` gives.
    """
    return _WORD.findall(text)


def is_spaceless(text: str) -> bool:
    """Whether at least a third of the words are of a script without spaces between words."""
    words = plain_words(text)
    return bool(words) and sum(map(bool, map(IS_UNSPACED.match, words))) * 3 >= len(words)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each with the blanks that follow it: joined, they are the text.

    Blank lines and list items end a sentence, too. Abbreviations (`e.g.`, `Dr.`), initials and decimals do not.
    """
    pieces, begin = [], 0
    for match in _SENTENCE_END.finditer(text):
        if match.start() < begin or _is_abbreviation(text, begin, match):
            continue
        end = match.end()
        while end < len(text) and text[end].isspace():
            end += 1
        pieces.append(text[begin:end])
        begin = end
    return [*pieces, text[begin:]] if begin < len(text) else pieces


def is_code(text: str) -> bool:
    """Whether a text is program code rather than prose: enough of its lines look like it."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()]
    if not lines:
        return False
    looks = sum(1 for line in lines if _CODE_LINE.search(line))
    return looks >= _CODE_SHARE * len(lines)


def _is_abbreviation(text: str, begin: int, match: re.Match[str]) -> bool:
    if not match[0].startswith(".") or match[0].startswith(".."):
        return False
    word = _LAST_WORD.search(text, begin, match.start())
    if word is None:
        return False
    # An initial: J. S. Bach; "I" ends sentences more often than it stands for a name.
    initial = len(word[0]) == 1 and word[0].isupper() and word[0] != "I"
    return initial or word[0].lower() in _ABBREVIATIONS
