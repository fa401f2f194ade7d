"""Some completions of a rollout as a table, for a person to read."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hfrecipes.recipe.secrets import redact

_SHOWN_CHARACTERS = 400


def print_completions(prompts: Sequence[str], texts: Sequence[str], scores: Sequence[float], step: int) -> None:
    """Prints them, without secrets.

    Args:
        prompts: As text.
        texts: Of the completions.
        scores: Of these.
        step: When they were made.
    """
    table = Table(title=f"Completions at step {step}", show_lines=True)
    for column in ("Prompt", "Completion"):
        table.add_column(column, overflow="fold")
    table.add_column("Score", justify="right")
    for prompt, text, score in zip(prompts, texts, scores, strict=True):
        table.add_row(_cut(prompt), _cut(text), f"{score:.4g}")
    Console().print(table)


def _cut(text: str) -> Text:
    text = redact(text)
    # Not markup: what a model writes may hold brackets.
    return Text(text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else ""))
