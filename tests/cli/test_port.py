"""`hfrecipes port`: real configurations become recipes that load, and no key is lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.cli import main
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.port import port_file
from hfrecipes.recipe.port.convert import known_words
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.yaml_writer import dump_yaml

TRL = """\
model_name_or_path: Qwen/Qwen3-0.6B
torch_dtype: bfloat16
use_peft: yes
lora_r: 32
lora_target_modules: [all-linear]
load_in_4bit: true
use_bnb_nested_quant: true
dataset_name: trl-lib/Capybara
evaluation_strategy: steps
eval_steps: 100
learning_rate: "2.0e-4"
warmup_ratio: 0.1
max_seq_length: 2048
packing: on
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
gradient_checkpointing_kwargs: {use_reentrant: false}
output_dir: data/qwen-sft
report_to: [none]
save_strategy: no
push_to_hub: true
hub_model_id: me/qwen
hub_private_repo: true
hub_token: hf_abcdefghijklmnopqrstuvwxyz
fsdp: full_shard
"""
HANDBOOK = """\
model_name_or_path: mistralai/Mistral-7B-v0.1
model_revision: main
torch_dtype: bfloat16
use_flash_attention_2: true
chat_template: "{% for message in messages %}{{ message['content'] }}{% endfor %}"
dataset_mixer: {HuggingFaceH4/ultrachat_200k: 1.0, HuggingFaceH4/no_robots: 0.25}
dataset_splits: [train_sft, test_sft]
preprocessing_num_workers: 12
bf16: true
do_eval: true
evaluation_strategy: epoch
gradient_accumulation_steps: 1
gradient_checkpointing: true
hub_strategy: every_save
learning_rate: 2.0e-05
log_level: info
logging_strategy: steps
lr_scheduler_type: cosine
max_seq_length: 2048
max_steps: -1
num_train_epochs: 1
output_dir: data/zephyr-7b-sft-full
overwrite_output_dir: true
per_device_eval_batch_size: 8
remove_unused_columns: true
seed: 42
warmup_ratio: 0.1
"""


def ported(folder: Path, text: str | dict[str, Any], name: str = "old.yaml") -> Any:
    path = folder / name
    path.write_text(text if isinstance(text, str) else dump_yaml(text), encoding="utf-8")
    return port_file(path)


def smallest(**more: Any) -> dict[str, Any]:
    return {"model_name_or_path": "a/b", "dataset_name": "c/d", "learning_rate": 1e-5, **more}


def faults(folder: Path, **more: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        ported(folder, smallest(**more))
    return [str(problem) for problem in caught.value.problems]


def load(folder: Path, text: str) -> Any:
    path = folder / "new.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def test_a_qlora_configuration_of_trl(tmp_path: Path) -> None:
    result = ported(tmp_path, TRL)
    recipe = load(tmp_path, result.text)
    assert recipe.values == {
        "kind": "sft",
        "name": "qwen-sft",
        "model": {"name_or_path": "Qwen/Qwen3-0.6B", "dtype": "bfloat16"},
        "quantization": {
            "load_in_4bit": True,
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": "bfloat16",
        },
        "adapter": {"method": "lora", "r": 32, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": "all-linear"},
        "data": {
            "train": [{"name": "trl-lib/Capybara", "split": "train"}],
            "eval": [{"name": "trl-lib/Capybara", "split": "test"}],
        },
        "training": {
            "warmup_steps": 0.1,
            "eval_strategy": "steps",
            "eval_steps": 100,
            "learning_rate": 2e-4,
            "max_length": 2048,
            "packing": True,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 8,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
            "report_to": ["none"],
            "save_strategy": "no",
        },
        "publish": {"repo_id": "me/qwen", "private": True},
    }
    assert {note.key for note in result.notes if note.fate == "dropped"} == {"push_to_hub", "hub_token", "fsdp"}


def test_a_recipe_of_the_alignment_handbook(tmp_path: Path) -> None:
    result = ported(tmp_path, HANDBOOK)
    recipe = load(tmp_path, result.text)
    assert recipe.get("data.train") == [
        {"name": "HuggingFaceH4/ultrachat_200k", "split": "train_sft"},
        {"name": "HuggingFaceH4/no_robots", "split": "train_sft[:25%]"},
    ]
    assert [source["split"] for source in recipe.get("data.eval")] == ["test_sft", "test_sft"]
    assert recipe.get("model.attn_implementation") == "flash_attention_2"
    assert recipe.get("training.chat_template_path") == "old.jinja"
    assert result.files == {"old.jinja": "{% for message in messages %}{{ message['content'] }}{% endfor %}"}
    dropped = {note.key for note in result.notes if note.fate == "dropped"}
    assert dropped == {
        "do_eval",
        "hub_strategy",
        "overwrite_output_dir",
        "preprocessing_num_workers",
        "remove_unused_columns",
    }


@pytest.mark.parametrize("text", [TRL, HANDBOOK])
def test_no_key_vanishes(tmp_path: Path, text: str) -> None:
    result = ported(tmp_path, text)
    said = {note.key.partition(".")[0] for note in result.notes}
    for key in yaml.safe_load(text):
        assert key in said or key in result.values["training"] or key in ("dataset_splits",), key


def test_a_token_is_not_repeated(tmp_path: Path) -> None:
    assert "hf_abc" not in ported(tmp_path, TRL).text


def test_the_mixture_of_trl(tmp_path: Path) -> None:
    mixture = [
        {"path": "a/b", "name": "main", "split": "train_sft", "columns": ["messages", "id"]},
        {"path": "json", "data_files": ["one.jsonl", "two.jsonl"]},
    ]
    result = ported(tmp_path, {"model_name_or_path": "m/n", "learning_rate": 1e-5, "datasets": mixture})
    assert load(tmp_path, result.text).get("data.train") == [
        {"name": "a/b", "subset": "main", "split": "train_sft", "columns": {"messages": "messages"}},
        {"path": "one.jsonl"},
        {"path": "two.jsonl"},
    ]


def test_a_share_held_out_for_testing(tmp_path: Path) -> None:
    mixture = {"datasets": [{"id": "a/b", "config": "all", "split": "train"}], "seed": 0, "test_split_size": 0.05}
    old = {"model_name_or_path": "m/n", "learning_rate": 1e-5, "eval_strategy": "epoch", "dataset_mixture": mixture}
    values = load(tmp_path, ported(tmp_path, old).text).values
    assert values["data"]["train"] == [{"name": "a/b", "subset": "all", "split": "train[:95%]"}]
    assert values["data"]["eval"] == [{"name": "a/b", "subset": "all", "split": "train[95%:]"}]


def test_rows_held_out_for_testing(tmp_path: Path) -> None:
    old = {"model_name_or_path": "m/n", "learning_rate": 1e-5, "eval_strategy": "steps"}
    old |= {"datasets": [{"path": "a/b"}], "test_split_size": 500}
    data = ported(tmp_path, old).values["data"]
    assert (data["train"][0]["split"], data["eval"][0]["split"]) == ("train[:-500]", "train[-500:]")


def test_what_was_never_measured_on_is_left_out(tmp_path: Path) -> None:
    result = ported(tmp_path, smallest(dataset_test_split="validation", eval_steps=10))
    assert "eval" not in result.values["data"]
    assert {"data.eval", "eval_steps"} <= {note.key for note in result.notes if note.fate == "dropped"}


def test_adapters_that_were_off_are_dropped_with_the_reason(tmp_path: Path) -> None:
    result = ported(tmp_path, smallest(lora_r=8, use_peft=False))
    assert "adapter" not in result.values
    assert "use_peft is not on" in next(note.text for note in result.notes if note.key == "lora_r")


def test_target_modules_stay_pefts_choice(tmp_path: Path) -> None:
    adapter = ported(tmp_path, smallest(use_peft=True)).values["adapter"]
    assert adapter == {"method": "lora", "r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": None}


def test_defaults_that_are_added_are_those_of_trl() -> None:
    from trl import ModelConfig

    from hfrecipes.recipe.port.words import ADAPTER_WORDS

    assert {key: default for key, (_, default) in ADAPTER_WORDS.items()} == {
        key: getattr(ModelConfig(), key) for key in ADAPTER_WORDS
    }
    assert ModelConfig().bnb_4bit_quant_type == "nf4"


def test_every_key_that_trl_has_is_known() -> None:
    import dataclasses

    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig

    from hfrecipes.recipe.owned import instead_of

    fields = {
        field.name
        for cls in (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig)
        for field in dataclasses.fields(cls)
        if field.init
    }
    assert {name for name in fields - known_words() if instead_of(name) is None} == set()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("learning_rat", 1e-5, "did you mean learning_rate?"),
        ("lora_rank", 8, "is not a key of TRL's SFT"),
        ("num_generations", 8, "belongs to GRPO"),
        ("beta", 0.1, "preference optimization"),
        ("optim", "adamw_hf", "optim is 'adamw_hf'"),
        ("packing_strategy", "bdf", "did you mean bfd?"),
        ("warmup_ratio", 3, "a share of all steps"),
        ("max_seq_length", "long", "max_length is 'long'"),
    ],
)
def test_faults_name_file_line_and_mend(tmp_path: Path, key: str, value: Any, said: str) -> None:
    (fault,) = faults(tmp_path, **{key: value})
    lines = (tmp_path / "old.yaml").read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.startswith(f"{key}:"))
    assert fault.startswith(f"{tmp_path / 'old.yaml'}:{line}: error: ")
    assert said in fault


def test_all_unknown_keys_are_told_at_once(tmp_path: Path) -> None:
    assert len(faults(tmp_path, learning_rat=1, epoch=2, reward_funcs="x")) == 3


def test_two_words_for_one_field_are_refused(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, max_seq_length=512, max_length=1024)
    assert "same field" in fault


def test_steps_come_before_a_ratio_as_they_did(tmp_path: Path) -> None:
    result = ported(tmp_path, smallest(warmup_ratio=0.1, warmup_steps=50))
    assert result.values["training"]["warmup_steps"] == 50


@pytest.mark.parametrize(
    "mixture",
    [
        {"datasets": [{"path": "a/b", "fraction": 0.5}, {"path": "c/d", "fraction": 0.5}]},
        {"datasets": [{"path": "a/b", "data_dir": "x"}]},
        {"datasets": [{"path": "a/b", "splitt": "train"}]},
        {"datasets": [{"path": "a/b"}, {"path": "c/d"}], "test_split_size": 100},
        {"datasets": []},
        {"dataset_mixer": {"a/b": 2.0}},
        {"dataset_mixer": ["a/b"]},
        {"dataset_mixer": {"a/b": 1.0}, "dataset_configs": ["x", "y"]},
    ],
)
def test_data_that_cannot_be_said_is_refused(tmp_path: Path, mixture: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        ported(tmp_path, {"model_name_or_path": "m/n", "learning_rate": 1e-5, **mixture})


@pytest.mark.parametrize(
    ("text", "said"),
    [("- a\n- b\n", "holds no configuration"), ("kind: sft\n", "a recipe already"), ("a: 1\na: 2\n", "said twice")],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        ported(tmp_path, text)


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12).filter(
        lambda text: text.strip() == text and "\ufeff" not in text and "\ufffe" not in text and "\uffff" not in text
    )
)
def test_any_word_survives_the_writing(tmp_path_factory: pytest.TempPathFactory, word: str) -> None:
    folder = tmp_path_factory.mktemp("port")
    result = ported(folder, smallest(eos_token=word))
    assert load(folder, result.text).get("training.eos_token") == word


def test_the_verb_writes_recipe_and_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "mine.yaml"
    old.write_text(HANDBOOK, encoding="utf-8")
    assert main.main(["port", str(old), "--output", str(new)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "translated: warmup_ratio" in printed.err
    assert load_recipe(new).get("training.chat_template_path") == "mine.jinja"
    assert (tmp_path / "mine.jinja").is_file()
    assert main.main(["port", str(old), "--output", str(new)]) == 2
    assert "exists" in capsys.readouterr().err


def test_the_verb_prints_a_recipe_alone_to_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(TRL, encoding="utf-8")
    assert main.main(["port", str(old)]) == 0
    assert load(tmp_path, capsys.readouterr().out).name == "qwen-sft"


def test_a_template_needs_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(HANDBOOK, encoding="utf-8")
    assert main.main(["port", str(old)]) == 2
    assert "--output" in capsys.readouterr().err
