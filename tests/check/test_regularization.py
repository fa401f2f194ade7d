"""What `check` says of `model.dropout` and `optimizer`, before a model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.check.regularization import regularization_problems
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.smoke import shrink

RECIPE = """\
kind: KIND
model:
  name_or_path: Qwen/Qwen3-0.6B
  model_type: qwen3
  dropout: {attention: 0.1}
optimizer: {no_decay: [biases, norms, embeddings]}
data:
  train: [{name: python_docstrings, split: train}]
training: {max_steps: 2, weight_decay: 0.1}
"""


def found(tmp_path: Path, *overrides: str, kind: str = "sft", config: dict | None = None) -> list[Problem]:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.replace("KIND", kind))
    return regularization_problems(load_recipe(file, list(overrides)), config or {})


def test_what_an_architecture_has_is_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    assert found(tmp_path, "model.model_type=gpt2", "model.dropout={hidden: 0.2, embedding: 0.1}") == []


def test_a_part_without_a_word_is_refused_with_those_there_are_and_its_line(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, "model.dropout.hidden=0.1")
    assert problem.where == "override model.dropout.hidden=0.1" and problem.severity == "error"
    assert problem.message == "model.dropout.hidden: qwen3 has no word for it"
    assert problem.fix == "it has attention (attention_dropout)"
    (problem,) = found(tmp_path, "model.model_type=mamba2")
    assert problem.where == f"{tmp_path / 'r.yaml'}:5" and problem.fix == "it has no dropout at all"


def test_the_config_at_hand_says_which_architecture_it_is(tmp_path: Path) -> None:
    nested = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}
    assert found(tmp_path, config=nested) == []
    assert [one.fix for one in found(tmp_path, "model.dropout={hidden: 0.1}", config={"model_type": "bloom"})] == []
    # Of an architecture that is not known here, the model says so when it is loaded.
    assert found(tmp_path, "model.model_type=nobodys", "model.dropout={hidden: 0.1}") == []


def test_a_share_said_twice_is_refused(tmp_path: Path) -> None:
    config = (
        "model={config: {model_type: gpt2, resid_pdrop: 0.2}, tokenizer: {vocab_size: 320}, dropout: {hidden: 0.1}}"
    )
    (problem,) = found(tmp_path, config)
    assert problem.message == "model.dropout.hidden and model.config.resid_pdrop are the same"


def test_what_would_have_no_effect_is_told(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, "model.dropout={classifier: 0.1}", "model.model_type=gpt_neox")
    assert "nothing classifies in kind: sft" in problem.message
    (problem,) = found(tmp_path, kind="dpo")
    assert "training.disable_dropout" in problem.message and problem.severity == "error"
    assert found(tmp_path, "training.disable_dropout=false", kind="dpo") == []
    (problem,) = found(tmp_path, "training.weight_decay=0.0")
    assert "no weight decays" in problem.message and problem.severity == "warning"
    (problem,) = found(tmp_path, "training.optim=galore_adamw")
    assert "sorts the parameters itself" in problem.message


def test_a_word_that_is_no_group_and_no_pattern_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, "optimizer.no_decay=[bias, 'lm_head.*']")
    assert "'bias' is neither" in problem.message and problem.fix == "did you mean biases?"
    (problem,) = found(tmp_path, "optimizer.no_decay=[heads]")
    assert problem.fix == "groups are biases, norms, embeddings; patterns are like '*.A_log'"


@pytest.mark.parametrize("share", ["1.0", "-0.1", "much"])
def test_a_share_is_a_number_below_one(share: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.dropout\.attention"):
        found(tmp_path, f"model.dropout.attention={share}")


def test_a_smoke_run_keeps_both_but_for_names_of_the_large_model(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        RECIPE.replace("KIND", "sft").replace("embeddings]", "embeddings, 'model.layers.20.*']")
    )
    small = shrink(load_recipe(tmp_path / "r.yaml"))
    assert small.get("model.dropout") == {"attention": 0.1}
    assert small.get("optimizer.no_decay") == ["biases", "norms", "embeddings"]
