"""How a rollout is made: prompts are completed, scored, and turned into advantages; and how a policy is measured."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.trainer_utils import speed_metrics

from hfrecipes.models.mode import eval_mode
from hfrecipes.trainers.ppo.advantages import gae
from hfrecipes.trainers.ppo.completions_table import print_completions
from hfrecipes.trainers.ppo.distributed import gathered_for_generation
from hfrecipes.trainers.ppo.kl import KLController, kl_estimates
from hfrecipes.trainers.ppo.prompts import Prompt, PromptReader
from hfrecipes.trainers.ppo.rewards import Rewards
from hfrecipes.trainers.ppo.rollout import Rollout, Texts, score_texts
from hfrecipes.trainers.ppo.sampling import draw_uniforms, sample_completions
from hfrecipes.trainers.ppo.scorers import Completed
from hfrecipes.trainers.ppo.scores import ScoreNormalizer, settle_missing_eos, token_rewards
from hfrecipes.trainers.ppo.scoring import PPOScoring
from hfrecipes.trainers.ppo.statistics import masked_whiten
from hfrecipes.trainers.ppo.watching import Signs, rollout_figures, update_figures

# Uniform numbers of evaluations: the same for each, and none that a rollout draws.
_EVALUATION = -1


class PPORollouts(PPOScoring):
    """Makes rollouts of the parts that its trainer is given.

    Attributes:
        reader, rewards: The parts.
        kl: The coefficient.
        normalizer: Of scores.
        signs: What to warn of.
    """

    reader: PromptReader
    rewards: Rewards
    kl: KLController
    normalizer: ScoreNormalizer
    signs: Signs
    _figure_sums: dict[str, float]
    _figure_count: int

    def make_rollout(self, number: int) -> Rollout:
        size = self.args.rollout_size
        rows = self._sampler.order(number * size, (number + 1) * size)
        uniforms = draw_uniforms(self.args.seed, number, size, self.args.response_length)
        rollout, completed = self._complete(self.train_dataset, rows, uniforms)
        if number == 0:
            self.refuse_other_start(rollout)
        kl = self._settle(rollout)
        self._note(rollout, kl, completed)
        return rollout

    def _complete(self, dataset: Any, rows: np.ndarray, uniforms: Tensor) -> tuple[Rollout, Completed]:
        """Completions of rows of a data set, scored.

        Args:
            dataset: Holds the prompts.
            rows: Their numbers, for all processes: a multiple of these.
            uniforms: `(rows, length)`.

        Returns:
            The rollout of all processes, without advantages; and what this process completed.
        """
        share = len(rows) // self.args.world_size
        mine = slice(self.args.process_index * share, (self.args.process_index + 1) * share)
        prompts = self.reader.read(dataset, rows[mine])
        ids = [prompt.ids for prompt in prompts]
        size = self.args.local_rollout_forward_batch_size
        with eval_mode(self.model):
            drawn = uniforms[mine].to(self.args.device)
            with gathered_for_generation(self) as model, self.taking_down(drawn) as note:
                tokens, lengths, finished = sample_completions(model, ids, drawn, self.sampling, size, note)
            texts = Texts.join(ids, tokens, lengths, self.sampling.pad_id)
            own = self.own_scores(texts, note)
            ref = own if self.reference is None else score_texts(texts, size, self._score_by_reference)
        completed = self._completed(prompts, tokens, lengths, finished)
        scores, token_scores, table = self.rewards(completed, self.args.response_length)
        if token_scores is None:
            token_scores = torch.zeros(tokens.shape)
        scores, token_scores, table = (each.to(self.args.device) for each in (scores, token_scores, table))
        rollout = Rollout(
            texts, own["logps"], own["entropies"], own["values"], ref["logps"], finished, scores, token_scores, table
        )
        return rollout.gather(self.accelerator), completed

    def _completed(self, prompts: list[Prompt], tokens: Tensor, lengths: Tensor, finished: Tensor) -> Completed:
        ids = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
        texts = self.reader.texts(ids, self.args.stop_strings or ())
        return Completed(prompts, texts, ids, finished.tolist(), {"trainer_state": self.state})

    def _settle(self, rollout: Rollout) -> Tensor:
        """From scores to advantages and returns; gives the estimates of divergence, `(rows, length)`."""
        args, mask = self.args, rollout.texts.mask
        kl = kl_estimates(rollout.logps, rollout.ref_logps, args.kl_estimator)
        scores = self.normalizer(rollout.scores)
        if self.signs.stops:
            scores = settle_missing_eos(scores, rollout.finished, args.missing_eos_penalty, args.missing_eos_score)
        rewards = token_rewards(scores, kl, mask, self.kl.coefficient, rollout.token_scores)
        if args.whiten_rewards:
            rewards = masked_whiten(rewards, mask, shift_mean=False)
        advantages, rollout.returns = gae(rewards, rollout.values, mask, args.gamma, args.lam)
        rollout.advantages = masked_whiten(advantages, mask) if args.whiten_advantages else advantages
        return kl

    def _note(self, rollout: Rollout, kl: Tensor, completed: Completed) -> None:
        """Figures for the next log call, signs, the table, and the coefficient of the next rollout."""
        figures = rollout_figures(rollout, kl, self.kl.coefficient, self.rewards.names)
        rows = len(rollout.scores)
        if self.reference is not None:
            difference = torch.where(rollout.texts.mask, rollout.logps - rollout.ref_logps, 0.0)
            self.kl.update(float(difference.sum(1).mean()), rows)
        for name, value in figures.items():
            self._figure_sums[name] = self._figure_sums.get(name, 0.0) + value
        self._figure_count += 1
        self.signs.look(figures, rows, self.state.global_step)
        every = self.args.log_completions
        if every and self.rollouts_done % every == 0 and self.is_world_process_zero():
            shown = slice(self.args.num_completions_to_print)
            prompts = [str(prompt.given) for prompt in completed.prompts[shown]]
            scores = (rollout.scores + rollout.token_scores.sum(1)).tolist()[: len(prompts)]
            print_completions(prompts, completed.texts[shown], scores, self.state.global_step)

    # Logging and measuring

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            if self._was_left_out:
                # No gradient was made; its norm would read as one that vanished.
                logs.pop("grad_norm", None)
            logs |= update_figures(self.all_update_sums())
            logs |= {name: value / self._figure_count for name, value in self._figure_sums.items()}
            if self.reference is None:
                logs = {name: value for name, value in logs.items() if name not in _OF_REFERENCE}
            logs["episode"] = self.rollouts_done * self.args.rollout_size
            self._update_sums, self._figure_sums, self._figure_count = 0.0, {}, 0
        super().log(logs, *args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Completes prompts that are not learnt from, with the same random numbers each time.

        Args:
            eval_dataset: With prompts as those of training; None for the trainer's own; or several by name.
            ignore_keys: Not used.
            metric_key_prefix: Of the names.

        Returns:
            `score`; `kl`, in nats for each completion; `objective`, the score less what the divergence costs at the
            coefficient the run began with; `length`; `no_eos`.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        dataset = self.eval_dataset[dataset] if isinstance(dataset, str) else dataset
        if isinstance(dataset, dict):
            parts = [self.evaluate(each, None, f"{metric_key_prefix}_{name}") for name, each in dataset.items()]
            return {name: value for part in parts for name, value in part.items()}
        began = time.time()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._measure(dataset).items()}
        metrics |= speed_metrics(metric_key_prefix, began, num_samples=len(dataset))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measure(self, dataset: Any) -> dict[str, float]:
        count, size = len(dataset), self.args.rollout_size
        parts: list[Tensor] = []
        for number, start in enumerate(range(0, count, size)):
            # Whole batches for all processes; what is read twice is not counted twice.
            rows = np.arange(start, start + size) % count
            uniforms = draw_uniforms(self.args.seed, _EVALUATION - number, size, self.args.response_length)
            rollout, _ = self._complete(dataset, rows, uniforms)
            kl = torch.where(rollout.texts.mask, rollout.logps - rollout.ref_logps, 0.0).sum(1)
            scores = rollout.scores + rollout.token_scores.sum(1)
            columns = scores, kl, rollout.texts.lengths, ~rollout.finished
            parts.append(torch.stack([column.double() for column in columns], 1)[: count - start])
        score, kl, length, no_eos = torch.cat(parts).mean(0).tolist()
        measured = {"score": score, "length": length, "no_eos": no_eos, "objective": score - self.args.kl_coef * kl}
        return measured if self.reference is None else {**measured, "kl": kl}


_OF_REFERENCE = ("objective/kl", "objective/non_score_reward", "objective/kl_coef")
