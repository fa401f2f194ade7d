"""What a reward model can do, measured for the facts file: accuracy, calibration, and whether it rewards length."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from transformers import PreTrainedTokenizerBase

from hfrecipes.data.prepare import Prepared
from hfrecipes.evaluation.reward_quality import reward_estimates, reward_quality_facts
from hfrecipes.evaluation.rewards import pairs_of, score_rows
from hfrecipes.objectives.answers import split_row
from hfrecipes.objectives.clm import IGNORED
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.stops import PoisonedRunError

BATCH_SIZE = 16
TUNED, LENGTH = "tuned", "length alone"

Entries = list[dict[str, Any]]


class RewardMeasurer:
    """Measures a reward model on a recipe's held-out data.

    Args:
        recipe: A resolved recipe.
        prepared: Its data.
        tokenizer: The model's.
        console: Where progress is shown.
    """

    def __init__(
        self, recipe: Recipe, prepared: Prepared, tokenizer: PreTrainedTokenizerBase, console: Console
    ) -> None:
        self.recipe = recipe
        self.prepared = prepared
        self.tokenizer = tokenizer
        self.console = console
        self.warnings: list[str] = []
        self.more_facts: dict[str, Any] = {}
        self.batch_size = recipe.get("evaluation.batch_size", BATCH_SIZE)

    def refuse_unscorable(self, model: Any) -> None:
        """Any row that is prepared can be scored."""

    def trained_and_base(self, model: Any, step: int) -> tuple[Entries, Entries]:
        """Entries of `evaluations` for the trained model (its base gives no rewards), and no samples."""
        evaluations: Entries = []
        quality = {}
        for name, dataset in {**self.prepared.eval, **self.prepared.test}.items():
            with self._status(f"measuring rewards on {name}"):
                entries, quality[name] = self._measure(model, dataset, name, step)
            evaluations += [{"dataset": name, **entry} for entry in entries]
        config = model.config
        normalisation = {"mean": getattr(config, "reward_mean", None), "std": getattr(config, "reward_std", None)}
        self.more_facts = {"reward": {"normalisation": normalisation, "quality": quality}}
        return evaluations, []

    def _measure(self, model: Any, dataset: Any, name: str, step: int) -> tuple[Entries, dict[str, Any]]:
        rows = list(dataset)
        rewards = score_rows(model, rows, self.tokenizer.pad_token_id, self.batch_size)
        lengths = [np.array([_answer_tokens(labels) for labels in split_row(row, "labels")], float) for row in rows]
        pairs = [pairs_of(row["ranks"]) for row in rows]
        scored, sizes = (_sides(values, pairs) for values in (rewards, lengths))
        margins = np.concatenate([[row["margin"]] * len(of_row) for row, of_row in zip(rows, pairs, strict=True)])
        try:
            entries = [{"model": TUNED, **entry} for entry in reward_estimates(*scored, step)]
            quality = reward_quality_facts(*scored, *sizes, margins if np.ptp(margins) else None)
        except ValueError as error:
            raise PoisonedRunError(f"the trained model cannot be measured on {name}: {error}") from error
        # What preferring the longer answer comes to: a model that is no better has learnt nothing else.
        accuracy = next(entry for entry in reward_estimates(*sizes, step) if entry["metric"] == "pair_accuracy")
        return [*entries, {"model": LENGTH, **accuracy}], quality

    def _status(self, text: str) -> Any:
        if self.console.is_terminal:
            return self.console.status(escape(text))
        self.console.print(text, highlight=False, markup=False)
        return contextlib.nullcontext()


def _answer_tokens(labels: list[int]) -> int:
    return len(labels) - labels.count(IGNORED)


def _sides(values: list[np.ndarray], pairs: list[list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
    """The values of the better and of the worse answers of all pairs."""
    both = [
        [of_row[better], of_row[worse]] for of_row, found in zip(values, pairs, strict=True) for better, worse in found
    ]
    better, worse = np.array(both).T
    return better, worse
