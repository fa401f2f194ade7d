"""How much of each kind of row carries loss: refusals, chains of thought, and whatever else rows are tagged with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hfrecipes.plan.sample import SampledSource, encode_sample, sample_examples
from hfrecipes.recipe.loader import Recipe
from hfrecipes.tokenization.tokenizer import Tokenizer

UNTAGGED = "untagged"

# Kind -> tokens that carry loss, all tokens.
Kinds = dict[str, tuple[int, int]]


def supervised_by_kind(recipe: Recipe, sampled: Sequence[SampledSource], tokenizer: Tokenizer) -> Kinds:
    """Of a sample of fine-tuning rows; empty where no row is tagged, and for pretraining, where every token carries loss.

    Raises:
        RecipeError: naming a row that cannot be encoded.
    """
    kinds: Kinds = {}
    if recipe.kind == "pretrain":
        return kinds
    for part in sampled:
        rows = zip(sample_examples(recipe, part), encode_sample(recipe, part, tokenizer), strict=True)
        for example, row in rows:
            kind = example.get("kind") or UNTAGGED
            supervised, tokens = kinds.get(kind, (0, 0))
            kinds[kind] = (supervised + row.supervised_tokens, tokens + len(row.input_ids))
    return {} if set(kinds) <= {UNTAGGED} else kinds


def print_kinds(console: Console, kinds: Mapping[str, tuple[int, int]]) -> None:
    """A table by kind; nothing where there are none."""
    if not kinds:
        return
    whole = sum(supervised for supervised, _ in kinds.values())
    table = Table("kind", "tokens", "carry loss", "of all that carry loss", box=None, header_style="bold")
    for kind, (supervised, tokens) in sorted(kinds.items(), key=lambda entry: -entry[1][0]):
        share = f"{supervised / tokens:.1%}" if tokens else "-"
        table.add_row(Text(kind), f"{tokens:,}", share, f"{supervised / whole:.1%}" if whole else "-")
    console.print()
    console.print(table)
