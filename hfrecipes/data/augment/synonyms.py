"""The method `synonyms`: other words in the same form and case."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from random import Random

from hfrecipes.data.augment.method import Task, pick, shuffled
from hfrecipes.data.augment.protected import is_program, split_protected
from hfrecipes.data.augment.synonym_tables import (
    Table,
    own_table,
    read_table,
    refuse_missing_wordnet,
    wordnet_synonyms,
)
from hfrecipes.data.clean.identification import identify
from hfrecipes.data.clean.segments import plain_words
from hfrecipes.data.hashing import sha256_of_texts
from hfrecipes.recipe.augmentation import Synonyms

_MAX_WORDS = 0.2
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
# Function words that are frequent in the one and rare in the other.
_CLASSICAL, _MODERN = re.compile("[之乎者也矣焉哉曰其兮]"), re.compile("[的了是在们們着呢吗嗎这這]")
_ARTICLE = re.compile(r"\b(an?)\s+\Z", re.IGNORECASE)
# English words that begin with a vowel to the ear: not one, use, unit or European, but hour and honest.
_VOWEL_SOUND = re.compile(r"(?!one|once|eu|u[st]|uni|ubiq)[aeiou]|uns|unt|us\b|hour|honest|honou?r|heir", re.IGNORECASE)
# Characters of the longest Chinese word that is looked for.
_LONGEST = 6
# The identification of a language is believed from this probability on, or over this many letters.
_SURE = 0.5
_SHORT = 40


class SynonymsMethod:
    """Puts synonyms in place of words: those of the file that is named, else of WordNet where it is asked for, and of our own
    tables in English and Chinese.

    Only exact forms are replaced, so that a synonym is as inflected as the word was. Case is kept, and `a` or `an` before the
    word fits what comes after it. Names, code, addresses and answers that the text quotes stay.

    Args:
        settings: What the recipe says.
        find_file: Finds a file that the recipe names.
        where: The method's place in the recipe, for errors.

    Raises:
        RecipeError: the file cannot be read, or WordNet is asked for and not installed.
    """

    name = "synonyms"
    min_similarity = 0.5

    def __init__(self, settings: Synonyms, find_file: Callable[[str], Path] = Path, where: str = "augment") -> None:
        self.settings = settings
        if settings.wordnet:
            refuse_missing_wordnet(where)
        self.max_words = _MAX_WORDS if settings.max_words is None else settings.max_words
        self.table: Table = read_table(find_file(settings.file)) if settings.file else {}

    @cached_property
    def fingerprint(self) -> str:
        tables = (self.table, own_table("en"), own_table("zh"))
        return sha256_of_texts(f"{word}\t{synonyms}" for table in tables for word, synonyms in table.items())

    def change(self, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
        return [self._task(task) for task in tasks]

    def _task(self, task: Task) -> tuple[str, ...]:
        random = Random(task.seed)
        return tuple(text if is_program(text) else self._text(random, text, task.fixed) for text in task.texts)

    def _text(self, random: Random, text: str, fixed: Sequence[str]) -> str:
        english = not self.table and _is_english(text)
        found = []
        place = 0
        for piece, changeable in split_protected(text, fixed):
            if changeable:
                found += [(place + start, word) for start, word in _words(piece)]
                found += [(place + start, word) for start, word in self._chinese_words(piece)]
            place += len(piece)
        chances = []
        for start, word in found:
            synonyms = self._synonyms(text, start, word, english)
            if synonyms:
                chances.append((start, word, pick(random, synonyms)))
        most = int(self.max_words * len(plain_words(text)) + 0.5) or (1 if self.max_words else 0)
        for start, word, synonym in sorted(shuffled(random, chances)[:most], reverse=True):
            text = text[:start] + synonym + text[start + len(word) :]
        return text

    def _synonyms(self, text: str, start: int, word: str, english: bool) -> list[str]:
        """What may stand in place of a word there, in its case."""
        if _HAN.match(word):
            return list(self.table.get(word) or own_table("zh").get(word, ()))
        if word[0].isupper() and not word.isupper() and not _begins_sentence(text, start):
            return []  # a name
        lower = word.lower()
        listed = self.table.get(word) or self.table.get(lower) or ()
        if english and not listed:
            listed = own_table("en").get(lower, ())
            if not listed and self.settings.wordnet:
                listed = wordnet_synonyms(lower)
        if _ARTICLE.search(text, max(0, start - 8), start):
            listed = [one for one in listed if _begins_with_vowel(one) == _begins_with_vowel(word)]
        return [_in_case(one, word) for one in listed]

    def _chinese_words(self, piece: str) -> list[tuple[int, str]]:
        """Words of the tables in running Chinese, the longest at each place first."""
        if not self.table and _is_classical(piece):
            return []
        table = self.table or own_table("zh")
        found = []
        for run in _HAN.finditer(piece):
            place = run.start()
            while place < run.end():
                lengths = range(min(_LONGEST, run.end() - place), 1, -1)
                length = next((n for n in lengths if piece[place : place + n] in table), 0)
                if length:
                    found.append((place, piece[place : place + length]))
                place += length or 1
        return found


def _is_classical(text: str) -> bool:
    """Whether Chinese is of the classical kind, in which the words of our table mean other things."""
    return len(_CLASSICAL.findall(text)) > len(_MODERN.findall(text))


def _words(piece: str) -> list[tuple[int, str]]:
    return [(match.start(), match[0]) for match in _WORD.finditer(piece) if not _HAN.search(match[0])]


def _is_english(text: str) -> bool:
    """Whether the English table fits. Too little text for the identification is tried: German has no `quickly` either."""
    letters = "".join(_WORD.findall(text))
    if not letters.isascii() and sum(one.isascii() for one in letters) < len(letters) / 2:
        return False
    language, probability = identify(text)
    return language == "en" or (probability < _SURE and len(letters) < _SHORT)


def _begins_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \t\"'“‘(*_-")
    return not before or before[-1] in ".!?:\n。！？…"


def _begins_with_vowel(word: str) -> bool:
    return bool(_VOWEL_SOUND.match(word))


def _in_case(synonym: str, word: str) -> str:
    if word.isupper() and len(word) > 1:
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[0].isupper() else synonym
