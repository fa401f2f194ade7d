"""`hfrecipes publish`: push a finished run to the Hub."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfrecipes.recipe.rundir import RunDir

_EPILOG = """\
What is pushed: the files that the run wrote to RUN/model/ and the card, at the root of the repository; recipe, facts,
metrics and report under hfrecipes/. Never: training_args.bin, pickles, archives, optimizer state, checkpoints, hidden
files, anything that holds a token. The token comes from `hf auth login` or HF_TOKEN, and nothing is ever published by
another verb.

Look first, without a token and without the network:
  hfrecipes publish runs/my-run --repo me/my-model --dry-run

Then push; a new repository is private unless you say --public, or the recipe publish.private: false:
  hfrecipes publish runs/my-run --repo me/my-model

An adapter trained on a base of your own: publish the base first, then name it:
  hfrecipes publish runs/base --repo me/base
  hfrecipes publish runs/adapter --repo me/adapter --base-model me/base
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "publish",
        help="push a finished run, its card and its facts to the Hub",
        description="Push a finished run to the Hugging Face Hub in one commit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, such as runs/my-run")
    parser.add_argument("--repo", metavar="ID", help="owner/name; publish.repo_id of the recipe where it is left out")
    parser.add_argument("--dry-run", action="store_true", help="list exactly what would be pushed, and push nothing")
    parser.add_argument(
        "--public",
        action="store_true",
        help="make a new repository public, or accept a public one; as publish.private: false of the recipe",
    )
    parser.add_argument("--revision", metavar="BRANCH", help="push to this branch; it is made where it is missing")
    parser.add_argument("--message", metavar="TEXT", help="commit message")
    parser.add_argument(
        "--base-model", metavar="ID", help="the Hub id of a base model that was a folder while training"
    )
    parser.set_defaults(command=publish)


def publish(args: argparse.Namespace) -> int:
    from hfrecipes.publish.figures import dig
    from hfrecipes.publish.hub import publish_run
    from hfrecipes.publish.reading import facts_of
    from hfrecipes.publish.secrets import refuse_secret_words
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.rundir import RunDir, refuse_links
    from hfrecipes.recipe.visible import visible

    run = RunDir(args.run)
    refuse_links(run)
    facts = facts_of(run)
    repo_id = args.repo or dig(facts, "recipe.publish.repo_id")
    if args.dry_run:
        refuse_secret_words(revision=args.revision, message=args.message)
        return _show(run, repo_id, args.base_model)
    if not repo_id:
        raise RecipeError(Problem("--repo", "says where to publish, and is missing", "give --repo OWNER/NAME"))
    private = not args.public and dig(facts, "recipe.publish.private") is not False
    done = publish_run(run, repo_id, private, args.revision, args.message, args.base_model)
    for path in done.deleted:
        print(visible(f"took out {path}, left by an earlier publication"))
    if done.pushed or done.deleted:
        print(f"Published {len(done.pushed)} files: {done.url}")
    else:
        print(f"Nothing has changed since the last publication: {done.url}")
    if done.unrecorded:
        print(f"warning: the run's facts do not say so, as they cannot be written: {done.unrecorded}", file=sys.stderr)
    return 0


def _show(run: RunDir, repo_id: str | None, base_model: str | None) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from hfrecipes.publish.figures import size
    from hfrecipes.publish.upload import left_out, plan_upload
    from hfrecipes.recipe.secrets import redact
    from hfrecipes.recipe.visible import visible

    files = plan_upload(run, repo_id, base_model)
    table = Table(title=f"Would be pushed to {repo_id or 'the repository'}", title_justify="left")
    table.add_column("path in the repository", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("sha256", no_wrap=True)
    for file in files:
        table.add_row(escape(visible(file.path_in_repo)), size(file.size), file.sha256[:12])
    table.add_section()
    table.add_row(f"{len(files)} files", size(sum(file.size for file in files)), "")
    console = Console()
    console.print(table)
    for path, reason in left_out(run):
        stays = visible(redact(f"stays: {path.relative_to(run.path).as_posix()} ({reason})"))
        console.print(stays, markup=False, highlight=False, soft_wrap=True)
    console.print("Dry run: nothing was pushed.")
    return 0
