"""The worker: `accelerate launch -m hfrecipes RECIPE [key=value ...]` in every process of a run.

`python -m hfrecipes VERB ...` is the command line.
"""

from __future__ import annotations

import argparse
import sys

from hfrecipes.cli import main as command_line


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] in (*command_line.VERBS, "-h", "--help", "--version"):
        return command_line.main()
    return work()


def work() -> int:
    """Runs the recipe in this process, one of as many as the launcher was asked for."""
    from hfrecipes.cli.run import add_run_arguments, run_here
    from hfrecipes.stages.processes import Processes, refuse_fewer_processes

    parser = argparse.ArgumentParser("accelerate launch -m hfrecipes")
    add_run_arguments(parser)
    args, rest = parser.parse_known_args()
    command_line.take_overrides(parser, args, rest)

    def run() -> int:
        refuse_fewer_processes(Processes.here())
        return run_here(args)

    return command_line.exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
