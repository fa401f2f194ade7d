"""What continued pretraining gained on the new domain and forgot of the old one: differences on the same texts, pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hfrecipes.evaluation.intervals import Estimate, bootstrap_interval, paired_difference

OLD, NEW = "old", "new"
UNIT = "bits/byte"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the same texts cost two models, text by text in the same order.

    The models may cut them by different tokenizers: bytes are the same to all.

    Args:
        dataset: Name of the set.
        domain: `old` or `new`.
        before: Negative log-likelihood of each text under the starting model, in nats, shape (texts,).
        before_bytes: UTF-8 bytes that this is the cost of, shape (texts,).
        after: The same under the trained model.
        after_bytes: Likewise; they differ from those before by the first tokens, which nothing predicts.
    """

    dataset: str
    domain: str
    before: np.ndarray
    before_bytes: np.ndarray
    after: np.ndarray
    after_bytes: np.ndarray


def change_of(comparison: Comparison) -> dict[str, Any]:
    """How bits per byte of one set changed, with a paired 95 % interval over texts; below zero is better.

    Returns:
        `dataset`, `domain`, `before` and `after` (figures with intervals of their own), `change`.
    """
    before = bootstrap_interval(_bits(comparison.before), comparison.before_bytes)
    after = bootstrap_interval(_bits(comparison.after), comparison.after_bytes)
    return {
        "dataset": comparison.dataset,
        "domain": comparison.domain,
        "before": asdict(before),
        "after": asdict(after),
        "change": asdict(_difference([comparison])),
        "unit": UNIT,
    }


def gain_and_forgetting(comparisons: Sequence[Comparison]) -> dict[str, dict[str, Any]]:
    """Gain on all new sets together, forgetting on all old ones, each in bits per byte with a paired 95 % interval.

    Gain is what the new texts cost less than before, forgetting what the old ones cost more: both are above zero where
    there is any. Bytes weigh the sets.

    Returns:
        `gain` and `forgetting`, each only where there are sets of that domain.
    """
    found = {}
    if new := [each for each in comparisons if each.domain == NEW]:
        change = _difference(new)
        found["gain"] = asdict(Estimate(-change.value, -change.high, -change.low, change.n))
    if old := [each for each in comparisons if each.domain == OLD]:
        found["forgetting"] = asdict(_difference(old))
    return found


def _difference(comparisons: Sequence[Comparison]) -> Estimate:
    """Bits per byte after minus before, over all texts of several sets."""
    columns = [
        np.concatenate([getattr(each, name) for each in comparisons])
        for name in ("after", "before", "after_bytes", "before_bytes")
    ]
    after, before, after_bytes, before_bytes = columns
    return paired_difference(_bits(after), _bits(before), after_bytes, before_bytes)


def _bits(nats: np.ndarray) -> np.ndarray:
    return nats / math.log(2)
