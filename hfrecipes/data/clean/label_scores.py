"""What a classifier says of texts, whether it is one of transformers or a linear one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hfrecipes.data.clean.linear_classifier import (
    SETTINGS,
    LinearClassifier,
    is_linear_classifier,
    load_linear_classifier,
)
from hfrecipes.data.clean.model_scores import NamedModel, encode, input_limit, length_batches, load_scorer, padded
from hfrecipes.recipe.problem import Problem, RecipeError


@dataclass(frozen=True)
class LabelScores:
    """Scores of texts.

    Args:
        labels: The names of the classifier's outputs.
        values: float64 of shape (texts, labels): probabilities, or plain scores where `is_regression`.
        is_regression: Whether the classifier gives a number on a scale of its own, as FineWeb-Edu's does from 0 to 5.
    """

    labels: tuple[str, ...]
    values: np.ndarray
    is_regression: bool = False


def label_scores(texts: Sequence[str], named: NamedModel) -> LabelScores:
    """Scores of each label for each text.

    Args:
        texts: Any.
        named: A folder of `train_linear_classifier`, which reads the beginning of a text whatever `max_length` says, else a
            sequence classifier of transformers.

    Raises:
        RecipeError: the classifier cannot be loaded, or gives no number.
    """
    if is_linear_classifier(named.name_or_path):
        folder = Path(named.name_or_path)
        linear = _linear(folder, (folder / SETTINGS).stat().st_mtime_ns)
        return LabelScores(linear.labels, linear.probabilities(texts))
    model, tokenizer = load_scorer("AutoModelForSequenceClassification", named)
    logits = _logits(model, tokenizer, texts, named.max_length)
    if np.isnan(logits).any():
        message = f"{named.name_or_path} gives no number (NaN)"
        raise RecipeError(Problem(named.where, message, "name another model: this one is damaged"))
    labels = tuple(model.config.id2label[index] for index in range(model.config.num_labels))
    if model.config.problem_type == "regression" or (model.config.problem_type is None and len(labels) == 1):
        return LabelScores(labels, logits, is_regression=True)
    if model.config.problem_type == "multi_label_classification" or len(labels) == 1:
        return LabelScores(labels, 0.5 * (1 + np.tanh(logits / 2)))  # the logistic function, without overflow
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return LabelScores(labels, exponentials / exponentials.sum(axis=1, keepdims=True))


@lru_cache(maxsize=8)
def _linear(folder: Path, written: int) -> LinearClassifier:
    """Read once, and again when it was trained again."""
    return load_linear_classifier(folder)


def _logits(model: Any, tokenizer: Any, texts: Sequence[str], max_length: int) -> np.ndarray:
    """Logits of shape (texts, labels)."""
    import torch

    rows = encode(tokenizer, texts, input_limit(model, max_length))
    # A text of no tokens at all is read as one blank: models want something.
    rows = [row or _blank(tokenizer) for row in rows]
    # A classifier on a causal model looks for the last token that is no padding, so it has to know which that is;
    # without, transformers takes one row at a time.
    pad = tokenizer.pad_token_id
    can_pad = pad is not None and model.config.pad_token_id == pad
    logits = np.empty((len(rows), model.config.num_labels))
    with torch.inference_mode():
        for batch in length_batches([len(row) for row in rows], model.config.num_labels):
            for chosen in [batch] if can_pad else [[row] for row in batch]:
                ids, mask = padded([rows[row] for row in chosen], pad or 0, model.device)
                logits[chosen] = model(input_ids=ids, attention_mask=mask).logits.double().cpu().numpy()
    return logits


def _blank(tokenizer: Any) -> list[int]:
    return tokenizer(" ")["input_ids"] or [0]
