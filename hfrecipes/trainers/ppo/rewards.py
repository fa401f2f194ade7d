"""All scores of completions, weighted and added."""

from __future__ import annotations

import torch
from torch import Tensor

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.trainers.ppo.scorers import Completed, Scorer


class Rewards:
    """All scores of completions, weighted and added.

    Args:
        scorers: One for each reward.
        weights: What each counts.
    """

    def __init__(self, scorers: list[Scorer], weights: list[float] | None) -> None:
        if not scorers:
            raise RecipeError(Problem("reward_funcs", "is empty", "give a reward model or a function"))
        if weights is not None and len(weights) != len(scorers):
            fault = f"{len(weights)} weights for {len(scorers)} reward functions"
            raise RecipeError(Problem("PPOConfig.reward_weights", fault, "give one for each"))
        self.scorers = scorers
        self.weights = torch.tensor(weights or [1.0] * len(scorers), dtype=torch.float32)

    @property
    def names(self) -> list[str]:
        """One for each, told apart by a number where two are alike."""
        names = [scorer.__name__ for scorer in self.scorers]
        return [f"{name}_{place}" if names.count(name) > 1 else name for place, name in enumerate(names)]

    def __call__(self, completed: Completed, length: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Scores of completions.

        Args:
            completed: Of this process.
            length: Tokens of the longest completion there may be.

        Returns:
            Weighted sums of what completions are given as a whole, `(rows,)`; of what their tokens are, `(rows, length)`, or
            None; and what each scorer gave, tokens summed, `(rows, scorers)`, nan for none.

        Raises:
            RecipeError: a function gave something that is no score, or no function scores a completion.
        """
        each, tokens = [], None
        for scorer, weight in zip(self.scorers, self.weights, strict=True):
            scores, by_token = scorer(completed)
            if by_token is not None:
                rows = torch.zeros(len(scores), length)
                for row, values in enumerate(by_token):
                    rows[row, : len(values)] = torch.tensor(values)
                tokens = weight * rows if tokens is None else tokens + weight * rows
                each.append(rows.sum(1))
            else:
                each.append(scores)
        table = torch.stack(each, 1)
        self._refuse_unscored(table)
        return self._sum(table, tokens), tokens, table

    def _sum(self, table: Tensor, tokens: Tensor | None) -> Tensor:
        total = (table.nan_to_num(0.0) * self.weights).sum(1)
        # What tokens are given is paid where they stand, not again at the end.
        return total if tokens is None else total - tokens.sum(1)

    def _refuse_unscored(self, table: Tensor) -> None:
        empty = table.isnan().all(1)
        if bool(empty.any()):
            row = int(empty.int().argmax())
            raise RecipeError(
                Problem("reward_funcs", f"no function gave completion {row} a score", "give a number for each row")
            )
        if bool(table.isinf().any()):
            name = self.names[int(table.isinf().any(0).int().argmax())]
            raise RecipeError(Problem(f"reward function {name}", "gave an infinite score", "give finite numbers"))
