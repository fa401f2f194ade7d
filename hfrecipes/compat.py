"""The only imports of private or version-bound names of the libraries we stand on. Each has a test."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any


def trl_chat_templates() -> Path | None:
    """The folder of chat templates inside the installed TRL; None where TRL is absent or keeps them elsewhere.

    TRL is not imported: finding a top-level package executes none of its code, and importing it costs seconds.
    """
    spec = find_spec("trl")
    folders = (
        [] if spec is None else [Path(place) / "chat_templates" for place in spec.submodule_search_locations or ()]
    )
    return next((folder for folder in folders if folder.is_dir()), None)


def trl_prepare_deepspeed(model: Any, accelerator: Any) -> Any:
    """A model that is not trained, under the DeepSpeed settings of the one that is."""
    from trl.models.utils import prepare_deepspeed

    return prepare_deepspeed(model, accelerator)


def trl_prepare_fsdp(model: Any, accelerator: Any) -> Any:
    """A model that is not trained, split by FSDP as the one that is."""
    from trl.models.utils import prepare_fsdp

    return prepare_fsdp(model, accelerator)


def trl_unwrap_for_generation(model: Any, accelerator: Any) -> Any:
    """A context that gives a model without wrappers, its weights gathered under ZeRO-3."""
    from trl.models.utils import unwrap_model_for_generation

    return unwrap_model_for_generation(model, accelerator)


def trl_fused_head(model: Any, **words: Any) -> None:
    """Lets `model(…, labels=labels, fused_lm_head=True)` give log-probabilities of the labels, without all logits at once.

    Args:
        model: A causal language model, not yet inside an adapter.
        words: `temperature`, by which logits are divided; `cast_lm_head_to_fp32`.
    """
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model, **words)
