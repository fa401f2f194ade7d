"""PPOTrainer: proximal policy optimisation with a critic, on the stock Trainer."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftConfig
from transformers import set_seed
from transformers.integrations import is_deepspeed_zero3_enabled

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.data.mixture.order import MixtureSampler
from hfrecipes.models.extended_embeddings import input_rows
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.mixin import RecipeTrainerMixin
from hfrecipes.trainers.ppo.config import PPOConfig
from hfrecipes.trainers.ppo.distributed import prepare_frozen
from hfrecipes.trainers.ppo.kl import KLController
from hfrecipes.trainers.ppo.making import PPORollouts
from hfrecipes.trainers.ppo.policy import VALUE_PREFIX, base_of
from hfrecipes.trainers.ppo.prompts import PromptReader, refuse_unusable_dataset
from hfrecipes.trainers.ppo.reference import make_reference
from hfrecipes.trainers.ppo.saving import PPOSaving
from hfrecipes.trainers.ppo.scores import ScoreNormalizer
from hfrecipes.trainers.ppo.setup import attach_values, make_sampling, open_policy, open_rewards, open_tokenizer
from hfrecipes.trainers.ppo.watching import Signs
from hfrecipes.trainers.sampler import EpochSampler
from hfrecipes.trainers.soundness import WINDOW, unsound_forward

_LOGGER = logging.getLogger(__name__)
_LISTED_ROWS = 20
# Tokens that the reference is asked about, so that a resumed run is known to have the one it began with.
_PROBE_TOKENS = 16


class PPOTrainer(PPOSaving, RecipeTrainerMixin, PPORollouts):
    """Proximal policy optimisation of a causal language model with a critic.

    Features:
        * one forward pass gives log-probabilities, entropies and values; logits of all tokens never exist at once;
        * values from a head, a second adapter or a model of their own (`args.value`);
        * with an adapter, one base in memory serves policy, reference, values, and rewards that are adapters of it;
        * rewards from classifiers with tokenizers of their own, functions (sync, async, by token), or several, weighted;
        * the same steps on any number of processes, and after a resume.

    Args:
        model: A causal language model, one with an adapter, or the name or folder of either.
        args: Of the training.
        reward_funcs: One or several; see `docs/ppo.md`.
        train_dataset: With `prompt` (text or messages) or `input_ids`; other columns go to reward functions.
        processing_class: The policy's tokenizer; None: the one that lies with the model.
        peft_config: For a fresh adapter.
        eval_dataset: As train_dataset, or several by name.
        reward_processing_classes: Tokenizers of reward models; None where one lies beside the model.
        ref_model: What divergence is measured from; None: the policy as it begins.
        value_model: With `value: model`, what makes values to begin with.
        warn: Called with signs that something goes wrong.
        kwargs: Those of `transformers.Trainer`.

    Raises:
        RecipeError: what is given cannot be trained, or does not go together.
    """

    def __init__(
        self,
        model: Any,
        args: PPOConfig,
        reward_funcs: Any,
        train_dataset: Any,
        processing_class: Any = None,
        peft_config: PeftConfig | None = None,
        *,
        eval_dataset: Any = None,
        reward_processing_classes: Any = None,
        ref_model: Any = None,
        value_model: Any = None,
        warn: Callable[[str], None] = _LOGGER.warning,
        **kwargs: Any,
    ) -> None:
        refuse_unusable_dataset(train_dataset, "train_dataset")
        # Adapters and heads begin with random numbers.
        set_seed(args.seed)
        processing_class = open_tokenizer(model) if processing_class is None else processing_class
        policy, fresh = open_policy(model, args, peft_config)
        self.sampling = make_sampling(args, processing_class)
        self.reference = None
        if args.kl_coef > 0:
            self.reference = make_reference(policy, ref_model, fresh, is_deepspeed_zero3_enabled())
        rewards = reward_funcs if isinstance(reward_funcs, list | tuple) else [reward_funcs]
        attach_values(policy, args, value_model, rewards)
        self.rewards = open_rewards(
            rewards, reward_processing_classes, policy, processing_class, args, self.call_policy
        )
        room = getattr(base_of(policy).config.get_text_config(), "max_position_embeddings", None)
        self.reader = PromptReader(processing_class, args.max_prompt_length, room, args.response_length)
        self.kl = KLController(args.kl_coef, args.adaptive_kl, args.kl_target, args.kl_horizon)
        self.normalizer = ScoreNormalizer(args.score_normalization)
        self.signs = Signs(warn, stops=bool(self.sampling.stop_ids or self.sampling.stop_strings))
        self._figure_sums, self._figure_count = {}, 0
        if args.total_episodes is not None:
            args.max_steps = -(-args.total_episodes // args.rollout_size) * args.steps_per_rollout
        super().__init__(
            model=policy,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        if self.reference is not None and self.reference.model is not None:
            self.reference.model = prepare_frozen(self.reference.model, self)

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Trains to the end; `resume_from_checkpoint=True` takes the newest checkpoint that is whole."""
        if not any(isinstance(callback, CheckpointCallback) for callback in self.callback_handler.callbacks):
            self.add_callback(CheckpointCallback(self, None))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_optimizer(self, model: Any = None) -> Any:
        """With a learning rate of its own for all that makes values, where one is asked for."""
        if self.optimizer is not None or self.args.value_learning_rate is None:
            return super().create_optimizer(model)
        optimizer = super().create_optimizer(model)
        named = (self.model if model is None else model).named_parameters()
        values = {id(weight) for name, weight in named if VALUE_PREFIX in name or ".value." in name}
        for group in list(optimizer.param_groups):
            mine = [weight for weight in group["params"] if id(weight) in values]
            group["params"] = [weight for weight in group["params"] if id(weight) not in values]
            if mine:
                settings = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
                optimizer.add_param_group({**settings, "params": mine, "lr": self.args.value_learning_rate})
        return optimizer

    # The order of prompts

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler | MixtureSampler:
        if self.mixture_plan is not None:
            self._sampler = MixtureSampler(self.mixture_plan)
        else:
            self._sampler = EpochSampler(len(self.train_dataset), self.args.rollout_size, self.args.seed)
        return self._sampler

    def set_sampler_epoch(self) -> None:
        """Nothing to tell: each rollout asks for its rows by number."""

    def rows_read(self) -> np.ndarray:
        """The prompts of all rollouts so far, in their order: `(samples,)`."""
        rollouts = -(-self.state.global_step // self.args.steps_per_rollout)
        return self._sampler.order(0, rollouts * self.args.rollout_size)

    # Guards

    @property
    def loss_bound(self) -> float:
        """Any loss that is a number: its size follows that of the rewards."""
        return sys.float_info.max

    def refuse_unsound_weights(self, where: str) -> None:
        """Raises for weights with which the model cannot be gone on with; a prompt is read for it.

        Raises:
            PoisonedRunError: on every process.
        """
        self.refuse_poisoned_weights(where)
        number = self.state.global_step % len(self.train_dataset)
        ids = self.reader.read(self.train_dataset, [number])[0].ids[:WINDOW]
        row = {"input_ids": ids, "labels": [-100] * len(ids)}
        model = self.model_wrapped if self.is_deepspeed_enabled else self.model
        with self.compute_loss_context_manager():
            found = unsound_forward(model, row, self.loss_bound, self.args.device)
        if self._anywhere(found is not None):
            raise PoisonedRunError(f"{where} prompt {number} {found or 'is not read on all processes'}")
        self._sound_steps().add(self.state.global_step)

    def _rows_of(self, step: int) -> str:
        rollout = (step - 1) // self.args.steps_per_rollout
        size = self.args.rollout_size
        rows = self._sampler.order(rollout * size, (rollout + 1) * size).tolist()
        more = " …" if len(rows) > _LISTED_ROWS else ""
        return f"Its rollout completed prompts {', '.join(map(str, rows[:_LISTED_ROWS]))}{more}"

    # State

    def accumulators(self) -> dict[str, Any]:
        """Also all that PPO carries from one rollout to the next."""
        state = {
            "steps_per_rollout": self.args.steps_per_rollout,
            "rollout_size": self.args.rollout_size,
            "update_sums": self.all_update_sums().tolist(),
            "figure_sums": self._figure_sums,
            "figure_count": self._figure_count,
            "kl_coef": self.kl.coefficient,
            "normalizer": asdict(self.normalizer),
            "signs": self.signs.state,
            "reference": self._probe_reference(),
        }
        return {**super().accumulators(), "ppo": state}

    def restore_accumulators(self, saved: dict[str, Any]) -> None:
        super().restore_accumulators(saved)
        state = saved["ppo"]
        self._refuse_other_rollouts(state)
        sums = torch.tensor(state["update_sums"], dtype=torch.float64, device=self.args.device)
        # Sums over all processes, so one of them goes on with them.
        self._update_sums = sums if self.args.process_index == 0 else torch.zeros_like(sums)
        self._figure_sums, self._figure_count = dict(state["figure_sums"]), state["figure_count"]
        self.kl.coefficient = state["kl_coef"] if self.args.adaptive_kl else self.args.kl_coef
        self.normalizer = ScoreNormalizer(**{**state["normalizer"], "kind": self.args.score_normalization})
        self.signs.state = state["signs"]
        self._refuse_other_reference(state["reference"])

    def _refuse_other_rollouts(self, state: dict[str, Any]) -> None:
        """Steps are counted in rollouts: of another size, they would be of other prompts."""
        now = {"steps_per_rollout": self.args.steps_per_rollout, "rollout_size": self.args.rollout_size}
        for name, value in now.items():
            if state[name] != value:
                fault = f"was saved with {name} {state[name]}, and it is {value} now"
                fix = "keep num_ppo_epochs, num_mini_batches and the batch over all processes, or begin anew"
                raise RecipeError(Problem(str(self.resumed_from), fault, fix))

    def _probe_reference(self) -> float | None:
        """The reference's mean log-probability of some tokens."""
        if self.reference is None:
            return None
        vocabulary = input_rows(base_of(self.policy))
        ids = torch.arange(1, _PROBE_TOKENS + 1, device=self.args.device)[None] % vocabulary
        places = torch.arange(_PROBE_TOKENS - 1, device=self.args.device)
        with torch.no_grad():
            return float(self._score_by_reference(ids, places)["logps"].mean())

    def _refuse_other_reference(self, before: float | None) -> None:
        now = self._probe_reference()
        if before is None or now is None:
            return
        if abs(now - before) > self._tolerance * max(abs(before), 1.0):
            fault = "the run began with another reference than the one it would go on with"
            fix = "give the model, or ref_model, that the run began with"
            raise RecipeError(Problem(str(self.resumed_from), fault, fix))
