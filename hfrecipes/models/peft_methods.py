"""The recipe's `adapter:` section as a configuration of peft, and what of a peft model is not in peft's own files."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.adapter_words import DEFAULTS, PEFT_CONFIGS
from hfrecipes.recipe.problem import Problem, RecipeError

if TYPE_CHECKING:
    from peft import PeftConfig

# The network that makes a prompt. peft saves what it makes, which is all that a finished adapter needs: a training that goes
# on from there would go on with another network (p-tuning), or not load at all (prefixes with a projection).
PROMPT_NETWORK = "prompt_encoder.safetensors"
# What of an adapter's config brings rows of embeddings into its file.
_HOLDING_ROWS = ("trainable_token_indices", "modules_to_save")
# Methods by peft's name of their type.
METHOD_OF_TYPE = {
    "LORA": "lora",
    "IA3": "ia3",
    "PREFIX_TUNING": "prefix",
    "PROMPT_TUNING": "prompt",
    "P_TUNING": "p_tuning",
}


def peft_config(section: dict[str, Any], tokenizer: str | None = None) -> PeftConfig:
    """What peft is given.

    Args:
        section: The recipe's `adapter`, of one of peft's methods.
        tokenizer: Where the tokenizer lies that reads `prompt_tuning_init_text`.
    """
    import peft

    method = section["method"]
    fields = {**DEFAULTS[method], **{name: value for name, value in section.items() if name != "method"}}
    if method == "prompt" and fields.get("prompt_tuning_init") == "TEXT":
        fields["tokenizer_name_or_path"] = tokenizer
    return getattr(peft, PEFT_CONFIGS[method])(task_type="CAUSAL_LM", **fields)


@contextlib.contextmanager
def embeddings_left_out(model: Any) -> Iterator[None]:
    """Saves an adapter that trains rows of new tokens without the whole embeddings.

    peft writes these beside it where their number of rows changed; but all that is not in the base is in the trained rows.
    """
    configs = getattr(model, "peft_config", {}).values()
    if not any(getattr(config, word, None) for config in configs for word in _HOLDING_ROWS):
        yield
        return
    before = vars(model).get("save_pretrained")
    model.save_pretrained = functools.partial(model.save_pretrained, save_embedding_layers=False)
    try:
        yield
    finally:
        del model.save_pretrained
        if before is not None:  # a trainer has one of its own around this
            model.save_pretrained = before


def forget_initial_text(model: Any) -> None:
    """Takes the text that a prompt began as, and the place of its tokenizer, out of what is saved: it is in the weights."""
    for config in getattr(model, "peft_config", {}).values():
        if getattr(config, "prompt_tuning_init", None) == "TEXT":
            config.prompt_tuning_init = "RANDOM"
            config.prompt_tuning_init_text = config.tokenizer_name_or_path = None


def save_prompt_network(model: Any, folder: Path) -> None:
    """Writes the network that makes a prompt, where the model has one, into a folder that holds its adapter."""
    from safetensors.torch import save_file

    if network := _prompt_network(model):
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        save_file(state, folder / PROMPT_NETWORK, metadata={"format": "pt"})


def load_prompt_network(model: Any, folder: Path) -> None:
    """Reads it back, in place of the finished prompt that lies beside it.

    Raises:
        RecipeError: the folder does not hold it.
    """
    from safetensors.torch import load_file

    network = _prompt_network(model)
    if network is None:
        return
    file = folder / PROMPT_NETWORK
    if not file.is_file():
        fault = f"lacks {PROMPT_NETWORK}: the network that makes the prompt is not there"
        raise RecipeError(Problem(str(folder), fault, "remove this folder: --resume takes an older one"))
    network.load_state_dict(load_file(file), strict=True)


def has_prompt_network(model: Any) -> bool:
    """Whether a model's prompt comes out of a network while it is trained."""
    return _prompt_network(model) is not None


def _prompt_network(model: Any) -> Any:
    encoder = getattr(model, "prompt_encoder", None)
    if encoder is None or not hasattr(model, "peft_config"):
        return None
    network = encoder[model.active_adapter]
    return network if any(not name.startswith("embedding.") for name, _ in network.named_parameters()) else None
