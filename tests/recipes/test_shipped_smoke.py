"""Every shipped recipe passes its check offline and runs made small; a recipe that cannot is not shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.check.check import check_recipe
from hfrecipes.models.peft_methods import METHOD_OF_TYPE
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.shipped import shipped_recipes
from hfrecipes.recipe.smoke import model_type_of

# Recipes of real size are for GPUs; the check of what a device can do has tests of its own.
GPU = Hardware(
    device="cuda", name="NVIDIA H100 80GB HBM3", count=1, memory_bytes=80 * 2**30, bf16=True, flash_attention=True
)
NAMES = [name for name in shipped_recipes() if load_recipe(name).kind != "pipeline"]


def overrides_alone(name: str, *alone: str) -> list[str]:
    """What a later step of a pipeline, which starts from an earlier one's model, needs to be told by itself."""
    recipe = load_recipe(name)
    keys = ("rewards.0.model", "evaluation.win_rate.judges.0.model")
    found = [f"{key}=somebody/reward-model" for key in keys if str(recipe.get(key)).startswith("runs/")]
    return [*alone, *found] if str(recipe.get("model.name_or_path")).startswith("runs/") else found


@pytest.mark.parametrize("name", shipped_recipes())
def test_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = overrides_alone(name, "model.name_or_path=Qwen/Qwen3-0.6B", "model.model_type=qwen3")
    problems = check_recipe(load_recipe(name, overrides), GPU)
    assert not [str(problem) for problem in problems if problem.severity == "error"]


@pytest.mark.parametrize("name", NAMES)
def test_smoke(name: str, tmp_path: Path) -> None:
    overrides = overrides_alone(name, "model.name_or_path=null", "model.config={model_type: llama}")
    recipe = load_recipe(name, overrides)
    folder = RunDir(run(recipe, options=RunOptions(runs_dir=tmp_path, smoke=True, quiet=True)))
    facts = folder.facts()
    assert facts["status"] == "complete"
    if recipe.kind == "sample":
        assert len(folder.answers.read_text().splitlines()) == facts["answers"]["prompts"] > 0
        assert folder.card.is_file() and folder.report.is_file()
        return
    assert facts["training"]["steps"] == 2
    assert facts["model"]["model_type"] == model_type_of(recipe)
    method = recipe.get("adapter.method")
    if method == "bottleneck":
        assert json.loads((folder.model / "bottleneck_config.json").read_text())["r"] == recipe.get("adapter.r")
    elif method is not None:
        saved = json.loads((folder.model / "adapter_config.json").read_text())
        assert METHOD_OF_TYPE[saved["peft_type"]] == method
        assert method != "lora" or saved["r"] == recipe.get("adapter.r", 8)
    else:
        assert AutoConfig.from_pretrained(folder.model).model_type == model_type_of(recipe)
    assert folder.card.is_file()
    assert folder.report.is_file()


def test_an_unknown_architecture_is_not_replaced_by_another(tmp_path: Path) -> None:
    recipe = load_recipe("tour/docstrings", ["model.name_or_path=somebody/model"])
    with pytest.raises(ValueError, match=r"model\.model_type"):
        run(recipe, options=RunOptions(runs_dir=tmp_path, smoke=True, quiet=True))
