"""What a model can do, measured for the facts file: bits per byte, the task, samples; its base beside it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from transformers import PreTrainedTokenizerBase

from hfrecipes.data.prepare import Prepared
from hfrecipes.evaluation.generation import generate_texts
from hfrecipes.evaluation.language_modeling import RowLosses, language_modeling_estimates, measure_loss
from hfrecipes.evaluation.prompts import show_prompt, split_example
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.recipe_tokenizer import extends, obtain_tokenizer, without_extension
from hfrecipes.recipe.adapter_words import leaves_the_base
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.stages.continued import (
    Reader,
    compare_passages,
    compare_rows,
    continued_facts,
    domains_of,
    passage_entries,
)
from hfrecipes.stages.held_out import held_out_examples
from hfrecipes.stages.measure_task import DEFAULTS, SAMPLES, Entries, TaskMeasurer

BATCH_SIZE = 16
# A pretrained model is given this share of a held-out document and goes on from there.
PROMPT_CHARACTERS = 200
TUNED, BASE = "tuned", "base"
# A model that was not trained costs what guessing does, or little more. The guards of training stop at ten times that.
WORSE_THAN_GUESSING = 2.0


class Measurer:
    """Measures models on a recipe's held-out data, all in the same way.

    Args:
        recipe: A resolved recipe.
        prepared: Its data.
        tokenizer: The tokenizer that every model is asked through.
        console: Where progress is shown.
    """

    def __init__(
        self, recipe: Recipe, prepared: Prepared, tokenizer: PreTrainedTokenizerBase, console: Console
    ) -> None:
        self.recipe = recipe
        self.prepared = prepared
        self.tokenizer = tokenizer
        self.console = console
        self.warnings: list[str] = []
        self.more_facts: dict[str, Any] = {}
        self.losses: dict[str, dict[str, RowLosses]] = {BASE: {}, TUNED: {}}
        self.batch_size = recipe.get("evaluation.batch_size", BATCH_SIZE)

    def refuse_unscorable(self, model: Any) -> None:
        """Tries the task's metric on the references themselves, and the prompts' length, before the hours of training.

        Raises:
            RecipeError: where the metric cannot be loaded, or a reference cannot be scored by it.
        """
        if self.recipe.get("evaluation.task"):
            for warning in self._task().refuse_unscorable(model):
                self._warn(warning)

    def trained_and_base(self, model: Any, step: int) -> tuple[Entries, Entries]:
        """Entries of `evaluations` and `samples` for the trained model and, where it started from one, its base."""
        evaluations, samples = self.measure(model, TUNED, step)
        if not self._compares():
            return evaluations, samples
        if extends(self.recipe) and self.recipe.kind == "pretrain":
            return self._beside_other_reader(model, step, evaluations, samples)
        with self._base(model) as base:
            more, base_samples = self.measure(base, BASE, 0)
        comparisons = compare_rows(domains_of(self.recipe, self.prepared), self.losses[BASE], self.losses[TUNED])
        self.more_facts |= continued_facts(comparisons)
        return more + evaluations, base_samples + samples

    def _beside_other_reader(
        self, model: Any, step: int, evaluations: Entries, samples: Entries
    ) -> tuple[Entries, Entries]:
        """As `trained_and_base`, where the starting model reads through another tokenizer: in bytes."""
        known = without_extension(self.recipe)
        light, location = obtain_tokenizer(known)
        tokenizer = load_tokenizer(location, known)
        asked, base = Measurer(known, self.prepared, tokenizer, self.console), load_model(known, tokenizer)
        base.to(model.device)
        comparisons = compare_passages(
            self.recipe,
            self.prepared,
            Reader(lambda rows, name: asked._losses(base, rows, BASE, name), light),
            Reader(lambda rows, name: self._losses(model, rows, TUNED, name), obtain_tokenizer(self.recipe)[0]),
        )
        self.more_facts |= continued_facts(comparisons)
        # Costs per token cannot be compared with those of the starting model's own tokens.
        of_tokens = [entry for entry in evaluations if entry["metric"] != "bits_per_byte"]
        examples, _ = self._held_out_examples()
        base_samples = asked._samples(base, BASE, examples) if examples else []
        return passage_entries(comparisons, step, BASE, TUNED) + of_tokens, base_samples + samples

    def measure(self, model: Any, label: str, step: int) -> tuple[Entries, Entries]:
        """One model: language modelling on every held-out set, then the task or samples."""
        evaluations: Entries = []
        for name, dataset in self._held_out_sets().items():
            with self._status(f"measuring the {label} model on {name}"):
                found = self._entries(model, dataset, label, name, step)
            evaluations += [{"model": label, "dataset": name, **entry} for entry in found]
        examples, _ = self._held_out_examples()
        if not examples:
            return evaluations, []
        if self.recipe.get("evaluation.task"):
            found = self._task().measure(model, label, step, self._shots(label))
            self.warnings += found.warnings
            self._add_groups(found.groups)
            return evaluations + found.evaluations, found.samples
        return evaluations, self._samples(model, label, examples)

    def _held_out_sets(self) -> dict[str, Any]:
        return {**self.prepared.eval, **self.prepared.test}

    def _entries(self, model: Any, dataset: Any, label: str, name: str, step: int) -> Entries:
        """What one held-out set says of a model."""
        losses = self._losses(model, dataset, label, name)
        self.losses.setdefault(label, {})[name] = losses
        return language_modeling_estimates(losses, step)

    def _losses(self, model: Any, dataset: Any, label: str, name: str) -> RowLosses:
        """Losses of a held-out set; of a trained model that is worse than none at all, with a warning.

        Raises:
            PoisonedRunError: where a row's loss is no number.
        """
        try:
            losses = measure_loss(model, dataset, self.tokenizer.pad_token_id, self.batch_size)
        except ValueError as error:
            raise PoisonedRunError(f"the {label} model cannot be measured on {name}: {error}") from error
        loss = losses.nll.sum() / max(losses.num_tokens.sum(), 1)
        guessing = math.log(model.config.get_text_config().vocab_size)
        if label == TUNED and loss > WORSE_THAN_GUESSING * guessing:
            costs = f"{loss:.4g} nats a token, where guessing among all of them costs {guessing:.3g}"
            self._warn(f"the trained model is spoilt: {name} costs it {costs}; was training.learning_rate too high?")
        return losses

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def _task(self) -> TaskMeasurer:
        examples = held_out_examples(self.recipe, self.prepared)
        return TaskMeasurer(self.recipe, self.prepared, self.tokenizer, examples, self.batch_size, self._status)

    def _add_groups(self, groups: Entries) -> None:
        if groups:
            # The starting model is measured after the trained one, and stands before it.
            self.more_facts["task_groups"] = groups + self.more_facts.get("task_groups", [])

    def _shots(self, label: str) -> Sequence[int]:
        """The starting model is asked with examples and without; the trained one has learnt the task."""
        num_shots = self.recipe.get("evaluation.task.num_shots", DEFAULTS["num_shots"])
        return (num_shots, 0) if label == BASE and num_shots else (0,)

    def _samples(self, model: Any, label: str, examples: list[Any]) -> Entries:
        chosen = examples[: self.recipe.get("evaluation.samples", SAMPLES)]
        if not chosen:
            return []
        pairs = [_text_pair(example) for example in chosen]
        with self._status(f"the {label} model writes samples"):
            answers = generate_texts(
                model, self.tokenizer, [prompt for prompt, _ in pairs], DEFAULTS["max_new_tokens"], self.batch_size
            )
        found = zip(pairs, answers, strict=True)
        return [
            {"model": label, "prompt": show_prompt(prompt), "completion": answer, "reference": reference}
            for (prompt, reference), answer in found
            if answer is not None
        ]

    def _held_out_examples(self) -> tuple[list[dict[str, Any]], str]:
        """Of the first held-out source; empty where there is none."""
        found = held_out_examples(self.recipe, self.prepared)
        return next(((rows, name) for name, rows in found.items()), ([], ""))

    def _compares(self) -> bool:
        starts_from_one = self.recipe.get("model.name_or_path") is not None
        return starts_from_one and self.recipe.get("evaluation.compare_base", True)

    @contextlib.contextmanager
    def _base(self, model: Any) -> Iterator[Any]:
        """The starting model: the same weights with the new adapter off, or loaded again."""
        if hasattr(model, "disable_adapter") and leaves_the_base(self.recipe.get("adapter")):
            with model.disable_adapter():
                yield model
            return
        yield load_model(self.recipe, self.tokenizer, as_it_was=True).to(model.device)

    def _status(self, text: str) -> Any:
        if self.console.is_terminal:
            return self.console.status(escape(text))
        self.console.print(text, highlight=False, markup=False)
        return contextlib.nullcontext()


def _text_pair(example: dict[str, Any]) -> tuple[Any, str | None]:
    """Prompt and reference; a plain text is cut into a beginning and what follows it."""
    if "text" in example:
        text = example["text"]
        cut = min(PROMPT_CHARACTERS, len(text) // 2)
        return text[:cut], text[cut : cut + PROMPT_CHARACTERS]
    return split_example(example, "sample")
