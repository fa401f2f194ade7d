"""The words of GRPO and RLOO: TRL's, two of PPO's, and what a rollout is by them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trl import GRPOConfig, RLOOConfig


@dataclass(kw_only=True)
class Groups:
    """PPO's words that TRL's configs lack, and what follows from the words of a trainer of groups of answers.

    TRL counts in micro-batches: answers are drawn for `steps_per_generation` of them at a time, and learnt from
    `num_iterations` times. A rollout is the fewest whole optimizer steps after which no drawn answer is left over.
    """

    max_prompt_length: int | None = field(
        default=None, metadata={"help": "Longer prompts lose their beginning; None keeps them whole."}
    )
    stop_strings: list[str] | None = field(
        default=None, metadata={"help": "Completions also end where one of these is complete."}
    )

    @property
    def micro_batches_of_a_generation(self) -> int:
        """Micro-batches that are learnt from before answers are drawn anew."""
        return self.steps_per_generation * self.num_iterations

    @property
    def generations_per_rollout(self) -> int:
        """How often answers are drawn in a rollout: more than once where a step needs more than is drawn at a time."""
        return self._micro_batches // self.micro_batches_of_a_generation

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps that are taken on one rollout."""
        return self._micro_batches // self.gradient_accumulation_steps

    @property
    def _micro_batches(self) -> int:
        return math.lcm(self.micro_batches_of_a_generation, self.gradient_accumulation_steps)

    @property
    def prompts_of_a_generation(self) -> int:
        """Prompts that are answered at a time, over all processes."""
        return self.generation_batch_size // self.num_generations

    @property
    def minibatch_size(self) -> int:
        """Answers of one optimizer step, over all processes."""
        return self.train_batch_size * self.gradient_accumulation_steps * self.world_size

    @property
    def rollout_size(self) -> int:
        """Answers of one rollout, over all processes."""
        return self.generation_batch_size * self.generations_per_rollout

    @property
    def passes(self) -> int:
        """Times that each answer is learnt from."""
        return self.num_iterations

    @property
    def answers_of_a_prompt(self) -> int:
        return self.num_generations

    # Words of PPO, for what is shared with it.

    @property
    def response_length(self) -> int:
        return self.max_completion_length

    @property
    def local_rollout_forward_batch_size(self) -> int:
        """Answers that a reward model reads at a time."""
        return self.per_device_eval_batch_size


@dataclass
class RecipeGRPOConfig(Groups, GRPOConfig):
    """`trl.GRPOConfig` with PPO's words for prompts and the ends of answers."""


@dataclass
class RecipeRLOOConfig(Groups, RLOOConfig):
    """`trl.RLOOConfig` with PPO's words for prompts and the ends of answers."""
