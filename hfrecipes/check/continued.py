"""Whether what a recipe says of continued pretraining, old and new domains and added pieces, can mean something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.recipe_tokenizer import extends, names_tokens, new_sources
from hfrecipes.recipe.adapter_words import BOTTLENECK, PROMPTING
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

_EXTEND = "model.tokenizer.extend"
# Kinds in which a model reads enough of what is new to it.
_LEARNING_TEXT = ("pretrain", "sft")


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
    if recipe.kind not in _LEARNING_TEXT:
        fault = f"{_EXTEND} is for {' and '.join(_LEARNING_TEXT)}, where new tokens are learnt from text"
        yield Problem(here, fault, "fine-tune with it first; what comes out keeps the tokens and their rows")
    elif name is not None and is_adapter(recipe.find_file(name)):
        fault = f"{name} is an adapter, whose base has no rows for new pieces"
        yield Problem(here, fault, "merge it into its base, and continue from that")
    yield from _method_problems(recipe)
    if recipe.get(_EXTEND) == []:
        yield Problem(here, f"{_EXTEND} names no token", "name them as they are written, as in ['<|im_end|>']")
    if names_tokens(recipe):
        return
    try:
        new_sources(recipe)
    except RecipeError as error:
        yield from error.problems


def _method_problems(recipe: Recipe) -> Iterator[Problem]:
    """Adapters beside which rows of new tokens cannot be trained, or only at a price."""
    method = recipe.get("adapter.method")
    if method in (BOTTLENECK, *PROMPTING):
        why = "keeps all of its base as it is" if method in PROMPTING else "saves its own layers alone"
        fault = f"{method} {why}: the rows of new tokens would stay as they begin"
        yield Problem(recipe.where(_EXTEND), fault, "say adapter.method: lora, which trains these rows beside it")
    elif method == "ia3":
        fault = "ia3 trains and saves the whole embeddings for new tokens: peft has no rows of their own for it"
        fix = "nothing where the memory in `hfrecipes plan` is there; method: lora trains the new rows alone"
        yield Problem(recipe.where(_EXTEND), fault, fix, "warning")
    if method == "lora" and recipe.get("adapter.trainable_token_indices") is not None:
        fault = f"adapter.trainable_token_indices stands beside {_EXTEND}, which says which rows are trained"
        yield Problem(recipe.where("adapter.trainable_token_indices"), fault, "remove it")


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
