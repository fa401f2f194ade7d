"""Rewards by name, as a recipe gives them."""

from __future__ import annotations

import pytest

from hfrecipes.recipe.problem import RecipeError
from hfrecipes.rewards import ExactAnswer, Length, python_parses
from hfrecipes.rewards.load import load_reward

HERE = "my.yaml:7"


def test_functions_classes_and_words() -> None:
    assert load_reward("hfrecipes.rewards:python_parses", HERE) is python_parses
    assert load_reward("hfrecipes.rewards:ExactAnswer", HERE) == ExactAnswer()
    spec = {"function": "hfrecipes.rewards:Length", "target": 20, "slope": 0.1}
    assert load_reward(spec, HERE) == Length(20, 0.1)


def test_a_file_beside_the_recipe_counts_and_may_hold_a_function_that_makes_rewards(tmp_path) -> None:
    text = "def make(bonus):\n    return lambda prompts, completions, **_: [bonus] * len(completions)\n"
    (tmp_path / "mine.py").write_text(text)
    reward = load_reward({"function": "mine:make", "bonus": 2}, HERE, tmp_path)
    assert reward(prompts=["p"], completions=["c"]) == [2]


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("hfrecipes.rewards:python_pares", ["no function python_pares"]),
        ("nowhere:reward", ["nowhere cannot be imported"]),
        ({"target": 3}, ["needs function"]),
        ({"function": "hfrecipes.rewards:Length", "target": 3}, ["needs slope"]),
        ({"function": "hfrecipes.rewards:Length", "target": 3, "slop": 1}, ["no word 'slop'", "did you mean slope?"]),
        ({"function": "hfrecipes.rewards:Length", "target": "x", "slope": 1}, ["cannot be built"]),
        ({"function": "hfrecipes.rewards:Length", "target": -3, "slope": 1}, ["at least 0"]),
        ({"function": "builtins:list"}, ["builds list"]),
        ({"function": "builtins:dict", "a": 1}, ["builds dict"]),
        ({"function": "hfrecipes.rewards:python_parses", "strict": 1}, ["is a reward itself", "strict"]),
        ({"function": "hfrecipes.rewards:Length", "target": 3, "slope": True}, ["slope is a number"]),
        ({"function": "hfrecipes.rewards:Length", "target": 3, "slope": float("inf")}, ["slope is a number"]),
        ({"function": "hfrecipes.rewards:Repetition", "ngram": 2.5}, ["ngram is a whole number"]),
        ({"function": "hfrecipes.rewards:RegexMatch", "pattern": 3}, ["pattern is a text, not 3"]),
        ({"function": "hfrecipes.rewards:RegexMatch", "pattern": "a", "whole": "no"}, ["whole is true or false"]),
        ({"function": "hfrecipes.rewards:Format", "tags": [1]}, ["tags are a list of names"]),
        ({"function": "hfrecipes.rewards:ExactAnswer", "column": 3}, ["column is the name of a column, not 3"]),
    ],
)
def test_what_cannot_be_built_is_a_problem_at_its_place(spec, parts: list[str]) -> None:
    with pytest.raises(RecipeError) as raised:
        load_reward(spec, HERE)
    assert {problem.where for problem in raised.value.problems} == {HERE}
    assert all(part in str(raised.value) for part in parts)


def test_a_class_or_a_file_that_fails_in_any_way_is_a_problem_at_its_place(tmp_path) -> None:
    (tmp_path / "broken.py").write_text("class Broken:\n    def __init__(self):\n        raise KeyError('no key')\n")
    (tmp_path / "ending.py").write_text("import sys\nsys.exit(0)\n")
    for name, says in (("broken:Broken", "cannot be built: KeyError"), ("ending:reward", "imported: SystemExit: 0")):
        with pytest.raises(RecipeError, match=f"^{HERE}: error: .*{says}"):
            load_reward(name, HERE, tmp_path)
