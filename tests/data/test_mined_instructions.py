"""Instructions are of many families, their answers are right, and families do not tell splits apart."""

from __future__ import annotations

import types
from collections import Counter

import pytest

from hfrecipes.data.embedded import mined, open_embedded
from hfrecipes.data.hashing import SPLITS
from hfrecipes.data.mined_instructions import FAMILIES, Instruction, mine_instructions
from hfrecipes.data.mining import Piece
from hfrecipes.evaluation.refusals import asks_back, refuses


@pytest.fixture(scope="module")
def found() -> list[Instruction]:
    return list(mine_instructions(mined("python_docstrings")))


def about(each: Instruction) -> str:
    """What stands below the question."""
    return each.text.partition("\n\n")[2].removeprefix("```python\n").removesuffix("\n```")


def answered(found: list[Instruction], *families: str) -> list[Instruction]:
    """Instructions that are about something; `nonlocal` does not compile outside of its function."""
    asked = [each for each in found if each.family in families and each.kind != "clarification"]
    return [each for each in asked if "nonlocal " not in each.text]


def code_of(each: Instruction) -> types.CodeType:
    """What Python itself makes of the function."""
    (function,) = [made for made in compile(about(each), "f", "exec").co_consts if isinstance(made, types.CodeType)][
        -1:
    ]
    return function


def test_each_family_has_as_many_in_every_split(found: list[Instruction]) -> None:
    counts = Counter(each.family for each in found)
    assert counts.keys() == set(FAMILIES)
    assert max(counts.values()) < 1.2 * min(counts.values())
    assert {each.family for each in found if each.split == "test"} == set(FAMILIES)
    assert max(len(each.text) for each in found) < 700


def test_words_are_those_of_the_sentence(found: list[Instruction]) -> None:
    for each in answered(found, "capitals", "first_word", "last_word", "reversal"):
        sentence = about(each)
        words = sentence.rstrip(".").split()
        right = {
            "capitals": sentence.upper(),
            "first_word": words[0],
            "last_word": words[-1],
            "reversal": " ".join(words[::-1]),
        }
        assert each.summary == right[each.family]


def test_sorted_words_are_the_first_six_in_order(found: list[Instruction]) -> None:
    for each in answered(found, "sorting"):
        words = each.summary.split()
        assert [word.casefold() for word in words] == sorted(word.casefold() for word in words)
        assert Counter(words) == Counter(about(each).rstrip(".").split()[:6])


def test_functions_are_read_as_python_reads_them(found: list[Instruction]) -> None:
    for each in answered(found, "function_name", "parameters", "counting_parameters"):
        code = code_of(each)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        names = [name for name in names if name not in ("self", "cls")]
        if each.family == "function_name":
            assert each.summary == code.co_name
        elif each.family == "parameters":
            assert each.summary == (", ".join(names) or "It has none.")
        else:
            assert each.summary.splitlines()[-1].removeprefix("#### ") == str(len(names))


def test_steps_and_direct_answers_come_to_the_same_kind_of_end(found: list[Instruction]) -> None:
    counted = answered(found, "counting_words", "counting_parameters")
    assert {each.kind for each in counted} == {"direct", "chain_of_thought"}
    for each in counted:
        assert (each.kind == "chain_of_thought") == ("#### " in each.summary) == ("step by step" in each.text)


def test_parameters_that_are_not_there_are_refused_and_no_others(found: list[Instruction]) -> None:
    asked = answered(found, "default_value")
    refused = [each for each in asked if each.kind == "refusal"]
    assert 0.3 < len(refused) / len(asked) < 0.8
    for each in asked:
        code = code_of(each)
        # Local variables come behind the parameters, *args and **kwargs among them.
        several = bool(code.co_flags & 4) + bool(code.co_flags & 8)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + several]
        question = each.text.splitlines()[0]
        name = question.removesuffix(" have?").rstrip("?.").split()[-1]
        assert (each.kind == "refusal") == (name not in names) == refuses(each.summary)


def test_questions_without_what_they_are_about_are_asked_back(found: list[Instruction]) -> None:
    lacking = [each for each in found if each.kind == "clarification"]
    assert 0.03 < len(lacking) / len(found) < 0.08
    for each in lacking:
        assert "\n" not in each.text and asks_back(each.summary)


@pytest.mark.parametrize(
    ("body", "returns"),
    [
        ("return 1", "yes"),
        ("return", "no"),
        ("pass", "no"),
        ("for x in y:\n        if x:\n            return x", "yes"),
        ("def inner():\n        return 1\n    inner()", "no"),
        ("g = lambda: 1\n    return g", "yes"),
    ],
)
def test_what_an_inner_function_returns_is_not_returned(body: str, returns: str) -> None:
    pieces = [Piece("a.py", line, "train", f"def f(x):\n    {body}", "Does a thing here.") for line in range(200)]
    answers = {each.summary for each in answered(list(mine_instructions(pieces)), "returning")}
    assert answers == {returns}


def test_rows_hold_family_and_kind_and_splits_share_no_file() -> None:
    files = {}
    for split in SPLITS:
        rows = list(open_embedded({"name": "python_instructions", "split": split}, "here").rows())
        assert {"prompt", "completion", "family", "kind"} == rows[0].values.keys()
        files[split] = {row.where.split(":")[1] for row in rows}
    assert not files["train"] & files["test"] and not files["train"] & files["validation"]
