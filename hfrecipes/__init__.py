"""Recipes that check, plan, train, measure and publish language models on the stock Hugging Face stack."""

from __future__ import annotations

import importlib
from typing import Any

# Public names and where they live; imported when first used, so that `import hfrecipes` costs nothing.
_PUBLIC = {
    "Curriculum": "hfrecipes.data.mixture.mixture",
    "CurriculumCallback": "hfrecipes.callbacks.curriculum",
    "MTPConfig": "hfrecipes.trainers.mtp",
    "MTPTrainer": "hfrecipes.trainers.mtp",
    "Mixture": "hfrecipes.data.mixture.mixture",
    "PPOConfig": "hfrecipes.trainers.ppo.config",
    "PPOTrainer": "hfrecipes.trainers.ppo.trainer",
    "Problem": "hfrecipes.recipe.problem",
    "Recipe": "hfrecipes.recipe.loader",
    "RecipeError": "hfrecipes.recipe.problem",
    "RunDir": "hfrecipes.recipe.rundir",
    "RunOptions": "hfrecipes.stages.options",
    "add_bottlenecks": "hfrecipes.models.bottleneck",
    "add_mtp_heads": "hfrecipes.models.mtp.attach",
    "build": "hfrecipes.stages.run",
    "check_no_leakage": "hfrecipes.models.leakage",
    "load_bottleneck": "hfrecipes.models.bottleneck",
    "load_mtp": "hfrecipes.models.mtp.attach",
    "load_recipe": "hfrecipes.recipe.loader",
    "mtp_generate": "hfrecipes.models.mtp.decode",
    "run": "hfrecipes.stages.run",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
