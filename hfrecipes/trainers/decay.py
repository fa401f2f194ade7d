"""Which parameters weight decay leaves alone, by `optimizer.no_decay`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch import nn

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.regularization_words import BIASES, DECAY_GROUPS, EMBEDDINGS, NORMS

if TYPE_CHECKING:
    from hfrecipes.trainers.mixin import RecipeTrainerMixin


def choose_decay(recipe: Recipe, trainer: RecipeTrainerMixin) -> None:
    """Tells a trainer what its optimizer is to leave alone; transformers' own choice stands where a recipe says nothing.

    Raises:
        RecipeError: a pattern fits nothing that is trained.
    """
    chosen = recipe.get("optimizer.no_decay")
    if chosen is None:
        return
    try:
        left_alone(trainer.model, chosen)
    except ValueError as error:
        fix = "correct it, or remove it; `*` stands for any characters"
        raise RecipeError(Problem(recipe.where("optimizer.no_decay"), str(error), fix)) from error
    trainer.no_decay = chosen


def left_alone(model: nn.Module, chosen: Sequence[str]) -> set[str]:
    """Names of the parameters that are not decayed.

    Groups go by the kind of module and the name of the parameter: `norms` are the weights and biases of modules whose class
    calls itself a norm; `embeddings` are the tables of tokens and positions, and an output matrix that is tied to one.

    Args:
        model: Whole, with what is put beside it.
        chosen: Words of `DECAY_GROUPS`, and patterns (`fnmatch`) of whole names.

    Raises:
        ValueError: a pattern fits no parameter that is trained.
    """
    found: set[int] = set()
    for word in chosen:
        fitting = {id(parameter) for name, parameter in _fitting(model, word) if parameter.requires_grad}
        if not fitting and word not in DECAY_GROUPS:
            trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
            raise ValueError(f"{word!r} fits no parameter that is trained; they are called {', '.join(trained[:3])} …")
        found |= fitting
    return {name for name, parameter in model.named_parameters() if id(parameter) in found}


def _fitting(model: nn.Module, word: str) -> Iterator[tuple[str, Any]]:
    if word == NORMS:
        return _of_modules(model, lambda module: "norm" in type(module).__name__.lower())
    if word == EMBEDDINGS:
        return _of_modules(model, lambda module: isinstance(module, nn.Embedding))
    # Tied weights under each of their names.
    named = model.named_parameters(remove_duplicate=False)
    if word == BIASES:
        return (each for each in named if "bias" in each[0].rpartition(".")[2])
    return (each for each in named if fnmatchcase(each[0], word))


def _of_modules(model: nn.Module, is_one: Any) -> Iterator[tuple[str, Any]]:
    """The parameters that modules of a kind hold themselves."""
    for module in model.modules():
        if is_one(module):
            yield from module.named_parameters(recurse=False)
