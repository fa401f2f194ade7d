"""Subjects of the check, one by one, on machines and recipes that `broken/` does not hold."""

from __future__ import annotations

import json
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.check.check import check_recipe
from hfrecipes.check.data import _EMBEDDED_COLUMNS
from hfrecipes.check.launch import OPTIMIZERS, TRACKERS, optimizer_package
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.problem import Problem

CPU = Hardware("cpu", "a test's processor", 1, 8 * 2**30, bf16=False, flash_attention=False)
AMPERE = Hardware("cuda", "A100", 2, 80 * 2**30, bf16=True, flash_attention=False)
TURING = Hardware("cuda", "T4", 1, 16 * 2**30, bf16=False, flash_attention=False)
HOPPER = Hardware("cuda", "H100", 8, 80 * 2**30, bf16=True, flash_attention=True)
APPLE = Hardware("mps", "M3", 1, 16 * 2**30, bf16=False, flash_attention=False)


def good(*overrides: str) -> Recipe:
    return load_recipe("good.yaml", overrides)


def found(recipe: Recipe, hardware: Hardware = CPU, **options: Any) -> list[Problem]:
    return check_recipe(recipe, hardware, **options)


def errors(recipe: Recipe, hardware: Hardware = CPU, **options: Any) -> list[str]:
    return [problem.message for problem in found(recipe, hardware, **options) if problem.severity == "error"]


@pytest.mark.parametrize(
    ("override", "able", "unable"),
    [
        ("training.bf16=true", [AMPERE, HOPPER], [CPU, TURING, APPLE]),
        ("training.bf16_full_eval=true", [AMPERE], [CPU, TURING]),
        ("training.fp16=true", [AMPERE, TURING], [CPU, APPLE]),
        ("training.tf32=true", [AMPERE, HOPPER], [CPU, TURING, APPLE]),
        ("model.attn_implementation=flash_attention_2", [HOPPER], [CPU, TURING, AMPERE, APPLE]),
        ("model.attn_implementation=sdpa", [CPU, TURING, AMPERE, APPLE], []),
        ("training.torch_compile=true", [CPU, AMPERE], []),
    ],
)
@pytest.mark.usefixtures("in_broken")
def test_what_a_device_cannot_do_is_an_error(override: str, able: list[Hardware], unable: list[Hardware]) -> None:
    assert all(errors(good(override), hardware) == [] for hardware in able)
    for hardware in unable:
        (fault,) = errors(good(override), hardware)
        assert override.partition("=")[0] in fault


@pytest.mark.parametrize(
    "override",
    ["model.config.num_hidden_layers=10000000", "model.tokenizer={vocab_size: 1000000000}"],
)
@pytest.mark.usefixtures("in_broken")
def test_sizes_for_which_libraries_have_no_end_are_errors(override: str) -> None:
    """Ten million layers take hours to set up; a vocabulary of a billion makes Rust abort the process."""
    (fault,) = errors(good(override))
    assert fault.startswith(("num_hidden_layers is 10000000", "model.tokenizer.vocab_size is 1,000,000,000"))


@pytest.mark.usefixtures("in_broken")
def test_liger_on_a_gpu_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = good("training.use_liger_kernel=true")
    monkeypatch.setattr("hfrecipes.check.launch.find_spec", lambda name: None)
    (problem,) = [problem for problem in found(recipe, AMPERE) if problem.severity == "error"]
    assert problem.fix == "pip install liger-kernel"
    monkeypatch.setattr("hfrecipes.check.launch.find_spec", lambda name: object())
    assert errors(recipe, AMPERE) == []


@pytest.mark.usefixtures("in_broken")
def test_quantization_works_on_a_cpu_and_a_gpu() -> None:
    words = ("model={name_or_path: model}", "quantization.load_in_4bit=true", "adapter.method=lora")
    assert errors(good(*words), CPU) == errors(good(*words), AMPERE) == []
    assert any("bitsandbytes does not quantize" in fault for fault in errors(good(*words), APPLE))


@pytest.mark.usefixtures("in_broken")
def test_more_processes_than_devices() -> None:
    assert errors(good(), AMPERE, num_processes=2) == []
    assert errors(good(), AMPERE, num_processes=3) == ["3 processes are asked for, and there are 2 device(s)"]
    assert errors(good(), CPU, num_processes=3) == []


@pytest.mark.usefixtures("in_broken")
def test_a_device_map_is_for_one_process() -> None:
    recipe = good("model={name_or_path: model, device_map: auto}")
    assert errors(recipe, AMPERE) == []
    assert ["device_map" in fault for fault in errors(recipe, AMPERE, num_processes=2)] == [True]


@pytest.mark.usefixtures("in_broken")
def test_remote_code_is_run_at_a_commit_only() -> None:
    hub = "model.name_or_path=someone/model"
    pinned = ("model={trust_remote_code: true}", hub, "model.revision=" + "a1" * 20)
    assert errors(good(*pinned)) == []
    assert any("no pinned revision" in fault for fault in errors(good(*pinned[:2], "model.revision=v1")))


@pytest.mark.usefixtures("in_broken")
def test_what_the_hub_holds_is_named_as_unchecked() -> None:
    recipe = good(
        "model={name_or_path: someone/model, model_type: llama}",
        "data.train=[{name: someone/rows, split: train}]",
    )
    problems = found(recipe)
    assert {problem.severity for problem in problems} == {"unchecked"}
    assert len(problems) == 3
    for word in ("the model someone/model", "the tokenizer of someone/model", "the dataset someone/rows"):
        assert any(word in problem.message and "HF_HUB_OFFLINE is set" in problem.message for problem in problems)


@pytest.mark.parametrize(("name", "key"), [("a model", "model.name_or_path"), ("-model", "model.tokenizer")])
@pytest.mark.usefixtures("in_broken")
def test_a_name_that_is_no_hub_id(name: str, key: str) -> None:
    model = (
        {"name_or_path": name}
        if key == "model.name_or_path"
        else {"config": {"model_type": "llama"}, "tokenizer": name}
    )
    faults = errors(good(f"model={json.dumps(model)}"))
    assert faults
    assert all(f"{name!r} is neither a folder nor a Hub id" in fault for fault in faults)


@pytest.mark.usefixtures("in_broken")
def test_a_model_type_is_held_against_the_library_and_the_config() -> None:
    assert errors(good("model={name_or_path: someone/model, model_type: qwen33}")) == [
        "model.model_type 'qwen33' is unknown to this transformers"
    ]
    assert errors(good("model={name_or_path: model, model_type: qwen3}")) == [
        "model.model_type is qwen3, and the model's config says llama"
    ]


def test_a_model_folder_is_read_but_for_its_weights(in_broken: Path, tmp_path: Path) -> None:
    config = {"model_type": "lamma", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 3}
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32}))
    for file in (in_broken / "tokenizer").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    faults = "\n".join(errors(good(f"model={{name_or_path: {tmp_path}}}")))
    assert "holds a config and no weights" in faults
    assert "model_type 'lamma' is unknown" in faults
    assert "4 attention heads cannot share 3" in faults
    assert "training.max_length is 64, and the model has 32 positions" in faults
    (tmp_path / "config.json").write_text("{")
    unreadable, without = errors(good(f"model={{name_or_path: {tmp_path}}}"))
    assert "config.json:1: is not valid JSON" in unreadable
    assert "no weights" in without


def test_the_default_length_counts_too(in_broken: Path, tmp_path: Path) -> None:
    recipe = load_recipe("good.yaml", ["training={max_steps: 1}", "model.config.max_position_embeddings=512"])
    assert errors(recipe) == ["training.max_length is 1024, and the model has 512 positions (by default)"]


def test_damaged_tokenizers_are_told_as_problems(in_broken: Path, tmp_path: Path) -> None:
    for text, said in (("{", "is not valid JSON"), ("{}", "is not a tokenizer")):
        (tmp_path / "tokenizer.json").write_text(text)
        (fault,) = errors(good(f"model.tokenizer={tmp_path}"))
        assert said in fault
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text("{}")
    (problem,) = found(good(f"model.tokenizer={tmp_path}"))
    assert problem.severity == "unchecked"
    assert "vocab.json" in problem.message


def test_padding_with_the_end_is_explained(in_broken: Path, tmp_path: Path) -> None:
    for file in (in_broken / "tokenizer").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    for pad, said in ((config["eos_token"], "pads with its eos_token"), (None, "has no pad_token")):
        file.write_text(json.dumps({**config, "pad_token": pad}))
        (problem,) = found(good(f"model.tokenizer={tmp_path}"))
        assert problem.severity == "warning"
        assert said in problem.message
        assert "each end keeps its label" in problem.fix
    file.write_text(json.dumps({**config, "eos_token": None}))
    assert ["no eos_token" in fault for fault in errors(good(f"model.tokenizer={tmp_path}"))][:1] == [True]


@pytest.mark.usefixtures("in_broken")
def test_special_tokens_that_training_names_are_in_the_vocabulary() -> None:
    assert errors(good("training.eos_token=<|im_end|>")) == []
    (fault,) = errors(good("training.eos_token=<|fin|>"))
    assert "training.eos_token '<|fin|>' is not in the vocabulary" in fault


def test_a_template_file_must_be_one(in_broken: Path) -> None:
    (in_broken / "marked.jinja").write_text("{% generation %}{{ messages }}{% endgeneration %}")
    assert errors(good("training.chat_template_path=marked.jinja")) == []
    for wrong in ("markd.jinja", "rewards.py"):
        (fault,) = errors(good(f"training.chat_template_path={wrong}"))
        assert f"{wrong} is no template file" in fault


@pytest.mark.usefixtures("in_broken")
def test_rows_that_are_cut_are_a_warning() -> None:
    problems = found(good("training.max_length=12"))
    cut = [problem for problem in problems if "cuts" in problem.message]
    assert [problem.severity for problem in cut] == ["warning"]
    assert "of 6 rows of data.train.0: data/pairs.jsonl:" in cut[0].message


def test_a_few_rows_without_room_are_a_warning(in_broken: Path) -> None:
    rows = [{"prompt": f"What is {n}?", "completion": " A number."} for n in range(300)]
    rows[7]["prompt"] = "word after word " * 60
    (in_broken / "data" / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = found(good("data.train.0.path=data/many.jsonl"))
    (problem,) = [problem for problem in problems if "nothing to learn from" in problem.message]
    assert problem.severity == "warning"
    assert "in 1 of 300 rows" in problem.message
    assert "data/many.jsonl:8" in problem.fix


def test_repeats_in_training_are_a_warning(in_broken: Path) -> None:
    (in_broken / "data" / "twice.jsonl").write_text((in_broken / "data" / "pairs.jsonl").read_text() * 2)
    (problem,) = found(good("data.train.0.path=data/twice.jsonl"))
    assert problem.severity == "warning"
    assert problem.message == "6 of 12 rows say what an earlier row says"
    assert "data/twice.jsonl:7, which repeats data/twice.jsonl:1" in problem.fix


def test_local_splits_do_not_overlap(in_broken: Path) -> None:
    rows = [{"prompt": f"What is {n}?", "completion": " A number."} for n in range(300)]
    (in_broken / "data" / "split.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sides = [
        f"data.{role}=[{{path: data/split.jsonl, split: {split}}}]"
        for role, split in (("train", "train"), ("eval", "test"))
    ]
    assert errors(good(*sides)) == []
    assert any(
        "also stand in data.train" in fault for fault in errors(good(sides[0], sides[1].replace(", split: test", "")))
    )


def test_dealt_rows_that_share_a_text_are_to_be_grouped(in_broken: Path) -> None:
    rows = [{"prompt": f"What is {n // 4}?", "completion": " A number.", "note": n} for n in range(200)]
    (in_broken / "data" / "alike.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sides = [
        f"data.{role}=[{{path: data/alike.jsonl, split: {split}}}]"
        for role, split in (("train", "train"), ("eval", "test"))
    ]
    (problem,) = [each for each in found(good(*sides)) if "also stand in data.train" in each.message]
    assert "data.splits: {group: COLUMN}" in problem.fix and "give both sources" not in problem.fix
    mended = found(good(*sides, "data.splits={group: prompt}"))
    assert not [each for each in mended if "also stand in data.train" in each.message]


@pytest.mark.usefixtures("in_broken")
def test_several_problems_are_told_at_once() -> None:
    recipe = good(
        "data.train.0.path=data/none.jsonl",
        "data.eval=[{path: data/nowhere.jsonl}]",
        "training.bf16=true",
        "training.report_to=dvclive",
        "model.config.num_key_value_heads=3",
        "evaluation.task={metric: nonsense}",
    )
    faults = "\n".join(errors(recipe))
    for word in ("text is None", "nowhere.jsonl", "bf16", "dvclive", "cannot share", "'nonsense' is not a metric"):
        assert word in faults


@pytest.mark.usefixtures("in_broken")
def test_words_without_effect_are_warnings() -> None:
    recipe = good(
        "training.eval_steps=5",
        "training.packing_strategy=bfd",
        "training.save_strategy=epoch",
        "training.save_steps=5",
        "training.torch_compile_mode=default",
        "evaluation.compare_base=true",
    )
    problems = found(recipe)
    assert {problem.severity for problem in problems} == {"warning"}
    keys = ("eval_steps", "packing_strategy", "save_steps", "torch_compile_mode", "compare_base")
    assert all(any(key in problem.message for problem in problems) for key in keys)
    assert len(problems) == len(keys)


@pytest.mark.usefixtures("in_broken")
def test_publishing_is_strict_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = good("publish={repo_id: someone/model, license: mit, language: [en, zh, code, English]}")
    for asked, severity in ((False, "warning"), (True, "error")):
        problems = found(recipe, publish=asked)
        assert [problem.severity for problem in problems] == [severity] * 2
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_" + "x" * 34)
    assert ["'English' is no language code" in fault for fault in errors(recipe, publish=True)] == [True]
    assert errors(good(), publish=True) == ["publish.repo_id is missing"]


@pytest.mark.parametrize(
    ("repo_id", "fits"),
    [
        ("a/b", True),
        ("some-one/my_model.v1", True),
        ("model", False),
        ("a/b/c", False),
        ("a/-b", False),
        ("a/b--c", False),
    ],
)
@pytest.mark.usefixtures("in_broken")
def test_hub_ids(monkeypatch: pytest.MonkeyPatch, repo_id: str, fits: bool) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_" + "x" * 34)
    assert (errors(good(f"publish={{repo_id: {repo_id}, license: mit}}"), publish=True) == []) == fits


@pytest.mark.usefixtures("in_broken")
def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**40, 2**40, 2**29))
    (problem,) = found(good())
    assert (problem.severity, "512 MiB are free" in problem.message) == ("warning", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(in_broken: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert any("may not be written to" in fault for fault in errors(good(), runs_dir=tmp_path / "runs"))


@pytest.mark.usefixtures("in_broken")
def test_a_folder_that_access_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert any("may not be written to" in fault for fault in errors(good()))


def test_tables_hold_against_the_installed_libraries() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
    from transformers.training_args import OptimizerNames

    assert set(TRACKERS) | {"kubeflow"} == set(INTEGRATION_TO_CALLBACK)
    plain = {"adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"}
    names = {member.value for member in OptimizerNames}
    assert {name for name in names if optimizer_package(name) is None} == plain
    assert all(any(name.startswith(beginning) for name in names) for beginning in OPTIMIZERS)


def test_embedded_sources_have_the_columns_that_are_claimed() -> None:
    from hfrecipes.data import embedded

    assert set(_EMBEDDED_COLUMNS) == set(embedded.NAMES)
    for name, columns in _EMBEDDED_COLUMNS.items():
        row = next(embedded.open_embedded({"name": name, "split": "test"}, "here").rows())
        assert tuple(row.values) == columns


@pytest.mark.usefixtures("in_broken")
def test_installed_versions_with_known_faults_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.5.1" if name == "torch" else real(name))
    assert ["CVE-2026-1839" in fault for fault in errors(good())] == [True]
    assert ["CVE-2026-1839" in fault for fault in errors(load_recipe("pipeline.yaml"))] == [True]


@pytest.mark.parametrize(
    ("rate", "optimizer", "warned"),
    [("1e6", "adamw_torch", True), ("0.5", "lion_8bit", True), ("1e-3", "adamw_torch", False), ("0.5", "sgd", False)],
)
def test_a_rate_that_moves_weights_too_far_is_warned_of(
    in_broken: Path, rate: str, optimizer: str, warned: bool
) -> None:
    problems = found(good(f"training.learning_rate={rate}", f"training.optim={optimizer}"))
    assert any("moves every weight" in problem.message for problem in problems) == warned
