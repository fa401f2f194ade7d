"""Signs that a training on groups of answers goes wrong without failing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from hfrecipes.trainers.ppo.watching import silent_rewards, unscored

# Below this share of different answers the policy says the same to everything; fewer rows than this say little.
_ALIKE, _ENOUGH_ROWS = 0.1, 8
_NEVER_ENDS = 0.5


@dataclass
class GroupSigns:
    """Looks at the figures each time answers are drawn, and warns of each sign once.

    Args:
        warn: Called with each warning.
        told: Signs that were warned of, which has to survive a resume.
    """

    warn: Callable[[str], None] = logging.getLogger(__name__).warning
    told: list[str] = field(default_factory=list)

    def look(self, figures: dict[str, float], different: float, rows: int, step: int) -> None:
        """Looks at one rollout.

        Args:
            figures: TRL's, each reward's mean included.
            different: Share of different answers.
            rows: Answers.
            step: That they are drawn for.
        """
        score, cut = figures["reward"], figures["completions/clipped_ratio"]
        if rows >= _ENOUGH_ROWS and different < _ALIKE:
            self._tell(
                "alike", f"of {rows} answers only {different:.0%} are different at step {step}: the policy collapses"
            )
        if figures["frac_reward_zero_std"] == 1:
            why = f"a mean of {score:.4g}: they teach nothing"
            self._tell("alike scores", f"the answers to each prompt all score the same at step {step}, {why}")
        if rows >= _ENOUGH_ROWS:
            for name in silent_rewards(figures):
                self._tell(f"silent {name}", unscored(name, f"answers of step {step}", rows))
        if cut > _NEVER_ENDS:
            why = "raise max_completion_length, or say stop_strings"
            self._tell("endless", f"{cut:.0%} of answers do not end at step {step}: {why}")

    def _tell(self, sign: str, says: str) -> None:
        if sign not in self.told:
            self.told.append(sign)
            self.warn(says)


def share_of_different(ids: Tensor) -> float:
    """Different answers among all: `(answers, tokens)`, padded at the right."""
    return len(set(map(tuple, ids.tolist()))) / len(ids)
