"""`hfrecipes run`: the whole flow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EPILOG = """\
examples:
  hfrecipes run tour/base                                     a shipped recipe, in one process
  hfrecipes run my.yaml training.learning_rate=1e-4 name=lr4  keys set from here; see the run in runs/lr4/
  hfrecipes run my.yaml --smoke                               the same made tiny: does everything fit together?
  hfrecipes run my.yaml --launcher fsdp2 --num-processes 8    prints and runs the accelerate launch line
  hfrecipes run my.yaml --resume                              goes on from the newest valid checkpoint"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    help = "check, plan, train, measure a recipe; write its card and report"
    parser = subparsers.add_parser("run", help=help, description=help, epilog=EPILOG, formatter_class=formatter)
    add_run_arguments(parser)
    launching = parser.add_argument_group("launching")
    launching.add_argument(
        "--launcher", metavar="NAME", help="cpu, ddp, fsdp2, zero2, zero3, multi-node, or an accelerate file"
    )
    launching.add_argument("--num-processes", type=int, metavar="N", help="processes in all, for --launcher")
    parser.set_defaults(command=run)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What `hfrecipes run` and `python -m hfrecipes` share."""
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="any key of the recipe: training.max_steps=10"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="a tiny random model, embedded rows, two steps, CPU, no network"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest valid checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run of that name")
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept (default: runs)"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors and the result")


def run(args: argparse.Namespace) -> int:
    from hfrecipes.recipe.problem import Problem, RecipeError

    if args.num_processes is not None and (args.launcher is None or args.num_processes < 1):
        fault = "needs a launcher" if args.launcher is None else "is at least 1"
        raise RecipeError(Problem("--num-processes", fault, "say --launcher ddp --num-processes 8"))
    if args.launcher:
        from hfrecipes.stages.launch import launch

        return launch(args.launcher, args.num_processes, args)
    return run_here(args)


def run_here(args: argparse.Namespace) -> int:
    """Runs in this process; the result goes to stdout."""
    from hfrecipes.recipe.problem import Problem, RecipeError

    if args.resume and args.overwrite:
        raise RecipeError(
            Problem("--resume --overwrite", "contradict each other", "go on with the run, or begin it anew")
        )
    from hfrecipes.stages.options import RunOptions
    from hfrecipes.stages.processes import Processes, leave_group
    from hfrecipes.stages.run import run

    options = RunOptions(
        runs_dir=args.runs_dir, smoke=args.smoke, resume=args.resume, overwrite=args.overwrite, quiet=args.quiet
    )
    try:
        folder = run(args.recipe, args.overrides, options)
    except FloatingPointError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    leave_group()
    if Processes.here().is_main:
        from hfrecipes.stages.summary import print_summary

        print_summary(folder)
    return 0
