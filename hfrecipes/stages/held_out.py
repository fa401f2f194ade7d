"""Examples of a run's data for what asks models: prompts, references and shots."""

from __future__ import annotations

from typing import Any

from hfrecipes.data.formats import Example, to_example, to_examples
from hfrecipes.data.labelled import LABEL
from hfrecipes.data.prepare import Prepared
from hfrecipes.data.row import Source
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.source_list import COMPARING, LABELLED

# Examples shown to the starting model are drawn from this many training rows.
SHOT_POOL = 256


def held_out_role(recipe: Recipe) -> str:
    """Where prompts are taken from: `test` where the recipe has such rows, else `eval`."""
    return "test" if recipe.get("data.test") else "eval"


def held_out_examples(recipe: Recipe, prepared: Prepared) -> dict[str, list[Example]]:
    """Examples of the held-out sources by their names in run.json, in the recipe's order; empty where there are none.

    Raises:
        RecipeError: a row that cannot be used, or that makes several examples.
    """
    role = held_out_role(recipe)
    names = list(getattr(prepared, role))
    specs = [spec for _, spec in recipe.sources(role)]
    found = zip(names, prepared.sources(role), specs, strict=True)
    return {name: _examples(recipe, source, spec) for name, source, spec in found}


def shot_pool(recipe: Recipe, prepared: Prepared) -> list[Example]:
    """Training examples to draw shots from, as many of each source.

    Raises:
        RecipeError: as `held_out_examples`.
    """
    sources = prepared.sources("train")
    specs = [spec for _, spec in recipe.sources("train")]
    most = -(-SHOT_POOL // len(sources))
    return [
        example
        for source, spec in zip(sources, specs, strict=True)
        for example in _examples(recipe, source, spec, most)
    ]


def _examples(recipe: Recipe, source: Source, spec: dict[str, Any], most: int | None = None) -> list[Example]:
    examples: list[Example] = []
    for row in source.rows():
        if most is not None and len(examples) >= most:
            break
        words = (row.values, spec, row.where, recipe.path.parent)
        if recipe.kind in LABELLED:
            examples += [each for each in to_examples(*words) if each[LABEL]]
        else:
            examples.append(_preferred(to_examples(*words)[0]) if recipe.kind in COMPARING else to_example(*words))
    return examples


def _preferred(example: Example) -> Example:
    """A prompt with its chosen answer; of a ranking the best one."""
    best = example["chosen"] if "chosen" in example else example["answers"][0]
    return {"prompt": example["prompt"], "completion": best}
