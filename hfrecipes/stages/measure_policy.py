"""What a training on its own answers has made of a policy, measured for the facts file: what rewards say, how far it has moved,
and whether it still says different things."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from hfrecipes.data.prompts import PromptRows
from hfrecipes.evaluation.answer_variety import shares_of_own_ngrams
from hfrecipes.evaluation.intervals import Estimate, bootstrap_interval, outcome_interval, proportion_interval
from hfrecipes.evaluation.kl import kl_estimates, kl_of_completions
from hfrecipes.evaluation.prompts import show_prompt
from hfrecipes.models.mode import eval_mode
from hfrecipes.stages.measure import BASE, TUNED, Measurer
from hfrecipes.stages.measure_task import SAMPLES, Entries
from hfrecipes.trainers.ppo.prompts import Prompt
from hfrecipes.trainers.ppo.sampling import draw_uniforms, sample_completions
from hfrecipes.trainers.ppo.scorers import Completed
from hfrecipes.trainers.ppo.watching import unscored

NUM_PROMPTS = 200
# Random numbers that no rollout and no evaluation during training draws: these count up and down from 0.
_DRAWING = 2**40
# Answers that have no eight tokens in common with another one are told apart by these.
_NGRAM = 8


@dataclass
class _Answers:
    """Answers of one model to held-out prompts, with their scores.

    Args:
        completed: Prompts and answers.
        scores: `(answers,)` what counts in training, before the divergence is paid for.
        table: `(answers, rewards)` what each reward gave, nan for none.
    """

    completed: Completed
    scores: np.ndarray
    table: np.ndarray


class PolicyMeasurer(Measurer):
    """Measures policies as they were trained: on prompts, drawing answers at the training's temperature."""

    def take(self, trainer: Any) -> None:
        """Measures with the rewards, the reader of prompts and the sampling that this trainer has, which are loaded already."""
        self.trainer = trainer

    def refuse_unscorable(self, model: Any) -> None:
        """Any prompt that can be trained on can be measured on."""

    def trained_and_base(self, model: Any, step: int) -> tuple[Entries, Entries]:
        """Entries of `evaluations` and `samples` for the trained model and the one it began as."""
        evaluations: Entries = []
        samples: Entries = []
        self.more_facts = {"policy": {}}
        sets = self._held_out_sets()
        tuned = {name: self._answer(model, TUNED, name, rows) for name, rows in sets.items()}
        if self._compares() and sets:
            with self._base(model) as base:
                # The base of an adapter is the model itself, which the comparison switches off and on.
                own = base is model
                found = {name: self._answer(base, BASE, name, rows) for name, rows in sets.items()}
                divergences = [] if own else self._divergences(model, base, tuned, step)
            divergences = self._divergences(model, None, tuned, step) if own else divergences
            evaluations = self._entries_of(found, BASE, 0) + divergences
            samples = self._shown(found, BASE)
        return evaluations + self._entries_of(tuned, TUNED, step), samples + self._shown(tuned, TUNED)

    def _answer(self, model: Any, label: str, name: str, rows: Any) -> _Answers:
        trainer, dataset = self.trainer, PromptRows(rows)
        count = min(len(dataset), self.recipe.get("evaluation.num_prompts", NUM_PROMPTS))
        prompts = trainer.reader.read(dataset, range(count))
        sampling = trainer.sampling
        uniforms = draw_uniforms(trainer.args.seed, _DRAWING, count, sampling.length)
        with self._status(f"the {label} model answers {count} prompts of {name}"), eval_mode(model), torch.no_grad():
            device = next(model.parameters()).device
            ids = [prompt.ids for prompt in prompts]
            drawn = sample_completions(model, ids, uniforms.to(device), sampling, self.batch_size)
        return self._scored(prompts, *(part.cpu() for part in drawn))

    def _scored(
        self, prompts: list[Prompt], tokens: torch.Tensor, lengths: torch.Tensor, finished: torch.Tensor
    ) -> _Answers:
        trainer = self.trainer
        ids = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
        texts = trainer.reader.texts(ids, trainer.args.stop_strings or ())
        completed = Completed(prompts, texts, ids, finished.tolist(), {"trainer_state": trainer.state})
        scores, by_token, table = trainer.rewards(completed, trainer.args.response_length)
        whole = scores if by_token is None else scores + by_token.sum(1)
        return _Answers(completed, whole.double().numpy(), table.double().numpy())

    def _entries_of(self, found: dict[str, _Answers], label: str, step: int) -> Entries:
        each = [(name, entry) for name, answers in found.items() for entry in self._figures(answers, label, name, step)]
        return [{"model": label, "dataset": name, **entry} for name, entry in each]

    def _figures(self, found: _Answers, label: str, name: str, step: int) -> Entries:
        completed = found.completed
        lengths = [len(ids) for ids in completed.ids]
        entries = []
        for place, reward in enumerate(self.trainer.rewards.names):
            given = found.table[~np.isnan(found.table[:, place]), place]
            if len(given):
                entries.append(_entry(f"reward_{reward}", outcome_interval(given), "", True, step))
            elif label == TUNED:
                self._warn(unscored(reward, f"answers to {name}", len(found.scores)))
        if len(self.trainer.rewards.names) > 1:
            entries.append(_entry("score", outcome_interval(found.scores), "", True, step))
        own = outcome_interval(shares_of_own_ngrams(completed.ids, _NGRAM))
        cut = len(completed.finished) - sum(completed.finished)
        entries += [
            _entry("own_8_grams", own, "share", True, step),
            _entry("cut_answers", proportion_interval(cut, len(completed.finished)), "share", False, step),
        ]
        length, different = bootstrap_interval(lengths), len(set(map(tuple, completed.ids)))
        beside = {"length": asdict(length), "different": different, "answers": len(lengths)}
        self.more_facts["policy"].setdefault(name, {})[label] = beside
        return entries

    def _divergences(self, model: Any, base: Any | None, answers: dict[str, _Answers], step: int) -> Entries:
        """How far the policy has moved, at the training's temperature, on the answers that it drew."""
        entries: Entries = []
        for name, found in answers.items():
            rows = [(prompt.ids, ids) for prompt, ids in zip(found.completed.prompts, found.completed.ids, strict=True)]
            with self._status(f"measuring the divergence from the base on {len(rows)} answers to {name}"):
                divergence = kl_of_completions(model, base, rows, self.trainer.args.temperature)
            entries += [{"model": TUNED, "dataset": name, **entry} for entry in kl_estimates(divergence, step)]
        return entries

    def _shown(self, answers: dict[str, _Answers], label: str) -> Entries:
        """Those to the first prompts of the first set."""
        if not answers:
            return []
        found = next(iter(answers.values()))
        shown = range(min(self.recipe.get("evaluation.samples", SAMPLES), len(found.scores)))
        completed = found.completed
        return [
            {
                "model": label,
                "prompt": show_prompt(completed.prompts[row].given),
                "completion": completed.texts[row],
                "score": round(float(found.scores[row]), 4),
            }
            for row in shown
        ]


def _entry(metric: str, found: Estimate, unit: str, higher_is_better: bool, step: int) -> dict[str, Any]:
    return {"metric": metric, **asdict(found), "unit": unit, "higher_is_better": higher_is_better, "step": step}
