"""`hfrecipes ls`: the shipped recipes, one line each."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_EPILOG = """\
In a terminal the columns are aligned and cut to its width; in a pipe they are whole and separated by tabs.

  hfrecipes ls                        all of them
  hfrecipes ls qlora                  those whose name, kind or description has the word
  hfrecipes ls pretrain | cut -f 1    names alone
"""
_SENTENCE_END = re.compile(r"(?<!\bet al)\.(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list."""

    name: str
    kind: str
    summary: str


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "ls",
        help="the shipped recipes, one line each",
        description="List the shipped recipes: name, kind, and what each does.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("word", metavar="WORD", nargs="?", default="", help="only recipes that have this word in them")
    parser.set_defaults(command=ls)


def ls(args: argparse.Namespace) -> int:
    """Prints the list.

    Returns:
        1 where no recipe has the word, as grep does, else 0.
    """
    from hfrecipes.recipe.shipped import shipped_recipes

    entries = [read_entry(name, path) for name, path in shipped_recipes().items()]
    found = [entry for entry in entries if _has_word(entry, args.word)]
    if not found:
        print(f"no shipped recipe has {args.word!r} in it; hfrecipes ls shows all {len(entries)}", file=sys.stderr)
        return 1
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(format_entries(found, width))
    return 0


def read_entry(name: str, path: Path) -> Entry:
    """Kind and first sentence of a recipe, read off its lines: a YAML parser would cost more than the whole verb."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kind = next((line.partition(":")[2].partition("#")[0].strip() for line in lines if line.startswith("kind:")), "?")
    return Entry(name, kind, first_sentence(lines))


def first_sentence(lines: Iterable[str]) -> str:
    """The first sentence of the comment that a file begins with; empty where it begins otherwise."""
    paragraph: list[str] = []
    for line in lines:
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or (paragraph and not text):
            break
        paragraph.append(text)
    whole = " ".join(paragraph).strip()
    end = _SENTENCE_END.search(whole)
    return whole[: end.start()] if end else whole


def format_entries(entries: list[Entry], width: int | None) -> str:
    """The lines as text.

    Args:
        entries: What to show.
        width: Columns of the terminal; None for tab-separated lines of any length.
    """
    rows = [(entry.name, entry.kind, entry.summary) for entry in entries]
    if width is None:
        return "\n".join("\t".join(row) for row in rows)
    widest = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{widest[0]}}  {kind:{widest[1]}}  {summary}" for name, kind, summary in rows]
    return "\n".join(line if len(line) <= width else line[: max(width - 1, 0)] + "…" for line in lines)


def _has_word(entry: Entry, word: str) -> bool:
    return any(word.lower() in text.lower() for text in (entry.name, entry.kind, entry.summary))
