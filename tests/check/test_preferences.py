"""What the check says of recipes of kind `reward` and `dpo`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hfrecipes.check.check import check_recipe
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.training import train_tokenizer

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
PAIR = {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}


@pytest.fixture
def problems(tmp_path: Path) -> Any:
    """The problems of a recipe on some rows, with changes by dotted key."""

    def found(kind: str, rows: list[dict[str, Any]], *changes: str) -> list[Problem]:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        model = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        values = {
            "kind": kind,
            "model": {"config": model, "tokenizer": {"vocab_size": 300}},
            "data": {"train": [{"path": "rows.jsonl"}]},
            "training": {"max_steps": 2, "max_length": 64},
        }
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
        return check_recipe(load_recipe(tmp_path / "mine.yaml", list(changes)), CPU)

    return found


def told(problems: list[Problem], severity: str = "error") -> str:
    return "\n".join(str(problem) for problem in problems if problem.severity == severity)


@pytest.mark.parametrize("kind", ["reward", "dpo"])
@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {"chosen": "So it is yes", "rejected": "So it is no"},
        {"prompt": "2 + 2 =", "responses": [" 4", " 5", " 6"]},
        {"prompt": "2 + 2 =", "completions": [" 5", " 4"], "scores": [0.1, 0.9]},
        {"prompt": [{"role": "user", "content": "a"}], "answers": ["b", "c"], "ranks": [2, 1]},
    ],
)
def test_pairs_and_rankings_need_no_word_about_what_they_are(kind: str, row: dict[str, Any], problems: Any) -> None:
    assert told(problems(kind, [row])) == ""


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**PAIR, "margin": "much"}, "margin holds a str where a number is expected"),
        (
            {"prompt": "a", "responses": ["b", "c"], "scores": [1]},
            "scores is a list of 1 where one number for each of 2",
        ),
        ({"prompt": "a", "responses": ["b", "c"], "ranks": [1, None]}, "ranks holds"),
        ({"prompt": "a", "responses": ["b", "c"], "scores": [10**400, 1]}, "scores holds inf"),
        ({"prompt": "a", "responses": ["b"]}, "a ranking compares two answers or more"),
        (
            {"prompt": "a", "responses": ["b", "c", "d"], "ranks": [1, 2, 2], "scores": [5, 5, 6]},
            "ranks say that answer 1 is better than answer 3, and scores the opposite",
        ),
        ({"prompt": "a", "completion": "b"}, "there is no column 'chosen', which task: comparison needs"),
    ],
)
def test_rows_that_cannot_be_compared_are_named(row: dict[str, Any], fault: str, problems: Any) -> None:
    errors = told(problems("reward", [row]))
    assert "rows.jsonl" in errors and fault in errors


@pytest.mark.parametrize(
    "beside",
    [
        {"scores": [9, 5, 5]},  # tied in one of them, apart in the other
        {"scores": {"helpful": 1}},  # a column of that name which holds something else
        {"scores": None},
    ],
)
def test_ranks_and_scores_that_agree_are_read(beside: dict[str, Any], problems: Any) -> None:
    row = {"prompt": "a", "answers": ["b", "c", "d"], "ranks": [1, 2, 3], **beside}
    assert told(problems("reward", [row])) == ""


def test_the_recipe_can_say_which_of_ranks_and_scores_counts(problems: Any) -> None:
    row = {"prompt": "a", "answers": ["b", "c"], "ranks": [1, 2], "scores": [1, 2]}
    assert "and scores the opposite" in told(problems("dpo", [row]))
    assert told(problems("dpo", [row], "data.train.0.columns={ranks: ranks}")) == ""


@pytest.mark.parametrize(("label", "word"), [(True, "good"), (False, "bad")])
def test_answers_of_one_sort_are_refused_before_the_training(label: bool, word: str, problems: Any) -> None:
    rows = [{"prompt": f"{n} + 1 =", "completion": f" {n}", "label": label} for n in range(3)]
    assert f"all answers of data.train are {word}" in told(problems("kto", rows))
    assert told(problems("kto", [*rows, {**rows[0], "completion": " x", "label": not label}])) == ""


def test_ties_alone_are_not_blamed_on_their_length(problems: Any) -> None:
    tied = {"prompt": "a", "answers": ["b", "c"], "scores": [2, 2]}
    errors = told(problems("dpo", [tied, {**tied, "prompt": "d"}]))
    assert "in all 2 rows of data.train.0 no answer is better than another" in errors and "max_length" not in errors
    assert told(problems("dpo", [tied, PAIR])) == ""


def test_long_answers_are_said_with_the_length_they_need(problems: Any, tmp_path: Path) -> None:
    row, folder = {**PAIR, "chosen": " four" * 100}, train_tokenizer([" four"], 300, tmp_path / "tokenizer")
    errors = told(problems("reward", [row], f"model.tokenizer={folder}"))
    assert "max_length 64 leaves nothing to learn from" in errors and "their answers reach beyond it" in errors
    assert "raise max_length to" in errors
    ranking = {"prompt": "2 + 2 =", "answers": [" 4", " 5", " four" * 100]}
    partly = problems("reward", [ranking], f"model.tokenizer={folder}")
    assert told(partly) == "" and "max_length 64 leaves out sequences of 1 of 1 rows" in told(partly, "warning")
    dpo = problems("dpo", [row], f"model.tokenizer={folder}")
    assert told(dpo) == "" and "max_length 64 cuts 1 of 1 rows" in told(dpo, "warning")


def test_words_without_effect_or_reference_are_refused(problems: Any) -> None:
    lora = "adapter={method: lora, init_lora_weights: INIT}"
    assert "padding_free has no effect" in told(problems("dpo", [PAIR], "training.padding_free=true"))
    assert "pad_to_multiple_of has no effect" in told(problems("reward", [PAIR], "training.pad_to_multiple_of=8"))
    assert "data.augment changes texts" in told(problems("reward", [PAIR], "data.augment=[{method: noise}]"))
    false = told(problems("dpo", [PAIR], lora.replace("INIT", "false")))
    assert "false begins with another model than the base" in false
    assert told(problems("dpo", [PAIR], lora.replace("INIT", "pissa"))) == ""
    quantized = problems("dpo", [PAIR], lora.replace("INIT", "pissa"), "quantization={load_in_4bit: true}")
    assert "pissa changes the base" in told(quantized)


def test_losses_that_depend_on_the_micro_batch_warn(problems: Any) -> None:
    words = ["training.loss_type=[sigmoid, aot]", "training.global_batch_size=8"]
    divided = problems("dpo", [PAIR], *words, "training.per_device_train_batch_size=4")
    assert "aot sorts the pairs of a micro-batch" in told(divided, "warning")
    whole = problems("dpo", [PAIR], *words, "training.per_device_train_batch_size=8")
    assert "aot" not in told(whole, "warning")


@pytest.mark.parametrize(
    ("kind", "word", "says"),
    [
        ("dpo", "beta=-0.1", "it is more than 0"),
        ("dpo", "label_smoothing=0.7", "it is between 0 and 0.49"),
        ("dpo", "loss_type=[]", "names no loss"),
        ("dpo", "loss_weights=[-1.0]", "it is at least 0"),
        ("dpo", "loss_weights=[1.0, 1.0]", "has 2 numbers, and training.loss_type names 1"),
        ("dpo", "loss_weights=[0.0]", "counts no loss"),
        ("dpo", "logging_steps=1.5", "say 1 or 2, or a share"),
        ("dpo", "label_smoothing_factor=0.1", "or say label_smoothing"),
        ("dpo", "neftune_noise_alpha=5", "adds noise to the policy alone"),
        ("reward", "adam_beta2=1", "it is less than 1"),
        ("reward", "adam_epsilon=0", "it is more than 0"),
        ("reward", "center_rewards_coefficient=-1", "it is at least 0"),
    ],
)
def test_numbers_that_would_teach_the_contrary_are_refused(kind: str, word: str, says: str, problems: Any) -> None:
    try:
        found = told(problems(kind, [PAIR], f"training.{word}"))
    except RecipeError as error:
        found = str(error)
    assert says in found


def test_a_loss_that_trl_does_not_have_is_no_word(problems: Any) -> None:
    with pytest.raises(ValueError, match="did you mean sigmoid"):
        problems("dpo", [PAIR], "training.loss_type=sigmoidd")


def test_labels_that_both_count_nothing_are_refused(problems: Any) -> None:
    words = ["training.desirable_weight=0", "training.undesirable_weight=0"]
    assert "are both 0, so that no answer counts" in told(problems("kto", [PAIR], *words))
    assert told(problems("kto", [PAIR], words[0])) == ""
