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
        ({"prompt": "a", "completion": "b"}, "there is no column 'chosen', which task: comparison needs"),
    ],
)
def test_rows_that_cannot_be_compared_are_named(row: dict[str, Any], fault: str, problems: Any) -> None:
    errors = told(problems("reward", [row]))
    assert "rows.jsonl" in errors and fault in errors


def test_long_answers_are_said_with_the_length_they_need(problems: Any, tmp_path: Path) -> None:
    row, folder = {**PAIR, "chosen": " four" * 100}, train_tokenizer([" four"], 300, tmp_path / "tokenizer")
    errors = told(problems("reward", [row], f"model.tokenizer={folder}"))
    assert "max_length 64 leaves nothing to learn from" in errors and "their answers reach beyond it" in errors
    assert "raise max_length to" in errors
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
