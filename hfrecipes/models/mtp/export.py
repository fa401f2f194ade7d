"""Chained heads in the layout of DeepSeek-V3, which transformers' `generate(use_mtp=True)` and serving engines read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfrecipes.models.mtp.attach import MTPModel
from hfrecipes.models.mtp.heads import ChainedHeads
from hfrecipes.models.mtp.saving import split_state

# Names of ours -> DeepSeek's, behind the number of the layer.
_NAMES = {
    "embedding_norms": "enorm",
    "hidden_norms": "hnorm",
    "last_norms": "shared_head.norm",
    "projections": "eh_proj",
}


def export_chained(model: MTPModel, folder: Path) -> None:
    """Saves a model and its chained heads as decoder layers behind its own.

    A model of a class that transformers knows to have such layers (DeepSeek-V3, GLM-4.5 …) then drafts with them by
    `from_pretrained(folder).generate(..., use_mtp=True)`. Of another class (Llama, Qwen2 …) one has to say so before it is
    loaded: `cls._keys_to_ignore_on_load_unexpected = layer_names(model)`. That also keeps the plain loading from warning.

    Args:
        model: With chained heads; saved in its own type.
        folder: Made, or written into.

    Raises:
        ValueError: for parallel heads, and models whose decoder layers do not lie under `model.layers`.
    """
    if not isinstance(model.mtp_heads, ChainedHeads):
        raise ValueError("parallel heads have no place in DeepSeek's layout, which is one of heads behind each other")
    if model.mtp_anatomy.layers != "model.layers":
        raise ValueError(
            f"DeepSeek's layout has decoder layers under model.layers, this model under {model.mtp_anatomy.layers}"
        )
    own, heads = split_state(model.state_dict())
    first = len(model.get_submodule(model.mtp_anatomy.layers))
    renamed = {_renamed(name, first): tensor for name, tensor in heads.items()}
    # Under the class without heads, as the heads are in the state already.
    super(MTPModel, model).save_pretrained(folder, state_dict=own | renamed)
    _tell_config(folder / "config.json", len(model.mtp_heads))


def layer_names(model: MTPModel) -> list[str]:
    """Patterns of the names of the layers that are exported heads: what a class that knows none has to pass over."""
    first = len(model.get_submodule(model.mtp_anatomy.layers))
    return [rf"model\.layers\.{first + number}\..*" for number in range(len(model.mtp_heads))]


def _renamed(name: str, first: int) -> str:
    part, number, rest = name.split(".", 2)
    inner = rest if part == "layers" else f"{_NAMES[part]}.{rest}"
    return f"model.layers.{first + int(number)}.{inner}"


def _tell_config(path: Path, number: int) -> None:
    """The number of heads; and their kinds of attention and MLP, which are those of the model's last layer."""
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config["num_mtp_layers"] = config["num_nextn_predict_layers"] = number
    for kind in ("layer_types", "mlp_layer_types"):
        if config.get(kind):
            config[f"mtp_{kind}"] = [config[kind][-1]] * number
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
