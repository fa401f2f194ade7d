"""What `model.dropout` and `optimizer` hold, and the names that configs have for parts that drop out. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hfrecipes.recipe.section_words import words

# Part -> what configs of transformers call it. A name with a dot lies in a config inside the config.
DROPOUT_FIELDS: dict[str, tuple[str, ...]] = {
    "attention": (
        "attention_dropout",
        "attn_pdrop",
        "attention_probs_dropout_prob",
        "local_attention_probs_dropout_prob",
        "lsh_attention_probs_dropout_prob",
        "attn_config.attn_pdrop",
    ),
    "hidden": (
        "hidden_dropout",
        "hidden_dropout_prob",
        "resid_pdrop",
        "resid_dropout",
        "residual_dropout",
        "dropout",
        "dropout_p",
        "mlp_dropout",
    ),
    "embedding": ("embd_pdrop", "emb_pdrop", "embd_dropout", "embed_dropout", "embedding_dropout"),
    "classifier": ("classifier_dropout", "classifier_dropout_prob", "summary_first_dropout", "summary_last_dropout"),
}
# Sets of parameters that `optimizer.no_decay` knows by a word; anything else is a pattern.
BIASES, NORMS, EMBEDDINGS = "biases", "norms", "embeddings"
DECAY_GROUPS = (BIASES, NORMS, EMBEDDINGS)


@dataclass(kw_only=True, slots=True)
class DropoutWords:
    attention: float | None = words("Share of attention weights that are dropped.", minimum=0, maximum=0.95)
    hidden: float | None = words(
        "Share of what attention and MLP add to the stream that is dropped.", minimum=0, maximum=0.95
    )
    embedding: float | None = words("Share of the embeddings' numbers that are dropped.", minimum=0, maximum=0.95)
    classifier: float | None = words("reward: share of what the head reads that is dropped.", minimum=0, maximum=0.95)


@dataclass(kw_only=True, slots=True)
class OptimizerWords:
    no_decay: list[str] | None = words(
        "What training.weight_decay leaves alone: biases, norms, embeddings, and patterns of parameters' names, as in "
        "[biases, norms, '*.A_log']. Default: what transformers takes for biases and norms."
    )


def dropout_fields(part: str, known: Collection[str]) -> tuple[str, ...]:
    """What a config calls a part that drops out; empty where it has no word for it.

    Args:
        part: Of `DROPOUT_FIELDS`.
        known: The config's fields.
    """
    return tuple(name for name in DROPOUT_FIELDS[part] if name.partition(".")[0] in known)


def dropout_parts(known: Collection[str]) -> str:
    """The parts that a config has words for, and these: `attention (attn_pdrop), hidden (resid_pdrop)`."""
    found = {part: dropout_fields(part, known) for part in DROPOUT_FIELDS}
    return ", ".join(f"{part} ({', '.join(names)})" for part, names in found.items() if names)
