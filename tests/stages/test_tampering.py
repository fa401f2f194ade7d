"""Run directories that somebody has put other files into, manifests and all: passed over or refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from hfrecipes import RecipeError, RunDir, RunOptions, load_recipe, run
from hfrecipes.recipe.manifest import MANIFEST, read_manifest, write_manifest
from hfrecipes.recipe.stops import PoisonedRunError, RunStoppedError
from hfrecipes.stages.fingerprints import faults_of_another_run
from hfrecipes.stages.measure import Measurer
from tests.stages.conftest import write_recipes
from tests.stages.test_resuming import cut_off, equal_weights, resume


def spoil(file: Path) -> None:
    """One weight is no number, and the manifest agrees."""
    tensors = load_file(file)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    sign(file.parent)


def sign(folder: Path) -> None:
    facts = read_manifest(folder)
    facts.pop("files")
    write_manifest(folder, **facts)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["training.seed=7"], "training.seed differs"),
        (["training.learning_rate=0.5"], "training.learning_rate differs"),
        (["data.train.0.limit=20"], "data differs"),
    ],
)
def test_a_checkpoint_of_another_run_is_passed_over(
    words: list[str], told: str, finished: Path, tmp_path: Path
) -> None:
    other = load_recipe(write_recipes(tmp_path) / "base.yaml", ["name=other", "training.max_steps=6", *words])
    folder = RunDir(run(other, options=RunOptions(runs_dir=tmp_path / "others", quiet=True)))
    ours = cut_off(finished, tmp_path) / "base" / "checkpoints" / "checkpoint-4"
    shutil.rmtree(ours)
    shutil.copytree(folder.checkpoints / "checkpoint-4", ours)
    resumed = resume(tmp_path)
    warnings = resumed.facts()["warnings"]
    assert any(f"checkpoint-4 was passed over: it is of another run: its {told}" in text for text in warnings)
    assert equal_weights(resumed, RunDir(finished / "base"))


def test_a_checkpoint_belongs_to_a_run_if_any_of_its_sessions_could_have_written_it() -> None:
    first, second = ({"data": "a", "schedule": {"training.max_steps": steps}} for steps in (6, 9))
    facts = {"fingerprint": second, "sessions": [{"fingerprint": first}, {"fingerprint": second}]}
    assert not faults_of_another_run(first, facts)
    assert not faults_of_another_run(second, facts)
    # What a manifest does not say is not held against it; nor is what nobody remembers.
    assert not faults_of_another_run({}, facts)
    assert not faults_of_another_run(first, {"sessions": [{"changes": []}]})
    assert faults_of_another_run({**first, "data": "b"}, facts)
    # Each part fits one of the sessions, and all together none.
    third = {"data": "b", "schedule": first["schedule"]}
    assert faults_of_another_run(
        third, {"sessions": [{"fingerprint": {**third, "data": "a"}}, {"fingerprint": second}]}
    )


def test_a_step_that_the_run_does_not_have_is_refused(finished: Path, tmp_path: Path) -> None:
    checkpoints = cut_off(finished, tmp_path) / "base" / "checkpoints"
    beyond = checkpoints / "checkpoint-40"
    (checkpoints / "checkpoint-4").rename(beyond)
    state = json.loads((beyond / "trainer_state.json").read_text())
    (beyond / "trainer_state.json").write_text(json.dumps({**state, "global_step": 40, "max_steps": 40}))
    sign(beyond)
    with pytest.raises(RecipeError, match="checkpoint-40 is beyond the last of 6 steps"):
        resume(tmp_path)


def test_poison_in_a_checkpoint_is_found_and_nothing_is_called_whole(finished: Path, tmp_path: Path) -> None:
    checkpoint = cut_off(finished, tmp_path) / "base" / "checkpoints" / "checkpoint-4"
    spoil(checkpoint / "model.safetensors")
    with pytest.raises(
        PoisonedRunError, match=r"checkpoint-4: model\.norm\.weight holds nan.*remove this folder"
    ) as caught:
        resume(tmp_path)
    assert "is whole" not in str(caught.value) and "learning_rate" not in str(caught.value)
    shutil.rmtree(checkpoint)
    assert equal_weights(resume(tmp_path), RunDir(finished / "base"))


def test_poison_in_the_model_of_a_trained_run_is_found(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    folder = RunDir(tmp_path / "runs" / "base")
    folder.write_facts({**folder.facts(), "status": "interrupted"})
    spoil(folder.model / "model.safetensors")
    with pytest.raises(PoisonedRunError, match=r"model: model\.norm\.weight holds nan.*saves the model again"):
        resume(tmp_path)
    shutil.rmtree(folder.model)
    assert equal_weights(resume(tmp_path), RunDir(finished / "base"))


@pytest.mark.parametrize(
    "facts",
    [
        {"sessions": 5},
        {"sessions": [5]},
        {"sessions": [{"changes": 5}]},
        {"sessions": None},
        {"fingerprint": 5},
        {"fingerprint": "data"},
        {"warnings": None},
        {"versions": None},
        {"training": {"x": 1}},
    ],
)
def test_edited_facts_do_not_stop_a_resume(facts: dict[str, Any], finished: Path, tmp_path: Path) -> None:
    """What lies in the checkpoint, or in the model, is enough."""
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    file = tmp_path / "runs" / "base" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "status": "running", **facts}))
    resumed = resume(tmp_path)
    assert resumed.facts()["status"] == "complete"
    assert equal_weights(resumed, RunDir(finished / "base"))


def test_a_model_that_goes_while_it_is_measured_is_missed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    folder = RunDir(tmp_path / "runs" / "base")
    folder.write_facts({**folder.facts(), "status": "interrupted"})
    stock = Measurer.measure

    def measure(self: Measurer, *words: Any) -> Any:
        shutil.rmtree(folder.model)
        return stock(self, *words)

    monkeypatch.setattr(Measurer, "measure", measure)
    with pytest.raises(RunStoppedError, match="model was changed while it was measured: it was not finished"):
        resume(tmp_path)
    assert folder.facts()["status"] == "failed"


def test_a_hidden_run_and_names_with_brackets_are_no_patterns(finished: Path, tmp_path: Path) -> None:
    write_recipes(tmp_path)
    with pytest.raises(RecipeError, match=r"name is '\.g\.1\.old'"):
        load_recipe(tmp_path / "base.yaml", ["name=.g.1.old"])
    words = ["training.max_steps=1", "evaluation.samples=0", "training.save_strategy=no"]
    for name in ("[x]", "x"):
        recipe = load_recipe(tmp_path / "base.yaml", [f"name='{name}'", *words])
        for overwrite in (False, True):
            run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", overwrite=overwrite, quiet=True))
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["[x]", "x"]


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "recipe.yaml", "README.md", "report.html"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_any_work(name: str, finished: Path, tmp_path: Path) -> None:
    place = cut_off(finished, tmp_path) / "base" / name
    place.unlink(missing_ok=True)
    place.mkdir()
    with pytest.raises(RecipeError, match=f"{name}: error: is a folder, where a run writes a file"):
        resume(tmp_path)


@pytest.mark.parametrize("name", ["checkpoints", "model", "checkpoints/checkpoint-4"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_any_work(name: str, finished: Path, tmp_path: Path) -> None:
    place = cut_off(finished, tmp_path) / "base" / name
    shutil.rmtree(place, ignore_errors=True)
    place.write_text("mine")
    with pytest.raises(RecipeError, match=f"{name}: error: is a file, where a run writes a folder"):
        resume(tmp_path)
    assert place.read_text() == "mine"


def test_a_run_directory_that_is_the_whole_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "base").symlink_to("/")
    with pytest.raises(RecipeError, match="the root of the file system"):
        resume(tmp_path)


def test_weights_in_a_pickle_are_not_read_whatever_the_manifest_says(finished: Path, tmp_path: Path) -> None:
    checkpoint = cut_off(finished, tmp_path) / "base" / "checkpoints" / "checkpoint-4"
    (checkpoint / "model.safetensors").rename(checkpoint / "dummy.safetensors")
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (checkpoint / MANIFEST).unlink()
    write_manifest(checkpoint, step=4)
    resumed = resume(tmp_path)
    assert any("checkpoint-4 was passed over: it lacks the weights" in text for text in resumed.facts()["warnings"])
    assert equal_weights(resumed, RunDir(finished / "base"))
