"""Starting a run on several processes the ecosystem's way: `accelerate launch` with a file from `recipes/launchers/`."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.shipped import shipped_launchers
from hfrecipes.recipe.validate import nearest
from hfrecipes.recipe.yaml_reader import read_yaml


def launch(name: str, num_processes: int | None, args: argparse.Namespace) -> int:
    """Prepares the data once, prints the launch line, and runs it.

    Args:
        name: A shipped launcher, or an accelerate configuration file.
        num_processes: Processes in all. Where None: as a file for several machines says; else this machine's GPUs, or two on
            a CPU.
        args: The arguments of `hfrecipes run`.

    Returns:
        The exit status of `accelerate launch`.
    """
    file = find_launcher(name)
    count = num_processes or _default_count(file)
    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.kind != "pipeline" and not args.smoke:
        # Collective time-outs begin to run with the processes, so nothing slow may be left to them.
        prepare_data(recipe)
    command = launch_command(file, count, args)
    print(shlex.join(command), file=sys.stderr, flush=True)
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", *command[1:]], check=False
    ).returncode


def launch_command(launcher: Path, num_processes: int | None, args: argparse.Namespace) -> list[str]:
    """The exact line that anyone could have typed."""
    command = ["accelerate", "launch", "--config_file", str(launcher)]
    command += ["--num_processes", str(num_processes)] if num_processes else []
    command += ["-m", "hfrecipes", args.recipe, *args.overrides, "--runs-dir", str(args.runs_dir)]
    return command + [f"--{flag}" for flag in ("smoke", "resume", "overwrite", "quiet") if getattr(args, flag)]


def find_launcher(name: str) -> Path:
    """The file of a launcher.

    Raises:
        RecipeError: where there is neither such a file nor a shipped launcher of that name.
    """
    shipped = shipped_launchers()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    guess = nearest(name, shipped)
    fix = f"did you mean {guess}?" if guess else f"shipped: {', '.join(shipped)}"
    raise RecipeError(Problem(f"--launcher {name}", "is neither a file nor a shipped launcher", fix))


def prepare_data(recipe: Recipe) -> None:
    """Trains the tokenizer and prepares the rows, so that the processes find both in the cache."""
    from hfrecipes.data.prepare import prepare
    from hfrecipes.models.recipe_tokenizer import obtain_tokenizer

    prepare(recipe, obtain_tokenizer(recipe)[0])


def _default_count(launcher: Path) -> int | None:
    values, _ = read_yaml(launcher)
    if values.get("num_machines", 1) > 1:
        return None
    hardware = detect_hardware()
    return hardware.count if hardware.device == "cuda" else 2
