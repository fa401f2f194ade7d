"""The method `noise`: typing mistakes at the rate that was asked for, and never in what must stay."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from random import Random

import pytest

from hfrecipes.data.augment.method import Task
from hfrecipes.data.augment.noise import NoiseMethod, alike, neighbours_of
from hfrecipes.data.augment.protected import split_protected
from hfrecipes.recipe.augmentation import Noise

DRAWS = Random(5)
# Nothing repeats, so that differences can be told.
PROSE = " ".join("".join(DRAWS.choice("abcdefghilmnoprstuvw") for _ in range(DRAWS.randint(2, 9))) for _ in range(600))
CHINESE = "".join(chr(DRAWS.randint(0x4E00, 0x9FA0)) for _ in range(3000))


def noisy(text: str, seed: int = 0, fixed: tuple[str, ...] = (), rate: float | None = None) -> str:
    return NoiseMethod(Noise(rate=rate)).change([Task((text,), fixed, seed)])[0][0]


@pytest.mark.parametrize("text", [PROSE, CHINESE])
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_there_are_as_many_mistakes_as_asked_for(text: str, rate: float) -> None:
    changed = noisy(text, rate=rate)
    # Neighbouring mistakes are one difference, and a few draws meet a mark that stays.
    differences = sum(
        kind != "equal" for kind, *_ in SequenceMatcher(None, text, changed, autojunk=False).get_opcodes()
    )
    assert 0.4 * rate < differences / len(text) < 1.5 * rate


def test_no_rate_is_no_noise() -> None:
    assert noisy(PROSE, rate=0.0) == PROSE


def test_numbers_code_addresses_formulas_and_answers_stay() -> None:
    kept = [
        "3.14",
        "2024",
        "`x = foo(y)`",
        "https://example.org/some/page",
        "me@example.org",
        "$a + b$",
        "{name}",
        "very good",
    ]
    text = "Some words come before " + " and some more words then ".join(kept) + " until the end."
    for seed in range(30):
        changed = noisy(text, seed, fixed=("very good",), rate=0.5)
        assert changed != text
        assert all(one in changed for one in kept)


def test_programs_stay_and_questions_about_them_change() -> None:
    program = "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))\n"
    assert noisy(program, rate=0.5) == program
    question = f"What does this function do when it is called?\n\n```python\n{program}```\n"
    changed = noisy(question, rate=0.2)
    assert changed != question and changed.endswith(f"```python\n{program}```\n")


def test_neighbours_lie_beside_each_other() -> None:
    assert set(neighbours_of("g")) == set("fhtyvb")
    assert set(neighbours_of("Q")) == set("wa")
    assert set(neighbours_of("й")) == set("цф")
    assert all(
        letter in neighbours_of(near) for letter in "qwertyuiopasdfghjklzxcvbnm" for near in neighbours_of(letter)
    )


def test_chinese_mistakes_are_of_the_same_sound() -> None:
    text = "他们在会议之前已经看完了全部的报告，没有人发现其中有什么问题。" * 40
    assert set(alike("的")) == set("地得") and "的" not in alike("的")
    strange = {one for one in noisy(text, rate=0.2) if one not in text} - set(",.")
    assert strange and all(any(one in alike(other) for other in text) for one in strange)


def test_line_breaks_and_indentation_stay() -> None:
    text = "First of all we read:\n  some words here\n\n\nand more words there\n"
    for seed in range(20):
        changed = noisy(text, seed, rate=0.4)
        assert re.findall(r"\n *", changed) == re.findall(r"\n *", text)


def test_protected_parts_and_others_are_the_whole() -> None:
    text = "a `b` c $d$ e ```\nf\n``` g https://h/i j_k {l} m\n    n\no"
    pieces = split_protected(text, ("a", "o"))
    assert "".join(piece for piece, _ in pieces) == text
    assert not any(re.search("[abdfhijkln]", piece) for piece, free in pieces if free)
