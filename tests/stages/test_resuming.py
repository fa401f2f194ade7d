"""What `--resume` goes on with, what it refuses, and what it lets be changed on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors.torch import load_file

from hfrecipes import RecipeError, RunDir, RunOptions, load_recipe, run
from hfrecipes.callbacks.folders import list_checkpoints
from hfrecipes.recipe.manifest import MANIFEST, write_manifest
from hfrecipes.stages.changes import Changes, compare_recipes
from hfrecipes.stages.fingerprints import compare_fingerprints, fingerprint
from hfrecipes.stages.opening import claimed
from tests.stages.conftest import write_recipes


def cut_off(finished: Path, folder: Path, keep: int = 4, step: str = "base") -> Path:
    """A copy of a finished run as a kill after checkpoint `keep` would have left it; returns its runs directory."""
    copy = RunDir(folder / "runs" / step)
    shutil.copytree(finished / step, copy.path)
    for checkpoint in list_checkpoints(copy.checkpoints):
        if int(checkpoint.name[11:]) > keep:
            shutil.rmtree(checkpoint)
    shutil.rmtree(copy.model)
    copy.write_facts({**copy.facts(), "status": "running"})
    return copy.path.parent


def resume(folder: Path, *overrides: str, recipe: str = "base.yaml", **options: Any) -> RunDir:
    loaded = load_recipe(write_recipes(folder) / recipe, list(overrides))
    return RunDir(run(loaded, options=RunOptions(runs_dir=folder / "runs", resume=True, quiet=True, **options)))


def equal_weights(first: RunDir, second: RunDir) -> bool:
    ours, theirs = (load_file(each.model / "model.safetensors") for each in (first, second))
    return all(tensor.equal(theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", MANIFEST])
def test_a_checkpoint_that_lost_a_file_is_passed_over(name: str, finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    (runs / "base" / "checkpoints" / "checkpoint-4" / name).unlink()
    resumed = resume(tmp_path)
    assert any("checkpoint-4 was passed over" in warning for warning in resumed.facts()["warnings"])
    assert resumed.facts()["sessions"][-1]["first_step"] == 2
    assert equal_weights(resumed, RunDir(finished / "base"))


def test_where_none_is_whole_the_reasons_are_given_and_nothing_is_removed(finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    for checkpoint in list_checkpoints(runs / "base" / "checkpoints"):
        (checkpoint / "optimizer.pt").write_bytes(b"")
    with pytest.raises(RecipeError) as caught:
        resume(tmp_path)
    assert "checkpoint-4: optimizer.pt has 0 bytes" in str(caught.value)
    assert "checkpoint-2: optimizer.pt has 0 bytes" in str(caught.value)
    assert len(list_checkpoints(runs / "base" / "checkpoints")) == 2


@pytest.mark.parametrize("lost", ["run.json", "recipe.yaml", "metrics.jsonl"])
def test_a_checkpoint_is_enough_to_go_on(lost: str, finished: Path, tmp_path: Path) -> None:
    (cut_off(finished, tmp_path) / "base" / lost).unlink()
    assert equal_weights(resume(tmp_path), RunDir(finished / "base"))


def test_without_facts_the_checkpoint_knows_what_it_belongs_to(finished: Path, tmp_path: Path) -> None:
    (cut_off(finished, tmp_path) / "base" / "run.json").unlink()
    with pytest.raises(RecipeError, match=r"training\.seed was 42, is 7"):
        resume(tmp_path, "training.seed=7")


def test_what_is_harmless_may_change(finished: Path, tmp_path: Path) -> None:
    cut_off(finished, tmp_path)
    words = ["training.per_device_train_batch_size=2", "publish.license=mit", "training.save_steps=3"]
    resumed = resume(tmp_path, *words)
    assert resumed.facts()["recipe"]["publish"] == {"license": "mit"}
    ours, theirs = (load_file(each.model / "model.safetensors") for each in (resumed, RunDir(finished / "base")))
    assert all(tensor.allclose(theirs[name], atol=1e-5) for name, tensor in ours.items())


def test_a_finished_run_is_extended_on_purpose_only(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    with pytest.raises(RecipeError, match=r"training\.max_steps was 6, is 9.*--allow-change training\.max_steps"):
        resume(tmp_path, "training.max_steps=9")
    extended = resume(tmp_path, "training.max_steps=9", allow_change=("training.max_steps",))
    facts = extended.facts()
    assert facts["training"]["steps"] == 9
    assert facts["sessions"][-1]["changes"] == ["training.max_steps was 6, is 9"]
    assert any("planned anew: the learning rate of step 7 is 0.001" in warning for warning in facts["warnings"])
    rates = {line["step"]: line["learning_rate"] for line in extended.metrics() if "learning_rate" in line}
    # Linear to zero over nine steps, from where it would have been zero over six.
    assert [rates[step] for step in (7, 8, 9)] == pytest.approx([3e-3 * left / 9 for left in (3, 2, 1)])


@pytest.mark.parametrize(
    ("overrides", "allowed", "fault"),
    [
        (["training.max_steps=9"], "training.max_step", "training.max_steps was 6, is 9"),
        ([], "training.learning_rate", "training.learning_rate is as it was"),
        (["training.learning_rate=0.1"], "training.learning_rate", "nothing is left to train with the change"),
        (["training.max_steps=4"], "training.max_steps", "nothing is left to train with the change"),
    ],
)
def test_what_is_allowed_must_make_sense(
    overrides: list[str], allowed: str, fault: str, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    before = (tmp_path / "runs" / "base" / "run.json").read_text()
    with pytest.raises(RecipeError) as caught:
        resume(tmp_path, *overrides, allow_change=(allowed,))
    assert fault in str(caught.value)
    assert (tmp_path / "runs" / "base" / "run.json").read_text() == before


def test_data_that_changed_under_the_same_words_is_found(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"The number after {n} is {n + 1}, and its square is {n * n}."}) for n in range(80)]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(lines))
    write_recipes(tmp_path)
    text = (
        (tmp_path / "base.yaml")
        .read_text()
        .replace("{name: python_prose, split: train, limit: 30}", "{path: rows.jsonl}")
    )
    text = text.replace("  eval: [{name: python_prose, split: validation, limit: 6}]\n", "")
    (tmp_path / "own.yaml").write_text(
        text.replace("max_steps: 6", "max_steps: 4").replace("context_length: 512", "context_length: 64")
    )
    first = RunDir(run(load_recipe(tmp_path / "own.yaml"), options=RunOptions(runs_dir=tmp_path / "runs", quiet=True)))
    shutil.rmtree(first.checkpoints / "checkpoint-4")
    shutil.rmtree(first.model)
    first.write_facts({**first.facts(), "status": "running"})
    data.write_text("\n".join(reversed(lines)))
    options = RunOptions(runs_dir=tmp_path / "runs", resume=True, quiet=True)
    with pytest.raises(RecipeError, match=r"the data has changed .*--allow-change data"):
        run(load_recipe(tmp_path / "own.yaml"), options=options)
    allowed = RunOptions(runs_dir=tmp_path / "runs", resume=True, quiet=True, allow_change=("data",))
    # Other words make another tokenizer, whose ids the checkpoint has never seen.
    data.write_text("\n".join([*lines[:60], *[json.dumps({"text": "Zebras zigzag, whatever zebras are."})] * 20]))
    keep = rf"keep the one it has learnt: model\.tokenizer={first.checkpoints}/checkpoint-2"
    with pytest.raises(RecipeError, match=keep):
        run(load_recipe(tmp_path / "own.yaml"), options=allowed)
    data.write_text("\n".join(reversed(lines)))
    resumed = RunDir(run(load_recipe(tmp_path / "own.yaml"), options=allowed))
    assert any("the data has changed" in warning for warning in resumed.facts()["warnings"])


def test_an_adapter_does_not_go_on_upon_another_base(finished: Path, tmp_path: Path) -> None:
    bases = [tmp_path / name for name in ("base-model", "other-model")]
    for base in bases:
        shutil.copytree(finished / "base" / "model", base)
    words = [f"model.name_or_path={bases[0]}"]
    loaded = load_recipe(write_recipes(tmp_path) / "tuned.yaml", words)
    first = RunDir(run(loaded, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True)))
    shutil.rmtree(first.checkpoints / "checkpoint-4")
    shutil.rmtree(first.model)
    first.write_facts({**first.facts(), "status": "running"})
    weights = bases[0] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    write_manifest(bases[0])
    with pytest.raises(RecipeError, match=r"the model that the adapter stands on has changed .*--allow-change model"):
        resume(tmp_path, *words, recipe="tuned.yaml")


def test_two_processes_do_not_write_one_run(finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    with FileLock(runs / ".base.lock"), pytest.raises(RecipeError, match="another process is at work on this run"):
        resume(tmp_path)
    with claimed(RunDir(runs / "base")):
        pass
    assert not (runs / ".base.lock").exists()


def test_a_pipeline_goes_on_in_the_step_that_was_cut(tmp_path: Path) -> None:
    write_recipes(tmp_path)
    tuned_step = '{name: tuned, recipe: tuned.yaml, with: {model.name_or_path: "${steps.base.model}"}}'
    steps = f"[{{name: base, recipe: base.yaml}}, {tuned_step}]"
    (tmp_path / "two.yaml").write_text(f"kind: pipeline\nsteps: {steps}\n")
    options = RunOptions(runs_dir=tmp_path / "runs", quiet=True)
    folder = run(load_recipe(tmp_path / "two.yaml", ["name=two"]), options=options)
    base, tuned, pipeline = RunDir(folder / "base"), RunDir(folder / "tuned"), RunDir(folder)
    whole = load_file(tuned.model / "adapter_model.safetensors")
    shutil.rmtree(tuned.model)
    shutil.rmtree(tuned.checkpoints / "checkpoint-4")
    tuned.write_facts({**tuned.facts(), "status": "running"})
    pipeline.write_facts({**pipeline.facts(), "status": "running", "steps": pipeline.facts()["steps"][:-1]})
    before = base.facts_file.stat().st_mtime_ns
    run(load_recipe(tmp_path / "two.yaml", ["name=two"]), options=options)
    assert pipeline.facts()["status"] == "complete"
    assert base.facts_file.stat().st_mtime_ns == before
    assert tuned.facts()["sessions"][-1]["first_step"] == 2
    again = load_file(tuned.model / "adapter_model.safetensors")
    assert all(tensor.equal(again[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("key", "harmless"),
    [
        ("training.logging_steps", True),
        ("training.dataloader_num_workers", True),
        ("training.save_total_limit", True),
        ("evaluation", True),
        ("training.learning_rate", False),
        ("training.eval_steps", False),
        ("model.config.hidden_size", False),
        ("adapter.r", False),
    ],
)
def test_which_words_may_change(key: str, harmless: bool, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipes(tmp_path) / "base.yaml")
    section = key.partition(".")[0]
    before = json.loads(json.dumps(recipe.values))
    target = before
    parts = key.split(".")
    for part in parts[:-1]:
        target = target.setdefault(part, {})
    target[parts[-1]] = 12345
    if harmless:
        assert not compare_recipes(before, recipe, (), tmp_path).accepted
        return
    with pytest.raises(RecipeError, match=key.replace(".", r"\.")):
        compare_recipes(before, recipe, (), tmp_path)
    allowed = compare_recipes(before, recipe, (section,), tmp_path)
    assert len(allowed.accepted) == 1


def test_a_changed_schedule_does_not_excuse_changed_data(tmp_path: Path) -> None:
    changes = Changes(("training.max_steps was 6, is 9",))
    allowed = ("training.max_steps",)
    before, now = {"data": "a", "schedule": {"x": 1}}, {"data": "b", "schedule": {"x": 2}}
    with pytest.raises(RecipeError, match="the data has changed"):
        compare_fingerprints(before, now, changes, allowed, tmp_path)
    longer = Changes(("training.max_length was 6, is 9",))
    assert compare_fingerprints({"data": "a"}, {"data": "b"}, longer, ("training.max_length",), tmp_path)


def test_other_rewards_under_the_same_words_make_another_run(tmp_path: Path) -> None:
    """The file of a function was changed, or the reward model that it names was trained anew."""
    model = tmp_path / "reward"
    model.mkdir()
    recipe = "kind: ppo\nmodel: {name_or_path: base}\nrewards: [{function: 'mine:f'}, {model: reward}]\n"
    (tmp_path / "r.yaml").write_text(f"{recipe}data: {{train: [{{path: rows.jsonl}}]}}\ntraining: {{max_steps: 2}}\n")
    seen = []
    for function, weights in (("f = len", "a"), ("f = len", "a"), ("f = max", "a"), ("f = len", "b")):
        (tmp_path / "mine.py").write_text(function)
        (model / "model.safetensors").write_text(weights)
        seen.append(fingerprint(load_recipe(tmp_path / "r.yaml"), "rows"))
    assert seen[0] == seen[1] and [each["rewards"] == seen[0]["rewards"] for each in seen] == [True, True, False, False]
    with pytest.raises(RecipeError, match=r"what scores answers has changed .*--allow-change rewards"):
        compare_fingerprints(seen[0], seen[2], Changes(), (), tmp_path)
    assert compare_fingerprints(seen[0], seen[2], Changes(), ("rewards",), tmp_path)


@pytest.mark.parametrize("words", [(), ("training.save_strategy=no",)])
def test_a_trained_run_is_only_measured(words: tuple[str, ...], finished: Path, tmp_path: Path) -> None:
    """Also where it saved nothing on its way, and the model is all there is."""
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    run_dir = RunDir(tmp_path / "runs" / "base")
    facts = run_dir.facts()
    evaluations = facts.pop("evaluations")
    run_dir.write_facts({**facts, "status": "interrupted", "error": "InterruptedRunError: SIGTERM"})
    if words:
        shutil.rmtree(run_dir.checkpoints)
    before = (run_dir.model / "model.safetensors").stat().st_mtime_ns
    (run_dir.path / ".run.json.1.part").write_text("{")
    resumed = resume(tmp_path, *words)
    assert not (run_dir.path / ".run.json.1.part").exists()
    assert resumed.facts()["status"] == "complete"
    assert "error" not in resumed.facts()
    assert resumed.facts()["evaluations"] == evaluations
    assert resumed.facts()["training"] == facts["training"]
    assert (run_dir.model / "model.safetensors").stat().st_mtime_ns == before


def test_an_extension_that_was_cut_off_before_it_saved_is_given_again(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    words, allowed = "training.max_steps=9", ("training.max_steps",)
    whole = resume(tmp_path, words, allow_change=allowed)
    kept = load_file(whole.model / "model.safetensors")
    for folder in (whole.model, whole.checkpoints / "checkpoint-8", whole.checkpoints / "checkpoint-9"):
        shutil.rmtree(folder)
    whole.write_facts({**whole.facts(), "status": "running"})
    again = resume(tmp_path, words, allow_change=allowed)
    assert again.facts()["sessions"][-1]["first_step"] == 6
    assert all(tensor.equal(kept[name]) for name, tensor in load_file(again.model / "model.safetensors").items())
    # And once more where all is done: the line of a script that is started again and again.
    assert resume(tmp_path, words, allow_change=allowed).facts() == again.facts()


@pytest.mark.parametrize("lost", ["manifests", "folder"])
def test_what_was_trained_is_not_begun_anew_unasked(lost: str, finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    checkpoints = runs / "base" / "checkpoints"
    if lost == "folder":
        shutil.rmtree(checkpoints)
    else:
        for manifest in checkpoints.glob("*/manifest.json"):
            manifest.unlink()
    before = (runs / "base" / "metrics.jsonl").read_text()
    with pytest.raises(RecipeError, match=r"cannot be resumed|shows 6 steps"):
        resume(tmp_path)
    assert (runs / "base" / "metrics.jsonl").read_text() == before


def test_a_lost_log_is_written_again_from_the_checkpoint(finished: Path, tmp_path: Path) -> None:
    (cut_off(finished, tmp_path) / "base" / "metrics.jsonl").unlink()
    losses = [line["loss"] for line in RunDir(finished / "base").metrics() if "loss" in line]
    assert [line["loss"] for line in resume(tmp_path).metrics() if "loss" in line] == losses


def test_one_allowance_does_not_excuse_other_data(tmp_path: Path) -> None:
    changes = Changes(("training.eval_steps was 2, is 3",))
    with pytest.raises(RecipeError, match="the data has changed"):
        compare_fingerprints({"data": "a"}, {"data": "b"}, changes, ("training.eval_steps",), tmp_path)


def test_links_to_one_folder_are_one_run(finished: Path, tmp_path: Path) -> None:
    runs = cut_off(finished, tmp_path)
    (runs / "link").symlink_to(runs / "base")
    with claimed(RunDir(runs / "base")), pytest.raises(RecipeError, match="another process is at work"):
        resume(tmp_path, "name=link")


def test_a_damaged_model_of_a_finished_run_is_saved_again(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "base", tmp_path / "runs" / "base")
    weights = tmp_path / "runs" / "base" / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    resumed = resume(tmp_path)
    assert weights.read_bytes() == content
    assert resumed.facts()["training"] == RunDir(finished / "base").facts()["training"]
