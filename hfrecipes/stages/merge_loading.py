"""An adapter on its base, loaded as it was in training, and on weights that it can be merged into."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import BitsAndBytesConfig

from hfrecipes.evaluation.merge_drift import log_probabilities
from hfrecipes.models.extended_embeddings import grow_embeddings
from hfrecipes.models.foreign_code import code_words
from hfrecipes.models.merge import dequantise, is_quantised, merged_dtype
from hfrecipes.models.new_rows import needed_rows
from hfrecipes.models.pretrained import load_pretrained, load_with_adapter
from hfrecipes.models.rope import change_rope
from hfrecipes.models.rope_config import rope_change
from hfrecipes.models.special_tokens import align_special_tokens
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The weights that are merged into: as training saw them, or before they were quantised for it.
TRAINED, ORIGINAL = "trained", "original"
# What of a recipe's `model:` decides which weights are loaded; how attention is computed does not.
_LOADED = ("dtype", "subfolder", "variant")


class MergeLoader:
    """Loads the adapter on its base as it was in training.

    Args:
        folder: The adapter's.
        recipe: Of its run.
        tokenizer: The run's, each of whose entries has a row in the embeddings.
        rows: Tokens to ask the base about.
    """

    def __init__(
        self, folder: Path, recipe: Recipe | None, tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]
    ) -> None:
        self.folder, self.recipe, self.tokenizer, self.rows = folder, recipe, tokenizer, rows
        self.quantization = recipe.get("quantization") if recipe else None
        # Found out from the base, when it is loaded first.
        self.is_quantised = False
        self.dtype = torch.float32
        self.alone: list[torch.Tensor] = []

    def load(self) -> PeftModel:
        """The model as it was trained; takes down what the base says without the adapter."""

        def load_base(name: str, where: str | None, revision: str | None) -> PreTrainedModel:
            model = self._base(name, where, revision, self.quantization)
            self.is_quantised, self.dtype = is_quantised(model), merged_dtype(model)
            self.alone = log_probabilities(model, self.rows)
            return model

        return load_with_adapter(self.folder, trainable=False, loader=load_base).eval()

    def load_unquantised(self, base: str) -> PeftModel:
        """The adapter on weights of full width: those of the quantised base turned back, or those before quantisation."""
        quantization = None if base == ORIGINAL else self.quantization

        def load_base(name: str, where: str | None, revision: str | None) -> PreTrainedModel:
            model = self._base(name, where, revision, quantization)
            if not is_quantised(model):
                return model.to(self.dtype)
            if base == ORIGINAL:
                fault = "holds quantised weights: there are no original ones"
                raise RecipeError(Problem(name, fault, "leave out --base original"))
            with cannot_merge(name):
                return dequantise(model, self.dtype)

        return load_with_adapter(self.folder, trainable=False, loader=load_base).eval()

    def _base(
        self, name: str, where: str | None, revision: str | None, quantization: dict[str, Any] | None
    ) -> PreTrainedModel:
        words: dict[str, Any] = {}
        if self.recipe:
            words = {key: value for key in _LOADED if (value := self.recipe.get(f"model.{key}")) is not None}
            words |= code_words(self.recipe)
            # peft does not write down which revision of a Hub's model it stood on.
            revision = revision or self.recipe.get("model.revision")
        if quantization:
            # Left open, transformers would take the first GPU.
            words |= {"quantization_config": BitsAndBytesConfig(**quantization), "device_map": {"": "cpu"}}
        model = load_pretrained(name, where, revision=revision, **words)
        if self.recipe and (change := rope_change(self.recipe)):
            change_rope(model, change)
        grow_embeddings(model, len(self.tokenizer), [needed_rows(self.folder, model)])
        align_special_tokens(model, self.tokenizer)
        return model


@contextlib.contextmanager
def cannot_merge(place: str | Path) -> Iterator[None]:
    """Turns what a library cannot merge into an error about that."""
    try:
        yield
    except (NotImplementedError, ValueError) as error:
        raise RecipeError(Problem(str(place), f"cannot be merged: {error}", "use the adapter as it is")) from error
