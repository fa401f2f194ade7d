"""The rule `perplexity`: how surprising a document is to a small language model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from hfrecipes.data.clean.model_scores import (
    NamedModel,
    encode,
    input_limit,
    length_batches,
    load_scorer,
    model_fingerprint,
    named_model,
    padded,
)
from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.recipe.cleaning import Perplexity
from hfrecipes.recipe.problem import Problem, RecipeError


class PerplexityRule:
    """Keeps documents whose perplexity under a causal language model lies between two bounds.

    Perplexity is the exponential of the mean negative log-likelihood for each token, in nats, over the first `max_length`
    tokens. A document of fewer than two tokens has none: it is kept, and counted as `not_measured`. Reasons are
    `too_predictable` and `too_strange`.

    Args:
        settings: What the recipe says. The model's weights are safetensors, and no code of its own is run.
        where: Its place in the recipe, for errors.

    Raises:
        RecipeError: no model or no bound is named, or the lower bound is above the upper.
    """

    name = "perplexity"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: Perplexity, where: str = "data.clean") -> None:
        self.model = named_model(settings.name_or_path, settings.revision, settings.max_length, where)
        self.minimum, self.maximum = settings.min_perplexity, settings.max_perplexity
        if self.minimum is None and self.maximum is None:
            raise RecipeError(Problem(where, "there is no bound", "say max_perplexity, min_perplexity or both"))
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            message = f"min_perplexity {self.minimum} is above max_perplexity {self.maximum}"
            raise RecipeError(Problem(where, message, "no document could keep both"))

    @cached_property
    def fingerprint(self) -> str:
        return model_fingerprint(self.model)

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        """One verdict for each document.

        Raises:
            RecipeError: the model cannot be loaded, or gives no number.
        """
        texts = [document.text for document in documents]
        losses = mean_losses(texts, self.model)
        for document, loss in zip(documents, losses, strict=True):
            if loss is not None and math.isnan(loss):
                message = f"{self.model.name_or_path} gives no number (NaN) for this document"
                raise RecipeError(Problem(document.where, message, "name another model: this one is damaged"))
        return [self._verdict(loss) for loss in losses]

    def _verdict(self, loss: float | None) -> Verdict:
        if loss is None:
            return Verdict(counts={"not_measured": 1})
        perplexity = math.exp(min(loss, 700.0))  # beyond, a float has no room
        detail = f"perplexity {perplexity:.4g}"
        if self.maximum is not None and perplexity > self.maximum:
            return Verdict(reason="too_strange", detail=detail)
        if self.minimum is not None and perplexity < self.minimum:
            return Verdict(reason="too_predictable", detail=detail)
        return KEPT


def mean_losses(texts: Sequence[str], named: NamedModel) -> list[float | None]:
    """Mean negative log-likelihood of each text's tokens, in nats for each token that has one before it.

    Padding stands on the right, where a causal model cannot see it, and carries no loss.

    Returns:
        One number for each text; None for texts of fewer than two tokens.

    Raises:
        RecipeError: the model cannot be loaded.
    """
    import torch

    model, tokenizer = load_scorer("AutoModelForCausalLM", named)
    rows = encode(tokenizer, texts, input_limit(model, named.max_length))
    scored = [row for row, ids in enumerate(rows) if len(ids) > 1]
    losses: list[float | None] = [None] * len(rows)
    with torch.inference_mode():
        for batch in length_batches([len(rows[row]) for row in scored], model.config.get_text_config().vocab_size):
            chosen = [scored[position] for position in batch]
            ids, mask = padded([rows[row] for row in chosen], 0, model.device)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            for index, row in enumerate(chosen):
                last = len(rows[row])
                loss = torch.nn.functional.cross_entropy(logits[index, : last - 1].float(), ids[index, 1:last])
                losses[row] = float(loss)
    return losses
