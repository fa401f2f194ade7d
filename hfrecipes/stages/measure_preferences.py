"""What a training on preferences has done, measured for the facts file: which answers the model has come to prefer, and at
what price."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from hfrecipes.evaluation.generation import max_prompt_tokens
from hfrecipes.evaluation.intervals import Estimate, bootstrap_interval
from hfrecipes.evaluation.kl import kl_estimates, measure_kl
from hfrecipes.evaluation.language_modeling import measure_loss
from hfrecipes.evaluation.reward_quality import pair_accuracy
from hfrecipes.objectives.answers import split_row
from hfrecipes.recipe.judge_words import TAX
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.stages.alignment_tax import measure_taxes, tax_entries, taxed_rows
from hfrecipes.stages.measure import BASE, TUNED, Measurer
from hfrecipes.stages.measure_task import DEFAULTS, Entries
from hfrecipes.stages.win_rates import WinRates

# trl.DPOConfig's own default.
BETA = 0.1
# Held-out prompts that the policy answers for its divergence from the base.
KL_PROMPTS = 32
# What is exact over the vocabulary; the estimates from single tokens say the same with more noise.
_KL = ("kl_from_base", "kl_from_base_per_completion")


class PreferenceMeasurer(Measurer):
    """As `Measurer`, on pairs of answers. The model is asked with the prompts; the chosen answers are the references."""

    def refuse_unscorable(self, model: Any) -> None:
        """As `Measurer`; loads the functions that judge answers, and the text that the price is measured on.

        Raises:
            RecipeError: where one cannot be had.
        """
        super().refuse_unscorable(model)
        self._win_rates().load_functions()
        self._taxed = taxed_rows(self.recipe, max_prompt_tokens(model, 0))

    def trained_and_base(self, model: Any, step: int) -> tuple[Entries, Entries]:
        """Entries of `evaluations` and `samples` for the trained model and the one it began as."""
        self.log_probabilities: dict[str, dict[str, np.ndarray]] = {BASE: {}, TUNED: {}}
        evaluations, samples = self.measure(model, TUNED, step)
        examples, name = self._held_out_examples()
        duel = self._win_rates()
        asked = [example["prompt"] for example in examples[: duel.num_prompts]]
        self._answer(duel, model, TUNED, asked, name)
        with self._base(model) as base:
            # The base of an adapter is the model itself, which the measure switches off and on.
            own = base is model
            if not own:
                evaluations += self._divergence(model, base, examples, name, step) + self._tax(model, base, step)
            self._answer(duel, base, BASE, asked, name)
            if self._compares():
                more, base_samples = self.measure(base, BASE, 0)
                evaluations, samples = more + evaluations, base_samples + samples
            else:
                for each, dataset in self._held_out_sets().items():
                    self._entries(base, dataset, BASE, each, 0)
        if own:
            evaluations += self._divergence(model, None, examples, name, step) + self._tax(model, None, step)
        for each in self._held_out_sets():
            found = self._beside_base(each, step)
            evaluations += [{"model": TUNED, "dataset": each, **entry} for entry in found]
        return evaluations + self._judged(duel, asked, model.device, name, step), samples

    def _win_rates(self) -> WinRates:
        return WinRates(self.recipe, self.tokenizer, self.batch_size)

    def _answer(self, duel: WinRates, model: Any, label: str, prompts: list[Any], name: str) -> None:
        if duel.is_asked_for:
            with self._status(f"the {label} model answers {len(prompts)} prompts of {name} for its win rate"):
                duel.take_answers(model, label, prompts)

    def _judged(self, duel: WinRates, prompts: list[Any], device: Any, name: str, step: int) -> Entries:
        """How often the trained model's answers are preferred; counts of wins are kept for the facts file."""
        if not duel.is_asked_for:
            return []
        with self._status(f"judging the answers to {len(prompts)} prompts of {name}"):
            entries, facts = duel.judge(TUNED, BASE, prompts, device, step)
        self.warnings += [f"{name}: {each}" for each in duel.warnings]
        self.more_facts["win_rates"] = [{"dataset": name, **each} for each in facts]
        return [{"model": TUNED, "dataset": name, **entry} for entry in entries]

    def _tax(self, model: Any, base: Any, step: int) -> Entries:
        """What general text costs the policy more than its base, where the recipe names some."""
        if not self.recipe.get(TAX):
            return []
        with self._status(f"measuring what {', '.join(self._taxed)} costs before and after"):
            return tax_entries(measure_taxes(model, base, self._taxed, self.batch_size), step, BASE, TUNED)

    def _entries(self, model: Any, dataset: Any, label: str, name: str, step: int) -> Entries:
        """How often the chosen answer is the likelier one, by token; the sums are kept."""
        sequences = [
            {"input_ids": ids, "labels": labels, "num_bytes": 1}
            for row in dataset
            for ids, labels in zip(split_row(row), split_row(row, "labels"), strict=True)
        ]
        try:
            losses = measure_loss(model, sequences, self.tokenizer.pad_token_id, self.batch_size)
        except ValueError as error:
            raise PoisonedRunError(f"the {label} model cannot be measured on {name}: {error}") from error
        sums = -losses.nll.reshape(-1, 2)
        self.log_probabilities[label][name] = sums
        by_token = sums / np.maximum(losses.num_tokens.reshape(-1, 2), 1)
        return [entry_of("likelier_by_token", pair_accuracy(*by_token.T), "share", True, step)]

    def _divergence(self, model: Any, base: Any, examples: list[dict[str, Any]], name: str, step: int) -> Entries:
        """How far the policy has moved, on answers that it draws itself to held-out prompts."""
        prompts = [example["prompt"] for example in examples[:KL_PROMPTS]]
        if not prompts:
            return []
        with self._status(f"measuring the divergence from the base on {len(prompts)} prompts of {name}"):
            found = measure_kl(model, base, self.tokenizer, prompts, DEFAULTS["max_new_tokens"], self.batch_size)
        if not found.num_tokens.any():
            return []
        estimates = [entry for entry in kl_estimates(found, step) if entry["metric"] in _KL]
        return [{"model": TUNED, "dataset": name, **entry} for entry in estimates]

    def _beside_base(self, name: str, step: int) -> Entries:
        """What the policy prefers beyond what its base does: the reward that DPO is the optimum of."""
        beta = self.recipe.get("training.beta", BETA)
        ratios = self.log_probabilities[TUNED][name] - self.log_probabilities[BASE][name]
        margins = beta * (ratios[:, 0] - ratios[:, 1])
        return [
            entry_of("pair_accuracy", pair_accuracy(*ratios.T), "share", True, step),
            entry_of("implicit_margin", bootstrap_interval(margins), "", True, step),
            entry_of("pair_log_loss", bootstrap_interval(np.logaddexp(0.0, -margins)), "nats/pair", False, step),
            entry_of("chosen_log_ratio", bootstrap_interval(ratios[:, 0]), "nats/answer", True, step),
        ]


def entry_of(metric: str, found: Estimate, unit: str, higher_is_better: bool, step: int) -> dict[str, Any]:
    """A figure as it stands under `evaluations` in run.json, but for the model and the data set."""
    return {"metric": metric, **asdict(found), "unit": unit, "higher_is_better": higher_is_better, "step": step}
