"""The trained model of a run, as anyone would load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hfrecipes.models.adapters import adapter_base, is_adapter, is_bottleneck, refuse_damaged_adapter
from hfrecipes.models.bottleneck import load_bottleneck
from hfrecipes.models.integrity import refuse_damaged_tokenizer
from hfrecipes.models.pretrained import (
    load_pretrained,
    load_pretrained_tokenizer,
    load_with_adapter,
    refused_loads,
)
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_run_model(run: RunDir) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """The trained model of a run, as anyone would load it: plain `from_pretrained`, or `PeftModel` on its base.

    Raises:
        RecipeError: where the run has no model, or a damaged one.
    """
    folder = _model_folder(run)
    if is_bottleneck(folder):
        model = _load_with_bottleneck(folder)
    elif is_adapter(folder):
        model = load_with_adapter(folder, trainable=False)
    elif (folder / "config.json").is_file():
        model = load_pretrained(folder)
    else:
        raise RecipeError(Problem(str(folder), "holds no model", "give a finished run, or a model's folder"))
    return model.eval(), load_run_tokenizer(run)


def _load_with_bottleneck(folder: Path) -> PreTrainedModel:
    refuse_damaged_adapter(folder)
    name, revision = adapter_base(folder)
    with refused_loads(folder, None):
        return load_bottleneck(load_pretrained(name, revision=revision), folder)


def load_run_tokenizer(run: RunDir) -> PreTrainedTokenizerBase:
    """The tokenizer of a run's model.

    Raises:
        RecipeError: where there is none, or a damaged one.
    """
    refuse_damaged_tokenizer(_model_folder(run))
    return load_pretrained_tokenizer(_model_folder(run))


def _model_folder(run: RunDir) -> Path:
    """The folder of a run's model; a model's folder may be given as if it were a run's."""
    return run.model if run.model.is_dir() else run.path
