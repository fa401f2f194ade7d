"""The `hfrecipes` command: one small file per verb; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.stops import RunStoppedError

# In the order in which a person meets them. Each module has `add_parser(subparsers)`.
VERBS = (
    "ls",
    "show",
    "port",
    "check",
    "plan",
    "run",
    "report",
    "card",
    "publish",
    "chat",
    "merge",
    "export-mtp",
    "data",
    "schema",
    "doctor",
)

DESCRIPTION = """\
A recipe is a file. hfrecipes checks it, says what it will cost, trains it on the stock Hugging Face stack,
measures it, and publishes it with a card in which every number came out of the run."""
EPILOG = """\
first steps:
  hfrecipes ls                                   the shipped recipes
  hfrecipes run tour/first --smoke               one of them made tiny: seconds on a CPU, no network
  hfrecipes show sft/qwen3-0.6b-lora > my.yaml   one to start from, with its comments
  hfrecipes check my.yaml                        every problem at once, before anything is loaded
  hfrecipes plan my.yaml                         parameters, memory, FLOPs, hours, and what the model will see
  hfrecipes run my.yaml training.max_steps=100   the whole flow; any key can be set like this"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line without repeating a secret that stands in it; so do the verbs' parsers."""

    def error(self, message: str) -> NoReturn:
        from hfrecipes.recipe.secrets import redact

        super().error(redact(message))


def build_parser() -> argparse.ArgumentParser:
    """The parser with all its verbs."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser("hfrecipes", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs (hfrecipes VERB --help tells more)")
    for verb in VERBS:
        importlib.import_module(f"hfrecipes.cli.{verb.replace('-', '_')}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Returns:
        0, or 1 for a failure while running, 2 for a recipe or a command line that cannot be run, 75 for a run that a signal
        ended and `--resume` goes on with, 130 for Ctrl-C anywhere else.
    """
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    take_overrides(parser, args, rest)
    if args.version:
        from importlib.metadata import version

        print(f"hfrecipes {version('hfrecipes')}")
        return 0
    if args.verb is None:
        parser.print_help()
        return 0
    return exit_status(lambda: args.command(args))


def exit_status(command: Callable[[], int]) -> int:
    """The status with which a process ends that does this; what went wrong is told on stderr, by one process of a run."""
    try:
        return command()
    except RecipeError as error:
        _tell(str(error))
        return 2
    except RunStoppedError as error:
        _tell(f"stopped: {error}")
        return error.exit_status
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()
            return 0
        _print(f"hfrecipes: {error}")
        return 1
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130


def _tell(text: str) -> None:
    from hfrecipes.stages.processes import Processes

    if Processes.here().is_main:
        _print(text)


def _print(text: str) -> None:
    from hfrecipes.recipe.secrets import redact
    from hfrecipes.recipe.visible import visible

    print(visible(redact(text)), file=sys.stderr)


def take_overrides(parser: argparse.ArgumentParser, args: argparse.Namespace, rest: list[str]) -> None:
    """Overrides may stand behind options too, where argparse no longer expects them."""
    overrides = [text for text in rest if "=" in text and not text.startswith("-")]
    unknown = [text for text in rest if text not in overrides]
    if unknown or (overrides and not hasattr(args, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(unknown or overrides)}")
    if overrides:
        args.overrides = [*args.overrides, *overrides]


if __name__ == "__main__":
    sys.exit(main())
