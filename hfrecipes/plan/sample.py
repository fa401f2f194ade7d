"""An even sample of a recipe's rows, encoded by the functions that prepare the data for training."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hfrecipes.data.encode import EncodedExample
from hfrecipes.data.encode_comparisons import EncodedComparison
from hfrecipes.data.examples import read_examples
from hfrecipes.data.formats import Example, to_example
from hfrecipes.data.refine import Refinery
from hfrecipes.data.row import Row, Source
from hfrecipes.data.settings import row_settings, text_column
from hfrecipes.data.sources import open_source
from hfrecipes.data.streams import encode_rows
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.source_list import COMPARING, LABELLED
from hfrecipes.tokenization.tokenizer import OfflineError, Tokenizer

SAMPLE_ROWS = 200
# Counting reads every row; larger sources than this allows are left to the preparation.
COUNTING_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class SampledSource:
    """Rows of one source, drawn evenly.

    Args:
        source: The opened source.
        spec: How the recipe names it.
        rows: The rows that were drawn, in the source's order.
        total: How many rows it has; None where counting took too long.
        share: The share of the source's text that the drawn rows hold. Totals of tokens are scaled by it rather than by the
            share of rows, since tokens follow text closely and rows differ in length.
    """

    source: Source
    spec: dict[str, Any]
    rows: list[Row]
    total: int | None
    share: float
    made: list[Example] | None = None

    def first(self, count: int) -> SampledSource:
        """The first rows of the sample."""
        return replace(self, rows=self.rows[:count], made=None if self.made is None else self.made[:count])


def sample_sources(
    recipe: Recipe, role: str = "train", size: int = SAMPLE_ROWS, refinery: Refinery | None = None
) -> list[SampledSource]:
    """Draws `size` rows of each source of a role, the same ones each time.

    Args:
        recipe: Names the sources.
        role: Which of them.
        size: Rows of each.
        refinery: Cleans and augments training data before rows are drawn; None draws from the sources as they are.

    Raises:
        OfflineError: where the Hub does not give a data set.
        RecipeError: where another source cannot be opened or read.
    """
    sampled = []
    for index, (key, spec) in enumerate(recipe.sources(role)):
        source = open_source(spec, recipe, recipe.where(key))
        try:
            refined = refinery and refinery.examples(index, source)
            if refined is None and recipe.kind in (*COMPARING, *LABELLED):
                # A row of a ranking can make several examples.
                refined = read_examples(recipe, role, index, source)
            drawn = draw(source, spec, size, refined=refined)
        except RecipeError as error:
            if spec.get("path") or source.embedded:
                raise
            raise OfflineError(error.problems) from error
        sampled.append(drawn)
    return sampled


def draw(
    source: Source,
    spec: dict[str, Any],
    size: int,
    seconds: float = COUNTING_SECONDS,
    refined: Iterable[tuple[Row, Example]] | None = None,
) -> SampledSource:
    """Draws `size` rows, each row with the same chance, and counts all (Vitter's algorithm R, 1985)."""
    chosen: dict[int, tuple[int, int, tuple[Row, Example | None]]] = {}
    random_state, deadline, total, text = random.Random(0), time.monotonic() + seconds, 0, 0
    counted = True
    found = ((row, None) for row in source.rows()) if refined is None else refined
    for total, (row, example) in enumerate(found, start=1):
        length = text_length(row.values if example is None else example)
        text += length
        slot = total - 1 if total <= size else random_state.randrange(total)
        if slot < size:
            chosen[slot] = (total, length, (row, example))
        if total % 1000 == 0 and time.monotonic() > deadline:
            counted = False
            break
    drawn = sorted(chosen.values(), key=lambda entry: entry[0])
    share = sum(length for _, length, _ in drawn) / max(text, 1)
    rows = [row for _, _, (row, _) in drawn]
    made = None if refined is None else [example for _, _, (_, example) in drawn if example is not None]
    return SampledSource(source, spec, rows, total if counted else None, share, made)


def text_length(value: Any) -> int:
    """Characters of all strings in a row, nested ones included."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(text_length, value.values()))
    return sum(map(text_length, value)) if isinstance(value, list) else 0


def sample_examples(recipe: Recipe, sampled: SampledSource) -> list[Example]:
    """The examples that the rows of a sample become.

    Raises:
        RecipeError: naming a row that cannot become one.
    """
    if sampled.made is not None:
        return sampled.made
    spec = text_column(recipe, sampled.spec)
    return [to_example(row.values, spec, row.where, recipe.path.parent) for row in sampled.rows]


def encode_sample(
    recipe: Recipe, sampled: SampledSource, tokenizer: Tokenizer
) -> list[EncodedExample] | list[EncodedComparison]:
    """The rows of a sample as ids and labels, of a recipe of any kind but `pretrain`.

    Raises:
        RecipeError: naming a row that cannot be encoded.
    """
    wheres = [row.where for row in sampled.rows]
    return encode_rows(sample_examples(recipe, sampled), tokenizer, row_settings(recipe), wheres)


def tokenize_sample(recipe: Recipe, sampled: SampledSource, tokenizer: Tokenizer) -> list[list[int]]:
    """The documents of a `pretrain` recipe's sample as ids, without the EOS that packing puts behind each.

    Raises:
        RecipeError: naming a row that holds no text, or a tokenizer that cannot end a document.
    """
    if tokenizer.eos_token_id is None:
        message = "has no eos_token, so documents could not be told apart"
        raise RecipeError(Problem(tokenizer.name, message, "set eos_token in tokenizer_config.json"))
    examples = sample_examples(recipe, sampled)
    for row, example in zip(sampled.rows, examples, strict=True):
        if "text" not in example:
            message = f"pretraining reads text, and this row holds {' and '.join(example)}"
            raise RecipeError(Problem(row.where, message, "choose a column with columns: {text: ...}"))
    encoded = tokenizer.encode_ids([example["text"] for example in examples])
    return [ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids for ids in encoded]
