"""`hfrecipes run`: the whole flow."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  hfrecipes run tour/base                                     a shipped recipe, in one process
  hfrecipes run my.yaml training.learning_rate=1e-4 name=lr4  keys set from here; see the run in runs/lr4/
  hfrecipes run my.yaml --smoke                               the same made tiny: does everything fit together?
  hfrecipes run my.yaml --launcher fsdp2 --num-processes 8    prints and runs the accelerate launch line
  hfrecipes run my.yaml --resume                              goes on where it stopped; begins where nothing is yet

SIGTERM, SIGUSR1, SIGHUP and Ctrl-C finish the step, save and end the run; a second one kills it.

exit status:
  0        the run is complete
  1        it failed; what it saved before is whole
  2        the recipe or the command line cannot be run
  75       a signal asked it to end: the same line with --resume goes on
  130      Ctrl-C before anything had begun; 128 + n: killed by signal n (143: SIGTERM)"""


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
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the newest valid checkpoint; begins where there is none yet",
    )
    parser.add_argument(
        "--allow-change",
        action="append",
        default=[],
        metavar="KEY",
        help="go on with a recipe whose KEY was changed on purpose: --resume --allow-change training.max_steps",
    )
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

        refuse_contradictions(args)
        return launch(args.launcher, args.num_processes, args)
    return run_here(args)


def run_here(args: argparse.Namespace) -> int:
    """Runs in this process; the result goes to stdout."""
    refuse_contradictions(args)
    from hfrecipes.callbacks.signals import catch_signals
    from hfrecipes.recipe.stops import InterruptedRunError
    from hfrecipes.stages.options import RunOptions
    from hfrecipes.stages.processes import Processes, leave_group

    options = RunOptions(
        runs_dir=args.runs_dir,
        smoke=args.smoke,
        resume=args.resume,
        overwrite=args.overwrite,
        quiet=args.quiet,
        allow_change=tuple(args.allow_change),
    )
    try:
        with catch_signals():
            from hfrecipes.stages.run import run

            folder = run(args.recipe, args.overrides, options)
    except InterruptedRunError as interruption:
        leave_group(interruption.exit_status)
        raise
    leave_group()
    if Processes.here().is_main:
        from hfrecipes.stages.summary import print_summary

        print_summary(folder)
    return 0


def refuse_contradictions(args: argparse.Namespace) -> None:
    """Options that cannot stand together.

    Raises:
        RecipeError: naming them.
    """
    from hfrecipes.recipe.problem import Problem, RecipeError

    if args.resume and args.overwrite:
        fault = "contradict each other"
        raise RecipeError(Problem("--resume --overwrite", fault, "go on with the run, or begin it anew"))
    if args.allow_change and not args.resume:
        fault = "is for a run that goes on"
        raise RecipeError(Problem(f"--allow-change {args.allow_change[0]}", fault, "say --resume too"))
