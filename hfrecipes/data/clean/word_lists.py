"""Lists of words and phrases, and where they occur in a text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from hfrecipes.data.clean.scripts import IS_UNSPACED, UNSPACED
from hfrecipes.recipe.problem import Problem, RecipeError

# Letters and digits of all other scripts, with the signs that belong to them.
_TOKEN = re.compile(rf"(?:[^\W_{UNSPACED}][\u0300-\u036f\u0900-\u0dff]*)+")
# What may stand between the words of a phrase.
_GAP = re.compile(r"[\s\-_’']{1,3}")


class Found(NamedTuple):
    """What of a list is in a text.

    Args:
        entries: The entries that occur, once for each place, as the list writes them.
        words: How many words of the text they cover; characters in scripts without spaces.
    """

    entries: list[str]
    words: int


class WordList:
    """Words and phrases, matched whatever their case: whole words where words are spaced, anywhere in the text elsewhere.

    Args:
        entries: Words and phrases. Where two begin at the same place, the longer counts.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        cleaned = sorted({normalise(entry) for entry in entries} - {""})
        self.fingerprint = hashlib.sha256("\n".join(cleaned).encode()).hexdigest()[:16]
        self.size = len(cleaned)
        # Nothing stands between the words of these, so an entry with any of their letters may be part of a run.
        unspaced = {entry for entry in cleaned if IS_UNSPACED.search(entry)}
        spaced = {tuple(_TOKEN.findall(entry)): entry for entry in cleaned if entry not in unspaced}
        self._phrases = _by_beginning({tokens: entry for tokens, entry in spaced.items() if tokens})
        self._runs = _by_beginning({tuple(entry): entry for entry in unspaced})
        self._run_starts = re.compile("[" + "".join(map(re.escape, sorted(self._runs))) + "]") if self._runs else None

    def find(self, text: str) -> Found:
        """Where the list occurs in a text, without overlap among words, nor among runs of characters."""
        text = normalise(text)
        phrases, runs = self._find_phrases(text), self._find_runs(text)
        return Found([*phrases.entries, *runs.entries], phrases.words + runs.words)

    def _find_phrases(self, text: str) -> Found:
        if self._phrases.keys().isdisjoint(_TOKEN.findall(text)):
            return Found([], 0)
        tokens = list(_TOKEN.finditer(text))
        found, words, place = [], 0, 0
        while place < len(tokens):
            length = 1
            for phrase, entry in self._phrases.get(tokens[place].group(), ()):
                if _stands_at(tokens, place, phrase, text):
                    found.append(entry)
                    words += len(phrase)
                    length = len(phrase)
                    break
            place += length
        return Found(found, words)

    def _find_runs(self, text: str) -> Found:
        found, words, place = [], 0, 0
        while self._run_starts and (start := self._run_starts.search(text, place)):
            place = start.start() + 1
            for _, entry in self._runs[start.group()]:
                if text.startswith(entry, start.start()):
                    found.append(entry)
                    words += len(entry)
                    place = start.start() + len(entry)
                    break
        return Found(found, words)


def normalise(text: str) -> str:
    """Without differences of case and of width."""
    folded = text.casefold()
    return (folded if folded.isascii() else unicodedata.normalize("NFKC", folded)).strip()


def read_lines(path: str | Path, where: str) -> list[tuple[str, str]]:
    """The lines of a list that say something, each with its place; what follows a # at the beginning of a line is a comment.

    Raises:
        RecipeError: the file cannot be read, is no UTF-8 text, or holds nothing.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        fix = "name a text file with one entry for each line, beside the recipe or by its path"
        raise RecipeError(Problem(where, f"{path} cannot be read: {error.strerror}", fix)) from error
    except UnicodeDecodeError as error:
        raise RecipeError(Problem(str(path), f"is no UTF-8 text (byte {error.start})", "save it as UTF-8")) from error
    said = [(f"{path}:{number}", line.strip()) for number, line in enumerate(lines, start=1)]
    entries = [(place, line) for place, line in said if line and not line.startswith("#")]
    if not entries:
        raise RecipeError(Problem(where, f"{path} lists nothing", "write one entry for each line"))
    return entries


Parts = tuple[str, ...]


def _by_beginning(entries: dict[Parts, str]) -> dict[str, list[tuple[Parts, str]]]:
    """Entries by their first part, the longest first."""
    grouped: dict[str, list[tuple[Parts, str]]] = {}
    for parts, entry in sorted(entries.items(), key=lambda item: (-len(item[0]), item[0])):
        grouped.setdefault(parts[0], []).append((parts, entry))
    return grouped


def _stands_at(tokens: list[re.Match[str]], place: int, phrase: Parts, text: str) -> bool:
    here = tokens[place : place + len(phrase)]
    if len(here) < len(phrase) or any(token.group() != part for token, part in zip(here, phrase, strict=True)):
        return False
    gaps = (text[before.end() : after.start()] for before, after in pairwise(here))
    return all(map(_GAP.fullmatch, gaps))
