"""Bottleneck adapters: down, nonlinearity, up and back onto the stream, behind attention and MLP of every layer.

Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP". peft has none, so they are saved in files of their own,
and hfrecipes loads them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hfrecipes.models.integrity import BOTTLENECK_CONFIG, BOTTLENECK_WEIGHTS
from hfrecipes.models.layers import decoder_layers
from hfrecipes.models.mode import eval_mode

Part = Literal["attention", "mlp"]
PARTS: tuple[Part, ...] = ("attention", "mlp")
_NONLINEARITIES = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
# The name of an adapter inside the part that it stands behind.
_NAME = "bottleneck"
# Weights of Houlsby's adapters are drawn with this standard deviation; up begins at zero, so that nothing changes at first.
_SPREAD = 1e-2
_TOKENS = 4


class Bottleneck(nn.Module):
    """`h + up(f(down(h)))`, of shapes (…, width) -> (…, r) -> (…, width)."""

    def __init__(self, width: int, r: int, nonlinearity: str) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, r), nn.Linear(r, width)
        self.nonlinearity = _NONLINEARITIES[nonlinearity]()
        self.enabled = True
        nn.init.normal_(self.down.weight, std=_SPREAD)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.enabled:
            return hidden
        # The adapter stays in float32 on a base of 16 bits.
        change = self.up(self.nonlinearity(self.down(hidden.to(self.down.weight.dtype))))
        return hidden + change.to(hidden.dtype)


def add_bottlenecks(
    model: Any,
    r: int = 64,
    nonlinearity: str = "gelu",
    after: Sequence[Part] = PARTS,
    base: tuple[str, str | None] = ("", None),
) -> Any:
    """Puts an adapter behind parts of every decoder layer, and takes all other weights out of the training.

    What attention and MLP are is found by running a few tokens: the parts of a layer that hold matrices and give back states
    of the layer's own shape, in the order in which they are called. The model stays of its class; `save_pretrained` writes
    the adapters alone.

    Args:
        model: A causal language model of transformers, on any device, the meta device included.
        r: Numbers that pass through each bottleneck.
        nonlinearity: gelu, relu, silu or tanh.
        after: Behind which parts.
        base: Folder or Hub id of the model, and its revision, to be named in what is saved.

    Returns:
        The same object.

    Raises:
        ValueError: it has adapters already, or its layers are not made of attention and MLP.
    """
    if isinstance(model, BottleneckModel):
        raise ValueError(f"{type(model).__name__} has bottleneck adapters already")
    places = _find_parts(model)
    model.requires_grad_(False)
    width = model.config.get_text_config().hidden_size
    for parts in places:
        for part in after:
            module = parts[PARTS.index(part)]
            module.add_module(_NAME, Bottleneck(width, r, nonlinearity).to(_device_of(module)))
            module.register_forward_hook(_adapt)
    cls = type(model)
    model.__class__ = type(cls.__name__, (BottleneckModel, cls), {"__module__": cls.__module__})
    model.bottleneck_words = {"r": r, "nonlinearity": nonlinearity, "after": list(after)}
    model.bottleneck_base = base
    return model


def load_bottleneck(model: Any, folder: str | Path) -> Any:
    """Puts saved adapters onto the model that they were trained on.

    Args:
        model: The base, from plain `from_pretrained`.
        folder: What a run, or `save_pretrained`, wrote.

    Returns:
        The same object.

    Raises:
        ValueError: the folder holds no adapters, or not those of such a model.
    """
    file = Path(folder) / BOTTLENECK_CONFIG
    if not file.is_file():
        raise ValueError(f"{folder} holds no {BOTTLENECK_CONFIG}")
    words = json.loads(file.read_text(encoding="utf-8"))
    base = (words["base_model_name_or_path"], words.get("revision"))
    add_bottlenecks(model, words["r"], words["nonlinearity"], words["after"], base)
    model.load_bottlenecks(folder)
    return model


class BottleneckModel:
    """Comes before a model's class in the bases.

    Attributes:
        bottleneck_words: `r`, `nonlinearity` and `after`.
        bottleneck_base: Folder or Hub id of the model that they belong to, and its revision.
    """

    bottleneck_words: dict[str, Any]
    bottleneck_base: tuple[str, str | None]

    def bottleneck_state(self, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The weights of the adapters, out of a whole state where one is given."""
        state = self.state_dict() if state is None else state  # type: ignore[attr-defined]
        return {name: tensor for name, tensor in state.items() if f".{_NAME}." in name}

    def save_pretrained(
        self, save_directory: str | Path, *, state_dict: dict[str, Tensor] | None = None, **_: Any
    ) -> None:
        """Writes the adapters, and what they are and belong to."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: part.detach().cpu().contiguous() for name, part in self.bottleneck_state(state_dict).items()}
        save_file(tensors, folder / BOTTLENECK_WEIGHTS, metadata={"format": "pt"})
        name, revision = self.bottleneck_base
        words = {"method": _NAME, "base_model_name_or_path": name, "revision": revision, **self.bottleneck_words}
        (folder / BOTTLENECK_CONFIG).write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")

    def load_bottlenecks(self, folder: str | Path) -> None:
        """Takes over saved weights.

        Raises:
            ValueError: they are not the weights of these adapters.
        """
        file = Path(folder) / BOTTLENECK_WEIGHTS
        mine = self.bottleneck_state()
        with safe_open(file, framework="pt") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        other = sorted(
            name for name in mine.keys() | shapes if name not in mine or shapes.get(name) != mine[name].shape
        )
        if other:
            raise ValueError(f"{file} does not fit {type(self).__name__}: {', '.join(other[:3])}")
        saved = load_file(file)
        with torch.no_grad():
            for name, tensor in mine.items():
                tensor.copy_(saved[name])

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """The base as it was, inside."""
        adapters = [module for module in self.modules() if isinstance(module, Bottleneck)]  # type: ignore[attr-defined]
        for adapter in adapters:
            adapter.enabled = False
        try:
            yield
        finally:
            for adapter in adapters:
                adapter.enabled = True


def _adapt(module: nn.Module, args: tuple[Any, ...], made: Any) -> Any:
    """A forward hook; it finds its adapter in the module, so that copies of a model have adapters of their own."""
    adapter = getattr(module, _NAME)
    return adapter(made) if isinstance(made, Tensor) else (adapter(made[0]), *made[1:])


def _find_parts(model: Any) -> list[list[nn.Module]]:
    """Attention and MLP of every layer."""
    layers = model.get_submodule(decoder_layers(model))
    if _device_of(model).type == "meta":
        # Nothing runs there, and they are only counted.
        return [[part for part in layer.children() if _has_matrices(part)] for layer in layers]
    found: dict[int, list[nn.Module]] = {id(layer): [] for layer in layers}
    width = model.config.get_text_config().hidden_size

    def watch(layer: nn.Module) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], made: Any) -> None:
            first = made[0] if isinstance(made, tuple | list) else made
            if isinstance(first, Tensor) and first.shape == (1, _TOKENS, width):
                found[id(layer)].append(module)

        return hook

    handles = [
        part.register_forward_hook(watch(layer)) for layer in layers for part in layer.children() if _has_matrices(part)
    ]
    try:
        embedding = model.get_input_embeddings()
        ids = torch.arange(_TOKENS, device=embedding.weight.device)[None] % embedding.num_embeddings
        with eval_mode(model):
            model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    parts = list(found.values())
    if any(len(each) != len(PARTS) for each in parts):
        fault = f"a layer of {type(model).__name__} has {len(parts[0])} parts with matrices that give back its states"
        raise ValueError(f"{fault}, where attention and MLP are two; take another method")
    return parts


def _has_matrices(module: nn.Module) -> bool:
    """Attention and MLP hold two matrices or more; norms, dropout and single projections do not."""
    return sum(parameter.dim() >= 2 for parameter in module.parameters()) >= 2


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
