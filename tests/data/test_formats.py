"""Rows become TRL's types, or say why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.formats import example_texts, function_fingerprint, is_conversational, load_function, to_example
from hfrecipes.recipe.problem import RecipeError

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        ({"text": "x", "id": 3}, {}, {"text": "x"}),
        ({"messages": [USER, ASSISTANT]}, {}, {"messages": [USER, ASSISTANT]}),
        ({"prompt": "p", "completion": "c"}, {}, {"prompt": "p", "completion": "c"}),
        ({"prompt": [USER], "completion": [ASSISTANT]}, {}, {"prompt": [USER], "completion": [ASSISTANT]}),
        (
            {"question": "p", "answer": "c"},
            {"columns": {"prompt": "question", "completion": "answer"}},
            {"prompt": "p", "completion": "c"},
        ),
        ({"body": "x", "text": "old"}, {"columns": {"text": "body"}}, {"text": "x"}),
        # a prompt alone makes no example, so the messages beside it are meant (HuggingFaceH4/ultrachat_200k)
        ({"prompt": "p", "messages": [USER, ASSISTANT]}, {}, {"messages": [USER, ASSISTANT]}),
        ({"text": "x", "messages": [USER]}, {"columns": {"text": "text"}}, {"text": "x"}),
        (
            {"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]},
            {},
            {"messages": [USER, ASSISTANT]},
        ),
        ({"messages": [{**USER, "name": None}, ASSISTANT]}, {}, {"messages": [USER, ASSISTANT]}),
        (
            {"messages": [USER, ASSISTANT], "tools": '[{"name": "f"}]', "chat_template_kwargs": {"a": 1}},
            {},
            {"messages": [USER, ASSISTANT], "tools": [{"name": "f"}], "chat_template_kwargs": {"a": 1}},
        ),
        ({"messages": [USER, ASSISTANT], "tools": None}, {}, {"messages": [USER, ASSISTANT]}),
    ],
)
def test_recognised_types(values: dict[str, Any], spec: dict[str, Any], expected: dict[str, Any]) -> None:
    assert to_example(values, spec) == expected


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        ({"body": "x"}, {}, "the columns body make no example; an example has text; messages"),
        ({"text": None}, {}, "text is None where a string is expected"),
        ({"text": ""}, {}, "text is empty"),
        ({"text": " \n"}, {}, "text is empty"),
        ({"text": 3}, {}, "text is an int"),
        ({"text": ["x"]}, {}, "text is a list where a string"),
        ({"messages": "hi"}, {}, "messages is a str where a list of messages"),
        ({"messages": []}, {}, "messages is an empty list"),
        ({"messages": ["hi"]}, {}, "message 1 is a str"),
        ({"messages": [{"content": "x"}]}, {}, "message 1 has no role"),
        ({"messages": [USER, {"role": "assistant"}]}, {}, "message 2 has no content"),
        (
            {"messages": [USER, {"role": "assistant", "content": ""}]},
            {},
            "message 2 is the assistant's and says nothing",
        ),
        ({"messages": [{"role": "user", "content": 3}]}, {}, "message 1 has an int as content"),
        ({"prompt": "p", "completion": ""}, {}, "completion is empty"),
        ({"prompt": "p", "completion": [ASSISTANT]}, {}, "of two kinds"),
        ({"prompt": "p", "completion": "c", "text": "t"}, {}, "fit more than one type: prompt and completion or text"),
        ({"q": "p"}, {"columns": {"prompt": "question"}}, "there is no column 'question'; the columns are q"),
        ({"messages": [USER, ASSISTANT], "tools": "["}, {}, "tools is not valid JSON"),
    ],
)
def test_faults_name_the_row_and_the_cell(values: dict[str, Any], spec: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        to_example(values, spec, "train.jsonl:7")
    (problem,) = caught.value.problems
    assert problem.where == "train.jsonl:7" and message in problem.message and problem.fix


def test_format_function_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "shape.py").write_text(
        "def line(row):\n    return row['a'] + '!'\n"
        "def pair(row):\n    return {'prompt': row['a'], 'completion': 'c'}\n"
        "def number(row):\n    return 3\n"
    )
    assert to_example({"a": "x"}, {"format": "shape:line"}, "r", tmp_path) == {"text": "x!"}
    assert to_example({"a": "x"}, {"format": "shape:pair"}, "r", tmp_path) == {"prompt": "x", "completion": "c"}
    with pytest.raises(RecipeError, match="r: error: shape:line fails on this row: KeyError"):
        to_example({"b": "x"}, {"format": "shape:line"}, "r", tmp_path)
    with pytest.raises(RecipeError, match="returns an int"):
        to_example({"a": "x"}, {"format": "shape:number"}, "r", tmp_path)


@pytest.mark.parametrize(
    ("dotted", "message"),
    [("nowhere_at_all:f", "cannot be imported"), ("json:f", "has no function f"), ("json", "names no")],
)
def test_format_functions_that_are_not_there(dotted: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_function(dotted)


def test_a_changed_format_file_changes_the_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "shape_again.py"
    file.write_text("def line(row):\n    return 'a'\n")
    before = function_fingerprint("shape_again:line", tmp_path)
    file.write_text("def line(row):\n    return 'b'\n")
    assert function_fingerprint("shape_again:line", tmp_path) != before
    assert function_fingerprint("json:dumps").startswith("sha256:")


def test_texts_and_kind_of_an_example() -> None:
    assert example_texts({"text": "x"}) == ["x"]
    assert example_texts({"prompt": "p", "completion": "c"}) == ["p", "c"]
    assert example_texts({"prompt": [USER], "completion": [ASSISTANT]}) == ["q", "a"]
    assert is_conversational({"messages": [USER]}) and is_conversational({"prompt": [USER], "completion": [ASSISTANT]})
    assert not is_conversational({"text": "x"}) and not is_conversational({"prompt": "p", "completion": "c"})
