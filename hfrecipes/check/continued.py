"""Whether what a recipe says of continued pretraining, old and new domains and added pieces, can mean something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.recipe_tokenizer import extends, new_sources
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

_EXTEND = "model.tokenizer.extend"


def continued_problems(recipe: Recipe) -> Iterator[Problem]:
    """What contradicts, or lacks, something else that the recipe says."""
    if extends(recipe):
        yield from _extension_problems(recipe)
    yield from _unmeasured(recipe)


def _extension_problems(recipe: Recipe) -> Iterator[Problem]:
    here, name = recipe.where(_EXTEND), recipe.get("model.name_or_path")
    if recipe.get("model.tokenizer.vocab_size") is not None:
        fix = "keep vocab_size to train a tokenizer, or extend to add to the model's own"
        yield Problem(here, f"{_EXTEND} stands beside model.tokenizer.vocab_size", fix)
    if name is None:
        fix = "name a model in model.name_or_path, or say vocab_size to train a tokenizer"
        yield Problem(here, f"{_EXTEND} has no tokenizer to add to: the weights of model.config are random", fix)
    if recipe.kind != "pretrain":
        fault = f"{_EXTEND} is for kind: pretrain, where whole embeddings are learnt from much text"
        yield Problem(
            here, fault, "continue pretraining with it first, then fine-tune what comes out, with LoRA or without"
        )
    elif name is not None and is_adapter(recipe.find_file(name)):
        fault = f"{name} is an adapter, whose base has no rows for new pieces"
        yield Problem(here, fault, "merge it into its base, and continue from that")
    try:
        new_sources(recipe)
    except RecipeError as error:
        yield from error.problems


def _unmeasured(recipe: Recipe) -> Iterator[Problem]:
    """Domains of held-out sources are compared before and after, which needs a model to compare with."""
    if recipe.get("model.name_or_path") is None:
        reason = "the weights of model.config are random"
    elif not recipe.get("evaluation.compare_base", True):
        reason = "evaluation.compare_base is false"
    else:
        return
    for key, spec in _held_out(recipe):
        if spec.get("domain") is not None:
            fault = f"{key}.domain has no effect: there is no model to compare with, since {reason}"
            yield Problem(recipe.where(f"{key}.domain"), fault, "remove it", "warning")


def _held_out(recipe: Recipe) -> Iterable[tuple[str, dict]]:
    return [found for role in ("eval", "test") for found in recipe.sources(role)]
