"""A tiny model made longer by a pipeline: what its runs write, what a gate stops, and what `--resume` does then."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.evaluation.language_modeling import measure_loss
from hfrecipes.models import load
from hfrecipes.models.rope import change_rope
from hfrecipes.models.rope_config import RopeChange
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.long_context import short_rows
from hfrecipes.tokenization.tokenizer import Tokenizer

BASE = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 512}
data:
  train: [{name: python_prose, split: train, limit: 30}]
  eval: [{name: python_prose, split: validation, limit: 6}]
  context_length: 128
training: {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 4, logging_steps: 1, save_strategy: "no"}
evaluation: {samples: 0, short_context: 128}
"""
STAGE = """
kind: pretrain
model: {name_or_path: set-by-the-pipeline}
data:
  train: [{name: python_prose, split: train, limit: 30}]
  eval: [{name: python_prose, split: validation, limit: 6}]
  context_length: 256
training: {learning_rate: 1.0e-4, global_batch_size: 4, max_steps: 2, logging_steps: 1, save_strategy: "no"}
evaluation:
  samples: 0
  short_context: 128
  needle: {lengths: [128, 256], depths: [0, 1], languages: [en, zh], num_needles: 2}
"""
PIPELINE = """
kind: pipeline
name: long
steps:
  - {name: base, recipe: base.yaml}
  - name: longer
    recipe: stage.yaml
    with: {model.name_or_path: "${steps.base.model}", model.rope_parameters: {rope_theta: 8.0e+4}}
    gate: {short_loss: true, needles: 1.0}
  - name: longest
    recipe: stage.yaml
    with: {model.name_or_path: "${steps.longer.model}"}
"""


def start(folder: Path, *overrides: str, **options: bool) -> RunDir:
    recipe = load_recipe(folder / "long.yaml", list(overrides))
    return RunDir(run(recipe, options=RunOptions(runs_dir=folder / "runs", quiet=True, **options)))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a pipeline that a gate has stopped, and what was said."""
    folder = tmp_path_factory.mktemp("long")
    for name, text in {"base": BASE, "stage": STAGE, "long": PIPELINE}.items():
        (folder / f"{name}.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        start(folder)
    return folder, str(caught.value)


def test_a_gate_that_is_shut_stops_the_pipeline_and_says_why(stopped: tuple[Path, str]) -> None:
    folder, said = stopped
    assert "long.yaml:9: error: the gate of longer is shut: needles: 0 of 2 at 128 tokens, depth 0, en; " in said
    assert "the gate asks for 100% in each of 8 cells" in said
    facts = RunDir(folder / "runs" / "long").facts()
    assert (facts["status"], [step["name"] for step in facts["steps"]]) == ("failed", ["base", "longer"])
    assert "the gate of longer is shut" in facts["error"]
    assert not (folder / "runs" / "long" / "longest").exists()


def test_the_stage_is_measured_as_it_was_saved(stopped: tuple[Path, str]) -> None:
    longer = RunDir(stopped[0] / "runs" / "long" / "longer")
    config = AutoModelForCausalLM.from_pretrained(longer.model).config
    assert (config.rope_parameters["rope_theta"], config.max_position_embeddings) == (8e4, 256)
    facts = longer.facts()
    short = [entry for entry in facts["evaluations"] if entry.get("short_context")]
    assert {entry["model"] for entry in short} == {"base", "tuned"}
    assert {entry["dataset"] for entry in short} == {"python_prose/validation, 128 tokens"}
    assert [entry["dataset"] for entry in facts["evaluations"] if entry["metric"] == "needles_found"] == [
        "needles in 128 tokens",
        "needles in 256 tokens",
    ]
    assert len(facts["needles"]) == 8
    assert all(cell["n"] == 2 and cell["log_probability"] < 0 for cell in facts["needles"])


def test_the_starting_model_is_measured_with_its_own_positions(stopped: tuple[Path, str]) -> None:
    runs = stopped[0] / "runs" / "long"

    def short_loss(step: str, model: str) -> float:
        entries = RunDir(runs / step).facts()["evaluations"]
        wanted = {"model": model, "metric": "token_loss", "short_context": 128}
        (value,) = [one["value"] for one in entries if wanted.items() <= one.items()]
        return value

    assert short_loss("longer", "base") == pytest.approx(short_loss("base", "tuned"), rel=1e-6)


def test_resume_looks_again_and_goes_on_where_the_gate_was_lowered(stopped: tuple[Path, str], tmp_path: Path) -> None:
    folder = shutil.copytree(stopped[0], tmp_path / "copy")
    # The steps name each other by the folder they ran in.
    runs = stopped[0] / "runs"
    shutil.rmtree(folder / "runs")
    finished = RunDir(runs / "long" / "longer").facts_file
    before = finished.stat().st_mtime_ns
    with pytest.raises(RecipeError, match="the gate of longer is shut"):
        start(stopped[0], resume=True)
    start(stopped[0], "steps.1.gate.needles=0", resume=True)
    assert finished.stat().st_mtime_ns == before
    facts = RunDir(runs / "long").facts()
    assert (facts["status"], [step["name"] for step in facts["steps"]]) == ("complete", ["base", "longer", "longest"])


def test_a_smoke_run_passes_gates(stopped: tuple[Path, str]) -> None:
    assert start(stopped[0], smoke=True).facts()["status"] == "complete"


def test_what_a_stage_that_skips_the_rebuild_has_lost_is_measured(
    stopped: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check taken away, too: the figures are those of the model on disk, not of the one that trained so well."""
    folder = stopped[0]
    recipe = load_recipe(
        folder / "stage.yaml",
        [
            f"model.name_or_path={folder / 'runs' / 'long' / 'base' / 'model'}",
            "model.rope_parameters={rope_theta: 3.0}",
            "name=stale",
        ],
    )
    with monkeypatch.context() as patched:
        patched.setattr("hfrecipes.models.rope.rebuild_rotary", lambda model: None)
        patched.setattr(load, "check_rotary", lambda model: [])
        stale = RunDir(run(recipe, options=RunOptions(runs_dir=folder / "runs", quiet=True)))
    saved = AutoModelForCausalLM.from_pretrained(stale.model)
    rows = short_rows(recipe, Tokenizer.load(stale.model))["python_prose/validation"]

    def loss(model) -> float:
        losses = measure_loss(model, rows)
        return losses.nll.sum() / losses.num_tokens.sum()

    wanted = {"model": "tuned", "metric": "token_loss", "short_context": 128}
    (measured,) = [one["value"] for one in stale.facts()["evaluations"] if wanted.items() <= one.items()]
    assert measured == pytest.approx(loss(saved), rel=1e-6)
    change_rope(saved, RopeChange({"rope_theta": 1e4}, None, None))
    # As it trained: with the frequencies that it had before.
    assert measured != pytest.approx(loss(saved), rel=1e-6)
