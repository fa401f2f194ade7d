"""Adapters that are not LoRA, and frozen layers, from recipe to a finished run and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hfrecipes import RecipeError, RunDir, RunOptions, load_bottleneck, load_recipe, run
from hfrecipes.models.of_run import load_run_model
from hfrecipes.publish.lint import lint_card
from tests.stages.conftest import write_recipes

IDS = torch.tensor([[5, 60, 7, 300]])


def tuned(finished: Path, folder: Path, *overrides: str, **options: bool) -> RunDir:
    words = [f"model.name_or_path={finished / 'base' / 'model'}", "training.max_length=256", "name=tuned", *overrides]
    recipe = load_recipe(write_recipes(folder) / "tuned.yaml", words)
    return RunDir(run(recipe, options=RunOptions(runs_dir=folder / "runs", quiet=True, **options)))


def base_figures(folder: RunDir) -> dict[str, float]:
    return {entry["metric"]: entry["value"] for entry in folder.facts()["evaluations"] if entry["model"] == "base"}


def test_bottleneck_adapters_are_measured_saved_and_loaded_back(finished: Path, tmp_path: Path) -> None:
    folder = tuned(finished, tmp_path, "adapter={method: bottleneck, r: 4}")
    facts = folder.facts()
    assert facts["model"]["parameters"]["trainable"] == 2 * 2 * (2 * 32 * 4 + 4 + 32)
    base = AutoModelForCausalLM.from_pretrained(finished / "base" / "model").eval()
    with torch.no_grad():
        plain = base(input_ids=IDS).logits
        ours = load_run_model(folder)[0](input_ids=IDS).logits
        theirs = load_bottleneck(base, folder.model).eval()(input_ids=IDS).logits
    assert torch.equal(ours, theirs) and not torch.equal(ours, plain)
    card = folder.card.read_text()
    assert "load_bottleneck" in card and "library_name: hfrecipes" in card
    assert not [str(problem) for problem in lint_card(card, facts) if problem.severity == "error"]
    again = tuned(finished, tmp_path, "adapter={method: bottleneck, r: 4}", resume=True)
    assert again.facts()["status"] == "complete"


def test_the_base_is_the_base_however_the_adapter_began(finished: Path, tmp_path: Path) -> None:
    """PiSSA takes its beginning out of the base's weights: turned off, it leaves another model."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    plain = tuned(finished, tmp_path / "a", "training.max_steps=1")
    pissa = tuned(finished, tmp_path / "b", "training.max_steps=1", "adapter.init_lora_weights=pissa")
    assert base_figures(pissa) == base_figures(plain) != {}


def test_a_prompt_forgets_the_text_that_it_began_as(finished: Path, tmp_path: Path) -> None:
    text = (
        "{method: prompt, num_virtual_tokens: 4, prompt_tuning_init: TEXT, prompt_tuning_init_text: say what it does}"
    )
    folder = tuned(finished, tmp_path, f"adapter={text}", "training.max_steps=1", "training.learning_rate=0.0")
    assert "say what" not in (folder.model / "adapter_config.json").read_text()
    (prompt,) = load_file(folder.model / "adapter_model.safetensors").values()
    rows = AutoModelForCausalLM.from_pretrained(finished / "base" / "model").get_input_embeddings().weight
    # It began as words: each is a row of the embedding.
    assert all(any(torch.equal(row, embedded) for embedded in rows) for row in prompt)


def test_frozen_layers_are_those_of_the_base(finished: Path, tmp_path: Path) -> None:
    folder = tuned(finished, tmp_path, "adapter=null", "model.freeze={all_but_last: 1, names: [model.norm.weight]}")
    before, after = (load_file(path / "model.safetensors") for path in (finished / "base" / "model", folder.model))
    assert before.keys() == after.keys()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith("model.layers.1.") or name == "lm_head.weight" for name in changed)
    counts = folder.facts()["model"]["parameters"]
    assert counts["trainable"] == sum(after[name].numel() for name in changed) < counts["total"]
    with pytest.raises(RecipeError, match=r"'\*\.nowhere' fits no parameter"):
        tuned(finished, tmp_path, "adapter=null", "model.freeze={names: ['*.nowhere']}", "name=other")
