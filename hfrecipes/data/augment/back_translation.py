"""The method `back_translation`: into another language and back (Sennrich et al. 2016), sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hfrecipes.data.augment.method import Task
from hfrecipes.data.augment.protected import is_program, split_blocks
from hfrecipes.data.augment.translation import Search, direction
from hfrecipes.data.clean.model_scores import model_fingerprint
from hfrecipes.data.clean.segments import split_sentences
from hfrecipes.recipe.augmentation import BackTranslation


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a text: to be translated, or to stay (space, code, marks)."""

    text: str
    translates: bool


class BackTranslationMethod:
    """Says each sentence in another language and again in its own, by two models of the user's.

    Spaces, line breaks, code blocks and list marks stay as they are. The search for the best translation gives the same
    copies each time; with a temperature, the seed of each row chooses its own, whatever rows are beside it.

    Args:
        settings: What the recipe says.
        find_file: Finds a folder that the recipe names.
        there, back: The places in the recipe that name the two models, for errors.

    Raises:
        RecipeError: a model is not named.
    """

    name = "back_translation"
    # Other words for the same things share few of their characters.
    min_similarity = 0.2

    def __init__(self, settings: BackTranslation, find_file: Callable[[str], Path], there: str, back: str) -> None:
        self.settings = settings
        self.forward = direction(settings.forward, find_file, there)
        self.backward = direction(settings.backward, find_file, back)
        given = {word: getattr(settings, word) for word in ("num_beams", "temperature", "max_new_tokens")}
        self.search = Search(**{word: value for word, value in given.items() if value is not None})

    @cached_property
    def fingerprint(self) -> str:
        return " ".join(model_fingerprint(one.model) for one in (self.forward, self.backward))

    def change(self, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
        pieces = [[_pieces(text) for text in task.texts] for task in tasks]
        wanted = [[piece.text for text in task for piece in text if piece.translates] for task in pieces]
        if self.search.temperature is None:
            flat = iter(self._there_and_back([sentence for task in wanted for sentence in task], None))
            return [_filled(task, flat) for task in pieces]
        sampled = [self._there_and_back(one, task.seed) for one, task in zip(wanted, tasks, strict=True)]
        return [_filled(task, iter(one)) for task, one in zip(pieces, sampled, strict=True)]

    def _there_and_back(self, sentences: Sequence[str], seed: int | None) -> list[str]:
        if not sentences:
            return []
        there = self.forward.translate(sentences, self.search, seed)
        return self.backward.translate(there, self.search, None if seed is None else seed ^ 1)


def _pieces(text: str) -> list[_Piece]:
    if is_program(text):
        return [_Piece(text, False)]
    pieces = []
    for block, changeable in split_blocks(text):
        for line in block.splitlines(keepends=True) if changeable else [block]:
            for sentence in split_sentences(line) if changeable else [line]:
                pieces += _parted(sentence) if changeable else [_Piece(sentence, False)]
    return pieces


def _parted(sentence: str) -> list[_Piece]:
    """A sentence between what stands before its first letter or digit and the spaces after it."""
    core = sentence.strip()
    if not any(character.isalpha() for character in core):
        return [_Piece(sentence, False)]
    mark = len(sentence) - len(sentence.lstrip(" \t-*•#>"))
    end = len(sentence.rstrip())
    return [_Piece(sentence[:mark], False), _Piece(sentence[mark:end], True), _Piece(sentence[end:], False)]


def _filled(texts: Sequence[Sequence[_Piece]], translated: Iterator[str]) -> tuple[str, ...]:
    return tuple("".join(next(translated) if piece.translates else piece.text for piece in text) for text in texts)
