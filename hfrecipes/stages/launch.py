"""Starting a run on several processes the ecosystem's way: `accelerate launch` with a file from `recipes/launchers/`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from hfrecipes.callbacks.signals import StopRequest, catch_signals
from hfrecipes.recipe.folds import expand_folds, wants_folds
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.shipped import shipped_launchers
from hfrecipes.recipe.stops import InterruptedRunError
from hfrecipes.recipe.validate import nearest
from hfrecipes.recipe.yaml_reader import read_yaml
from hfrecipes.stages.launcher_process import LauncherProcess

# What torch's elastic agent has to be told where a scheduler signals it, too: not to kill workers that are still saving (it does
# after 30 seconds, and torch before 2.12 cannot be told), and to pass on SIGUSR1 instead of dying of it.
AGENT = {
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "3600",
    "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
}


def launch(name: str, num_processes: int | None, args: argparse.Namespace) -> int:
    """Prepares the data once, prints the launch line, and runs it.

    Args:
        name: A shipped launcher, or an accelerate configuration file.
        num_processes: Processes in all. Where None: as a file for several machines says; else this machine's GPUs, or two on
            a CPU.
        args: The arguments of `hfrecipes run`.

    Returns:
        The exit status of `accelerate launch`, which is 1 for whatever status its workers end with.

    Raises:
        InterruptedRunError: where a signal asked the run to end, and it did.
    """
    file = find_launcher(name)
    with catch_signals() as stop:
        count = num_processes or _default_count(file)
        recipe = load_recipe(args.recipe, args.overrides)
        if not args.smoke:
            # Collective time-outs begin to run with the processes, so nothing slow may be left to them.
            for each in _trainings(recipe):
                prepare_data(each)
        run = RunDir(args.runs_dir / (f"{recipe.name}-smoke" if args.smoke else recipe.name))
        before = _facts(run)
        status = _start(launch_command(file, count, args), stop)
    after = _facts(run)
    ended = after.get("status") if after != before else None
    if ended == "interrupted" or (status != 0 and stop.signal is not None and ended != "failed"):
        _, _, reason = str(after.get("error", "")).partition(": ")
        raise InterruptedRunError(reason if ended and reason else "a signal ended the processes; go on with --resume")
    return status


def launch_command(launcher: Path, num_processes: int | None, args: argparse.Namespace) -> list[str]:
    """The exact line that anyone could have typed."""
    command = ["accelerate", "launch", "--config_file", str(launcher)]
    command += ["--num_processes", str(num_processes)] if num_processes else []
    command += ["-m", "hfrecipes", args.recipe, *args.overrides, "--runs-dir", str(args.runs_dir)]
    command += [f"--{flag}" for flag in ("smoke", "resume", "overwrite", "quiet") if getattr(args, flag)]
    return command + [word for key in args.allow_change for word in ("--allow-change", key)]


def find_launcher(name: str) -> Path:
    """The file of a launcher.

    Raises:
        RecipeError: where there is neither such a file nor a shipped launcher of that name, and for a file that is no
            configuration of accelerate.
    """
    shipped = shipped_launchers()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        _refuse_other_files(Path(name))
        return Path(name)
    guess = nearest(name, shipped)
    fix = f"did you mean {guess}?" if guess else f"shipped: {', '.join(shipped)}"
    raise RecipeError(Problem(f"--launcher {name}", "is neither a file nor a shipped launcher", fix))


def prepare_data(recipe: Recipe) -> None:
    """Trains the tokenizer and prepares the rows, so that the processes find both in the cache."""
    from hfrecipes.data.prepare import prepare
    from hfrecipes.models.recipe_tokenizer import obtain_tokenizer

    prepare(recipe, obtain_tokenizer(recipe)[0])


def _trainings(recipe: Recipe) -> list[Recipe]:
    """The trainings whose rows can be prepared before any of them runs."""
    if recipe.kind == "pipeline":
        return []  # the rows of a step may depend on the model of an earlier one
    return [step.recipe for step in expand_folds(recipe)] if wants_folds(recipe) else [recipe]


def _refuse_other_files(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    fix = "hfrecipes show launchers/ddp prints one to start from"
    values, _ = read_yaml(path)
    if not isinstance(values, dict) or not isinstance(values.get("num_machines", 1), int):
        fault = (
            "is not an accelerate configuration: no keys"
            if not isinstance(values, dict)
            else "num_machines is no number"
        )
        raise RecipeError(Problem(str(path), fault, fix))
    try:
        load_config_from_file(str(path))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RecipeError(Problem(str(path), f"is not an accelerate configuration: {reason}", fix)) from error


def _default_count(launcher: Path) -> int | None:
    values, _ = read_yaml(launcher)
    if values.get("num_machines", 1) > 1:
        return None
    hardware = detect_hardware()
    return hardware.count if hardware.device == "cuda" else 2


def _start(command: list[str], stop: StopRequest) -> int:
    settings = {name: value for name, value in AGENT.items() if name not in os.environ}
    typed = [*(f"{name}={value}" for name, value in settings.items()), shlex.join(command)]
    print(" ".join(typed), file=sys.stderr, flush=True)
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli"]
    return LauncherProcess([*accelerate, *command[1:]], settings).run(stop)


def _facts(run: RunDir) -> dict[str, Any]:
    with contextlib.suppress(RecipeError):
        return run.facts()
    return {}
