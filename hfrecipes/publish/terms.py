"""What the measured figures are called, and what those mean whose names do not say it."""

from __future__ import annotations

from collections.abc import Iterable

REWARD = "reward_"

_TITLES = {
    "own_8_grams": "8-token sequences of its own",
    "cut_answers": "answers cut at the length limit",
    "kl_from_base": "divergence from base",
    "kl_from_base_k1": "divergence from base, k1",
    "kl_from_base_k3": "divergence from base, k3",
    "kl_from_base_per_completion": "divergence from base by answer",
}
_ANSWERS = "on answers that the trained model drew"
# http://joschu.net/blog/kl-approx.html names the two estimates.
_MEANINGS = {
    "own_8_grams": "the share of an answer's sequences of eight tokens that stand in no other answer: 0 where all are alike",
    "cut_answers": "the share of answers that had not ended when they reached the most tokens an answer may have",
    "kl_from_base": (
        f"the Kullback-Leibler divergence of the trained model from the one it began as, {_ANSWERS}: summed over the whole "
        "vocabulary at each token, so not estimated from the tokens drawn"
    ),
    "kl_from_base_k1": f"the same estimated from the tokens drawn, as the mean of log p/q, p being the trained model {_ANSWERS}",
    "kl_from_base_k3": "the same estimated as the mean of q/p - 1 + log p/q, which is never negative and varies less",
    "kl_from_base_per_completion": f"the same Kullback-Leibler divergence summed over each answer, {_ANSWERS}",
    "score": "what all rewards give an answer together, each times its weight",
    "likelier_by_token": "the share of pairs whose better answer has the higher mean log-probability of a token",
    "good_likelier_by_token": "how often a good answer has a higher mean log-probability of a token than a bad one",
    "good_preferred": "how often a good answer gains more log-probability over the starting model than a bad one",
    "implicit_margin": "beta times how much more log-probability the better answer gained than the worse one, against the base",
    "chosen_log_ratio": "how much log-probability the better answer gained against the base; below 0 it has become less likely",
    "win_rate": "the share of prompts at which the trained model's answer is preferred to the starting model's",
    "pair_log_loss": "minus the log of the probability that the scores give to the better answer being better",
    "brier_score": "the squared distance of that probability from 1",
}
_GIVEN = "the mean of what the reward of this name, a function or a reward model's folder, gives an answer"
_PAIR_ACCURACY = "the share of pairs in which the better answer has the higher score"
_IMPLICIT = f"{_PAIR_ACCURACY}: here what it gained in log-probability over the starting model, so that 0.5 is chance"


def metric_title(metric: str) -> str:
    """A metric's name in words."""
    if metric.startswith(REWARD) and metric != REWARD:
        return f'reward by "{metric.removeprefix(REWARD)}"'
    return _TITLES.get(metric, metric.replace("_", " "))


def explanations(metrics: Iterable[str], kind: str) -> list[tuple[str, str]]:
    """Title and meaning of each metric that needs one, in the order given.

    Args:
        metrics: As `run.json` calls them.
        kind: The run's: a preference training scores answers by what they gained, a reward model by its rewards.
    """
    named = list(dict.fromkeys(metrics))
    meanings = _MEANINGS | {"pair_accuracy": _PAIR_ACCURACY if kind == "reward" else _IMPLICIT}
    meanings |= {metric: _GIVEN for metric in named if metric.startswith(REWARD)}
    return [(metric_title(metric), meanings[metric]) for metric in named if metric in meanings]
