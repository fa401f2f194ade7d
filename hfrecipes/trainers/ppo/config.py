"""The words of PPO, on top of `TrainingArguments`; those of TRL's old PPOConfig where they mean the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import TrainingArguments

from hfrecipes.recipe.problem import Problem, RecipeError


@dataclass
class PPOConfig(TrainingArguments):
    """`TrainingArguments` with the words of PPO.

    A rollout is `per_device_train_batch_size * gradient_accumulation_steps * num_mini_batches` prompts on each process. It is
    learnt from in `num_ppo_epochs * num_mini_batches` optimizer steps, which are the steps of the Trainer.
    """

    learning_rate: float = field(default=3e-6, metadata={"help": "The initial learning rate for AdamW."})
    adam_epsilon: float = field(
        default=1e-5, metadata={"help": "Epsilon of AdamW; the reference implementations of PPO use 1e-5."}
    )
    logging_steps: float = field(default=10, metadata={"help": "Log every X update steps."})
    value_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of all that makes values; None: learning_rate."}
    )

    total_episodes: int | None = field(
        default=None, metadata={"help": "Completions of the whole run; None: num_train_epochs or max_steps decide."}
    )
    num_ppo_epochs: int = field(default=4, metadata={"help": "Passes over each rollout."})
    num_mini_batches: int = field(default=1, metadata={"help": "Optimizer steps in each pass over a rollout."})
    local_rollout_forward_batch_size: int = field(
        default=64, metadata={"help": "Rows that are generated, or scored without gradients, at a time."}
    )

    response_length: int = field(default=53, metadata={"help": "Tokens of a completion at most."})
    max_prompt_length: int | None = field(
        default=None, metadata={"help": "Longer prompts lose their beginning; None keeps them whole."}
    )
    temperature: float = field(
        default=0.7, metadata={"help": "Of sampling, and of all log-probabilities that are compared with it."}
    )
    top_k: int = field(
        default=0, metadata={"help": "Sample among so many tokens; 0 among all, which alone is on-policy."}
    )
    top_p: float = field(
        default=1.0, metadata={"help": "Sample among the fewest tokens of this probability; 1 among all."}
    )
    stop_token: Literal["eos"] | None = field(
        default="eos", metadata={"help": "eos: completions end there; None: they end at no token."}
    )
    stop_token_id: int | None = field(default=None, metadata={"help": "Completions end at this token instead."})
    stop_strings: list[str] | None = field(
        default=None, metadata={"help": "Completions also end where one of these is complete."}
    )
    generation_kwargs: dict[str, Any] | None = field(
        default=None,
        metadata={"help": "Keywords for model.generate, which then samples; None: the trainer's own loop."},
    )

    missing_eos_penalty: float | None = field(
        default=1.0, metadata={"help": "Taken from the score of a completion that does not end."}
    )
    missing_eos_score: float | None = field(default=None, metadata={"help": "Takes the place of that score instead."})
    score_normalization: Literal["none", "reference", "running"] = field(
        default="none",
        metadata={
            "help": "none; reference: by mean and deviation of the first rollout's scores; running: of all so far."
        },
    )
    whiten_rewards: bool = field(default=False, metadata={"help": "Divide rewards by their deviation, mean kept."})
    whiten_advantages: bool = field(
        default=True, metadata={"help": "Bring advantages to mean 0 and deviation 1, over all processes."}
    )
    reward_weights: list[float] | None = field(
        default=None, metadata={"help": "What each reward function counts; None: 1."}
    )

    kl_coef: float = field(default=0.05, metadata={"help": "What each nat of divergence from the reference costs."})
    kl_estimator: Literal["k1", "k2", "k3"] = field(
        default="k1", metadata={"help": "k1, k2 or k3: how divergence is estimated from one sampled token."}
    )
    adaptive_kl: bool = field(
        default=False, metadata={"help": "Steer kl_coef so that the divergence of a completion is kl_target."}
    )
    kl_target: float = field(default=6.0, metadata={"help": "Nats for each completion."})
    kl_horizon: int = field(
        default=10_000, metadata={"help": "Completions in which the coefficient can double, roughly."}
    )

    cliprange: float = field(
        default=0.2, metadata={"help": "How far a token's probability ratio may move before it is clipped."}
    )
    cliprange_value: float = field(default=0.2, metadata={"help": "The same for values."})
    vf_coef: float = field(default=0.1, metadata={"help": "What the value loss counts."})
    gamma: float = field(default=1.0, metadata={"help": "Discount of later rewards."})
    lam: float = field(default=0.95, metadata={"help": "Lambda of generalised advantage estimation."})
    target_kl: float | None = field(
        default=None,
        metadata={
            "help": "Leave the rest of a rollout's steps out when a minibatch has moved further (nats for each token)."
        },
    )

    value: Literal["head", "adapter", "model"] = field(
        default="head",
        metadata={
            "help": "head: on the policy's hidden states; adapter: a LoRA of its own on the same base; model: one of its own."
        },
    )
    detach_value: bool = field(
        default=False, metadata={"help": "With value head: its gradient does not reach the policy's layers."}
    )
    disable_dropout: bool = field(
        default=True, metadata={"help": "With dropout, the ratio is not 1 before anything is learnt."}
    )

    log_completions: int | None = field(
        default=None, metadata={"help": "Show some completions with their scores every so many rollouts."}
    )
    num_completions_to_print: int = field(default=4, metadata={"help": "How many of them."})

    def __post_init__(self) -> None:
        if self.load_best_model_at_end and self.metric_for_best_model is None:
            # What is logged as a loss says nothing of how good a policy is.
            self.metric_for_best_model, self.greater_is_better = "eval_objective", True
        super().__post_init__()
        problems = list(_problems(self))
        if problems:
            raise RecipeError(problems)

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps that are taken on one rollout."""
        return self.num_ppo_epochs * self.num_mini_batches

    @property
    def minibatch_size(self) -> int:
        """Completions of one optimizer step, over all processes."""
        return self.train_batch_size * self.gradient_accumulation_steps * self.world_size

    @property
    def passes(self) -> int:
        """Times that each answer is learnt from."""
        return self.num_ppo_epochs

    @property
    def answers_of_a_prompt(self) -> int:
        return 1

    @property
    def rollout_size(self) -> int:
        """Completions of one rollout, over all processes."""
        return self.minibatch_size * self.num_mini_batches


_CHOICES = {
    "kl_estimator": ("k1", "k2", "k3"),
    "score_normalization": ("none", "reference", "running"),
    "value": ("head", "adapter", "model"),
    "stop_token": ("eos", None),
}
_AT_LEAST_ONE = (
    "num_ppo_epochs",
    "num_mini_batches",
    "response_length",
    "local_rollout_forward_batch_size",
    "kl_horizon",
    "num_completions_to_print",
)
_POSITIVE = ("temperature", "cliprange", "cliprange_value", "kl_target")
_SHARES = ("gamma", "lam", "top_p")


def _problems(args: PPOConfig) -> list[Problem]:
    faults = []
    for name, known in _CHOICES.items():
        if getattr(args, name) not in known:
            faults.append((name, f"is {getattr(args, name)!r}", f"it is one of: {', '.join(map(str, known))}"))
    for name in _AT_LEAST_ONE:
        if getattr(args, name) < 1:
            faults.append((name, f"is {getattr(args, name)}", "it is 1 or more"))
    for name in _POSITIVE:
        if not getattr(args, name) > 0:
            faults.append((name, f"is {getattr(args, name)}", "it is more than 0"))
    for name in _SHARES:
        if not 0 <= getattr(args, name) <= 1:
            faults.append((name, f"is {getattr(args, name)}", "it lies between 0 and 1"))
    if args.kl_coef < 0:
        faults.append(("kl_coef", f"is {args.kl_coef}", "it is 0 or more"))
    if args.adaptive_kl and args.kl_coef == 0:
        faults.append(("adaptive_kl", "multiplies kl_coef, which is 0", "set kl_coef, for example .15"))
    if args.missing_eos_score is not None and args.missing_eos_penalty:
        faults.append(
            (
                "missing_eos_score",
                "stands beside missing_eos_penalty",
                "set missing_eos_penalty to None, or leave it out",
            )
        )
    if args.detach_value and args.value != "head":
        faults.append(("detach_value", f"belongs to value head; value is {args.value}", "leave it out"))
    if args.value == "adapter" and args.gradient_checkpointing:
        fix = "set gradient_checkpointing to False, or value to head or model"
        faults.append(("gradient_checkpointing", "would compute anew with the wrong one of two adapters", fix))
    return [Problem(f"PPOConfig.{name}", says, fix) for name, says, fix in faults]
