"""Bytes on disk: the arithmetic, what is said about it, and checkpoints as real runs write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hfrecipes import RunOptions, build
from hfrecipes.plan.counts import DataCounts
from hfrecipes.plan.disk import DiskNeed, disk_need, disk_problems, free_bytes
from hfrecipes.plan.footprint import Footprint
from hfrecipes.plan.memory import StateBytes
from hfrecipes.plan.plan import make_plan
from hfrecipes.plan.render import plan_lines
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
MIB = 2**20
WriteRecipe = Callable[..., Recipe]

NEED = DiskNeed(checkpoint_bytes=60 * MIB, model_bytes=20 * MIB, log_bytes=0, written=10, limit=3)


@pytest.fixture
def values(tiny_configs: dict[str, dict], tokenizer_folder: Path, data_file: Path) -> dict:
    config = {name: value for name, value in tiny_configs["llama"].items() if name != "vocab_size"}
    return {
        "kind": "sft",
        "model": {"config": config, "tokenizer": str(tokenizer_folder)},
        "data": {"train": [{"path": data_file.name}]},
        "training": {"learning_rate": 1e-3, "global_batch_size": 4, "max_steps": 2, "save_steps": 2, "max_length": 64},
        "publish": {"card": False},
    }


# Checkpoints at once


@pytest.mark.parametrize(
    ("changes", "checkpoints", "mebibytes"),
    [
        ({}, 4, 240),  # three stay, and the oldest of them until the next is whole
        ({"best": True}, 5, 300),
        ({"limit": None}, 10, 620),  # the model comes on top
        ({"limit": 20}, 10, 620),
        ({"limit": 10}, 10, 620),
        ({"limit": 9}, 10, 600),
        ({"written": 3}, 3, 200),
        ({"written": 0}, 0, 20),
        ({"written": None}, 4, 240),
        ({"written": None, "limit": None}, 1, 80),  # no less than that
    ],
)
def test_checkpoints_at_once(changes: dict[str, Any], checkpoints: int, mebibytes: float) -> None:
    need = replace(NEED, **changes)
    assert (need.checkpoints, need.total) == (checkpoints, mebibytes * MIB)


@pytest.mark.parametrize(
    ("limit", "existing", "checkpoints"),
    [(3, 1, 3), (3, 3, 1), (3, 4, 1), (3, 7, 1), (None, 4, 6), (None, 10, 0), (None, 12, 0)],
)
def test_a_resumed_run_has_some_already(limit: int | None, existing: int, checkpoints: int) -> None:
    need = replace(NEED, limit=limit).resumed(existing)
    assert need.checkpoints == checkpoints
    assert need.total == checkpoints * 60 * MIB + (0 if limit else 20 * MIB)


@pytest.mark.parametrize(
    ("training", "written", "best"),
    [
        ({"save_steps": 3}, 4, False),  # at 3, 6, 9 and 10
        ({"save_steps": 5}, 2, False),
        ({"save_steps": 0.25}, 4, False),  # every ceil(2.5) steps
        ({"save_steps": 50}, 1, False),
        ({}, 1, False),
        ({"save_strategy": "no"}, 0, False),
        ({"save_strategy": "epoch"}, 3, False),
        ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 2}, 5, True),
        ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 0.5}, 2, True),
        ({"save_strategy": "best", "eval_strategy": "epoch"}, 3, True),
        ({"load_best_model_at_end": True, "save_steps": 5}, 2, True),
    ],
)
def test_how_often_a_recipe_saves(
    training: dict[str, Any], written: int, best: bool, values: dict, write_recipe: WriteRecipe
) -> None:
    del values["training"]["save_steps"]
    values["training"] |= {"logging_steps": 1, **training}
    memory = Footprint(StateBytes(0, 0, 0), {}, checkpoint=1000, model=500)
    need = disk_need(write_recipe(values), memory, steps=10, epochs=2.5)
    assert (need.written, need.best, need.limit) == (written, best, None)
    assert need.checkpoint_bytes == 1000 + 10 * 256  # the log grows in it


def test_steps_that_nobody_knows(values: dict, write_recipe: WriteRecipe) -> None:
    memory = Footprint(StateBytes(0, 0, 0), {}, checkpoint=1000, model=500)
    assert disk_need(write_recipe(values), memory, steps=None, epochs=3.0).written is None
    values["training"]["save_steps"] = 0.1
    assert disk_need(write_recipe(values), memory, steps=None, epochs=3.0).written == 10


# What is said


def test_enough_room_is_no_problem(tmp_path: Path) -> None:
    assert disk_problems(NEED, tmp_path, 300 * MIB) == []


def test_a_run_that_cannot_fit_is_an_error_with_a_mend(tmp_path: Path) -> None:
    (problem,) = disk_problems(NEED, tmp_path / "runs" / "mine", 200 * MIB)
    assert problem.severity == "error"
    assert problem.where == str(tmp_path / "runs" / "mine")
    assert "0.23 GiB (4 checkpoints of 60.0 MiB at once)" in problem.message
    assert problem.message.endswith(f"0.20 GiB are free on {tmp_path}")
    assert problem.fix.startswith("say training.save_total_limit: 2; give --runs-dir on another disk")
    assert disk_problems(replace(NEED, limit=2), tmp_path, 200 * MIB) == []  # nine tenths of it


def test_steps_without_number_need_more_than_any_disk(tmp_path: Path) -> None:
    """Each log of a step is a line of the checkpoint."""
    (problem,) = disk_problems(replace(NEED, checkpoint_bytes=10**30), tmp_path, 200 * MIB)
    assert "4.00e+30 bytes" in problem.message and len(problem.message) < 300


def test_little_room_is_a_warning(tmp_path: Path) -> None:
    (problem,) = disk_problems(NEED, tmp_path, 250 * MIB)
    assert problem.severity == "warning"
    assert "save_total_limit: 2" in problem.fix  # leaves a tenth
    assert disk_problems(NEED, tmp_path, 267 * MIB) == []


@pytest.mark.parametrize("limit", [None, 3, 9])
@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("existing", [0, 2])
@pytest.mark.parametrize("free", range(30, 660, 30))
def test_the_limit_that_is_advised_is_the_largest_that_fits(
    limit: int | None, best: bool, existing: int, free: int
) -> None:
    need = replace(NEED, limit=limit, best=best, log_bytes=5 * MIB, existing=existing)
    fits = [n for n in range(1, 11) if replace(need, limit=n).total <= free * MIB]
    if need.total <= free * MIB:
        return
    advised = need.limited_to(free * MIB)
    largest = max(fits, default=None)
    assert (advised and advised.limit) == largest


def test_no_limit_is_advised_where_none_helps(tmp_path: Path) -> None:
    (problem,) = disk_problems(NEED, tmp_path, 70 * MIB)
    assert problem.severity == "error" and "save_total_limit" not in problem.fix
    (problem,) = disk_problems(replace(NEED, written=0), tmp_path, 10 * MIB)
    assert "a model of 20.0 MiB" in problem.message and "save_total_limit" not in problem.fix


def test_free_space_is_that_of_the_disk_the_folder_will_lie_on(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    free = free_bytes(folder)
    assert free > 0
    folder.mkdir(parents=True)
    with (folder / "old.bin").open("wb") as file:
        file.truncate(2**40)  # a sparse file: it takes no room, so only the sum below can see it
    assert free_bytes(folder) < 2**40 + free / 2
    assert free_bytes(folder, replaced=True) >= 2**40


# Against what runs write

_LORA = {"adapter": {"method": "lora", "r": 32}}
_BF16 = {"model": {"dtype": "bfloat16"}}


@pytest.mark.parametrize(
    ("family", "optim", "changes"),
    [
        ("llama", "adamw_torch", {}),
        ("tied_llama", "adamw_torch", {}),
        ("mixtral", "adamw_torch", {}),
        ("llama", "adamw_bnb_8bit", {}),
        ("llama", "adafactor", {}),
        ("qwen3", "sgd", {}),
        ("llama", "adamw_torch", _BF16),
        ("llama", "adamw_torch", _LORA),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_a_checkpoint_is_as_large_as_planned(
    family: str,
    optim: str,
    changes: dict,
    values: dict,
    tiny_configs: dict[str, dict],
    write_recipe: WriteRecipe,
    tmp_path: Path,
) -> None:
    # Wide enough that weights outweigh the tokenizer and the small files.
    config = {**tiny_configs[family], "hidden_size": 256, "intermediate_size": 512}
    values["model"] |= {"config": {key: value for key, value in config.items() if key != "vocab_size"}}
    values["model"] |= changes.get("model", {})
    values |= {key: value for key, value in changes.items() if key != "model"}
    values["training"] |= {"optim": optim}
    session = build(write_recipe(values), options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))
    trainer = session.trainer
    trainer.train()
    trainer.save_final(session.run.model)
    counts = DataCounts.from_facts(session.prepared.facts, len(trainer.train_dataset), len(session.tokenizer))
    plan = make_plan(session.recipe, session.hardware, 1, counts, trainer.model.config)
    (checkpoint,) = session.run.checkpoints.glob("checkpoint-*")
    # The states of adafactor are rows and columns of each matrix, which are not counted: 1 % of the weights here.
    assert plan.disk.checkpoint_bytes == pytest.approx(_size(checkpoint), rel=0.03)
    assert plan.disk.model_bytes == pytest.approx(_size(session.run.model), rel=0.04)
    assert plan.disk.total >= _size(session.run.path)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_plan_shows_the_disk(values: dict, write_recipe: WriteRecipe) -> None:
    values["training"] |= {"max_steps": 10, "save_steps": 2, "save_total_limit": 2}
    plan = make_plan(write_recipe(values), CPU)
    assert (plan.checkpoints, plan.disk.checkpoints) == (2, 3)
    assert plan.to_dict()["disk_bytes"] == round(plan.disk.total)
    words = dict(plan_lines(plan))["Disk"]
    assert "2 kept while the next is written" in words and "MiB at most" in words
    values["training"] |= {"save_strategy": "no"}
    assert "no checkpoints" in dict(plan_lines(make_plan(write_recipe(values), CPU)))["Disk"]


def test_a_model_that_is_not_known_gives_no_figure(values: dict, write_recipe: WriteRecipe) -> None:
    values["model"] = {"name_or_path": "someone/a-model-that-is-not-cached", "model_type": "qwen3"}
    plan = make_plan(write_recipe(values), CPU)
    assert plan.disk is plan.checkpoint_bytes is plan.checkpoints is None
    assert plan.to_dict()["disk_bytes"] is None
    assert dict(plan_lines(plan))["Disk"].startswith("unknown")
