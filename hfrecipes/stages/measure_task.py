"""A recipe's task, answered by the trained model and by the one it started from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from hfrecipes.data.formats import Example
from hfrecipes.data.prepare import Prepared
from hfrecipes.evaluation.generation import max_prompt_tokens
from hfrecipes.evaluation.metrics import TaskMetric, load_metric
from hfrecipes.evaluation.prompts import prompt_ids, split_example
from hfrecipes.evaluation.task import answer_task
from hfrecipes.evaluation.task_scores import DECLINING, group_entries, task_entries, unlike_their_kind
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.stages.held_out import shot_pool

# Where the recipe leaves them.
DEFAULTS = {"num_rows": 200, "num_shots": 3, "max_new_tokens": 64}
SAMPLES = 4

Entries = list[dict[str, Any]]


@dataclass
class TaskFound:
    """What was found of one model, for run.json.

    Args:
        evaluations: Entries of `evaluations`.
        samples: Entries of `samples`.
        groups: Entries of `task_groups`.
        warnings: For the user.
    """

    evaluations: Entries = field(default_factory=list)
    samples: Entries = field(default_factory=list)
    groups: Entries = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class TaskMeasurer:
    """Asks models the task of a recipe, all in the same way.

    Args:
        recipe: A resolved recipe with `evaluation.task`.
        prepared: Its data.
        tokenizer: The tokenizer that every model is asked through.
        examples: Held-out examples by data set.
        batch_size: Prompts at once.
        status: Shows what is being done.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        tokenizer: PreTrainedTokenizerBase,
        examples: dict[str, list[Example]],
        batch_size: int,
        status: Callable[[str], AbstractContextManager[Any]],
    ) -> None:
        self.recipe = recipe
        self.prepared = prepared
        self.tokenizer = tokenizer
        # Plain text to measure the loss on may stand beside the task's rows.
        tasks = {name: [each for each in rows if "text" not in each] for name, rows in examples.items()}
        self.examples = {name: rows for name, rows in tasks.items() if rows} or examples
        self.batch_size = batch_size
        self.settings = {**DEFAULTS, **recipe.get("evaluation.task")}
        self.held_out = frozenset(" ".join(name.split()) for name in recipe.get("data.held_out_families", []))
        self._status = status

    def refuse_unscorable(self, model: Any) -> list[str]:
        """Tries the metric on the references themselves, and the prompts' length, before the hours of training.

        Returns:
            Warnings on references that are not recognised as what they are tagged as.

        Raises:
            RecipeError: where the metric cannot be loaded, or a reference cannot be scored by it.
        """
        room = max_prompt_tokens(model, self.settings["max_new_tokens"])
        metric, found = self._metric(), []
        for name, examples in self.examples.items():
            pairs = [split_example(example, f"{name}, example {number}") for number, example in enumerate(examples)]
            shortest = min(len(prompt_ids(self.tokenizer, prompt)) for prompt, _ in pairs)
            if room is not None and shortest > room:
                raise RecipeError(self._no_room(name, shortest, room))
            kinds = [example.get("kind") for example in examples]
            scored = [text for kind, (_, text) in zip(kinds, pairs, strict=True) if kind not in DECLINING]
            self._try_metric(metric, name, scored)
            tagged = [(kind, text) for kind, (_, text) in zip(kinds, pairs, strict=True)]
            found += [f"{name}: {sentence}" for sentence in unlike_their_kind(tagged)]
        return found

    def measure(self, model: Any, label: str, step: int, shots: Sequence[int]) -> TaskFound:
        """One model, once for each number of examples that stand before the prompts."""
        metric, found = self._metric(), TaskFound()
        for number in shots:
            title = f"{label}, {number} examples" if number else label
            for name in self.examples:
                self._ask(model, title, name, step, number, metric, found)
        return found

    def _ask(
        self, model: Any, title: str, name: str, step: int, shots: int, metric: TaskMetric, found: TaskFound
    ) -> None:
        examples = self.examples[name]
        most = min(self.settings["num_rows"], len(examples))
        asked = f"the {title.partition(',')[0]} model" + (f" with {shots} example{'s' * (shots != 1)}" if shots else "")
        asking = self._status(f"{asked} answers {most} prompts of {name}")
        with asking, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            pool = shot_pool(self.recipe, self.prepared) if shots else None
            settings = {**self.settings, "num_shots": shots}
            answers, skipped = answer_task(model, self.tokenizer, examples, pool, settings, self.batch_size)
            entries = task_entries(answers, metric, self.held_out, step)
            groups = group_entries(answers, metric, self.held_out)
        found.warnings += [f"{title}: {told.message}" for told in caught if told.category is UserWarning]
        named = {"model": title, "dataset": name}
        left_out = {"skipped": skipped} if skipped else {}
        found.evaluations += [{**named, **entry, **left_out} for entry in entries]
        found.groups += [{**named, **entry} for entry in groups]
        kept = self.recipe.get("evaluation.samples", SAMPLES)
        found.samples += [{"model": title, **answer.sample} for answer in answers[:kept]]

    def _metric(self) -> TaskMetric:
        where = self.recipe.where("evaluation.task.metric")
        return load_metric(self.settings["metric"], where, self.recipe.path.parent)

    def _try_metric(self, metric: TaskMetric, name: str, references: list[str]) -> None:
        try:
            metric.score_rows(references, references)
        except (Exception, SystemExit) as error:  # a user's metric can fail in any way
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            fault = f"the references of {name} cannot be scored by {self.settings['metric']}: {said}"
            fix = "choose another metric, or correct the data"
            raise RecipeError(Problem(self.recipe.where("evaluation.task.metric"), fault, fix)) from error

    def _no_room(self, name: str, shortest: int, room: int) -> Problem:
        left = f"{room} are left for it" if room > 0 else "the answer alone fills the model's context"
        fault = f"no prompt of {name} leaves room for the answer: the shortest has {shortest} tokens, {left}"
        fix = "lower evaluation.task.max_new_tokens, or train on a longer context"
        return Problem(self.recipe.where("evaluation.task"), fault, fix)
