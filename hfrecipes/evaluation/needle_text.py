"""Needles and the haystacks that they are hidden in: text alone, the same for the same seed.

A needle is a sentence that tells the telephone number of an office. The prompt is a haystack of whole sentences with the needle
among them, and at its end the needle's own beginning, which only its number completes (after Kamradt 2023, "Needle in a
Haystack").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

DIGITS = 5
# A line of Chinese ends without a space; what follows the last mark of a sentence belongs to it.
_SENTENCE = re.compile(r".+?(?:[.!?][\"')\]]*(?=\s)|[。！？；][”’」』）]*|\n(?=\s*\n)|$)", re.DOTALL)
# Text without an end in sight, such as code or a table, may be cut at the end of a line.
_LONGEST_SENTENCE = 400


@dataclass(frozen=True, slots=True)
class Wording:
    """How needles are worded in a language.

    Args:
        cue: How the sentence begins, as the question repeats it.
        gap: What stands between the cue and the number.
        end: What stands behind the number.
        before: What parts the sentence from the one before it.
        cities: Whose exchange the number belongs to.
    """

    cue: str
    gap: str
    end: str
    before: str
    cities: tuple[str, ...]


WORDINGS = {
    "en": Wording(
        cue="To reach the office, dial {city}",
        gap=" ",
        end=".",
        before=" ",
        cities=(
            *("Accra", "Basel", "Cairo", "Dakar", "Delhi", "Hanoi", "Kyoto", "Lima"),
            *("Lyon", "Milan", "Oslo", "Paris", "Porto", "Quito", "Tokyo", "Turin"),
        ),
    ),
    "zh": Wording(
        cue="办公室的电话是{city}",
        gap="",
        end="。",
        before="",
        cities=(
            *("北京", "成都", "大连", "重庆", "广州", "杭州", "南京", "青岛"),
            *("上海", "深圳", "苏州", "天津", "武汉", "西安", "厦门", "长沙"),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Needle:
    """One fact that is hidden.

    Args:
        statement: The sentence that is hidden, with what parts it from the sentence before.
        cue: Its beginning, as the prompt ends.
        answer: How the prompt goes on, with the space that may stand before the number.
        number: The number alone.
    """

    statement: str
    cue: str
    answer: str
    number: str


def make_needle(language: str, number: int, seed: int = 0) -> Needle:
    """The needle of a number; its digits differ from each other, and no haystack tells them.

    Args:
        language: A key of `WORDINGS`.
        number: Which needle of that language, from 0.
        seed: Other seeds give other digits.
    """
    wording = WORDINGS[language]
    draw = np.random.default_rng([seed, number, *language.encode()])
    city = wording.cities[int(draw.integers(len(wording.cities)))]
    digits = "".join(str(digit) for digit in draw.permutation(10)[:DIGITS])
    cue, answer = wording.before + wording.cue.format(city=city), wording.gap + digits
    return Needle(cue + answer + wording.end, cue, answer, digits)


def split_sentences(text: str) -> list[str]:
    """Sentences of English or Chinese text; joined, they are the text.

    A sentence ends behind `.`, `!`, `?` and white space to come, behind `。`, `！`, `？`, `；`, and at an empty line. White
    space belongs to the sentence that it stands before. What goes on for long without an end is cut at the ends of its lines.
    """
    pieces = []
    for sentence in _SENTENCE.findall(text):
        pieces += [sentence] if len(sentence) <= _LONGEST_SENTENCE else re.findall(r"\n?[^\n]+|\n", sentence)
    return pieces


@dataclass(frozen=True)
class Haystack:
    """Sentences to hide needles among, with the tokens of each; where they do not suffice, they begin anew."""

    sentences: list[str]
    sizes: list[int]
    num_tokens: Callable[[str], int]

    @classmethod
    def of(cls, texts: Iterable[str], num_tokens: Callable[[str], int]) -> Haystack:
        """A haystack of texts, whose tokens a function counts.

        Raises:
            ValueError: where there is no text.
        """
        sentences = [sentence for text in texts for sentence in split_sentences(text)]
        sized = [(sentence, size) for sentence in sentences if (size := num_tokens(sentence))]
        if not sized:
            raise ValueError("the haystack holds no text")
        return cls([sentence for sentence, _ in sized], [size for _, size in sized], num_tokens)

    def hide(self, needle: Needle, depth: float, length: int, start: int = 0) -> str | None:
        """Fills a prompt with as many whole sentences as there is room for, and hides a needle among them.

        Args:
            needle: What is hidden.
            depth: Where: 0 before the first sentence, 1 behind the last, before the question.
            length: Tokens of prompt and answer together, at most.
            start: The sentence that the prompt begins with.

        Returns:
            The prompt, to its cue; None where there is no room for a single sentence beside the needle.
        """
        room = length - self.num_tokens(needle.statement + needle.cue + needle.answer)
        chosen: list[int] = []
        while room >= (size := self.sizes[index := (start + len(chosen)) % len(self.sizes)]):
            chosen.append(index)
            room -= size
        while chosen:
            prompt = self._with_needle(needle, chosen, depth)
            # Counted piece by piece, a text can have fewer tokens than as a whole.
            if self.num_tokens(prompt + needle.answer) <= length:
                return prompt
            chosen.pop()
        return None

    def _with_needle(self, needle: Needle, chosen: list[int], depth: float) -> str:
        """The needle goes to the end of a sentence that is nearest to its depth, counted in tokens."""
        ends = np.cumsum([0, *(self.sizes[index] for index in chosen)])
        place = int(np.argmin(np.abs(ends - depth * ends[-1])))
        texts = [self.sentences[index] for index in chosen]
        return "".join([*texts[:place], needle.statement, *texts[place:], needle.cue])


def is_found(text: str, needle: Needle) -> bool:
    """Whether what a model wrote begins with the needle's number, all of it and no further digit."""
    written = re.match(r"\s*(\d+)", text, re.ASCII)
    return written is not None and written[1] == needle.number
