"""What added pieces do to a recipe's text, shown before a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from hfrecipes.data.formats import example_texts
from hfrecipes.models.recipe_tokenizer import extension_of, obtain_tokenizer, without_extension
from hfrecipes.plan.sample import sample_examples, sample_sources
from hfrecipes.recipe.loader import Recipe
from hfrecipes.tokenization.compression import compression_figures

_SHOWN = 12


def print_new_pieces(console: Console, recipe: Recipe) -> None:
    """Adds the pieces, which the run then finds made, and shows what they save in a sample of each source.

    Raises:
        OfflineError: where the tokenizer or a source is out of reach.
        RecipeError: where pieces cannot be added.
    """
    console.print(f"learning {recipe.get('model.tokenizer.extend'):,} pieces …", highlight=False)
    after, _ = obtain_tokenizer(recipe)
    before, _ = obtain_tokenizer(without_extension(recipe))
    extension = extension_of(recipe)
    table = Table("data", "domain", "bytes a token", "tokens a character", box=None, header_style="bold")
    for title, domain, texts in _sampled(recipe):
        figures = compression_figures(before, after, texts)
        table.add_row(title, domain, *(_turned(figures, name) for name in ("bytes_per_token", "tokens_per_character")))
    console.print(table)
    pieces = [before.decode(ids).strip() for ids in extension.spelled]
    # Later pieces are longer and rarer: some of each part.
    chosen = [piece for piece in pieces[:: max(1, len(pieces) // _SHOWN)] if piece and "\ufffd" not in piece][:_SHOWN]
    console.print(f"such as {' '.join(chosen)}\n", markup=False, highlight=False, soft_wrap=True)


def _sampled(recipe: Recipe) -> Iterator[tuple[str, str, list[str]]]:
    """Title, domain and texts of each source; of held-out ones, since of what they were learnt from pieces save more."""
    role = next((role for role in ("eval", "test") if recipe.sources(role)), "train")
    for part in sample_sources(recipe, role):
        texts = [text for example in sample_examples(recipe, part) for text in example_texts(example)]
        yield part.source.title, part.spec.get("domain") or "", texts


def _turned(figures: dict[str, Any], name: str) -> str:
    return f"{figures['before'][name]:.3f} → {figures['after'][name]:.3f}"
