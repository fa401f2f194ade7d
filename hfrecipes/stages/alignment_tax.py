"""What general text costs a model that learnt from preferences more than it did before, for the facts of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfrecipes.data.formats import example_texts, to_examples
from hfrecipes.data.sources import open_source
from hfrecipes.evaluation.alignment_tax import PASSAGE_TOKENS, general_rows, measure_tax
from hfrecipes.evaluation.forgetting import UNIT, Comparison, change_of
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.recipe.judge_words import TAX
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.stages.continued import passage_entries


def taxed_rows(recipe: Recipe, room: int | None) -> dict[str, list[dict[str, Any]]]:
    """Passages of each source of `evaluation.alignment_tax`, by its name.

    Args:
        recipe: The recipe.
        room: Tokens that the model can read at once; None where it does not say.

    Raises:
        RecipeError: a source cannot be read, or has nothing to predict.
    """
    found = {}
    tokenizer = obtain_tokenizer(recipe)[0] if recipe.get(TAX) else None
    length = min(PASSAGE_TOKENS, room or PASSAGE_TOKENS)
    for place, spec in enumerate(recipe.get(TAX) or []):
        where = recipe.where(f"{TAX}.{place}")
        source = open_source(spec, recipe, where)
        rows = general_rows(_texts(source, spec, recipe), tokenizer, length=length)
        if not rows:
            raise RecipeError(Problem(where, f"{source.title} has no text of two tokens", "name another source"))
        found[source.title] = rows
    return found


def measure_taxes(
    model: Any, base: Any | None, rows: dict[str, list[dict[str, Any]]], batch_size: int
) -> list[Comparison]:
    """Each set under both models; `base` is None where it is the model itself with the adapter off."""
    return [measure_tax(model, base, of_set, name, batch_size) for name, of_set in rows.items()]


def tax_entries(comparisons: list[Comparison], step: int, base: str, tuned: str) -> list[dict[str, Any]]:
    """Entries of `evaluations`: bits per byte of both models, and what the trained one pays more."""
    entries = passage_entries(comparisons, step, base, tuned)
    for each in comparisons:
        named = {"model": tuned, "dataset": each.dataset, "metric": "alignment_tax"}
        entries.append({**named, **change_of(each)["change"], "unit": UNIT, "higher_is_better": False, "step": step})
    return entries


def _texts(source: Any, spec: dict[str, Any], recipe: Recipe) -> Iterator[str]:
    for row in source.rows():
        for example in to_examples(row.values, spec, row.where, recipe.path.parent):
            yield "\n".join(example_texts(example))
