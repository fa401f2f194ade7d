"""A linear classifier from sources, as the command line asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hfrecipes.data.clean.linear_classifier import train_linear_classifier
from hfrecipes.data.formats import example_texts, to_example
from hfrecipes.data.sources import open_source
from hfrecipes.recipe.loader import Recipe


def train_classifier_from_recipe(
    recipe: Recipe, sources: Mapping[str, Sequence[dict[str, Any]]], folder: Path, where: str = "classifier"
) -> dict[str, Any]:
    """Trains a linear classifier on the rows of sources and writes it to a folder.

    Args:
        recipe: The recipe beside which files and `format` functions are looked for.
        sources: Label -> sources as under `data.train`: `{"bad": [{"path": "web.jsonl"}], "good": [{"name": "python_prose"}]}`,
            the wanted label last.
        folder: Where the classifier goes; a rule names it as `name_or_path`.
        where: The place that names the sources, for problems.

    Returns:
        As `train_linear_classifier`.

    Raises:
        RecipeError: a source or row cannot be read, or there are too few texts.
    """
    texts = {label: _texts(recipe, specs, f"{where}: {label}") for label, specs in sources.items()}
    return train_linear_classifier(texts, folder)


def _texts(recipe: Recipe, specs: Sequence[dict[str, Any]], where: str) -> Iterator[str]:
    """What the rule will see of each row."""
    for spec in specs:
        for row in open_source(spec, recipe, where).rows():
            yield "\n\n".join(example_texts(to_example(row.values, spec, row.where, recipe.path.parent)))
