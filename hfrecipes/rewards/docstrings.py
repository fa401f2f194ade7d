"""A reward for sentences that say what a Python function does, by rules that read the function beside the sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hfrecipes.evaluation.scores import FENCE
from hfrecipes.rewards.texts import Completion, text_of

# Two words that come twice are a stretch that is said again; articles and the like alone are not.
_STRETCH = 2
_WORD = re.compile(r"[A-Za-z]+")
# Parts of names: get_widthHTML -> get, width, HTML.
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAME = re.compile(r"[A-Za-z_]\w*")
# What is written as code in a sentence: snake_case, camelCase, and names in quotes or backquotes.
_CODE = re.compile(r"\b[A-Za-z]+_\w+\b|\b[a-z]+[A-Z]\w*\b|(?<=[`'\"])[A-Za-z_]\w*(?=[`'\"])")
# Words that differ in their ends are taken for one: close, closes, closing.
_STEM, _SHORTEST = 4, 3
_EVERYWHERE = frozenset(
    (
        "the",
        "and",
        "for",
        "this",
        "that",
        "with",
        "from",
        "not",
        "are",
        "its",
        "self",
        "def",
        "return",
        "returns",
        "none",
    )
)


def docstring_fits(prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
    """How well a sentence can be the docstring of the function in its prompt, between 0 and 1: the mean of four parts.

    1 each where it begins with a capital letter and ends with a full stop; where no two words in a row come twice; where every
    name that is written as code (`max_size`, 'name') stands in the function; and the share of its words that the function
    says, too, in a name or a comment, by their first four letters (0 for one of no words).

    A sentence that lists the names of a function is praised for it: see docs/rewards.md.

    Args:
        prompts: Texts or messages with the function, in a code fence or bare.
        completions: Texts, or messages.
        columns: Not looked at.
    """
    return [
        _fits(_function_in(prompt), text_of(said).strip()) for prompt, said in zip(prompts, completions, strict=True)
    ]


def _fits(function: str, sentence: str) -> float:
    names, words = set(_NAME.findall(function)), _WORD.findall(sentence.lower())
    parts = [
        bool(sentence) and sentence[0].isupper() and sentence[-1] == ".",
        bool(sentence) and not _says_again(words),
        bool(sentence) and all(name in names for name in _CODE.findall(sentence)),
        _shared(function, sentence),
    ]
    return sum(map(float, parts)) / len(parts)


def _function_in(prompt: Any) -> str:
    """The code of a prompt; of one without a code fence, all of it."""
    text = prompt if isinstance(prompt, str) else "\n".join(str(message.get("content") or "") for message in prompt)
    fenced = FENCE.search(text)
    return fenced.group(1) if fenced else text


def _says_again(words: list[str]) -> bool:
    stretches = [tuple(words[start : start + _STRETCH]) for start in range(len(words) - _STRETCH + 1)]
    return len(set(stretches)) < len(stretches)


def _shared(function: str, sentence: str) -> float:
    said = [stem for word in _WORD.findall(sentence) for stem in _stems(word)]
    known = {stem for name in _NAME.findall(function) for stem in _stems(name)}
    return sum(stem in known for stem in said) / len(said) if said else 0.0


def _stems(name: str) -> Iterator[str]:
    for part in _PART.findall(name):
        if len(part) >= _SHORTEST and part.lower() not in _EVERYWHERE:
            yield part.lower()[:_STEM]
