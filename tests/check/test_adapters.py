"""What `check` says of adapters, of frozen layers and of their learning rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.check.adapters import adapter_problems
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, True, False)
GPU = Hardware("cuda", "NVIDIA H100", 1, 80 * 2**30, True, True)
RECIPE = """\
kind: sft
model: {name_or_path: Qwen/Qwen3-0.6B, model_type: qwen3}
adapter: {method: lora}
data:
  train: [{name: python_docstrings, split: train}]
training: {max_steps: 2}
"""
WIDE = {"hidden_size": 1024, "max_position_embeddings": 4096}


def found(tmp_path: Path, *overrides: str, hardware: Hardware = CPU, config: dict | None = None) -> list[Problem]:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    return adapter_problems(load_recipe(file, list(overrides)), hardware, WIDE if config is None else config)


def test_a_key_of_another_method_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("method: lora}", "method: prompt,\n  r: 8}"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.yaml")
    (problem,) = caught.value.problems
    assert problem.where == f"{tmp_path / 'r.yaml'}:4" and "adapter.r is not a known key" in problem.message
    assert "num_virtual_tokens" in problem.fix


@pytest.mark.parametrize("method", ["lora", "ia3", "prefix", "prompt", "p_tuning", "bottleneck"])
def test_each_method_stands_alone(method: str, tmp_path: Path) -> None:
    assert found(tmp_path, f"adapter={{method: {method}}}") == []


def test_an_unknown_method_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean p_tuning"):
        found(tmp_path, "adapter={method: p-tuning}")


@pytest.mark.parametrize(
    ("adapter", "inside", "outside"),
    [
        ("null", "2e-5", "2e-4"),
        ("{method: lora}", "1e-3", "2e-5"),
        ("{method: ia3}", "3e-3", "2e-2"),
        ("{method: prefix}", "1e-2", "2e-5"),
        ("{method: prompt}", "0.3", "1e-4"),
        ("{method: p_tuning}", "1e-3", "2e-5"),
        ("{method: bottleneck}", "3e-4", "2e-5"),
    ],
)
def test_rates_outside_of_practice_are_warned_of(adapter: str, inside: str, outside: str, tmp_path: Path) -> None:
    assert found(tmp_path, f"adapter={adapter}", f"training.learning_rate={float(inside)}") == []
    (warning,) = found(tmp_path, f"adapter={adapter}", f"training.learning_rate={float(outside)}")
    assert warning.severity == "warning" and "usual are" in warning.fix
    # Of a model whose config is not at hand too, but not of one of toy width.
    assert found(tmp_path, f"adapter={adapter}", f"training.learning_rate={float(outside)}", config={})
    assert not found(tmp_path, f"adapter={adapter}", f"training.learning_rate={float(outside)}", config={"n_embd": 64})


NF4, EIGHT = "quantization={load_in_4bit: true}", "quantization={load_in_8bit: true}"
REFUSED = [
    (["adapter.init_lora_weights=pissa", NF4], "decomposes weight matrices"),
    (["adapter.init_lora_weights=orthogonal", EIGHT], "decomposes weight matrices"),
    (["adapter.init_lora_weights=pissa_niter_4"], "draws anew"),
    (["adapter.init_lora_weights=eva"], "worked out from rows"),
    (["adapter.init_lora_weights=loftq"], "loftq_config"),
    (["adapter.use_dora=true", EIGHT], "second step"),
    (["adapter={method: ia3}", NF4, "model.dtype=bfloat16"], "float32, and attention takes one type"),
    (["adapter={method: bottleneck}", NF4], "under peft alone"),
    (["adapter={method: bottleneck, after: []}"], "names no part"),
    (["adapter={method: prefix}", "training.gradient_checkpointing=true"], "drops the keys and values"),
    (["adapter={method: prefix}", "training.packing=true"], "joins rows"),
    (["adapter={method: prompt}", "training.padding_free=true"], "joins rows"),
    (["adapter={method: prompt, prompt_tuning_init: TEXT}"], "there is none"),
    (
        ["adapter={method: p_tuning, num_virtual_tokens: 30}", "training.max_length=4080"],
        "with 30 tokens in front 4110",
    ),
    (["adapter={method: ia3}", "objective={name: mtp}"], "heads for further tokens"),
    (["model.freeze={all_but_last: 2}"], "under which all of the model is frozen"),
    (["adapter=null", "model.freeze={names: []}"], "names nothing"),
]


@pytest.mark.parametrize(("overrides", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_work_is_refused_with_its_reason(overrides: list[str], words: str, tmp_path: Path) -> None:
    (problem,) = found(tmp_path, *overrides)
    assert problem.severity == "error" and words in problem.message and problem.fix


@pytest.mark.parametrize(
    "overrides",
    [
        ["adapter.init_lora_weights=pissa"],
        ["adapter.init_lora_weights=olora", NF4],
        ["adapter.use_dora=true", NF4],
        ["adapter={method: ia3}", NF4],
        ["adapter={method: ia3}", "model.dtype=bfloat16"],
        ["adapter={method: prompt}", "training.gradient_checkpointing=true"],
        ["adapter=null", "model.freeze={all_but_last: 2, names: ['*norm*']}"],
    ],
)
def test_what_can_work_is_not(overrides: list[str], tmp_path: Path) -> None:
    assert found(tmp_path, *overrides) == []


def test_dora_on_eight_bits_is_a_matter_of_the_processor(tmp_path: Path) -> None:
    assert found(tmp_path, "adapter.use_dora=true", EIGHT, hardware=GPU) == []


def test_an_adapter_on_an_adapter_is_refused(tmp_path: Path) -> None:
    for name in ("adapter_config.json", "bottleneck_config.json"):
        folder = tmp_path / name.partition("_")[0]
        folder.mkdir()
        (folder / name).write_text("{}")
        (problem,) = found(tmp_path, f"model.name_or_path={folder}")
        assert "is an adapter itself" in problem.message
