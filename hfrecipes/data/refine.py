"""What becomes of training examples between reading and tokenising: cleaned, watched for evaluation text, augmented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

from hfrecipes.data.augment.augment import augment, make_methods
from hfrecipes.data.augment.report import AugmentationReport
from hfrecipes.data.clean.decontaminate import Decontaminator
from hfrecipes.data.clean.engine import Cleaned, clean
from hfrecipes.data.clean.registry import evaluation_texts, rule_fingerprints
from hfrecipes.data.clean.rule import Document
from hfrecipes.data.examples import read_examples
from hfrecipes.data.faults import Places
from hfrecipes.data.formats import Example, example_texts
from hfrecipes.data.row import Row, Source
from hfrecipes.data.settings import augment_seed
from hfrecipes.recipe.cleaning import Decontaminate
from hfrecipes.recipe.loader import Recipe
from hfrecipes.tokenization.tokenizer import Tokenizer

Found = tuple[Row, Example]

# Documents that are compared with the evaluation sets at a time.
_WATCHED = 512


class Refinery:
    """The training examples of a recipe, as `data.clean` and `data.augment` leave them.

    Args:
        recipe: With `data.train`.
        tokenizer: Counts tokens for the report on cleaning.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer | None = None) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._augmentations: dict[str, AugmentationReport] = {}
        self._overlaps: dict[str, Places] = {}
        self._num_watched: dict[str, int] = {}

    @cached_property
    def cleaned(self) -> Cleaned | None:
        """What the rules left; None where the recipe cleans nothing. Cleans when it is first asked for.

        Raises:
            RecipeError: a rule that cannot be applied, or nothing is left.
        """
        if self._recipe.get("data.clean") is None:
            return None
        return clean(self._recipe, "train", tokenizer=self._tokenizer)

    def examples(self, index: int, source: Source) -> Iterator[Found]:
        """The examples of the source at `data.train.<index>`, lazily. Reports are complete when they have been read.

        Raises:
            RecipeError: a row that cannot be used.
        """
        if self.cleaned is not None:
            found = self.cleaned.examples(index)
        else:
            found = self._watched(read_examples(self._recipe, "train", index, source), source.title)
        return self._augmented(found, source.title)

    @property
    def facts(self) -> dict[str, Any]:
        """`cleaning` and `augmentation` for run.json, where there was any; without texts of documents."""
        facts: dict[str, Any] = {"cleaning": self.cleaned.facts} if self.cleaned is not None else {}
        if self._augmentations:
            facts["augmentation"] = {title: _counts(report) for title, report in self._augmentations.items()}
        return facts

    @property
    def warnings(self) -> list[str]:
        """What was damaged, and what is trained on although it is measured on as well."""
        warnings = [] if self.cleaned is None else [*self.cleaned.warnings, *self.cleaned.report["warnings"]]
        for title, places in self._overlaps.items():
            # Left out, too, they would leave nothing to train on.
            is_all = places.count == self._num_watched[title]
            fix = "measure on other text" if is_all else "with data.clean: [] they are left out"
            one = "1 document says" if places.count == 1 else f"{places.count:,} documents say"
            are = "is" if places.count == 1 else "are"
            warnings.append(
                f"{title}: {one} what an evaluation row says, in whole or in a long run of words, and {are} trained on: "
                f"{places}; {fix}"
            )
        return warnings

    def _watched(self, found: Iterable[Found], title: str) -> Iterator[Found]:
        """Notes the documents that share text with what the recipe is measured on."""
        watch = self._decontaminator
        if watch is None:
            yield from found
            return
        rows = iter(found)
        while chunk := list(islice(rows, _WATCHED)):
            self._num_watched[title] = self._num_watched.get(title, 0) + len(chunk)
            documents = [Document(row.where, tuple(example_texts(example))) for row, example in chunk]
            for overlap in watch.overlaps(documents):
                self._overlaps.setdefault(title, Places()).add(f"{overlap.where} ({overlap.evaluation_where})")
            yield from chunk

    @cached_property
    def _decontaminator(self) -> Decontaminator | None:
        if not any(self._recipe.get(f"data.{role}") for role in ("eval", "test")):
            return None
        return Decontaminator(evaluation_texts(self._recipe), Decontaminate())

    def _augmented(self, found: Iterator[Found], title: str) -> Iterator[Found]:
        said = self._recipe.get("data.augment")
        if not said:
            return found
        methods = make_methods(said, self._recipe.find_file, self._recipe.where)
        report = self._augmentations.setdefault(title, AugmentationReport())
        return augment(found, methods, augment_seed(self._recipe), report)


def refinement_fingerprint(recipe: Recipe) -> list[Any]:
    """Changes with all that decides what becomes of the examples, but for the sources themselves."""
    cleaning = recipe.get("data.clean")
    rules = None if cleaning is None else [cleaning, rule_fingerprints(recipe)]
    said = recipe.get("data.augment")
    if not said:
        return [rules, None]
    methods = make_methods(said, recipe.find_file, recipe.where)
    return [rules, [said, augment_seed(recipe), [method.fingerprint for method in methods]]]


def _counts(report: AugmentationReport) -> dict[str, Any]:
    facts = report.facts()
    methods = {
        name: {key: value for key, value in each.items() if key != "examples"}
        for name, each in facts["methods"].items()
    }
    return {**facts, "methods": methods}
