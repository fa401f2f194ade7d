"""What a change of length is judged by: the loss in short rows, before and after, and needles found in long ones.

Both are measured on the model as it was saved, read back from its files: what a live model does is of no use to anyone if those
who load it get other positions.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hfrecipes.data.examples import read_examples
from hfrecipes.data.formats import example_texts
from hfrecipes.data.prepare import prepare
from hfrecipes.data.sources import open_sources
from hfrecipes.evaluation.language_modeling import language_modeling_estimates, measure_loss
from hfrecipes.evaluation.needle import (
    DEPTHS,
    LANGUAGES,
    NUM_NEEDLES,
    NeedleCell,
    NeedleGrid,
    measure_needles,
    needle_estimates,
    needle_facts,
)
from hfrecipes.models.load import load_model
from hfrecipes.models.of_run import load_run_model
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import DEFAULT_CONTEXT
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.tokenization.tokenizer import Tokenizer

BATCH_SIZE = 16
TUNED, BASE = "tuned", "base"
# Characters of haystack for each token of the longest prompt and each needle; no tokenizer has longer tokens on average.
_CHARACTERS_PER_TOKEN = 8


class LongContext:
    """Measures what a recipe asks for under `evaluation.short_context` and `evaluation.needle`.

    Args:
        recipe: A resolved recipe.
        light: Its tokenizer, for rows.
        tokenizer: The same, for models.
        console: Where progress and the grid are shown.
    """

    def __init__(self, recipe: Recipe, light: Tokenizer, tokenizer: Any, console: Console) -> None:
        self.recipe = recipe
        self.light = light
        self.tokenizer = tokenizer
        self.console = console
        self.grid = needle_grid(recipe)
        self.short = recipe.get("evaluation.short_context")
        self.batch_size = recipe.get("evaluation.batch_size", BATCH_SIZE)

    @property
    def is_asked_for(self) -> bool:
        return self.grid is not None or self.short is not None

    def measure(self, run: RunDir, device: Any, step: int) -> dict[str, Any]:
        """Measures a run's saved model and, in short rows, the one it started from.

        Args:
            run: The run, its model saved.
            device: Where models are put, one after the other.
            step: Optimizer step at which the model was saved.

        Returns:
            `evaluations` to be added to the facts' own, and `needles`.

        Raises:
            RecipeError: where the prompts leave no room for a haystack.
        """
        saved = load_run_model(run)[0].to(device)
        evaluations = self._short_losses(saved, TUNED, step)
        cells = self._needles(saved)
        evaluations += [{"model": TUNED, **entry} for entry in needle_estimates(cells, step)] if cells else []
        del saved  # two of them need not fit
        if self.short and self.recipe.get("model.name_or_path") and self.recipe.get("evaluation.compare_base", True):
            base = load_model(self.recipe, self.tokenizer, as_it_was=True).to(device)
            evaluations = self._short_losses(base, BASE, 0) + evaluations
        return {"evaluations": evaluations, "needles": needle_facts(cells)}

    def _short_losses(self, model: Any, label: str, step: int) -> list[dict[str, Any]]:
        if not self.short:
            return []
        entries = []
        for name, rows in short_rows(self.recipe, self.light).items():
            self._say(f"measuring the {label} model on {name} in rows of {self.short:,} tokens")
            losses = measure_loss(model, rows, self.tokenizer.pad_token_id, self.batch_size)
            known = {"model": label, "dataset": f"{name}, {self.short:,} tokens", "short_context": self.short}
            entries += [{**known, **entry} for entry in language_modeling_estimates(losses, step)]
        return entries

    def _needles(self, model: Any) -> list[NeedleCell]:
        if self.grid is None:
            return []
        where = self.recipe.where("evaluation.needle")
        self._say(f"hiding needles in up to {max(self.grid.lengths):,} tokens")
        try:
            cells = measure_needles(model, self.tokenizer, haystack_texts(self.recipe), self.grid, self.batch_size)
        except ValueError as error:
            raise RecipeError(Problem(where, str(error), "correct evaluation.needle")) from error
        for table in needle_tables(cells):
            self.console.print(table)
        return cells

    def _say(self, text: str) -> None:
        self.console.print(escape(text), highlight=False)


def short_rows(recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
    """The rows of `data.eval`, packed to `evaluation.short_context`: the same for all stages that measure the same text."""
    data = copy.deepcopy(recipe.get("data"))
    data = {word: value for word, value in data.items() if word in ("eval", "splits", "document_mask")}
    short = recipe.replace(data={**data, "context_length": recipe.get("evaluation.short_context")})
    return prepare(short, tokenizer).eval


def needle_grid(recipe: Recipe) -> NeedleGrid | None:
    """The grid of `evaluation.needle`; None where a recipe hides none."""
    said = recipe.get("evaluation.needle")
    if said is None:
        return None
    context = recipe.get("data.context_length") or recipe.get("training.max_length") or DEFAULT_CONTEXT
    return NeedleGrid(
        lengths=tuple(said.get("lengths") or (context,)),
        depths=tuple(said.get("depths") or DEPTHS),
        languages=tuple(said.get("languages") or LANGUAGES),
        num_needles=said.get("num_needles") or NUM_NEEDLES,
    )


def haystack_texts(recipe: Recipe) -> list[str]:
    """As much text as the prompts of `evaluation.needle` can need, of its haystack or of `data.eval`.

    Raises:
        RecipeError: where a source cannot be read.
    """
    grid, given = needle_grid(recipe), recipe.get("evaluation.needle.haystack")
    of = recipe.replace(data={**recipe.get("data"), "eval": given}) if given else recipe
    left = _CHARACTERS_PER_TOKEN * max(grid.lengths) * grid.num_needles
    texts = []
    sources = open_sources(of, "eval")
    examples = chain.from_iterable(read_examples(of, "eval", index, source) for index, source in enumerate(sources))
    for text in chain.from_iterable(example_texts(example) for _, example in examples):
        texts.append(text)
        left -= len(text)
        if left <= 0:
            break
    return texts


def needle_tables(cells: list[NeedleCell]) -> list[Table]:
    """The grid for the terminal: a table for each language, depths down, lengths across."""
    tables = []
    for language in dict.fromkeys(cell.language for cell in cells):
        mine = {(cell.depth, cell.length): cell for cell in cells if cell.language == language}
        lengths = list(dict.fromkeys(length for _, length in mine))
        table = Table(title=f"needles found ({language}), and log-probability of the number")
        table.add_column("depth", justify="right")
        for length in lengths:
            table.add_column(f"{length:,} tokens", justify="right")
        for depth in dict.fromkeys(depth for depth, _ in mine):
            row = [mine[depth, length] for length in lengths]
            table.add_row(f"{depth:g}", *(f"{cell.found}/{cell.n}  {cell.log_probability:.2f}" for cell in row))
        tables.append(table)
    return tables
