"""A model that answers prompts several times over, and what its recipe's rewards say of each answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hfrecipes.data.examples import read_examples
from hfrecipes.data.sources import open_sources
from hfrecipes.evaluation.generation import generation_config, max_prompt_tokens
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.mode import eval_mode
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.recipe.drawing_words import Drawing, drawing_of
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.reward_words import WEIGHT, reward_specs
from hfrecipes.stages.policy_rewards import OpenedReward, open_rewards
from hfrecipes.stages.prompted import name_scorers
from hfrecipes.trainers.ppo.prompts import Prompt, PromptReader
from hfrecipes.trainers.ppo.rewards import Rewards
from hfrecipes.trainers.ppo.sampling import Sampling, draw_uniforms, sample_completions
from hfrecipes.trainers.ppo.scorers import Completed, FunctionReward, ModelReward


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt of a recipe.

    Args:
        number: Its place among all prompts, from 0.
        where: Its row.
        given: As the row has it, a text or messages.
        columns: The others of the row, for rewards.
    """

    number: int
    where: str
    given: Any
    columns: dict[str, Any]


def read_prompts(recipe: Recipe) -> tuple[list[Asked], list[dict[str, Any]]]:
    """All prompts of a recipe in the order of its sources, and what `data` of run.json says of these.

    Raises:
        RecipeError: a row asks nothing, or there are no rows.
    """
    found: list[Asked] = []
    facts = []
    for index, source in enumerate(open_sources(recipe, "train")):
        before = len(found)
        for row, example in read_examples(recipe, "train", index, source):
            found.append(Asked(len(found), row.where, example["prompt"], example["columns"]))
        named = {"role": "train", "name": source.name, "split": source.split, "rows": len(found) - before}
        facts.append({**named, "revision": source.revision, "license": source.license})
    if not found:
        raise RecipeError(Problem(recipe.where("data.train"), "there is no prompt", "name data that has some"))
    return found, facts


class Answerer:
    """The model, the drawing and the rewards of a recipe of `kind: sample`.

    Args:
        recipe: Resolved.
        device: Where model and reward models go.

    Raises:
        RecipeError: one of them cannot be loaded.
    """

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe, self.device = recipe, device
        self.drawing: Drawing = drawing_of(recipe)
        self.rewards = self._open_rewards()
        _, location = obtain_tokenizer(recipe)
        self.tokenizer = load_tokenizer(location, recipe)
        model = load_model(recipe, self.tokenizer).requires_grad_(False)
        # Quantised weights were put in their place as they were loaded.
        self.model = model if recipe.get("quantization") else model.to(device)
        self.reader = PromptReader(self.tokenizer, None, None, self.drawing.max_new_tokens)
        self.room = max_prompt_tokens(self.model, self.drawing.max_new_tokens)

    def _open_rewards(self) -> Rewards:
        opened = open_rewards(self.recipe, has_adapter=False)
        weights = [spec.get(WEIGHT, 1.0) for spec in reward_specs(self.recipe)]
        rewards = Rewards([self._scorer(each) for each in opened], weights)
        name_scorers(rewards, opened)
        return rewards

    def _scorer(self, opened: OpenedReward) -> Any:
        if opened.tokenizer is None:
            return FunctionReward(opened.scores)
        return ModelReward(opened.scores.to(self.device), opened.tokenizer, self.drawing.batch_size)

    def answer(self, asked: Sequence[Asked]) -> Iterator[dict[str, Any]]:
        """A record of each prompt: what was said to it, how it scored, and what each reward gave.

        Every answer is decided by random numbers of its own, which follow from the seed and the prompt's place; so what was
        drawn before changes none. A prompt that leaves no room for an answer has none.
        """
        prompts = self.reader.read([{"prompt": each.given, **each.columns} for each in asked], range(len(asked)))
        fitting = [place for place, prompt in enumerate(prompts) if self.room is None or len(prompt.ids) <= self.room]
        repeated = [place for place in fitting for _ in range(self.drawing.num_return_sequences)]
        completed = self._draw([asked[place].number for place in fitting], [prompts[place] for place in repeated])
        scores, table = self._score(completed)
        for place, each in enumerate(asked):
            rows = [row for row, owner in enumerate(repeated) if owner == place]
            yield {
                "number": each.number,
                "where": each.where,
                "prompt": each.given,
                "answers": [completed.texts[row] for row in rows],
                "scores": [scores[row] for row in rows],
                "rewards": {name: [given[row] for row in rows] for name, given in table.items()},
                "tokens": [len(completed.ids[row]) for row in rows],
                "ended": [completed.finished[row] for row in rows],
            }

    @torch.no_grad()
    def _draw(self, numbers: list[int], prompts: list[Prompt]) -> Completed:
        if not prompts:
            return Completed([], [], [], [], {})
        drawing, count = self.drawing, self.drawing.num_return_sequences
        uniforms = [draw_uniforms(drawing.seed, number, count, drawing.max_new_tokens) for number in numbers]
        sampling = self._sampling(prompts[0].conversational)
        ids = [prompt.ids for prompt in prompts]
        with eval_mode(self.model):
            device = next(self.model.parameters()).device
            drawn = sample_completions(self.model, ids, torch.cat(uniforms).to(device), sampling, drawing.batch_size)
        tokens, lengths, finished = (part.cpu().tolist() for part in drawn)
        said = [row[:length] for row, length in zip(tokens, lengths, strict=True)]
        return Completed(prompts, self.reader.texts(said), said, finished, {"trainer_state": None})

    def _sampling(self, conversational: bool) -> Sampling:
        drawing = self.drawing
        words = (conversational, drawing.max_new_tokens, True, drawing.temperature)
        config = generation_config(self.model, self.tokenizer, *words)
        return Sampling(
            length=drawing.max_new_tokens,
            temperature=drawing.temperature,
            pad_id=config.pad_token_id,
            stop_ids=tuple(config.eos_token_id or ()),
            top_k=drawing.top_k,
            top_p=drawing.top_p,
        )

    def _score(self, completed: Completed) -> tuple[list[float], dict[str, list[float | None]]]:
        """Weighted sums, and what each reward gave; None where it gave nothing."""
        if not completed.prompts:
            return [], {name: [] for name in self.rewards.names}
        scores, by_token, table = self.rewards(completed, self.drawing.max_new_tokens)
        whole = scores if by_token is None else scores + by_token.sum(1)
        given = table.double().T.tolist()
        return whole.double().tolist(), {
            name: [None if value != value else value for value in column]
            for name, column in zip(self.rewards.names, given, strict=True)
        }
