"""The prompts of tour/ppo, and its reward for going on."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from hfrecipes.data.embedded import open_embedded
from hfrecipes.data.functions import load_function
from hfrecipes.recipe.shipped import shipped_recipes

BESIDE = shipped_recipes()["tour/ppo"].parent
CODE = "@cache\ndef f(x):\n    if x:\n        return 1\n    return 2\n"


def asked(code: str) -> str:
    row: dict[str, Any] = {"prompt": [{"role": "user", "content": f"What?\n\n```python\n{code}```"}]}
    return load_function("code_prompts:unfinished", BESIDE)(row)["prompt"]


def test_a_prompt_ends_before_a_statement_of_the_function_and_stays_the_same() -> None:
    beginnings = [
        "@cache\ndef f(x):\n",
        "@cache\ndef f(x):\n    if x:\n",
        "@cache\ndef f(x):\n    if x:\n        return 1\n",
    ]
    assert asked(CODE) in beginnings and asked(CODE) == asked(CODE)
    # Other names, other places: each of the three is found.
    assert len({asked(CODE.replace("x", name)).count("\n") for name in "abcdefghijk"}) == 3
    assert asked("def f(x): return 1\n") == "def f(x): return 1\n"


def test_rows_that_are_mined_make_prompts_that_go_on() -> None:
    rows = [row.values for row in open_embedded({"name": "python_docstrings", "split": "test", "limit": 60}, "").rows()]
    for row in rows:
        prompt = load_function("code_prompts:unfinished", BESIDE)(row)["prompt"]
        whole = row["prompt"][-1]["content"]
        assert prompt.endswith("\n") and f"```python\n{prompt}" in whole
        ast.parse(whole.split("```python\n")[1].split("```")[0])


@pytest.mark.parametrize(
    ("added", "reward"),
    [("    return 1\n", 1.0), ("    # so\n", 0.0), ("  \n", 0.0), ("    return (\n", 0.0), ("\0", 0.0)],
)
def test_going_on_is_python_and_more_than_a_comment(added: str, reward: float) -> None:
    still_python = load_function("code_prompts:still_python", BESIDE)
    assert still_python(prompts=["def f():\n"], completions=[added], factor=[1]) == [reward]
