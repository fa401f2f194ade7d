"""Real text on which a merged model is compared with the trained one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from hfrecipes.data.embedded import open_embedded
from hfrecipes.data.examples import read_examples
from hfrecipes.data.formats import example_texts
from hfrecipes.data.sources import open_sources
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS, ROW_TOKENS = 16, 256
# Three models' log-probabilities are held at once, so a large vocabulary gets fewer tokens.
_MOST_NUMBERS = 2**27
_LEAST_TOKENS = 64
_PROSE = "the standard library's prose"


def merge_rows(recipe: Recipe | None, tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[list[int]]]:
    """Rows of tokens from the run's own held-out data, or from the running Python's prose where that cannot be read here.

    Returns:
        What the text is, and the rows.
    """
    budget = max(_LEAST_TOKENS, min(ROWS * ROW_TOKENS, _MOST_NUMBERS // len(tokenizer)))
    length = min(ROW_TOKENS, budget)
    for role in ("eval", "test", "train"):
        try:
            texts = list(islice(_texts_of(recipe, role), budget // length)) if recipe else []
        except (RecipeError, OSError):
            # The data need not be here any more.
            continue
        if rows := _rows(texts, tokenizer, length):
            return f"data.{role}", rows
    prose = open_embedded({"name": "python_prose", "split": "test"}, _PROSE).rows()
    return _PROSE, _rows([row.values["text"] for row in islice(prose, budget // length)], tokenizer, length)


def _texts_of(recipe: Recipe, role: str) -> Iterator[str]:
    for index, source in enumerate(open_sources(recipe, role)):
        for _, example in read_examples(recipe, role, index, source):
            yield "\n".join(example_texts(example))


def _rows(texts: list[str], tokenizer: PreTrainedTokenizerBase, length: int) -> list[list[int]]:
    encoded = [tokenizer(text, truncation=True, max_length=length)["input_ids"] for text in texts]
    # One token has nothing before it to expect it from.
    return [ids for ids in encoded if len(ids) > 1]
