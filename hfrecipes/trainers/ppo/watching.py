"""Figures of rollouts and updates, and signs that a training goes wrong without failing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hfrecipes.trainers.ppo.rollout import Rollout
from hfrecipes.trainers.ppo.statistics import explained_variance, masked_mean

# Sums over tokens that each micro-batch adds to, in this order; names are TRL's.
UPDATE_FIGURES = (
    "loss/policy_avg",
    "loss/value_avg",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "val/clipfrac_avg",
    "val/ratio",
    "policy/entropy_avg",
)


def update_sums(
    policy_losses: Tensor,
    value_losses: Tensor,
    logps: Tensor,
    old_logps: Tensor,
    clipped: Tensor,
    values_clipped: Tensor,
    entropies: Tensor,
) -> Tensor:
    """Sums over the tokens of a micro-batch, `(figures + 2,)` float64: `UPDATE_FIGURES`, squared ratios, tokens."""
    difference = (logps - old_logps).detach()
    ratio = difference.exp()
    rows = (
        policy_losses.detach(),
        value_losses.detach(),
        0.5 * difference.square(),
        clipped,
        values_clipped,
        ratio,
        entropies,
        ratio.square(),
        torch.ones_like(ratio),
    )
    return torch.stack([row.double() for row in rows]).sum(1)


def update_figures(sums: Tensor) -> dict[str, float]:
    """Means over tokens, from sums over micro-batches and processes; empty where no token was read."""
    values = sums.tolist()
    tokens = values[-1]
    if not tokens:
        return {}
    figures = {name: value / tokens for name, value in zip(UPDATE_FIGURES, values, strict=False)}
    figures["val/ratio_var"] = max(values[-2] / tokens - figures["val/ratio"] ** 2, 0.0)
    return figures


def rollout_figures(rollout: Rollout, kl: Tensor, coefficient: float, names: list[str]) -> dict[str, float]:
    """Figures of a rollout of all processes, padding left out.

    Args:
        rollout: With advantages and returns.
        kl: `(rows, length)` estimates in nats.
        coefficient: What each nat cost.
        names: Of the rewards.
    """
    mask = rollout.texts.mask
    scores = rollout.scores + rollout.token_scores.sum(1)
    by_completion = torch.where(mask, kl, 0.0).sum(1)
    figures = {
        "objective/scores": scores.mean(),
        "objective/scores_std": scores.std(correction=0),
        "objective/kl": by_completion.mean(),
        "objective/entropy": torch.where(mask, rollout.entropies, 0.0).sum(1).mean(),
        "objective/non_score_reward": -coefficient * by_completion.mean(),
        "objective/rlhf_reward": (scores - coefficient * by_completion).mean(),
        "objective/kl_coef": torch.tensor(coefficient),
        "completions/length": rollout.texts.lengths.double().mean(),
        "completions/length_max": rollout.texts.lengths.max(),
        "completions/no_eos": (~rollout.finished).double().mean(),
        "completions/distinct": torch.tensor(_distinct(rollout) / len(mask)),
        "policy/token_entropy": masked_mean(rollout.entropies, mask),
        "val/returns": masked_mean(rollout.returns, mask),
        "val/values": masked_mean(rollout.values, mask),
        "val/explained_variance": explained_variance(rollout.values, rollout.returns, mask),
    }
    if len(names) > 1:
        figures |= {f"rewards/{name}": rollout.table[:, place].nanmean() for place, name in enumerate(names)}
    return {name: float(value) for name, value in figures.items()}


def silent_rewards(figures: dict[str, float]) -> list[str]:
    """Names of the rewards that gave none of the completions a score, among the figures of a rollout."""
    return [
        name.removeprefix(REWARD) for name, value in figures.items() if name.startswith(REWARD) and math.isnan(value)
    ]


def unscored(reward: str, what: str, count: int) -> str:
    """The warning that a reward had nothing to say.

    Args:
        reward: Its name.
        what: What it was shown.
        count: How many of these.
    """
    why = "it counts for nothing there; does it read a column that the rows have?"
    return f"reward {reward} gave a score to none of the {count:,} {what}: {why}"


def _distinct(rollout: Rollout) -> int:
    """Different completions among those of a rollout."""
    texts = rollout.texts
    rows = zip(texts.ids.tolist(), texts.prompt_lengths.tolist(), texts.lengths.tolist(), strict=True)
    return len({tuple(ids[start : start + length]) for ids, start, length in rows})


# Entropy below this share of the first rollout's, and this share of different completions: nothing is tried any more.
_COLLAPSED, _ALIKE, _ENOUGH_ROWS = 0.1, 0.1, 8
# Gains of the true reward end at some ten nats for each completion (Gao et al. 2022, arXiv:2210.10760, figure 1).
_FAR = 20.0
_NEVER_ENDS = 0.5
# What each reward gave on average is logged under this and its name.
REWARD = "rewards/"


@dataclass
class Signs:
    """Looks at each rollout's figures and warns of each sign once.

    Args:
        warn: Called with each warning.
        stops: Whether completions are to end by themselves.
        state: What has to survive a resume: figures of the first rollout, and signs that were told.
    """

    warn: Callable[[str], None]
    stops: bool
    state: dict[str, Any] = field(default_factory=lambda: {"first": None, "told": []})

    def look(self, figures: dict[str, float], rows: int, step: int) -> None:
        """Args: the figures, completions they are of, and the step."""
        first = self.state["first"] or figures
        self.state["first"] = first
        entropy, began = figures["policy/token_entropy"], first["policy/token_entropy"]
        score, score_began = figures["objective/scores"], first["objective/scores"]
        kl = figures["objective/kl"]
        if entropy < _COLLAPSED * began:
            why = "the policy hardly tries anything any more: raise kl_coef or temperature, or lower learning_rate"
            self._tell(
                "entropy", f"entropy fell from {began:.3g} to {entropy:.3g} nats for each token at step {step}; {why}"
            )
        if rows >= _ENOUGH_ROWS and figures["completions/distinct"] < _ALIKE:
            share = figures["completions/distinct"]
            self._tell(
                "alike", f"of {rows} completions only {share:.0%} are different at step {step}: the policy collapses"
            )
        if kl > _FAR and score > score_began:
            why = "gains that far from the reference are mostly the reward's faults: read completions, or raise kl_coef"
            self._tell("far", f"{kl:.3g} nats from the reference at step {step}, score {score:.4g}; {why}")
        if figures["objective/scores_std"] == 0 and rows > 1:
            self._tell("alike scores", f"all scores of a rollout are {score:.4g} at step {step}: they teach nothing")
        if self.stops and figures["completions/no_eos"] > _NEVER_ENDS:
            share = figures["completions/no_eos"]
            why = "raise response_length, or missing_eos_penalty"
            self._tell("endless", f"{share:.0%} of completions do not end at step {step}: {why}")

        if rows >= _ENOUGH_ROWS:
            for name in silent_rewards(figures):
                self._tell(f"silent {name}", unscored(name, f"completions of step {step}", rows))

    def _tell(self, sign: str, says: str) -> None:
        if sign not in self.state["told"]:
            self.state["told"].append(sign)
            self.warn(says)
