"""From a recipe to a finished run directory, and what others can do with it."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hfrecipes import RecipeError, RunDir, RunOptions, build, load_recipe, run
from hfrecipes.publish.lint import lint_card
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.stops import PoisonedRunError
from tests.stages.conftest import write_recipes

# Run where hfrecipes cannot be imported: what comes out is plain transformers and peft.
LOAD = """
import sys
sys.modules["hfrecipes"] = None
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, adapter = sys.argv[1], sys.argv[2]
if adapter == "yes":
    from peft import AutoPeftModelForCausalLM
    model = AutoPeftModelForCausalLM.from_pretrained(folder)
else:
    model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer("def main():", return_tensors="pt")
print(model.generate(**inputs, max_new_tokens=3, do_sample=False).shape[1])
"""


@pytest.mark.parametrize(("step", "adapter"), [("base", "no"), ("loop-1/tuned", "yes")])
def test_the_model_loads_without_hfrecipes(step: str, adapter: str, finished: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "error::UserWarning:transformers",
        "-c",
        LOAD,
        str(finished / step / "model"),
        adapter,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 3


@pytest.mark.parametrize("step", ["base", "loop-1/tuned", "loop-2/tuned"])
def test_the_run_directory_is_whole(step: str, finished: Path) -> None:
    folder = RunDir(finished / step)
    facts = folder.facts()
    assert facts["status"] == "complete"
    training = facts["training"]
    assert training["rows"] == training["steps"] * training["global_batch_size"]
    assert training["supervised_tokens"] <= training["tokens"]
    assert training["flops"] > 0
    assert [line["step"] for line in folder.metrics() if "loss" in line] == list(range(1, training["steps"] + 1))
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in facts["evaluations"])
    assert all(entry["revision"] for entry in facts["data"])
    assert not [str(problem) for problem in lint_card(folder.card.read_text(), facts) if problem.severity == "error"]
    assert "</html>" in folder.report.read_text()
    assert not list(folder.model.glob("*.bin"))


def test_base_and_tuned_are_measured_alike(finished: Path) -> None:
    found = {(entry["model"], entry["metric"]) for entry in RunDir(finished / "loop-1/tuned").facts()["evaluations"]}
    for model in ("base", "tuned"):
        assert (model, "bits_per_byte") in found
        assert (model, "docstring_f1") in found
    assert ("base, 1 examples", "docstring_f1") in found


def test_the_resolved_recipe_runs_again(finished: Path, tmp_path: Path) -> None:
    recipe = load_recipe(finished / "base" / "recipe.yaml")
    again = RunDir(run(recipe, options=RunOptions(runs_dir=tmp_path, quiet=True)))
    first = RunDir(finished / "base")
    assert [line.get("loss") for line in again.metrics()] == [line.get("loss") for line in first.metrics()]
    ours, theirs = (load_file(folder.model / "model.safetensors") for folder in (first, again))
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())


def test_a_finished_pipeline_does_nothing_again(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("model.safetensors")}
    run(load_recipe(finished.parent.parent / "all.yaml"), options=RunOptions(runs_dir=finished.parent, quiet=True))
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("model.safetensors")}


def test_a_changed_step_is_not_taken_for_the_finished_one(finished: Path) -> None:
    recipe = load_recipe(finished.parent.parent / "all.yaml", ["steps.0.with={training.max_steps: 3}"])
    with pytest.raises(RecipeError, match="another recipe"):
        run(recipe, options=RunOptions(runs_dir=finished.parent, quiet=True))


def test_a_run_is_not_overwritten_unasked(finished: Path) -> None:
    recipe = load_recipe(finished.parent.parent / "base.yaml")
    with pytest.raises(RecipeError, match="holds a run already"):
        run(recipe, options=RunOptions(runs_dir=finished, quiet=True))


def test_a_resumed_run_ends_like_one_that_was_not_cut(finished: Path, tmp_path: Path) -> None:
    folder = write_recipes(tmp_path)
    copy = tmp_path / "runs" / "base"
    shutil.copytree(finished / "base", copy)
    for path in (copy / "checkpoints" / "checkpoint-6", copy / "model"):
        shutil.rmtree(path)
    RunDir(copy).write_facts({**RunDir(copy).facts(), "status": "running"})
    (copy / "checkpoints" / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    options = RunOptions(runs_dir=tmp_path / "runs", resume=True, quiet=True)
    resumed = RunDir(run(load_recipe(folder / "base.yaml"), options=options))
    assert any("checkpoint-4 was passed over" in warning for warning in resumed.facts()["warnings"])
    first = RunDir(finished / "base")
    assert resumed.facts()["training"]["tokens"] == first.facts()["training"]["tokens"]
    losses = [line["loss"] for line in first.metrics() if "loss" in line]
    assert [line["loss"] for line in resumed.metrics() if "loss" in line] == losses
    ours, theirs = (load_file(each.model / "model.safetensors") for each in (first, resumed))
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())


def test_a_run_that_has_not_begun_is_begun_by_resume(tmp_path: Path) -> None:
    """So that one and the same line serves the first start and every start after a preemption."""
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", ["training.max_steps=2"])
    begun = RunDir(run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", resume=True, quiet=True)))
    assert begun.facts()["status"] == "complete"
    assert begun.facts()["sessions"][0]["first_step"] == 0


def test_poisoned_weights_stop_the_run(finished: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(finished / "base" / "model", model)
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    write_manifest(model)
    recipe = load_recipe(write_recipes(tmp_path) / "tuned.yaml", [f"model.name_or_path={model}"])
    with pytest.raises(PoisonedRunError, match=r"before the first step, .*norm\.weight holds nan"):
        run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


def test_build_gives_the_stock_trainer(finished: Path, tmp_path: Path) -> None:
    from transformers import Trainer, TrainerCallback
    from trl import SFTTrainer

    class Counter(TrainerCallback):
        steps = 0

        def on_step_end(self, *_, **__) -> None:
            self.steps += 1

    recipes = write_recipes(tmp_path)
    options = RunOptions(runs_dir=tmp_path / "runs", quiet=True)
    pretrain = build(recipes / "base.yaml", ["training.max_steps=2"], options).trainer
    assert isinstance(pretrain, Trainer)
    counter = Counter()
    pretrain.add_callback(counter)
    pretrain.train()
    assert counter.steps == 2
    overrides = [f"model.name_or_path={finished / 'base' / 'model'}"]
    assert isinstance(build(recipes / "tuned.yaml", overrides, options).trainer, SFTTrainer)
    with pytest.raises(RecipeError, match="no trainer of its own"):
        build(recipes / "all.yaml", options=options)


@pytest.mark.parametrize("packing", ["bfd", "bfd_split", "wrapped"])
def test_packed_fine_tuning(packing: str, finished: Path, tmp_path: Path) -> None:
    base = finished / "base" / "model"
    overrides = [
        f"model.name_or_path={base}",
        "training.packing=true",
        f"training.packing_strategy={packing}",
        "adapter=null",
    ]
    recipe = load_recipe(write_recipes(tmp_path) / "tuned.yaml", [*overrides, "data.test=null", "evaluation=null"])
    facts = RunDir(run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))).facts()
    assert facts["training"]["micro_batch_size"] == 1
    assert facts["training"]["final_loss"] < facts["training"]["first_loss"]


def test_a_metric_that_fails_is_told_before_training(finished: Path, tmp_path: Path) -> None:
    metric = "from hfrecipes.evaluation.evaluate_metrics import ExactMatch\n\nclass Failing(ExactMatch):\n"
    metric += "    def score_rows(self, predictions, references):\n        raise KeyError('gold')\n"
    (tmp_path / "mine.py").write_text(metric)
    overrides = [f"model.name_or_path={finished / 'base' / 'model'}", "evaluation.task.metric=mine:Failing"]
    recipe = load_recipe(write_recipes(tmp_path) / "tuned.yaml", overrides)
    with pytest.raises(RecipeError, match="cannot be scored by mine:Failing: KeyError: 'gold'"):
        run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))


def test_references_are_tried_before_training(finished: Path, tmp_path: Path) -> None:
    overrides = [f"model.name_or_path={finished / 'base' / 'model'}", "evaluation.task.metric=final_answer_match"]
    recipe = load_recipe(write_recipes(tmp_path) / "tuned.yaml", overrides)
    with pytest.raises(RecipeError, match="cannot be scored by final_answer_match"):
        run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))
    assert not any(path.is_file() for path in (tmp_path / "runs").rglob("*"))


def test_the_facts_are_json_that_anyone_reads(finished: Path) -> None:
    text = (finished / "base" / "run.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["recipe"]["training"]["global_batch_size"] == 4


def cut_off(finished: Path, folder: Path) -> Path:
    """A copy of the finished base run as a kill would have left it; returns its runs directory."""
    shutil.copytree(finished / "base", folder / "runs" / "base")
    run_dir = RunDir(folder / "runs" / "base")
    run_dir.write_facts({**run_dir.facts(), "status": "running"})
    return folder / "runs"


def test_resuming_a_complete_run_changes_nothing(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    before = (tmp_path / "runs" / "base" / "run.json").read_text()
    options = RunOptions(runs_dir=tmp_path / "runs", resume=True, quiet=True)
    run(load_recipe(write_recipes(tmp_path) / "base.yaml"), options=options)
    assert (tmp_path / "runs" / "base" / "run.json").read_text() == before


def test_a_run_cut_off_after_its_last_step_is_only_finished(finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    shutil.rmtree(runs / "base" / "model")
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml")
    again = RunDir(run(recipe, options=RunOptions(runs_dir=runs, resume=True, quiet=True)))
    assert again.facts()["training"]["steps"] == 6
    ours, theirs = (load_file(each.model / "model.safetensors") for each in (RunDir(finished / "base"), again))
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())


def test_a_changed_recipe_is_not_resumed(finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", ["training.learning_rate=0.5"])
    with pytest.raises(RecipeError, match=r"training\.learning_rate was 0\.003, is 0\.5"):
        run(recipe, options=RunOptions(runs_dir=runs, resume=True, quiet=True))


def test_overwriting_waits_until_the_new_run_stands(finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", ["model.config.hidden_act=zelu"])
    with pytest.raises(RecipeError, match="zelu"):
        run(recipe, options=RunOptions(runs_dir=runs, overwrite=True, quiet=True))
    assert (runs / "base" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["training.lr_scheduler_type=cosine_with_min_lr"], "min_lr"),
        (["training.max_steps=-1", "training.num_train_epochs=0"], "no step would be made"),
    ],
)
def test_what_training_begins_with_is_tried_before_anything_is_removed(
    words: list[str], fault: str, finished: Path, tmp_path: Path
) -> None:
    runs = cut_off(finished, tmp_path)
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", words)
    with pytest.raises(RecipeError, match=fault):
        run(recipe, options=RunOptions(runs_dir=runs, overwrite=True, quiet=True))
    assert (runs / "base" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("rate", [100, 5e4])
def test_weights_that_one_step_has_thrown_away_are_not_saved(rate: float, tmp_path: Path) -> None:
    """The last step of all, after which no loss is looked at any more."""
    words = [f"training.learning_rate={rate}", "training.max_steps=1"]
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", words)
    with pytest.raises(PoisonedRunError, match=r"after the update of step 1, .*the run has diverged"):
        run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))
    assert not list((tmp_path / "runs").rglob("*.safetensors"))
    assert RunDir(tmp_path / "runs" / "base").facts()["status"] == "failed"


def test_a_model_that_is_worse_than_guessing_is_told_of(tmp_path: Path) -> None:
    """Weights that large are sure of the wrong tokens: bad enough for that, and not bad enough to be stopped."""
    words = ["model.config.initializer_range=1.0", "training.learning_rate=1e-5", "training.max_steps=1"]
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", words)
    folder = RunDir(run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True)))
    facts = folder.facts()
    loss = next(entry["value"] for entry in facts["evaluations"] if entry["metric"] == "token_loss")
    assert 2 * math.log(512) < loss < 10 * math.log(512)
    assert any("the trained model is spoilt: python_prose" in text for text in facts["warnings"])


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml")
    (tmp_path / "runs" / "base").mkdir(parents=True)
    (tmp_path / "runs" / "base" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RecipeError, match="no run directory"):
            run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", overwrite=overwrite, quiet=True))


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("training.optim_args=zzz", "training"),
        ("model.config.rope_parameters={rope_type: zzz}", "zzz"),
        ("training.load_best_model_at_end=true", "save_steps|eval_steps"),
        ("training.metric_for_best_model=nope;training.save_strategy=best", "nope is not measured"),
    ],
)
def test_what_the_libraries_refuse_is_an_error_of_the_recipe(override: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=fault):
        recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", override.split(";"))
        run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))


@pytest.mark.parametrize("model_type", ["gpt_neox", "mixtral", "bert", "qwen2_moe"])
def test_other_architectures_end_complete(model_type: str, tmp_path: Path) -> None:
    sizes = (
        "hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 4"
    )
    if model_type in ("gpt_neox", "bert"):
        sizes = sizes.replace(", num_key_value_heads: 4", "")
    overrides = [f"model.config={{model_type: {model_type}, {sizes}}}", "training.max_steps=2"]
    overrides += ["data.document_mask=false"] if model_type == "bert" else []
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml", overrides)
    facts = RunDir(run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))).facts()
    assert facts["status"] == "complete"


SIZES_OF = {
    "bloom": "hidden_size: 32, n_layer: 2, n_head: 4",
    "mamba": "hidden_size: 32, num_hidden_layers: 2",
    "bert": "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 64",
}


@pytest.mark.parametrize("model_type", SIZES_OF)
def test_architectures_that_mix_packed_documents_are_refused(model_type: str, tmp_path: Path) -> None:
    overrides = [f"model.config={{model_type: {model_type}, {SIZES_OF[model_type]}}}", "training.max_steps=2"]
    recipes = write_recipes(tmp_path)
    with pytest.raises(RecipeError, match="does not keep packed documents apart"):
        run(load_recipe(recipes / "base.yaml", overrides), options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))


@pytest.mark.parametrize("override", ["model.config={model_type: t5}", "model.config.num_hidden_layers=0"])
def test_models_that_cannot_be_trained_so_are_refused_at_once(override: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no causal language model|at least 1"):
        run(
            load_recipe(write_recipes(tmp_path) / "base.yaml", [override]),
            options=RunOptions(runs_dir=tmp_path, quiet=True),
        )
