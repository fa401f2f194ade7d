"""How many tokens the rows of a sample have, source by source."""

from __future__ import annotations

from collections.abc import Sequence

from hfrecipes.plan.histogram import SourceLengths
from hfrecipes.plan.sample import SampledSource, encode_sample, tokenize_sample
from hfrecipes.recipe.loader import Recipe
from hfrecipes.tokenization.tokenizer import Tokenizer


def source_lengths(recipe: Recipe, sampled: Sequence[SampledSource], tokenizer: Tokenizer) -> list[SourceLengths]:
    """The lengths of documents for pretraining; otherwise those of rows, before they are cut or packed.

    Of a preference it is that of the prompt with its longest answer, which `max_length` speaks of, too.

    Raises:
        RecipeError: naming a row that cannot be encoded.
    """
    if recipe.kind == "pretrain":
        return [
            SourceLengths.of_documents(part.source.title, tokenize_sample(recipe, part, tokenizer)) for part in sampled
        ]
    return [SourceLengths.of_examples(part.source.title, encode_sample(recipe, part, tokenizer)) for part in sampled]
