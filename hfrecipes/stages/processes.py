"""The processes of a run: how many there are, which one this is, and whether that is what was asked for."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all of the run, as the launcher's environment says."""

    rank: int
    local_rank: int
    world_size: int

    @classmethod
    def here(cls) -> Processes:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
        rank, local_rank, world_size = (
            int(os.environ.get(name, default)) for name, default in zip(names, (0, 0, 1), strict=True)
        )
        return cls(rank, local_rank, world_size)

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def refuse_fewer_processes(processes: Processes, launcher: Sequence[str] | None = None) -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process without a word; that is no run of two.

    Args:
        processes: What was started.
        launcher: The command line of the parent process; found by itself when None.

    Raises:
        RecipeError: where the launcher was asked for another number of processes than there are.
    """
    command = _parent_command() if launcher is None else list(launcher)
    asked = _asked(command)
    if asked is None or asked == processes.world_size:
        return
    fault = f"{asked} processes were asked for, {processes.world_size} started"
    fix = "accelerate starts one process under --cpu: say --multi_gpu --num_processes N, which gives N gloo processes on a CPU"
    raise RecipeError(Problem("accelerate launch", fault, fix))


def leave_group(status: int = 0) -> None:
    """Ends a process that is not the main one, and takes the main one out of the group of all.

    In some of twenty runs a gloo process that ends in the usual way aborts in a thread of its own, before or after it has
    left the group ("terminate called without an active exception"), whereupon the launcher stops the main process, too.

    Args:
        status: With which the process ends, if it does.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return
    if not Processes.here().is_main:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
    dist.destroy_process_group()


def refuse_other_precision(recipe: Recipe) -> None:
    """A launcher's mixed precision wins over the recipe's in accelerate, silently.

    Raises:
        RecipeError: where the launcher asks for a precision that the resolved recipe does not have.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    ours = "bf16" if recipe.get("training.bf16") else "fp16" if recipe.get("training.fp16") else "no"
    if launched in ("no", ours):
        return
    fix = f"say training.{launched}=true in the recipe, or mixed_precision: 'no' in the launcher's file"
    fault = f"the launcher asks for {launched}, the recipe resolves to {'fp32' if ours == 'no' else ours}"
    raise RecipeError(Problem("ACCELERATE_MIXED_PRECISION", fault, fix))


def _parent_command() -> list[str]:
    try:
        return psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError):
        return []


def _asked(command: list[str]) -> int | None:
    if not any("accelerate" in part for part in command[:4]) or "launch" not in command:
        return None
    text = "\0".join(command)
    match = re.search(r"\0--num[_-]processes[\0=](\d+)", text)
    return int(match[1]) if match else None
