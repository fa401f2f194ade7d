"""The training arguments of the stock classes, from a resolved recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from transformers import TrainingArguments

from hfrecipes.data.settings import PREPARED
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import split_batch
from hfrecipes.recipe.reward_words import WEIGHT, reward_specs
from hfrecipes.recipe.source_list import COMPARING, GROUPED, LABELLED, PROMPTED

Arguments = TypeVar("Arguments", bound=TrainingArguments)


def build_arguments(
    cls: type[Arguments],
    recipe: Recipe,
    hardware: Hardware,
    world_size: int,
    checkpoints: Path,
    measured: tuple[str, ...] = (),
) -> Arguments:
    """Everything the recipe says under `training:`, and what the project decides itself.

    Args:
        cls: The configuration class of the trainer that will be built.
        recipe: A resolved recipe.
        world_size: Processes of this run.
        checkpoints: Folder of the checkpoints.
        measured: Names of the data sets that are measured during training, as they stand in metrics.

    Raises:
        RecipeError: where the best checkpoint is to be chosen by a metric that is not measured.
    """
    split = split_batch(recipe, hardware, world_size)
    words: dict[str, Any] = {key: value for key, value in recipe.get("training").items() if key != "global_batch_size"}
    words |= {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": split.micro_batch_size,
        "gradient_accumulation_steps": split.accumulation_steps,
        "use_cpu": hardware.device == "cpu",
        # Rotation waits for the checkpoint's manifest, so it is ours; see callbacks/checkpoints.py.
        "save_total_limit": None,
        "save_only_model": False,
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "dataloader_drop_last": False,
        "push_to_hub": False,
        "run_name": recipe.name,
        "dataloader_pin_memory": words.get("dataloader_pin_memory", hardware.device == "cuda"),
    }
    if _needs_metric(words):
        words["metric_for_best_model"] = _best_metric(recipe, measured)
    if recipe.kind == "sft":
        # Rows arrive tokenised, labelled, truncated and packed; TRL refuses these words for rows that are.
        words = {key: value for key, value in words.items() if key not in PREPARED}
        words |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "shuffle_dataset": False}
    elif recipe.kind in LABELLED:
        # TRL asks for it, since it pairs answers in the order of the file; here they are paired in each batch.
        words["train_sampling_strategy"] = "sequential"
    elif recipe.kind in COMPARING:
        words = {key: value for key, value in words.items() if key not in PREPARED}
    elif recipe.kind in PROMPTED:
        words["reward_weights"] = [float(spec.get(WEIGHT, 1.0)) for spec in reward_specs(recipe)]
    return cls(**words)


def _needs_metric(words: dict[str, Any]) -> bool:
    """Whether something is decided by a metric: which checkpoint is the best, or when the learning rate falls."""
    follows = words.get("lr_scheduler_type") in ("reduce_lr_on_plateau", "greedy")
    return bool(words.get("load_best_model_at_end") or words.get("save_strategy") == "best" or follows)


def _best_metric(recipe: Recipe, measured: tuple[str, ...]) -> str:
    """The metric by which the best checkpoint is chosen: the first one on the first of data.eval where nothing is said.

    That is the loss, which says nothing of how good a policy is: of one, it is the score less what divergence costs.
    """
    kinds = ("loss",)
    if recipe.kind in PROMPTED:
        # TRL measures no divergence on held-out prompts.
        kinds = ("score",) if recipe.kind in GROUPED else ("objective", "score")
    known = [f"eval_{name}_{kind}" for name in measured for kind in kinds]
    asked = recipe.get("training.metric_for_best_model", kinds[0])
    if not known:
        fault = "a metric is to decide (the best checkpoint, or when the rate falls), but nothing is measured during training"
        raise RecipeError(Problem(recipe.where("training"), fault, "name data.eval"))
    if asked in (kinds[0], f"eval_{kinds[0]}"):
        return known[0]
    if asked not in known and f"eval_{asked}" not in known:
        where = recipe.where("training.metric_for_best_model")
        raise RecipeError(Problem(where, f"{asked} is not measured", f"measured are: {', '.join(known)}"))
    return asked
