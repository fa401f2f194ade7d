"""A linear classifier of our own: trained in seconds, saved as safetensors and JSON, read with numpy alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfrecipes.data.clean.hashed_features import hashed_matrix, hashed_vector
from hfrecipes.data.hashing import stable_key
from hfrecipes.recipe.problem import Problem, RecipeError

SETTINGS, WEIGHTS = "linear_classifier.json", "linear_classifier.safetensors"
_DIMENSIONS = 2**18
# A change of the features makes older classifiers unreadable, not wrong.
_FORMAT = 1
# Every tenth text by hash measures the classifier before it is trained on all.
_HELD_OUT = 10
_FEWEST_TEXTS = 10


@dataclass(frozen=True)
class LinearClassifier:
    """Labels and a plane for each in the space of hashed n-grams.

    Args:
        labels: In the order of the rows of `weight`.
        weight: float32 of shape (labels, dimensions).
        bias: float32 of shape (labels,).
    """

    labels: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Probability of each label for each text, of shape (texts, labels); rows sum to 1."""
        scores = np.empty((len(texts), len(self.labels)))
        for row, text in enumerate(texts):
            places, values = hashed_vector(text, self.weight.shape[1])
            scores[row] = self.weight[:, places].astype(np.float64) @ values + self.bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)


def train_linear_classifier(texts: Mapping[str, Iterable[str]], folder: Path) -> dict[str, Any]:
    """Trains a logistic regression on labelled texts and writes it to a folder.

    Every tenth text by hash is held out, a classifier is trained on the others and measured on it; the one that is saved is
    then trained on all. Equal texts fall on the same side. Each label weighs the same, however many texts it has. The same
    texts give the same files.

    Args:
        texts: Label -> its texts: two labels (`{"bad": …, "good": …}`, the wanted one last) or more.
        folder: Made where it is not there; a classifier in it is replaced.

    Returns:
        What is in `linear_classifier.json`: `labels`, `texts` by label, `texts_of_several_labels`, and `held_out`: how many
        texts, `accuracy`, and `recall` by label.

    Raises:
        RecipeError: there are fewer than two labels, or too few texts of one; scikit-learn is not installed.
    """
    known = {label: [text for text in listed if text.strip()] for label, listed in texts.items()}
    _refuse_few(known)
    labels = tuple(known)
    pairs = [(text, index) for index, label in enumerate(labels) for text in known[label]]
    # Sorted, so that the files do not depend on the order in which texts came.
    pairs.sort(key=lambda pair: (pair[1], stable_key(pair[0]), pair[0]))
    features = hashed_matrix([text for text, _ in pairs], _DIMENSIONS)
    targets = np.array([index for _, index in pairs])
    held_out = np.array([stable_key(f"held out {text}") % _HELD_OUT == 0 for text, _ in pairs])
    facts = {
        "format": _FORMAT,
        "labels": list(labels),
        "texts": {label: len(listed) for label, listed in known.items()},
        "texts_of_several_labels": _shared(known.values()),
        "held_out": _measure(features, targets, held_out, labels),
    }
    weight, bias = _fit(features, targets, len(labels))
    _save(folder, facts, weight, bias)
    return facts


def load_linear_classifier(folder: Path) -> LinearClassifier:
    """A classifier that `train_linear_classifier` wrote.

    Raises:
        RecipeError: its files are damaged, or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        facts = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        labels, weight, bias = tuple(facts["labels"]), tensors["weight"], tensors["bias"]
        fits = facts["format"] == _FORMAT and len(labels) == len(weight) == len(bias)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RecipeError(_damaged(folder, f"{type(error).__name__}: {error}")) from error
    if not fits:
        raise RecipeError(_damaged(folder, "its parts do not fit together, or another version wrote it"))
    return LinearClassifier(labels, weight, bias)


def is_linear_classifier(name_or_path: str) -> bool:
    """Whether a name is a folder with a classifier of ours."""
    return (Path(name_or_path) / SETTINGS).is_file()


def _damaged(folder: Path, reason: str) -> Problem:
    return Problem(str(folder / SETTINGS), f"the classifier cannot be read: {reason}", "train it again")


def _refuse_few(texts: Mapping[str, Sequence[str]]) -> None:
    where = "classifier"
    if len(texts) < 2:
        fix = "give texts of at least two labels, such as good and bad"
        raise RecipeError(Problem(where, f"there is nothing to tell apart: {len(texts)} label", fix))
    few = {label: len(set(listed)) for label, listed in texts.items() if len(set(listed)) < _FEWEST_TEXTS}
    if few:
        counts = ", ".join(f"{label} has {number}" for label, number in few.items())
        raise RecipeError(Problem(where, f"too few different texts: {counts}", f"give at least {_FEWEST_TEXTS} each"))


def _shared(texts: Iterable[Sequence[str]]) -> int:
    """How many different texts stand under more than one label."""
    labels_of = Counter(text for listed in texts for text in set(listed))
    return sum(1 for count in labels_of.values() if count > 1)


def _fit(features: Any, targets: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (labels, dimensions) and biases (labels,): two labels get half of the one plane between them each."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        message = "scikit-learn, which trains the classifier, is not installed"
        raise RecipeError(Problem("classifier", message, "pip install 'hfrecipes[clean]'")) from error
    # C: vectors of length 1 want weak regularisation.
    model = LogisticRegression(C=30.0, class_weight="balanced", max_iter=300)
    model.fit(features, targets)
    weight, bias = model.coef_, model.intercept_
    if labels == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)


def _measure(features: Any, targets: np.ndarray, held_out: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """How a classifier that was trained on the rest does on the texts that were held out."""
    if len(np.unique(targets[~held_out])) < len(labels) or not held_out.any():
        return {"texts": 0, "accuracy": None, "recall": {}}
    weight, bias = _fit(features[~held_out], targets[~held_out], len(labels))
    right = (features[held_out] @ weight.T + bias).argmax(axis=1) == targets[held_out]
    by_label = {label: right[targets[held_out] == index] for index, label in enumerate(labels)}
    recall = {label: float(hits.mean()) if len(hits) else None for label, hits in by_label.items()}
    return {"texts": int(held_out.sum()), "accuracy": float(right.mean()), "recall": recall}


def _save(folder: Path, facts: dict[str, Any], weight: np.ndarray, bias: np.ndarray) -> None:
    """Weights first: a folder counts as a classifier from the moment that it has settings."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).unlink(missing_ok=True)
    save_file({"weight": np.ascontiguousarray(weight), "bias": bias}, folder / WEIGHTS)
    draft = folder / f"{SETTINGS}.draft"
    draft.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / SETTINGS)
