"""The methods of `adapter:`, what of each is said where a recipe says nothing, and what `model.freeze` takes. Imports no peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hfrecipes.recipe.section_words import words

# Method -> the class of peft whose fields are the other keys.
PEFT_CONFIGS: dict[str, str] = {
    "lora": "LoraConfig",
    "ia3": "IA3Config",
    "prefix": "PrefixTuningConfig",
    "prompt": "PromptTuningConfig",
    "p_tuning": "PromptEncoderConfig",
}
BOTTLENECK = "bottleneck"
METHODS: dict[str, str] = {
    "lora": "Low-rank updates of weight matrices (Hu et al. 2021); with use_dora, use_rslora, init_lora_weights: pissa.",
    "ia3": "Vectors that scale keys, values and the MLP (Liu et al. 2022).",
    "prefix": "Trained keys and values in front of every layer's (Li and Liang 2021).",
    "prompt": "Trained embeddings in front of the text (Lester et al. 2021).",
    "p_tuning": "Trained embeddings in front of the text, made by a small network (Liu et al. 2021).",
    BOTTLENECK: "Down, nonlinearity, up and back onto the stream, behind attention and MLP (Houlsby et al. 2019).",
}
# Methods that put something in front of the text, and leave the model as it is.
PROMPTING = ("prefix", "prompt", "p_tuning")

# Ways to begin LoRA that take what they begin with out of the base's own weights, so that these alone are another model.
REWRITING = ("pissa", "olora", "corda", "loftq")

# What a recipe means that says no more. All linear layers are needed to match full fine-tuning (Dettmers et al. 2023);
# prompts stop gaining beyond some 20 tokens (Lester et al. 2021, figure 3); 64 is the middle of Houlsby's sizes.
_PROMPT = {"num_virtual_tokens": 20}
DEFAULTS: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": "all-linear"},
    "ia3": {},
    "prefix": _PROMPT,
    "prompt": _PROMPT,
    "p_tuning": _PROMPT,
    BOTTLENECK: {"r": 64, "nonlinearity": "gelu", "after": ["attention", "mlp"]},
}


class Rates(NamedTuple):
    """Learning rates of a method: where practice puts them, and the one that is taken where a recipe says none."""

    low: float
    high: float
    usual: float


# Full: TRL's SFT documentation, and the models' own reports (1e-5 for Llama 2, 2e-5 for Zephyr). LoRA: 2e-4 in QLoRA's paper,
# ten times full's best in "LoRA Without Regret" (2025). IA3: 3e-3 in T-Few (Liu et al. 2022). Prompts: 0.3 under Adafactor in
# Lester et al. 2021, 3e-2 and 1e-2 in peft's guides. Bottleneck: 3e-5, 3e-4 and 3e-3 were swept by Houlsby et al. 2019.
FULL = "full"
RATES: dict[str, Rates] = {
    FULL: Rates(1e-5, 5e-5, 2e-5),
    "lora": Rates(1e-4, 1e-3, 2e-4),
    "ia3": Rates(1e-3, 1e-2, 3e-3),
    "prefix": Rates(1e-3, 3e-1, 1e-2),
    "prompt": Rates(1e-3, 3e-1, 3e-2),
    "p_tuning": Rates(1e-3, 3e-1, 1e-2),
    BOTTLENECK: Rates(3e-5, 3e-3, 3e-4),
}

# Fields that the project fills in, that peft reads off the model, or that peft writes itself.
PEFT_INTERNAL = (
    *("task_type", "peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"),
    *(
        "inference_mode",
        "runtime_config",
        "token_dim",
        "num_transformer_submodules",
        "num_attention_heads",
        "num_layers",
    ),
    *("tokenizer_name_or_path", "tokenizer_kwargs"),
)
# What methods that only put something in front of the text make nothing of.
PROMPTING_INTERNAL = ("modules_to_save",)


def leaves_the_base(section: dict[str, Any] | None) -> bool:
    """Whether the model with its adapter turned off is the one that the training began with."""
    if not section:
        return False
    start = str(section.get("init_lora_weights", True))
    return not start.startswith(REWRITING) and section.get("bias", "none") == "none"


def shown_method(section: dict[str, Any]) -> str:
    """A method and its size in a few characters, for the plan: `lora r=8`, `prompt of 20 tokens`."""
    method = section["method"]
    if method in PROMPTING:
        return f"{method} of {virtual_tokens(section)} tokens"
    size = {"lora": 8, BOTTLENECK: 64}.get(method)
    return method if size is None else f"{method} r={section.get('r') or size}"


def virtual_tokens(section: dict[str, Any] | None) -> int:
    """How many places in front of a row an adapter takes; none for most methods."""
    if not section or section["method"] not in PROMPTING:
        return 0
    return section.get("num_virtual_tokens") or _PROMPT["num_virtual_tokens"]


@dataclass(kw_only=True, slots=True)
class BottleneckWords:
    r: int | None = words("Numbers that pass through the bottleneck. Default: 64.", minimum=1)
    nonlinearity: Literal["gelu", "relu", "silu", "tanh"] | None = words("Between down and up. Default: gelu.")
    after: list[Literal["attention", "mlp"]] | None = words(
        "Which parts of a layer an adapter stands behind. Default: [attention, mlp]; [mlp] is Pfeiffer's (2021)."
    )


@dataclass(kw_only=True, slots=True)
class FreezeWords:
    names: list[str] | None = words(
        "Patterns of parameters' names, as in ['*.embed_tokens.*', 'model.layers.0.*']; each has to fit one."
    )
    all_but_last: int | None = words(
        "Embeddings and all layers stay as they are, but for so many at the end (and what comes behind them).",
        minimum=1,
    )
