"""One of several processes that `accelerate launch` starts, which runs recipes one after the other and notes what is read.

    accelerate launch --multi_gpu --num_processes 4 mixture_worker.py SCENES.json

Each scene says the recipe, the name of the run, the number of processes (the first so many of those launched), whether it is
resumed, and before which step all of them are killed. A scene is run in a fork, so that the libraries are imported once. Every
micro-batch that reaches the model is noted in `reads-SCENE-RANK.jsonl`: its step, the number of processes, a hash of its tokens
that carry loss.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.stages import session  # noqa: F401 - imported before the forks
from hfrecipes.trainers.guarded import GuardedTrainer
from hfrecipes.trainers.mixin import RecipeTrainerMixin

PATIENCE = 240.0


def hash_of(ids: list[int]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


def note_what_is_read(file: Path, world_size: int, kill_at: int | None) -> None:
    def training_step(self: Any, model: Any, inputs: dict[str, torch.Tensor], *rest: Any) -> torch.Tensor:
        if self.state.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        there = dist.get_world_size() if dist.is_initialized() else 1
        assert there == world_size == self.args.world_size
        # Tokens that carry loss: rows are padded, each collator in its own way. Of answers all tokens.
        mask = inputs["labels"] != -100 if "labels" in inputs else inputs["attention_mask"].bool()
        ids = inputs["labels" if "labels" in inputs else "input_ids"][mask].tolist()
        with file.open("a") as lines:
            note = {"step": self.state.global_step, "world_size": there, "ids": hash_of(ids)}
            lines.write(json.dumps(note) + "\n")
        return GuardedTrainer.training_step(self, model, inputs, *rest)

    RecipeTrainerMixin.training_step = training_step


def play(number: int, scene: dict[str, Any], rank: int) -> None:
    os.environ["MASTER_PORT"] = str(scene["port"])
    # The launcher's own store keeps the addresses of processes that are gone.
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ[name] = str(scene["world_size"])
    note_what_is_read(Path(f"reads-{number}-{rank}.jsonl"), scene["world_size"], scene.get("kill_at"))
    recipe = load_recipe(scene["recipe"], [f"name={scene['name']}", *scene.get("overrides", [])])
    run(recipe, options=RunOptions(quiet=True, resume=scene.get("resume", False)))


def main() -> None:
    rank = int(os.environ["RANK"])
    for number, scene in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        wait_for(range(number))
        if rank == 0 and scene.get("copy_of"):
            shutil.copytree(Path("runs", scene["copy_of"]), Path("runs", scene["name"]))
        if rank < scene["world_size"]:
            child = os.fork()
            if child == 0:
                try:
                    play(number, scene, rank)
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            _, status = os.waitpid(child, 0)
            Path(f"ended-{number}-{rank}").write_text(str(status))
        wait_for([number])


def wait_for(numbers: Any) -> None:
    """Until all processes of these scenes have ended."""
    scenes = json.loads(Path(sys.argv[1]).read_text())
    needed = [Path(f"ended-{number}-{rank}") for number in numbers for rank in range(scenes[number]["world_size"])]
    deadline = time.monotonic() + PATIENCE
    while not all(file.exists() for file in needed):
        assert time.monotonic() < deadline, f"waited in vain for {needed}"
        time.sleep(0.02)


if __name__ == "__main__":
    main()
