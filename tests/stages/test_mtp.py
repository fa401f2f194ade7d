"""Recipes whose objective is multi-token prediction, from the words to the model that others load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.check.objective import objective_problems
from hfrecipes.models.mtp.attach import inner_model, load_mtp
from hfrecipes.models.mtp.saving import FILE
from hfrecipes.plan.plan import make_plan
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir
from tests.stages.conftest import write_recipes

WORDS = ["objective.name=mtp", "objective.num_future_tokens=3"]


def options(folder: Path, **more: object) -> RunOptions:
    return RunOptions(runs_dir=folder / "runs", quiet=True, **more)


@pytest.mark.parametrize("kind", ["parallel", "chained"])
def test_a_base_and_its_fine_tuning(kind: str, tmp_path: Path) -> None:
    folder = write_recipes(tmp_path)
    words = [*WORDS, f"objective.heads={kind}", "objective.curriculum=none"]
    base = RunDir(run(load_recipe(folder / "base.yaml", words), options=options(tmp_path)))
    log = [line for line in base.metrics() if "loss" in line]
    assert all({"loss_head_1", "loss_head_2", "loss_head_3"} <= line.keys() for line in log)
    for line in log:
        heads = line["loss_head_1"] + 0.3 * (line["loss_head_2"] + line["loss_head_3"])
        # Each head is divided by the first one's targets, of which it has a few less.
        assert line["loss"] == pytest.approx(heads, rel=0.02)
    facts = base.facts()
    assert facts["plan"]["parameters"]["by_part"]["heads"] == facts["model"]["parameters"]["by_part"]["heads"]
    model = load_mtp(base.model)
    assert model.num_future_tokens == 3
    assert sum(p.numel() for p in model.parameters()) == facts["model"]["parameters"]["total"]
    assert "heads for 3 tokens at once" in base.card.read_text()
    assert facts["decoding"]["identical"] == facts["decoding"]["prompts"] > 0
    assert "tokens with each pass" in base.card.read_text()
    ids = torch.arange(5, 15)[None]
    plain = AutoModelForCausalLM.from_pretrained(base.model)
    assert torch.equal(plain(input_ids=ids).logits, model(input_ids=ids).logits)
    tuned_words = [*words, f"model.name_or_path={base.model}", "evaluation.task=null", "training.max_length=400"]
    tuned = RunDir(run(load_recipe(folder / "tuned.yaml", tuned_words), options=options(tmp_path)))
    assert (tuned.model / FILE).is_file()
    assert "loss_head_3" in next(line for line in tuned.metrics() if "loss" in line)
    # The heads that lay beside the base were gone on with.
    names = [name for name, _ in model.mtp_heads.named_parameters()]
    begun, ended = (load_mtp(run_.model) for run_ in (base, tuned))
    moved = [_distance(begun, ended, name) for name in names]
    assert 0 < max(moved) < 0.5


def _distance(one: Any, other: Any, name: str) -> float:
    """How far apart a weight of two sets of heads is, as a share of its size."""
    here, there = (inner_model(model).mtp_heads.get_parameter(name) for model in (one, other))
    return float((here - there).norm() / here.norm())


def test_a_run_that_is_gone_on_with_is_the_run_that_was_not_cut(tmp_path: Path) -> None:
    folder = write_recipes(tmp_path)
    schedule = ["objective.curriculum=none", "objective.loss_weight=[[0, 0.4], [1, 0.1]]"]
    words = [*WORDS, *schedule, "training.save_total_limit=5"]
    whole = RunDir(run(load_recipe(folder / "base.yaml", words), options=options(tmp_path)))
    cut = RunDir(tmp_path / "runs" / "cut")
    with pytest.raises(KeyboardInterrupt):
        _run_until(load_recipe(folder / "base.yaml", [*words, "name=cut"]), options(tmp_path), 5)
    run(load_recipe(folder / "base.yaml", [*words, "name=cut"]), options=options(tmp_path, resume=True))
    for file in ("model.safetensors", FILE):
        assert (whole.model / file).read_bytes() == (cut.model / file).read_bytes()
    logs = [
        [(line["step"], line["loss"], line["loss_head_1"]) for line in run_.metrics() if "loss" in line]
        for run_ in (whole, cut)
    ]
    assert logs[0] == logs[1]
    weights = [line["weight_head_3"] for line in cut.metrics() if "loss" in line]
    assert weights == pytest.approx([0.4, 0.35, 0.3, 0.25, 0.2, 0.15])


def _run_until(recipe: object, run_options: RunOptions, step: int) -> None:
    from hfrecipes import build
    from tests.trainers.test_resume import StopAt

    session = build(recipe, options=run_options)
    session.trainer.add_callback(StopAt(step))
    session.train()


def test_the_trunk_gives_its_layers_to_the_heads(tmp_path: Path) -> None:
    folder = write_recipes(tmp_path)
    deeper = ["model.config.num_hidden_layers=4", "model.config.vocab_size=512"]
    plain = make_plan(load_recipe(folder / "base.yaml", deeper), detect_hardware())
    words = [*deeper, *WORDS, "objective.equal_parameters=true"]
    equal = make_plan(load_recipe(folder / "base.yaml", words), detect_hardware())
    assert equal.parameters.total == plain.parameters.total
    assert equal.parameters.by_part["heads"] > 0
    assert equal.compute.model_flops > plain.compute.model_flops


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["objective.heads=parallel"], "objective.heads belongs to name: mtp"),
        ([*WORDS, "training.label_smoothing_factor=0.1"], "makes a loss of its own"),
        ([*WORDS, "objective.equal_parameters=true"], "takes 2 of 2 layers away"),
        (
            [*WORDS, "objective.equal_parameters=true", "objective.heads=chained", "model.config.num_hidden_layers=4"],
            "parameters would not be equal",
        ),
        ([*WORDS, "objective.loss_weight=[0.3, 0.2, 0.1]"], "has 3 weights, and there are 2 heads beside"),
        ([*WORDS, "objective.loss_weight=[0.3, -0.1]"], "objective.loss_weight.1 is -0.1"),
        ([*WORDS, "objective.loss_weight=[[0, 0.3], [0.67, -0.1]]"], "point 2 has the weight -0.1, which is negative"),
        ([*WORDS, "objective.loss_weight=[[0.5, 0.3], [0.2, 0.1]]"], "which comes before that of point 1"),
        ([*WORDS, "objective.loss_weight=[0.3, [0.5, 0.1]]"], "point 1 is 0.3, not [progress, weight]"),
        ([*WORDS, "objective.interpolation=step"], "objective.interpolation has no effect"),
    ],
)
def test_words_that_do_not_go_together_are_told(words: list[str], fault: str, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", words)
    assert any(fault in str(problem) for problem in objective_problems(recipe))


def test_weights_are_said_as_a_number_by_head_or_by_progress(tmp_path: Path) -> None:
    file = write_recipes(tmp_path) / "base.yaml"
    for weight in ("0.3", "[0.3, 0.1]", "[[0, 0.3], [0.67, 0.1]]"):
        recipe = load_recipe(file, [*WORDS, f"objective.loss_weight={weight}"])
        assert list(objective_problems(recipe)) == []
    text = file.read_text() + "objective:\n  name: mtp\n  loss_weight: [0.3, much]\n"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    line = text.splitlines().index("  loss_weight: [0.3, much]") + 1
    assert f"base.yaml:{line}" in str(caught.value) and "objective.loss_weight.1 is 'much'" in str(caught.value)
