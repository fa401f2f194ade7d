"""What of a document is compared with others for repeats: all of it, its paragraphs or its lines; and cutting these out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from hfrecipes.data.clean.rule import Document

_ENDS = {"line": re.compile(r"\n"), "paragraph": re.compile(r"\n(?:[^\S\n]*\n)+")}


def split_pieces(text: str, level: str) -> list[str]:
    """The paragraphs (set apart by blank lines) or lines of a text, each with what sets it apart; joined, they are the text."""
    places = [match.end() for match in _ENDS[level].finditer(text)]
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True) if start < end]


def compared_pieces(document: Document, level: str, min_characters: int) -> tuple[list[str], list[int]]:
    """The pieces of a document, and the indices of those that are compared.

    Documents of several texts have none: what is said twice in conversations is mostly meant so, and a turn that is left
    empty would break its row.

    Args:
        document: The document.
        level: `paragraph` or `line`.
        min_characters: Shorter pieces are not compared; white space counts once.
    """
    if len(document.texts) != 1:
        return [], []
    pieces = split_pieces(document.texts[0], level)
    return pieces, [index for index, piece in enumerate(pieces) if _length(piece) >= max(min_characters, 1)]


def cut_out(pieces: Sequence[str], unwanted: set[int]) -> str:
    """The text without some of its pieces. What set the last one that stays apart goes with a cut end of the text."""
    text = "".join(piece for index, piece in enumerate(pieces) if index not in unwanted)
    return text if not unwanted or len(pieces) - 1 not in unwanted or pieces[-1].endswith("\n") else text.rstrip("\n")


def normalize(text: str) -> str:
    """Text as exact duplicates compare it.

    Unicode NFC; all kinds of line ends are one; runs of white space within a line are one space; spaces at the ends of lines,
    blank lines, and white space around the text are left out. Indentation stays: in code it has a meaning. So do case and
    punctuation.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words:
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(indent + " ".join(words))
    return "\n".join(lines).strip()


def _length(piece: str) -> int:
    return len(" ".join(piece.split()))
