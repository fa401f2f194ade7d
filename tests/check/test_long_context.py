"""What the check finds about changed positions, needles and gates before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.check.chained import chained_position_problems
from hfrecipes.check.check import check_recipe
from hfrecipes.check.long_context import chained_rope_problems, long_context_problems
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.pipeline import expand_steps
from hfrecipes.recipe.problem import Problem, RecipeError
from tests.check.conftest import CPU

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_attention_heads": 2,
    "vocab_size": 400,
    "max_position_embeddings": 256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
STAGE = """
kind: pretrain
model:
  name_or_path: model
  {model}
data: {{train: [{{name: python_prose}}], eval: [{{name: python_prose, split: validation}}], context_length: 512}}
training: {{max_steps: 1}}
evaluation: {{{evaluation}}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(model: str = "", evaluation: str = "", config: dict = LLAMA, *overrides: str) -> list[Problem]:
    Path("stage.yaml").write_text(STAGE.format(model=model, evaluation=evaluation))
    return long_context_problems(load_recipe("stage.yaml", list(overrides)), config)


@pytest.mark.parametrize("model", ["rope_parameters: {rope_theta: 4.0e+4}", "max_position_embeddings: 512", ""])
def test_a_sound_change_has_no_problem(model: str) -> None:
    assert found(model, "short_context: 256, needle: {lengths: [256, 512]}") == []


@pytest.mark.parametrize(
    ("model", "config", "fault"),
    [
        ("rope_parameters: {rope_type: yarn}", LLAMA, "cannot be changed: .*factor"),
        ("max_position_embeddings: 300", LLAMA, "data.context_length is 512, and model.max_position_embeddings 300"),
        ("rope_parameters: {rope_theta: 1.0e+5}", {"model_type": "gpt2"}, "gpt2 has no rotary positions"),
        ("rope_parameters: {rope_theta: 1.0e+5}", {"model_type": "gemma3_text"}, "full_attention"),
    ],
)
def test_what_the_model_cannot_do_is_said(model: str, config: dict, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        assert [str(problem) for problem in found(model, "", config)] == []


def test_without_a_config_at_hand_the_architecture_decides() -> None:
    model = "rope_parameters: {rope_theta: 1.0e+5}\n  model_type: "
    assert found(model + "llama", "", {}) == []
    assert "bloom has no rotary positions" in found(model + "bloom", "", {})[0].message


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("rope_parameters: {rope_tehta: 9}", "model.rope_parameters.rope_tehta is not a known key.*rope_theta"),
        ("rope_parameters: {rope_type: yarm}", "yarm.*yarn"),
        ("rope_parameters: {rope_type: yarn, factor: 0.5}", "factor is 0.5.*at least 1"),
        ("rope_parameters: {full_attention: {rope_tehta: 9}}", "full_attention.rope_tehta is not a known key"),
    ],
)
def test_words_are_known_at_any_depth(said: str, fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        found(said)


def test_random_weights_and_adapters_take_no_change() -> None:
    random = found("rope_parameters: {rope_theta: 9.0}", "", LLAMA, "model.config={model_type: llama}")
    assert "stands beside model.config" in random[0].message
    Path("tuned.yaml").write_text(
        "kind: sft\nmodel: {name_or_path: model, max_position_embeddings: 512}\nadapter: {method: lora}\n"
        "data: {train: [{name: python_docstrings}]}\ntraining: {max_length: 512}\n"
    )
    (adapter,) = long_context_problems(load_recipe("tuned.yaml"), LLAMA)
    assert "an adapter's files hold no config" in adapter.message


@pytest.mark.parametrize(
    ("evaluation", "place", "fault"),
    [
        ("needle: {lengths: [256, 20]}", "lengths", "has 20"),
        ("needle: {depths: [0, 1.5]}", "depths", "has 1.5"),
        ("needle: {haystack: [{path: none.jsonl}]}", "haystack", "none.jsonl"),
        ("short_context: 1024", "short_context", "1024, longer than the rows of 512"),
    ],
)
def test_needles_and_short_rows(evaluation: str, place: str, fault: str) -> None:
    (problem,) = found("", evaluation)
    assert fault in problem.message
    assert problem.where.startswith("stage.yaml:")


@pytest.mark.parametrize("evaluation", ["short_context: 64", "needle: {}"])
def test_without_text_nothing_can_be_measured(evaluation: str) -> None:
    (problem,) = found("", evaluation, LLAMA, "data.eval=null")
    assert "data.eval" in problem.fix


def pipeline(second: str, gate: str = "") -> None:
    Path("model").mkdir()
    Path("model/config.json").write_text(json.dumps(LLAMA))
    Path("stage.yaml").write_text(STAGE.format(model="", evaluation="short_context: 256"))
    Path("all.yaml").write_text(
        "kind: pipeline\nsteps:\n"
        "  - {name: one, recipe: stage.yaml, with: {model.rope_parameters: {rope_type: yarn, factor: 2.0}}}\n"
        "  - name: two\n    recipe: stage.yaml\n"
        f"    with: {{model.name_or_path: '${{steps.one.model}}', model.rope_parameters: {second}}}\n{gate}"
    )


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ("{rope_type: yarn, factor: 4.0}", None),
        ("{rope_theta: 1.0e+6}", "rope_type is yarn so far"),
        ("{rope_type: llama3, factor: 4.0}", "low_freq_factor|high_freq_factor"),
    ],
)
def test_a_later_step_is_held_against_what_the_earlier_ones_make(second: str, fault: str | None) -> None:
    pipeline(second)
    problems = chained_rope_problems(expand_steps(load_recipe("all.yaml"), Path("runs/all")), Path("runs/all"))
    if fault is None:
        assert problems == []
    else:
        with pytest.raises(AssertionError, match=fault):
            assert not problems, str(problems[0])
        assert "all.yaml:6" in problems[0].where
        assert problems[0] in check_recipe(load_recipe("all.yaml"), CPU)


def test_a_gate_needs_what_it_asks_for_to_be_measured() -> None:
    pipeline("{rope_type: yarn, factor: 4.0}", "    gate: {short_loss: true, needles: 0.9}\n")
    with pytest.raises(RecipeError) as caught:
        expand_steps(load_recipe("all.yaml"), Path("runs/all"))
    (problem,) = caught.value.problems
    assert problem.where == "all.yaml:7"
    assert "asks for needles, and the step's recipe does not say evaluation.needle" in problem.message


def test_a_group_has_no_gate() -> None:
    Path("all.yaml").write_text("kind: pipeline\nsteps:\n  - {name: loop, steps: [], gate: {needles: 1}}\n")
    with pytest.raises(RecipeError, match="the group loop has a gate"):
        expand_steps(load_recipe("all.yaml"), Path("runs/all"))


def test_rows_are_held_against_the_positions_of_a_model_that_an_earlier_step_makes() -> None:
    model = "{config: {model_type: llama, max_position_embeddings: 64}, tokenizer: {vocab_size: 300}}"
    data = "data: {train: [{name: python_docstrings, split: train}]}\n"
    Path("base.yaml").write_text(
        f"kind: pretrain\nmodel: {model}\n{data.replace('docstrings', 'prose')}training: {{max_steps: 1}}\n"
    )
    words = "adapter: {method: lora}\ntraining: {max_steps: 1, max_length: 64}\n"
    Path("tune.yaml").write_text(f"kind: sft\nmodel: {{name_or_path: none}}\n{data}{words}")
    step = "  - {name: NAME, recipe: tune.yaml, with: {model.name_or_path: '${steps.FROM.model}', training.max_length: LONG}}\n"
    first = step.replace("NAME", "one").replace("FROM", "base").replace("LONG", "64")
    second = step.replace("NAME", "two").replace("FROM", "one").replace("LONG", "65")
    Path("all.yaml").write_text(f"kind: pipeline\nsteps:\n  - {{name: base, recipe: base.yaml}}\n{first}{second}")
    steps = expand_steps(load_recipe("all.yaml"), Path("runs/all"))
    (problem,) = chained_position_problems(steps, Path("runs/all"))
    assert problem.message == "training.max_length is 65, and the model has 64 positions"
    assert "all.yaml:5" in problem.where
