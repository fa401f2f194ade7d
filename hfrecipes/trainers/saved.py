"""Whether a saved model holds what the model in memory holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from hfrecipes.models.bottleneck import BottleneckModel


def verify_saved(model: Any, folder: Path) -> None:
    """Compares the saved tensors with the model's, reading headers only.

    Some architectures save under other names, or in other pieces, than they hold in memory (experts one by one, say), so what
    has to agree is the number of elements, and the shapes where the names are the same.

    Args:
        model: A PreTrainedModel or PeftModel, unwrapped.
        folder: Where it was saved with `save_pretrained`.

    Raises:
        RuntimeError: naming the first tensors that are missing or of another shape.
    """
    saved = saved_shapes(folder)
    if isinstance(model, BottleneckModel):
        expected = {name: tuple(tensor.shape) for name, tensor in model.bottleneck_state().items()}
    else:
        expected = _adapter_shapes(model) if hasattr(model, "peft_config") else _model_shapes(model)
    other = [name for name in expected if name in saved and saved[name] != expected[name]]
    if not other and _elements(saved) >= _elements(expected) > 0:
        return
    missing = [name for name in expected if name not in saved]
    what = f"of another shape: {other[:3]}" if other else f"missing: {missing[:3]}"
    raise RuntimeError(
        f"{folder} does not hold the trained model ({what}): the checkpoints are whole, resume from the last"
    )


def _elements(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def saved_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape by name of every tensor in a folder's safetensors files."""
    shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return shapes


def _model_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    # Tied weights are one tensor and saved once.
    seen: set[int] = set()
    shapes = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in seen:
            seen.add(id(parameter))
            shapes[name] = tuple(parameter.shape)
    return shapes


def _adapter_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    from peft import get_peft_model_state_dict

    # Embeddings that peft writes besides are not the adapter's.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
