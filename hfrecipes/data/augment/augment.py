"""Adds changed copies of some training rows behind them. The rows themselves stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hfrecipes.data.augment.back_translation import BackTranslationMethod
from hfrecipes.data.augment.checks import Bounds, fault_of
from hfrecipes.data.augment.method import AugmentMethod, Task
from hfrecipes.data.augment.noise import NoiseMethod
from hfrecipes.data.augment.protected import fixed_strings
from hfrecipes.data.augment.report import AugmentationReport, MethodReport
from hfrecipes.data.augment.restructure import RestructureMethod
from hfrecipes.data.augment.slots import Place, answers, changeable_places, put, skeleton, take
from hfrecipes.data.augment.synonyms import SynonymsMethod
from hfrecipes.data.formats import Example
from hfrecipes.data.hashing import content_key, stable_key
from hfrecipes.data.row import Row
from hfrecipes.recipe.augmentation import METHODS, Translator
from hfrecipes.recipe.problem import Problem, RecipeError

_SHARE = 0.1
# Rows that are held at a time, so that models see batches.
_ROWS = 256


def make_methods(
    said: Sequence[dict[str, Any]],
    find_file: Callable[[str], Path] = Path,
    place: Callable[[str], str] = str,
) -> list[AugmentMethod]:
    """The methods that a recipe lists under `augment`.

    Args:
        said: As in the recipe, and validated: `[{"method": "noise", "share": 0.2, ...}, ...]`.
        find_file: Finds files and folders that the recipe names, such as `recipe.find_file`.
        place: Where a key of the recipe stands, such as `recipe.where`, for problems.

    Raises:
        RecipeError: a file cannot be read, a model is not named, WordNet is not installed, or no copy could stay.
    """
    methods: list[AugmentMethod] = []
    for number, words in enumerate(said):
        name, key = words["method"], f"data.augment.{number}"
        settings = METHODS[name](**{word: _value(word, value) for word, value in words.items() if word != "method"})
        method: AugmentMethod
        if name == "synonyms":
            method = SynonymsMethod(settings, find_file, place(key))
        elif name == "back_translation":
            method = BackTranslationMethod(settings, find_file, place(f"{key}.forward"), place(f"{key}.backward"))
        else:
            method = {"restructure": RestructureMethod, "noise": NoiseMethod}[name](settings)
        _refuse_empty_bounds(method, place(key))
        methods.append(method)
    return methods


def augment(
    examples: Iterable[tuple[Row, Example]],
    methods: Sequence[AugmentMethod],
    seed: int,
    report: AugmentationReport,
) -> Iterator[tuple[Row, Example]]:
    """The examples, each followed by its changed copies.

    Whether a row gets a copy, and which, follows from the seed and its own content: rows that come or go change nothing for
    the others. A copy that fails a check is thrown away and counted.

    Args:
        examples: Rows and what they became.
        methods: As `make_methods` gives them; each makes at most one copy of a row.
        seed: Another one chooses other rows and other changes.
        report: Is filled in.

    Returns:
        An iterator that holds a few hundred rows at a time. The place of a copy reads `train.jsonl:7 (synonyms)`.
    """
    names = _unique_names(methods)
    for name in names:
        report.methods.setdefault(name, MethodReport())
    rows = iter(examples)
    while chunk := list(islice(rows, _ROWS)):
        copies: list[list[tuple[Row, Example]]] = [[] for _ in chunk]
        for name, method in zip(names, methods, strict=True):
            for index, copy in _copies(chunk, name, method, seed, report.methods[name]):
                copies[index].append(copy)
        report.rows += len(chunk)
        for pair, added in zip(chunk, copies, strict=True):
            yield pair
            yield from added


def _value(word: str, value: Any) -> Any:
    """A word's value; what a recipe says of a translator as the class of its words."""
    return Translator(**value) if word in ("forward", "backward") and isinstance(value, dict) else value


def _copies(
    chunk: Sequence[tuple[Row, Example]], name: str, method: AugmentMethod, seed: int, report: MethodReport
) -> Iterator[tuple[int, tuple[Row, Example]]]:
    """The copies of one method that stay, each with the position of its row."""
    share = _SHARE if method.settings.share is None else method.settings.share
    chosen: list[tuple[int, list[Place], Task]] = []
    for index, (_, example) in enumerate(chunk):
        key = f"{seed} {name} {content_key(example)}"
        places = changeable_places(example) if stable_key(key) < share * 2**64 else []
        if places:
            task = Task(take(example, places), fixed_strings(answers(example)), stable_key(f"change {key}"))
            chosen.append((index, places, task))
    changed = method.change([task for _, _, task in chosen]) if chosen else []
    for (index, places, task), texts in zip(chosen, changed, strict=True):
        row, example = chunk[index]
        copy = put(example, places, texts)
        reason = fault_of(task.texts, texts, task.fixed, _bounds(method))
        if reason is None and skeleton(copy, places) != skeleton(example, places):
            reason = "label"
        report.count(row.where, "\n".join(task.texts), "\n".join(texts), reason)
        if reason is None:
            yield index, (Row(f"{row.where} ({name})", row.values), copy)


def _bounds(method: AugmentMethod) -> Bounds:
    said = {word: getattr(method.settings, word) for word in Bounds.__dataclass_fields__}
    return Bounds(**{"min_similarity": method.min_similarity, **{k: v for k, v in said.items() if v is not None}})


def _refuse_empty_bounds(method: AugmentMethod, where: str) -> None:
    bounds = _bounds(method)
    for word in ("similarity", "length_ratio"):
        least, most = getattr(bounds, f"min_{word}"), getattr(bounds, f"max_{word}")
        if least > most:
            message = f"{method.name}: min_{word} {least:g} is above max_{word} {most:g}, so that no copy could stay"
            raise RecipeError(Problem(where, message, "correct one of them"))


def _unique_names(methods: Sequence[AugmentMethod]) -> list[str]:
    """The methods' names; one that is listed again gets a number, and so rows of its own."""
    names: list[str] = []
    for method in methods:
        before = sum(other.name == method.name for other in methods[: len(names)])
        names.append(f"{method.name} {before + 1}" if before else method.name)
    return names
