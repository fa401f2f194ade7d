"""What `check` says of recipes that draw several answers to each prompt, and of answers that are good or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.check.check import check_recipe
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
MODEL = """
model:
  config: {model_type: llama, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}
  tokenizer: {vocab_size: 300}
"""
GROUPS = f"""\
kind: grpo
{MODEL}
rewards: [{{function: "hfrecipes.rewards:python_parses"}}]
data: {{train: [{{path: rows.jsonl}}]}}
training: {{max_steps: 4, num_generations: 4, global_batch_size: 8}}
"""
LABELLED = f"""\
kind: kto
{MODEL}
data: {{train: [{{path: rows.jsonl}}]}}
training: {{max_steps: 4, global_batch_size: 8, per_device_train_batch_size: 4}}
"""
JUDGED = [{"prompt": f"{n} + 1?", "completion": f" {n + 1}", "label": n % 2 == 0} for n in range(4)]


def found(tmp_path: Path, recipe: str, rows: list[dict], *overrides: str) -> list[Problem]:
    (tmp_path / "r.yaml").write_text(recipe)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check_recipe(load_recipe(tmp_path / "r.yaml", list(overrides)), CPU, runs_dir=tmp_path)


def told(problems: list[Problem], severity: str = "error") -> str:
    return "\n".join(str(problem) for problem in problems if problem.severity == severity)


def test_what_is_right_is_passed_over(tmp_path: Path) -> None:
    assert told(found(tmp_path, GROUPS, JUDGED)) == told(found(tmp_path, GROUPS, JUDGED, "kind=rloo")) == ""
    pair = {"prompt": "A?", "chosen": " yes", "rejected": " no"}
    assert told(found(tmp_path, LABELLED, [*JUDGED, pair])) == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["training.global_batch_size=6"], "no multiple of training.num_generations (4) (let it be 4 or 8"),
        (["training.generation_batch_size=10"], "10 answers are drawn at a time"),
        (["training.generation_batch_size=8", "training.steps_per_generation=2"], "keep one of them"),
        (["training.sync_ref_model=true"], "in no checkpoint"),
        (["training.chat_template_kwargs={a: 1}"], "rendered when the data are prepared"),
        (["training.stop_strings=['.']", "training.mask_truncated_completions=true"], "for ones that were cut"),
        (
            ["data.eval=[{path: rows.jsonl}]", "training.per_device_eval_batch_size=6"],
            "no multiple of the 4 to each prompt (say training.per_device_eval_batch_size: 4",
        ),
        (["data.mixture={sources: {a: {path: rows.jsonl}}}", "data.train=null"], "data.mixture is for kinds"),
    ],
)
def test_words_of_groups_that_do_not_go_together(words: list[str], says: str, tmp_path: Path) -> None:
    assert says in told(found(tmp_path, GROUPS, JUDGED, *words))


def test_a_batch_of_which_nothing_is_said_has_to_hold_whole_groups_too(tmp_path: Path) -> None:
    six = "training={max_steps: 4, num_generations: 4, per_device_train_batch_size: 6}"
    assert "6 answers are drawn at a time, which is no multiple" in told(found(tmp_path, GROUPS, JUDGED, six))
    # transformers' default of 8.
    assert told(found(tmp_path, GROUPS, JUDGED, "training={max_steps: 4, num_generations: 4}")) == ""


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("training.num_generations=1", "it is at least 2"),
        ("training.loss_type=grppo", "did you mean grpo?"),
        ("training.reward_weights=[1.0]", "say weight: beside each of rewards"),
        ("training.response_length=8", "training.response_length is not a known key"),
        ("training.log_completions_hub_repo=a/b", "publishing is a step of its own"),
    ],
)
def test_words_that_no_recipe_of_groups_has(word: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        found(tmp_path, GROUPS, JUDGED, word)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "A?", "completion": " b"}, "no label that says whether it is good"),
        ({"prompt": "A?", "completion": " b", "label": "maybe"}, "label is 'maybe' where true or false is expected"),
        ({"prompt": "A?", "responses": [" b", " c"], "scores": [1, 1]}, "all tied, so none is good or bad"),
    ],
)
def test_answers_without_a_verdict_are_told_by_their_row(row: dict, says: str, tmp_path: Path) -> None:
    problems = told(found(tmp_path, LABELLED, [*JUDGED, row]))
    assert says in problems and "rows.jsonl:5" in problems


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["training.per_device_train_batch_size=1"],
            "has no second answer that the divergence could be estimated from",
        ),
        (["training.precompute_ref_log_probs=true"], "each epoch has its own order"),
        (["data.train=[{name: python_docstrings, split: train}]"], "learns from answers that are good or not"),
    ],
)
def test_words_that_do_not_go_with_labels(words: list[str], says: str, tmp_path: Path) -> None:
    assert says in told(found(tmp_path, LABELLED, JUDGED, *words))


def test_the_loss_without_the_estimate_may_have_a_micro_batch_of_one(tmp_path: Path) -> None:
    words = ["training.per_device_train_batch_size=1", "training.loss_type=apo_zero_unpaired"]
    assert told(found(tmp_path, LABELLED, JUDGED, *words)) == ""
