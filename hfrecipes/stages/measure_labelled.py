"""What a training on labelled answers has done, measured for the facts file: does it tell good from bad, and at what price?"""

from __future__ import annotations

from typing import Any

import numpy as np

from hfrecipes.evaluation.intervals import bootstrap_interval
from hfrecipes.evaluation.labelled_answers import separation
from hfrecipes.evaluation.language_modeling import measure_loss
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.stages.measure import BASE, TUNED
from hfrecipes.stages.measure_preferences import PreferenceMeasurer, entry_of
from hfrecipes.stages.measure_task import Entries


class LabelledMeasurer(PreferenceMeasurer):
    """As `PreferenceMeasurer`, on answers that are good or not; the good ones are the references."""

    def _entries(self, model: Any, dataset: Any, label: str, name: str, step: int) -> Entries:
        """How often a good answer is likelier, by token, than a bad one; the sums are kept."""
        try:
            losses = measure_loss(model, dataset, self.tokenizer.pad_token_id, self.batch_size)
        except ValueError as error:
            raise PoisonedRunError(f"the {label} model cannot be measured on {name}: {error}") from error
        self.log_probabilities[label][name] = -losses.nll
        by_token = -losses.nll / np.maximum(losses.num_tokens, 1)
        return self._separation("good_likelier_by_token", by_token, name, step)

    def _beside_base(self, name: str, step: int) -> Entries:
        """What the policy says more and less often than its base does."""
        ratios = self.log_probabilities[TUNED][name] - self.log_probabilities[BASE][name]
        labels = self._labels(name)
        entries = self._separation("good_preferred", ratios, name, step)
        for side, of_side, higher in (("good", labels, True), ("bad", ~labels, False)):
            if of_side.any():
                found = bootstrap_interval(ratios[of_side])
                entries.append(entry_of(f"{side}_log_ratio", found, "nats/answer", higher, step))
        return entries

    def _separation(self, metric: str, scores: np.ndarray, name: str, step: int) -> Entries:
        labels = self._labels(name)
        if labels.all() or not labels.any():
            return []
        return [entry_of(metric, separation(scores, labels), "share", True, step)]

    def _labels(self, name: str) -> np.ndarray:
        return np.asarray(self._held_out_sets()[name]["label"], dtype=bool)
