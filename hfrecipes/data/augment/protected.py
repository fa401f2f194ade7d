"""Parts of a text that no method may change: code, formulas, addresses, tags, blanks of templates, answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hfrecipes.data.clean.segments import is_code

_PROTECTED = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)"  # code blocks; one that is never closed reaches to the end
    r"|^(?: {4}|\t)[^\n]*(?:\n(?: {4}|\t)[^\n]*)*"  # indented code
    r"|`[^`\n]+`|\$\$.+?\$\$|\$[^$\s](?:[^$\n]*[^$\s])?\$|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|<[A-Za-z/!][^<>\n]*>|\{\{.*?\}\}|\{[^{}\n]*\}|<\|[^|\n]*\|>|\[[A-Z_]{2,}\]"
    r"|https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.\w+|(?:[\w.~-]+)?(?:/[\w.-]+){2,}"
    r"|\b\w*(?:_\w+|[a-z][A-Z]|\d)\w*\b|\b\w+\(\)",  # names of programs, and all with digits
    re.DOTALL | re.MULTILINE,
)
_BLOCK = re.compile(
    r"((?:^|\n)[ \t]*(?:```|~~~).*?(?:\n[ \t]*(?:```|~~~)[ \t]*(?=\n|\Z)|\Z)|(?:(?:^|(?<=\n))(?: {4}|\t)[^\n]*(?:\n|\Z))+)",
    re.DOTALL,
)
# An answer longer than this is no string that a prompt repeats.
_ANSWER_CHARACTERS = 200


def split_protected(text: str, fixed: Sequence[str] = ()) -> list[tuple[str, bool]]:
    """A text as pieces that may be changed (True) and pieces that may not (False); joined, they are the text.

    Args:
        text: Any.
        fixed: Further strings that have to stay, wherever they occur as whole words.
    """
    spans = [match.span() for match in _PROTECTED.finditer(text)]
    for string in fixed:
        spans += [match.span() for match in fixed_pattern(string).finditer(text)]
    pieces, place = [], 0
    for begin, end in sorted(spans):
        if begin > place:
            pieces.append((text[place:begin], True))
        if end > place:
            pieces.append((text[max(begin, place) : end], False))
            place = end
    return [*pieces, (text[place:], True)] if place < len(text) else pieces


def split_blocks(text: str) -> list[tuple[str, bool]]:
    """A text as prose (True) and blocks of code, fenced or indented (False); joined, they are the text."""
    return [(piece, number % 2 == 0) for number, piece in enumerate(_BLOCK.split(text)) if piece]


def is_program(text: str) -> bool:
    """Whether a text is code even outside its code blocks: a file of a program, in which nothing may be changed."""
    return is_code("".join(piece for piece, prose in split_blocks(text) if prose))


def fixed_strings(answers: Sequence[str]) -> tuple[str, ...]:
    """Those answers (a label, a span of the prompt) that a prompt may repeat word for word."""
    return tuple(sorted({one.strip() for one in answers if 0 < len(one.strip()) <= _ANSWER_CHARACTERS}))


def fixed_pattern(string: str) -> re.Pattern[str]:
    """Finds a string where it stands as whole words; Chinese has no spaces to tell words by."""
    before = r"(?<![^\W_])" if _is_spaced(string[0]) else ""
    after = r"(?![^\W_])" if _is_spaced(string[-1]) else ""
    return re.compile(before + re.escape(string) + after)


def _is_spaced(character: str) -> bool:
    return character.isalnum() and character < "\u2e80"
