from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.pipeline import Step, expand_steps
from hfrecipes.recipe.problem import Problem, RecipeError

RUN = Path("runs/all")


def steps_of(text: str) -> list[Step]:
    Path("all.yaml").write_text("kind: pipeline\nsteps:\n" + text)
    return expand_steps(load_recipe("all.yaml"), RUN)


def faults_of(text: str) -> list[Problem]:
    with pytest.raises(RecipeError) as caught:
        steps_of(text)
    return caught.value.problems


@pytest.mark.usefixtures("recipe_file")
def test_a_step_takes_what_an_earlier_one_made() -> None:
    base, tuned = steps_of(
        "  - {name: base, recipe: mine.yaml, with: {training.max_steps: 3}}\n"
        "  - {name: tuned, recipe: mine.yaml, with: {model: {name_or_path: '${steps.base.model}'}}}\n"
    )
    assert (base.name, base.recipe.get("training.max_steps"), base.uses) == ("base", 3, ())
    assert (tuned.name, tuned.uses) == ("tuned", ("base",))
    assert tuned.recipe.get("model") == {"name_or_path": "runs/all/base/model"}
    assert tuned.recipe.get("training.max_steps") is None


@pytest.mark.usefixtures("recipe_file")
def test_an_override_of_a_step_leaves_the_rest_of_the_section_alone() -> None:
    step = "{name: base, recipe: mine.yaml, with: {training.max_steps: 3, training.learning_rate: 0.5}}"
    Path("all.yaml").write_text(f"kind: pipeline\nsteps: [{step}]\n")
    pipeline = load_recipe("all.yaml", ["steps.0.with.training.max_steps=7", "steps.0.with.training.save_steps=2"])
    (base,) = expand_steps(pipeline, RUN)
    assert [base.recipe.get(f"training.{key}") for key in ("max_steps", "save_steps", "learning_rate")] == [7, 2, 0.5]


@pytest.mark.usefixtures("recipe_file")
def test_rounds_see_the_round_before() -> None:
    steps = steps_of(
        "  - {name: base, recipe: mine.yaml}\n"
        "  - name: loop\n"
        "    rounds: 2\n"
        "    steps:\n"
        "      - name: tune\n"
        "        recipe: mine.yaml\n"
        "        with: {model: {name_or_path: '${steps.base.model}'}, name: 'round-${round}'}\n"
        "      - {name: again, recipe: mine.yaml, with: {model: {name_or_path: '${steps.tune.model}'}}}\n"
        "  - {name: last, recipe: mine.yaml, with: {model: {name_or_path: '${steps.again.model}'}}}\n"
    )
    assert [step.name for step in steps] == [
        "base",
        "loop-1/tune",
        "loop-1/again",
        "loop-2/tune",
        "loop-2/again",
        "last",
    ]
    assert [step.uses for step in steps] == [
        (), ("base",), ("loop-1/tune",), ("base",), ("loop-2/tune",), ("loop-2/again",)
    ]  # fmt: skip
    assert [step.recipe.get("name") for step in steps[1:4:2]] == ["round-1", "round-2"]
    assert steps[-1].recipe.get("model.name_or_path") == "runs/all/loop-2/again/model"


@pytest.mark.usefixtures("recipe_file")
def test_a_step_says_where_its_words_stand() -> None:
    (step,) = steps_of("  - name: base\n    recipe: mine.yaml\n    with:\n      training.max_steps: 3\n")
    assert "training.max_steps" in step.recipe.where("training.max_steps")
    assert "all.yaml:6" in step.recipe.where("training.max_steps")
    assert step.recipe.where("training.packing") == "mine.yaml:12"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("  []\n", "all.yaml:2", "steps is empty"),
        ("  - {name: a b, recipe: mine.yaml}\n", "all.yaml:3", "name is 'a b'"),
        ("  - {name: a, recipe: mine.yaml}\n  - {name: a, recipe: mine.yaml}\n", "all.yaml:4", "an earlier step has"),
        ("  - {name: a}\n", "all.yaml:3", "needs either a recipe or steps"),
        ("  - {name: a, recipe: mine.yaml, steps: []}\n", "all.yaml:3", "needs either a recipe or steps"),
        ("  - {name: a, recipe: mine.yaml, rounds: 2}\n", "all.yaml:3", "step a has rounds"),
        ("  - {name: a, steps: [{name: b, recipe: mine.yaml}], with: {x: 1}}\n", "all.yaml:3", "has overrides"),
        ("  - {name: a, recipe: mone.yaml}\n", "all.yaml:3", "there is no recipe mone.yaml"),
        (
            "  - {name: a, recipe: mine.yaml, with: {name: '${steps.a.model}'}}\n",
            "all.yaml:3",
            "no earlier step is named a",
        ),
        ("  - {name: a, recipe: mine.yaml, with: {name: '${steps.a.weights}'}}\n", "all.yaml:3", "refers to nothing"),
        ("  - {name: a, recipe: mine.yaml, with: {name: '${round}'}}\n", "all.yaml:3", "refers to nothing"),
        ("  - {name: a, recipe: mine.yaml, with: {data.train.9.limit: 1}}\n", "all.yaml:3", "leads nowhere"),
        (
            "  - {name: a, recipe: mine.yaml, with: {training.max_stops: 1}}\n",
            "all.yaml:3",
            "max_stops is not a known key",
        ),
        ("  - {name: a, recipe: all.yaml}\n", "all.yaml:3", "all.yaml is a pipeline"),
    ],
)
@pytest.mark.usefixtures("recipe_file")
def test_what_cannot_be_expanded(text: str, place: str, message: str) -> None:
    problems = faults_of(text)
    assert [message in problem.message and place in problem.where for problem in problems].count(True) == 1, problems


@pytest.mark.usefixtures("recipe_file")
def test_faults_of_all_steps_are_told_at_once() -> None:
    problems = faults_of(
        "  - {name: a, recipe: mine.yaml, with: {training.max_stops: 1, model.konfig: 2}}\n"
        "  - {name: b, recipe: nowhere.yaml}\n"
        "  - {name: c, recipe: mine.yaml, with: {name: '${steps.d.model}'}}\n"
    )
    assert len(problems) == 4
