"""What recipes of kind `reward`, `dpo`, `kto` and `orpo` cannot ask for, or should know before they do."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.integrity import ADAPTER_CONFIG, read_settings
from hfrecipes.recipe.adapter_words import leaves_the_base
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.source_list import COMPARING, LABELLED

# Words of TRL's classes for collators of its own; ours put the answers of a row side by side.
_IDLE = ("padding_free", "pad_to_multiple_of")
# Of transformers' own loss, in place of which each of these kinds has another.
_OF_OTHER_LOSSES = "label_smoothing_factor"
# Losses that sort the pairs of a micro-batch.
_SORTING = ("aot", "aot_unpaired")


def preference_problems(recipe: Recipe) -> Iterator[Problem]:
    """Words that contradict each other, or the kind."""
    if recipe.kind not in (*COMPARING, *LABELLED):
        return
    for word in _IDLE:
        if recipe.get(f"training.{word}"):
            key = f"training.{word}"
            yield Problem(
                recipe.where(key), f"{key} has no effect: batches are padded to their longest row", "remove it"
            )
    if recipe.get(f"training.{_OF_OTHER_LOSSES}"):
        key = f"training.{_OF_OTHER_LOSSES}"
        fix = "remove it" + (", or say label_smoothing" if recipe.kind == "dpo" else "")
        yield Problem(recipe.where(key), f"{key} has no effect: kind: {recipe.kind} has a loss of its own", fix)
    if recipe.get("data.augment"):
        fault = f"data.augment changes texts, and kind: {recipe.kind} learns from how two texts differ"
        yield Problem(recipe.where("data.augment"), fault, "remove it")
    if recipe.kind == "dpo":
        yield from _reference_problems(recipe)
        yield from _loss_problems(recipe)
    elif recipe.kind in LABELLED:
        yield from _reference_problems(recipe)
        yield from _mismatch_problems(recipe)
        yield from _label_weight_problems(recipe)
    elif recipe.kind == "reward":
        yield from _adapter_problems(recipe)


def _reference_problems(recipe: Recipe) -> Iterator[Problem]:
    adapter, key = recipe.get("adapter"), "adapter.init_lora_weights"
    if adapter and not leaves_the_base(adapter) and recipe.get("quantization"):
        yield no_reference(recipe)
    if adapter and adapter.get("init_lora_weights") is False:
        fault = f"{key}: false begins with another model than the base, which is the reference"
        yield Problem(recipe.where(key), fault, "take init_lora_weights: true")
    key = "training.neftune_noise_alpha"
    if recipe.get(key):
        fault = f"{key} adds noise to the policy alone, which is then not compared with what it began as"
        yield Problem(recipe.where(key), fault, "remove it")
    key = "training.disable_dropout"
    if recipe.get(key) is False:
        fault = (
            f"{key}: false makes policy and reference differ by chance, and it cannot be seen whether they are the same"
        )
        yield Problem(recipe.where(key), fault, "remove it", "warning")


def no_reference(recipe: Recipe) -> Problem:
    """An adapter rewrites a quantized base, of which no copy is kept."""
    start = recipe.get("adapter.init_lora_weights")
    said = f"init_lora_weights: {start}" if start not in (None, True) else f"bias: {recipe.get('adapter.bias')}"
    fault = f"{said} changes the base, so that it is no reference any more"
    fix = "remove it, or remove quantization: a copy of the base is then the reference"
    return Problem(recipe.where("adapter"), fault, fix)


def _loss_problems(recipe: Recipe) -> Iterator[Problem]:
    losses = recipe.get("training.loss_type", [])
    if recipe.get("training.loss_type") == []:
        yield Problem(recipe.where("training.loss_type"), "training.loss_type names no loss", "name one, or remove it")
    yield from _weight_problems(recipe)
    sorting = [name for name in _SORTING if name == losses or name in losses]
    whole, micro = (recipe.get(f"training.{word}") for word in ("global_batch_size", "per_device_train_batch_size"))
    if sorting and (whole is None or whole != micro):
        fault = f"the loss {sorting[0]} sorts the pairs of a micro-batch, so that it depends on how a batch is divided"
        fix = "say the same number for global_batch_size and per_device_train_batch_size, and one process"
        yield Problem(recipe.where("training.loss_type"), fault, fix, "warning")


def _weight_problems(recipe: Recipe) -> Iterator[Problem]:
    """Losses that are added up, each by its weight."""
    losses, weights, key = (
        recipe.get("training.loss_type", "sigmoid"),
        recipe.get("training.loss_weights"),
        "loss_weights",
    )
    if weights is None:
        return
    number = len(losses) if isinstance(losses, list) else 1
    where, said = (
        recipe.where(f"training.{key}"),
        f"training.{key} has {len(weights)} number{'s' * (len(weights) != 1)}",
    )
    if len(weights) != number:
        yield Problem(where, f"{said}, and training.loss_type names {number}", "give one for each loss, or remove it")
    elif not any(weights):
        yield Problem(where, f"training.{key} counts no loss: all of it is 0", "give one of them a weight, such as 1.0")


def _label_weight_problems(recipe: Recipe) -> Iterator[Problem]:
    words = ("desirable_weight", "undesirable_weight")
    if all(recipe.get(f"training.{word}", 1) == 0 for word in words):
        fault = "training.desirable_weight and training.undesirable_weight are both 0, so that no answer counts"
        yield Problem(recipe.where(f"training.{words[0]}"), fault, "give one of them a weight, such as 1.0")


def _mismatch_problems(recipe: Recipe) -> Iterator[Problem]:
    """KTO asks each prompt with the answer of another row of its micro-batch how far the policy has moved."""
    for word, why in (
        (
            "precompute_ref_log_probs",
            "is for rows whose neighbours are always the same, and here each epoch has its own order",
        ),
        ("sync_ref_model", "moves the reference, which is in no checkpoint"),
    ):
        if recipe.get(f"training.{word}"):
            yield Problem(recipe.where(f"training.{word}"), f"training.{word} {why}", "remove it")
    key = "training.per_device_train_batch_size"
    whole, micro = recipe.get("training.global_batch_size"), recipe.get(key)
    mismatched = recipe.get("training.loss_type", "kto") == "kto"
    if mismatched and 1 in (whole, micro):
        where = recipe.where(key if micro == 1 else "training.global_batch_size")
        fault = "a micro-batch of one answer has no second answer that the divergence could be estimated from"
        yield Problem(where, fault, "let it have 2 or more, or say loss_type: apo_zero_unpaired")


def _adapter_problems(recipe: Recipe) -> Iterator[Problem]:
    name = recipe.get("model.name_or_path")
    if not name or not recipe.get("adapter") or not is_adapter(recipe.find_file(name)):
        return
    if read_settings(recipe.find_file(name) / ADAPTER_CONFIG).get("task_type") != "SEQ_CLS":
        fault = f"{name} is an adapter of a language model, on which no other adapter can stand"
        fix = "merge it into its base first, or say adapter: null, which merges it and trains all weights"
        yield Problem(recipe.where("adapter"), fault, fix)
