"""A training that ends when it no longer helps, and keeps the weights that were best."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hfrecipes import RecipeError, RunOptions, load_recipe, run
from hfrecipes.check.agreement import agreement_problems
from hfrecipes.recipe.rundir import RunDir
from tests.stages.conftest import write_recipes
from tests.stages.test_mtp import _run_until

WORDS = [
    "training.load_best_model_at_end=true",
    "training.eval_steps=2",
    "training.max_steps=12",
    "evaluation.samples=0",
]
# Nothing improves by so much; so it ends after the third measurement.
PATIENT = "evaluation.early_stopping={patience: 2, threshold: 100}"
END = 6


def options(folder: Path, **more: object) -> RunOptions:
    return RunOptions(runs_dir=folder / "runs", quiet=True, **more)


def test_it_ends_early_keeps_the_best_and_is_the_same_after_a_cut(tmp_path: Path) -> None:
    folder = write_recipes(tmp_path)
    whole = RunDir(run(load_recipe(folder / "base.yaml", [*WORDS, PATIENT]), options=options(tmp_path)))
    facts = whole.facts()
    losses = {line["step"]: line["eval_python_prose/validation_loss"] for line in whole.metrics() if _measured(line)}
    best = min(losses, key=losses.get)
    assert facts["training"]["steps"] == END == max(losses)
    assert facts["training"]["best_step"] == best
    (said,) = [line for line in facts["warnings"] if "early stopping" in line]
    assert f"after step {END} of 12" in said and "by more than 100" in said
    kept = load_file(whole.checkpoints / f"checkpoint-{best}" / "model.safetensors")
    saved = load_file(whole.model / "model.safetensors")
    assert all(torch.equal(saved[name], kept[name]) for name in saved)
    assert "Step of the model that was kept" in whole.card.read_text()

    words = [*WORDS, PATIENT, "name=cut"]
    with pytest.raises(KeyboardInterrupt):
        _run_until(load_recipe(folder / "base.yaml", words), options(tmp_path), END - 1)
    cut = RunDir(run(load_recipe(folder / "base.yaml", words), options=options(tmp_path, resume=True)))
    assert cut.facts()["training"]["steps"] == END
    again = load_file(cut.model / "model.safetensors")
    assert all(torch.equal(saved[name], again[name]) for name in saved)


def test_without_the_best_model_it_is_refused(tmp_path: Path) -> None:
    folder = write_recipes(tmp_path)
    (problem,) = agreement_problems(load_recipe(folder / "base.yaml", [PATIENT]), 1)
    assert "load_best_model_at_end" in problem.fix
    with pytest.raises(RecipeError, match="patience"):
        load_recipe(folder / "base.yaml", [*WORDS, "evaluation.early_stopping={patience: 0}"])


def _measured(line: dict) -> bool:
    return "eval_python_prose/validation_loss" in line
