"""Every weight of a loaded model comes out of its files, or the load is refused by name."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.of_run import load_run_model, load_run_tokenizer
from hfrecipes.models.pretrained import load_pretrained, load_with_adapter
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .conftest import ARCHITECTURES, build


def change(file: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def some_weight(file: Path) -> str:
    return next(name for name in sorted(load_file(file)) if "mlp" in name and name.endswith("weight"))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_whole_model_loads_as_it_was(saved: Path, model_type: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = load_pretrained(saved / model_type).state_dict()
    expected = build(model_type).state_dict()
    assert expected.keys() == loaded.keys()
    assert all(torch.equal(expected[name], loaded[name]) for name in expected)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_missing_weight_is_named(folder: Callable[..., Path], model_type: str) -> None:
    file = folder(model_type) / "model.safetensors"
    name = some_weight(file)
    change(file, lambda tensors: tensors.pop(name))
    with pytest.raises(RecipeError, match=r"which would be random") as caught:
        load_pretrained(file.parent, "my.yaml:2")
    (problem,) = caught.value.problems
    assert problem.where == "my.yaml:2" and name in problem.message and str(file.parent) in problem.message


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_weight_of_another_shape_is_named(folder: Callable[..., Path], model_type: str) -> None:
    file = folder(model_type) / "model.safetensors"
    name = some_weight(file)
    change(file, lambda tensors: tensors.update({name: torch.zeros(3, 3)}))
    with pytest.raises(RecipeError, match=rf"other shapes.*{name} is \[3, 3\], not "):
        load_pretrained(file.parent)


def test_tied_heads_may_be_absent_and_untied_ones_may_not(folder: Callable[..., Path]) -> None:
    assert "lm_head.weight" not in load_file(folder("gpt2") / "model.safetensors")
    file = folder("llama") / "model.safetensors"
    change(file, lambda tensors: tensors.pop("lm_head.weight"))
    with pytest.raises(RecipeError, match=r"lm_head\.weight"):
        load_pretrained(file.parent)


def test_a_tensor_without_a_place_is_a_warning(folder: Callable[..., Path]) -> None:
    file = folder() / "model.safetensors"
    change(file, lambda tensors: tensors.update({"model.extra.weight": torch.zeros(2)}))
    with pytest.warns(UserWarning, match=r"no place for: model\.extra\.weight"):
        load_pretrained(file.parent)


@pytest.mark.parametrize("bits", [{"load_in_4bit": True}, {"load_in_8bit": True}])
def test_quantised_loads_are_held_to_the_same(folder: Callable[..., Path], bits: dict[str, bool]) -> None:
    from transformers import BitsAndBytesConfig

    file = folder() / "model.safetensors"
    model = load_pretrained(file.parent, quantization_config=BitsAndBytesConfig(**bits))
    kept = file.parent.with_name("quantised")
    model.save_pretrained(kept)
    load_pretrained(kept)
    name = some_weight(file)
    change(file, lambda tensors: tensors.pop(name))
    with pytest.raises(RecipeError, match=name):
        load_pretrained(file.parent, quantization_config=BitsAndBytesConfig(**bits))


def test_an_adapter_loads_as_it_was_and_its_faults_are_named(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    model = load_with_adapter(adapter, trainable=False)
    saved = load_file(file)
    loaded = model.state_dict()
    assert all(torch.equal(saved[n], loaded[n.replace(".weight", ".default.weight")]) for n in saved)
    first = sorted(saved)[0]
    for edit, said in (
        (lambda tensors: tensors.pop(first), f"lacks tensors of the adapter, which would be random: {first}"),
        (lambda tensors: tensors.update({"base_model.model.invented": torch.zeros(1)}), "no place for: .*invented"),
        (
            lambda tensors: tensors.update({"base_model.model.model.norm.weight": torch.zeros(32)}),
            r"no place for: .*model\.norm\.weight",
        ),
        (lambda tensors: tensors.update({first: torch.zeros(7, 7)}), "cannot be loaded: .*size mismatch"),
    ):
        save_file(saved, file)
        change(file, edit)
        with pytest.raises(RecipeError, match=said):
            load_with_adapter(adapter, trainable=False)


@pytest.mark.parametrize(
    "words",
    [
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": "all-linear", "use_dora": True},
        {"target_modules": ["v_proj"], "trainable_token_indices": [1, 2]},
        {"target_modules": ["v_proj"], "bias": "lora_only", "rank_pattern": {"v_proj": 3}},
    ],
)
@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_adapters_of_every_kind_pass(saved: Path, tmp_path: Path, model_type: str, words: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(saved / model_type)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=2, **words))
    model.save_pretrained(tmp_path / "adapter")
    loaded = load_with_adapter(tmp_path / "adapter", trainable=True)
    assert any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_base_of_an_adapter_must_be_whole(saved: Path, tmp_path: Path, adapter: Path) -> None:
    base = Path(shutil.copytree(saved / "llama", tmp_path / "base"))
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": str(base)}))
    load_with_adapter(adapter, trainable=False)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(RecipeError, match=r"base/model\.safetensors.*is cut short"):
        load_with_adapter(adapter, "my.yaml:2", trainable=False)


def test_a_run_that_was_damaged_after_its_end_does_not_load(run: RunDir) -> None:
    load_run_model(run)
    content = bytearray((run.model / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (run.model / "model.safetensors").write_bytes(content)
    for load in (load_run_model, load_run_tokenizer):
        with pytest.raises(RecipeError, match=r"model\.safetensors is damaged \(its hash differs\)"):
            load(run)


def test_a_recipe_starts_from_nothing_damaged(run: RunDir, recipe_for: Callable[..., Any]) -> None:
    recipe = recipe_for(run.model)
    _, location = obtain_tokenizer(recipe)
    tokenizer = load_tokenizer(location, recipe)
    load_model(recipe, tokenizer)
    content = bytearray((run.model / "tokenizer.json").read_bytes())
    content[len(content) // 2] ^= 1
    (run.model / "tokenizer.json").write_bytes(content)
    with pytest.raises(RecipeError, match=r"tokenizer\.json is damaged"):
        load_tokenizer(location, recipe)
    with pytest.raises(RecipeError, match=r"my\.yaml:2: .*tokenizer\.json is damaged"):
        load_model(recipe, tokenizer)
    (run.model / "tokenizer.json").unlink()
    with pytest.raises(RecipeError, match=r"tokenizer\.json is missing"):
        obtain_tokenizer(recipe)


def test_what_is_not_there_is_said_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"my\.yaml:2: error: nobody/nothing: cannot be loaded"):
        load_pretrained("nobody/nothing", "my.yaml:2")
    with pytest.raises(RecipeError, match="holds no model"):
        load_run_model(RunDir(tmp_path))
