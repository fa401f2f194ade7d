"""`hfrecipes report`: one HTML file about a run, or about several side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
The report is one file with everything in it: it opens without a network and can be sent by mail or printed.

One run; writes runs/my-run/report.html:
  hfrecipes report runs/my-run

Several runs over one another, with the recipe values in which they differ:
  hfrecipes report runs/lr-1e-4 runs/lr-3e-4 --output sweep.html
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "report",
        help="render a run, or several side by side, as one HTML file",
        description="Render runs as one self-contained HTML file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, such as runs/my-run")
    parser.add_argument(
        "--output", type=Path, metavar="F", help="the file to write (RUN/report.html; comparison.html for several runs)"
    )
    parser.set_defaults(command=report)


def report(args: argparse.Namespace) -> int:
    from hfrecipes.publish.report import render_report
    from hfrecipes.recipe.rundir import RunDir, write_atomically
    from hfrecipes.recipe.secrets import redact
    from hfrecipes.recipe.visible import visible

    runs = [RunDir(path) for path in args.runs]
    output = args.output or (runs[0].report if len(runs) == 1 else Path("comparison.html"))
    text = render_report(runs)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, text)
    print(visible(redact(str(output))))
    return 0
