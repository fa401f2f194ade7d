"""Bytes that a recipe needs on each device and on disk, by part."""

from __future__ import annotations

from dataclasses import dataclass

from hfrecipes.models.recipe_tokenizer import extends
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.plan import memory
from hfrecipes.plan.parameters import ParameterCount
from hfrecipes.plan.policy import reward_bytes, rollout_bytes, rollout_plan, value_bytes
from hfrecipes.plan.shape import ModelShape
from hfrecipes.recipe.adapter_words import leaves_the_base
from hfrecipes.recipe.answer_words import is_referred
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.resolve import BatchSplit

# TrainingArguments' own default.
DEFAULT_OPTIM = "adamw_torch"
# Optimizers that update each weight as soon as its gradient is there, so that gradients are never held together.
_NO_GRADIENTS = ("lomo", "adalomo")
# tokenizer.json: 60 bytes a token for a small byte-level BPE, 75 (Qwen 3) to 134 (Llama 3) for published ones.
_TOKENIZER_BYTES = 128
# Config, arguments, schedule, manifest; and the random generators of each process.
_SMALL_FILES_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes on one device without sharding, and of one checkpoint.

    Args:
        states: Weights, gradients and optimizer states.
        parts: All parts by name, in the order in which they are shown.
        checkpoint: Bytes of one checkpoint on disk. (ZeRO adds its float32 copy of 16-bit weights.)
        model: Bytes of the final model or adapter on disk, with its tokenizer.
        problems: What could not be counted.
    """

    states: memory.StateBytes
    parts: dict[str, float]
    checkpoint: float
    model: float
    problems: tuple[Problem, ...] = ()

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def sharded(self, devices: int) -> float:
        """Bytes on one device where weights, gradients and optimizer are split over all (FSDP, ZeRO-3)."""
        rest = sum(size for name, size in self.parts.items() if name in ("activations", "logits"))
        return self.states.shard(3, devices).total + rest


def footprint(
    recipe: Recipe, counts: ParameterCount, shape: ModelShape, batch: BatchSplit, row_tokens: int, world_size: int
) -> Footprint:
    """Adds up what training with this resolved recipe keeps on a device.

    Args:
        recipe: Resolved, so that precision, checkpointing and row lengths are in it.
        counts: From `count_parameters`.
        shape: From `model_shape`.
        batch: From `split_batch`.
        row_tokens: Tokens of the longest row.
        world_size: Processes.
    """
    states, problems = _states(recipe, counts)
    mixed = _mixed(recipe)
    element_bytes = 2 if mixed else _dtype_bytes(recipe)
    tokens = batch.micro_batch_size * row_tokens
    parts = {
        "weights": states.weights,
        "gradients": states.gradients,
        "optimizer": states.optimizer,
        # Autocast keeps a 16-bit copy of each float32 matrix that it multiplied with, until the backward pass is through.
        "16-bit copies": 2.0 * counts.matmul if mixed and _dtype_bytes(recipe) == 4 else 0.0,
        "reference": _reference(recipe, counts),
        **_of_policy(recipe, counts, shape, batch, row_tokens, world_size, element_bytes),
        # DDP sends gradients in buckets of its own.
        "gradient buckets": states.gradients if world_size > 1 else 0.0,
        "activations": _activations(recipe, shape, counts, tokens, batch, element_bytes),
        "logits": _logits(recipe, shape, tokens, element_bytes),
        **_of_new_rows(recipe, shape),
    }
    saved = counts.trainable * _trained_bytes(recipe) if recipe.get("adapter") else states.weights
    model = saved + _TOKENIZER_BYTES * shape.vocab_size + _SMALL_FILES_BYTES
    # Beside the policy lie the weights and moments of what makes its values.
    checkpoint = model + 0.75 * parts.get("values", 0.0) + states.optimizer + world_size * _SMALL_FILES_BYTES
    return Footprint(states, parts, checkpoint, model, (*problems, *reward_bytes(recipe)[1]))


def _states(recipe: Recipe, counts: ParameterCount) -> tuple[memory.StateBytes, tuple[Problem, ...]]:
    optim = recipe.get("training.optim", DEFAULT_OPTIM)
    trained_bytes = _trained_bytes(recipe)
    frozen = counts.total - counts.trainable - counts.quantized
    weights = counts.trainable * trained_bytes + frozen * _dtype_bytes(recipe)
    if counts.quantized:
        weights += counts.quantized * _quantized_bits(recipe) / 8
    gradients = 0.0 if optim in _NO_GRADIENTS else float(counts.trainable * trained_bytes)
    optimizer = memory.optimizer_bytes(
        optim, counts.trainable, parameter_bytes=trained_bytes, embedding=counts.trainable_embedding
    )
    if optimizer is not None:
        return memory.StateBytes(weights, gradients, optimizer), ()
    fault = f"the states of the optimizer {optim} are not counted: their size depends on more than the parameters"
    problem = Problem(recipe.where("training.optim"), fault, "leave room for them", "unchecked")
    return memory.StateBytes(weights, gradients, 0.0), (problem,)


def _reference(recipe: Recipe, counts: ParameterCount) -> float:
    """The frozen copy of the model that training compares with. With an adapter it is the base, which is there already."""
    copied = recipe.kind in ("dpo", "kto") and not recipe.get("training.precompute_ref_log_probs")
    copied = copied or is_referred(recipe)
    if not copied or leaves_the_base(recipe.get("adapter")):
        return 0.0
    return float(counts.total * _dtype_bytes(recipe))


def _of_policy(
    recipe: Recipe,
    counts: ParameterCount,
    shape: ModelShape,
    batch: BatchSplit,
    row_tokens: int,
    world_size: int,
    element_bytes: int,
) -> dict[str, float]:
    """What answers, their values and their scores take."""
    rollouts = rollout_plan(recipe, batch)
    if rollouts is None:
        return {}
    return {
        "values": value_bytes(recipe, counts, shape),
        "rollout": rollout_bytes(recipe, shape, rollouts, row_tokens, world_size, element_bytes),
        "rewards": reward_bytes(recipe)[0],
    }


def _of_new_rows(recipe: Recipe, shape: ModelShape) -> dict[str, float]:
    """What peft takes to train rows of new tokens beside LoRA: a copy of the output matrix with them, and its gradient."""
    adapter = recipe.get("adapter") or {}
    if not adapter.get("trainable_token_indices") and not (adapter.get("method") == "lora" and extends(recipe)):
        return {}
    return {"new tokens": 2.0 * shape.vocab_size * shape.hidden_size * _dtype_bytes(recipe)}


def _quantized_bits(recipe: Recipe) -> float:
    section = recipe.get("quantization")
    return memory.quantized_bits(
        load_in_4bit=section.get("load_in_4bit", False),
        load_in_8bit=section.get("load_in_8bit", False),
        double_quant=section.get("bnb_4bit_use_double_quant", False),
    )


def _dtype_bytes(recipe: Recipe) -> int:
    """Bytes of a weight as loaded; `auto` follows a checkpoint, and most are published in 16 bits."""
    return memory.DTYPE_BYTES.get(recipe.get("model.dtype"), 2)


def _trained_bytes(recipe: Recipe) -> int:
    """Bytes of a trained weight: peft keeps adapters in float32, TRL turns those on a quantised base into bfloat16."""
    if not recipe.get("adapter"):
        return _dtype_bytes(recipe)
    return 2 if recipe.get("quantization") else 4


def _mixed(recipe: Recipe) -> bool:
    return bool(recipe.get("training.bf16") or recipe.get("training.fp16"))


def _activations(
    recipe: Recipe, shape: ModelShape, counts: ParameterCount, tokens: int, batch: BatchSplit, element_bytes: int
) -> float:
    implementation = recipe.get("model.attn_implementation", "eager" if shape.capped_scores else "sdpa")
    scores = shape.num_heads * tokens * tokens / batch.micro_batch_size if implementation == "eager" else 0.0
    # Weights in 16 bits keep the residual stream in 16 bits under autocast too.
    mixed = _mixed(recipe) and _dtype_bytes(recipe) == 4
    layer = memory.layer_activation_bytes(
        tokens,
        shape.hidden_size,
        shape.mlp_width,
        gated=counts.gated_mlp,
        score_entries=scores,
        element_bytes=element_bytes,
        mixed=mixed,
    )
    boundary = tokens * shape.hidden_size * (4 if mixed else element_bytes)
    checkpointing = recipe.get("training.gradient_checkpointing", False)
    return memory.activation_bytes(layer, shape.num_layers, boundary, checkpointing=checkpointing)


def _logits(recipe: Recipe, shape: ModelShape, tokens: int, element_bytes: int) -> float:
    heads = mtp_settings(recipe)
    if heads is not None:
        # Hidden states of all heads and their gradients, and the output matrix's gradient in float32, beside small chunks.
        states = 2 * heads.num_future_tokens * tokens * shape.hidden_size * element_bytes
        return float(states + 4 * shape.vocab_size * shape.hidden_size)
    return memory.logits_bytes(tokens, shape.vocab_size, element_bytes) if _builds_logits(recipe) else 0.0


def _builds_logits(recipe: Recipe) -> bool:
    """TRL's `nll` and Liger's loss go over the tokens in chunks; the models' own loss takes all logits at once."""
    if recipe.get("training.use_liger_kernel"):
        return False
    return recipe.kind == "pretrain" or recipe.get("training.loss_type", "nll") == "dft"
