"""Answers of a trained model and of the one it began as to the same prompts, and which of the two a recipe's judges prefer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hfrecipes.data.functions import failure_of, load_function
from hfrecipes.evaluation.generation import generate_texts
from hfrecipes.evaluation.intervals import bootstrap_interval
from hfrecipes.evaluation.prompts import Prompt
from hfrecipes.evaluation.win_rate import Verdicts, compare_by_judge, compare_by_score, win_rate, win_rate_entry
from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.reward import load_reward_model
from hfrecipes.recipe.judge_words import COMPARE, WIN_RATE, judge_specs, kind_of
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.reward_words import FUNCTION, MODEL
from hfrecipes.rewards.load import load_reward
from hfrecipes.stages.policy_rewards import reward_folder, reward_name
from hfrecipes.trainers.ppo.prompts import Prompt as Asked
from hfrecipes.trainers.ppo.scorers import Completed, FunctionReward, ModelReward

NUM_PROMPTS, MAX_NEW_TOKENS = 200, 64
# Answers of both models are drawn from the same random numbers.
_SEED = 0


@dataclass
class WinRates:
    """Win rates of a recipe: `take_answers` of both models first, then `judge`.

    Args:
        recipe: A resolved recipe.
        tokenizer: What both models are asked through.
        batch_size: Prompts at a time.
        answers: Of each model.
        warnings: Of judges who said nothing.
    """

    recipe: Recipe
    tokenizer: Any
    batch_size: int
    answers: dict[str, list[str | None]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_asked_for(self) -> bool:
        return bool(self.recipe.get(WIN_RATE))

    @property
    def num_prompts(self) -> int:
        return self.recipe.get(f"{WIN_RATE}.num_prompts", NUM_PROMPTS)

    def load_functions(self) -> None:
        """Loads what judges by itself, before the hours of training.

        Raises:
            RecipeError: where there is no such function, or it lacks words.
        """
        for place, spec in enumerate(judge_specs(self.recipe)):
            if kind_of(spec) != MODEL:
                self._function(place, spec)

    def take_answers(self, model: Any, label: str, prompts: Sequence[Prompt]) -> None:
        """Lets a model answer; None stands where a prompt leaves no room."""
        temperature = self.recipe.get(f"{WIN_RATE}.temperature", 0.0)
        most = self.recipe.get(f"{WIN_RATE}.max_new_tokens", MAX_NEW_TOKENS)
        drawing = {"do_sample": True, "temperature": temperature, "seed": _SEED} if temperature else {}
        self.answers[label] = generate_texts(model, self.tokenizer, prompts, most, self.batch_size, **drawing)

    def judge(
        self, tuned: str, base: str, prompts: Sequence[Prompt], device: Any, step: int
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """How often the answers of one model are preferred to those of the other.

        Args:
            tuned: Label of the model whose wins are counted.
            base: Label of the other.
            prompts: What both were asked.
            device: Where reward models go.
            step: Of the trained model.

        Returns:
            Entries of `evaluations` without model and data set; and for each judge what else is to be known.
        """
        pair = (self.answers[tuned], self.answers[base])
        lengths = [[len(answer.split()) for answer in answers if answer is not None] for answers in pair]
        entries, facts = [], []
        for place, spec in enumerate(judge_specs(self.recipe)):
            name = judge_name(spec)
            outcomes, said = self.outcomes(place, spec, prompts, *pair, device)
            if np.isnan(outcomes).all():
                self.warnings.append(f"{name} judged no pair of answers, so that there is no win rate by it")
                continue
            found = win_rate(outcomes)
            entries.append({**win_rate_entry(found, step), "metric": f"win_rate_by_{name}"})
            counts = {"wins": found.wins, "ties": found.ties, "losses": found.losses, "left_out": found.left_out}
            words = {
                label: asdict(bootstrap_interval(each)) for label, each in zip((tuned, base), lengths, strict=True)
            }
            facts.append({"judge": name, "kind": kind_of(spec), **asdict(found.rate), **counts, **said, "words": words})
        return entries, facts

    def outcomes(
        self, place: int, spec: dict[str, Any], prompts: Sequence[Prompt], ours: Any, theirs: Any, device: Any
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Who wins each prompt by one judge, as `evaluation.win_rate` gives it, and what is known of the judge besides."""
        if kind_of(spec) == COMPARE:
            verdicts = self._compared(place, spec, prompts, ours, theirs)
            return verdicts.outcomes, _both_orders(verdicts)
        scorer = self._model(spec, device) if kind_of(spec) == MODEL else FunctionReward(self._function(place, spec))

        def score(asked: list[Prompt], answers: list[str]) -> list[float]:
            scores, of_tokens = scorer(self._completed(asked, answers))
            return scores.double().tolist() if of_tokens is None else [sum(each) for each in of_tokens]

        return compare_by_score(prompts, ours, theirs, score, self.recipe.get(f"{WIN_RATE}.margin", 0.0)), {}

    def _compared(
        self, place: int, spec: dict[str, Any], prompts: Sequence[Prompt], ours: Any, theirs: Any
    ) -> Verdicts:
        """What a function says that sees both answers.

        Raises:
            RecipeError: it fails, or says something else than verdicts.
        """
        function = self._function(place, spec)
        try:
            return compare_by_judge(prompts, ours, theirs, function)
        except (Exception, SystemExit) as error:  # a user's function can fail in any way
            where = self.recipe.where(f"{WIN_RATE}.judges.{place}")
            fix = "correct the function, and go on with --resume"
            raise RecipeError(Problem(where, f"{spec[COMPARE]} {failure_of(function, error)}", fix)) from error

    def _completed(self, prompts: list[Prompt], answers: list[str]) -> Completed:
        """Answers as rewards of policies read them. One that was cut at the limit of tokens is judged as if it ended there."""
        asked = [Asked(row, [], prompt) for row, prompt in enumerate(prompts)]
        ids = [self.tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
        return Completed(asked, answers, ids, [True] * len(answers), {})

    def _function(self, place: int, spec: dict[str, Any]) -> Any:
        where, folder = self.recipe.where(f"{WIN_RATE}.judges.{place}"), self.recipe.path.parent
        if kind_of(spec) == COMPARE:
            return load_function(spec[COMPARE], folder, where)
        return load_reward(spec, where, folder)

    def _model(self, spec: dict[str, Any], device: Any) -> ModelReward:
        place = reward_folder(self.recipe, spec)
        model, tokenizer = load_reward_model(place, **{word: spec[word] for word in spec if word != MODEL})
        model = model.merge_and_unload() if is_adapter(place) else model
        return ModelReward(model.to(device), tokenizer, self.batch_size)


def judge_name(spec: dict[str, Any]) -> str:
    """What a judge is called in the facts: the function, or the folder or repository of the model."""
    kind = kind_of(spec)
    return reward_name(spec) if kind in (MODEL, FUNCTION) else spec[COMPARE].rpartition(":")[2]


def _both_orders(verdicts: Verdicts) -> dict[str, Any]:
    agreeing = None if verdicts.agreeing is None else asdict(verdicts.agreeing)
    return {"first_preferred": verdicts.first_preferred, "agreeing": agreeing}
