"""The part of a recipe's `training` and `data` sections that decides what the prepared rows are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.source_list import COMPARING, LABELLED, PROMPTED

# The default of trl.SFTConfig; a test holds the two together.
SFT_MAX_LENGTH = 1024
CONTEXT_LENGTH = 1024
# That of TrainingArguments.
SEED = 42


# What has been done to the rows when a trainer sees them.
PREPARED = {
    "assistant_only_loss",
    "completion_only_loss",
    "chat_template_path",
    "dataset_text_field",
    "eos_token",
    "pad_token",
}


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """How examples become rows, in the words of `trl.SFTConfig`.

    Args:
        max_length: Longest row in tokens; the rest is cut. None cuts nothing.
        completion_only_loss: Whether only the completion is supervised; None does so where there is one.
        assistant_only_loss: Whether only the assistant's turns are.
        best_fit: Whether training examples are packed into rows of `row_length`, the examples of each source by themselves.
        row_length: Tokens of a packed row.
        seed: Shuffles the examples before they are packed.
    """

    max_length: int | None = SFT_MAX_LENGTH
    completion_only_loss: bool | None = None
    assistant_only_loss: bool = False
    best_fit: bool = False
    row_length: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LabelSettings(EncodeSettings):
    """How prompts with one answer each become rows, which say whether the answer is good."""


@dataclass(frozen=True, slots=True)
class PackSettings:
    """How documents are packed for pretraining.

    Args:
        context_length: Tokens in a row.
        document_mask: Whether positions restart at each document, so that none attends to another.
    """

    context_length: int = CONTEXT_LENGTH
    document_mask: bool = True


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """How prompts with several answers become rows.

    Args:
        max_length: Longest sequence of a prompt and one answer, in tokens; None for no bound.
        leaves_out: Whether longer ones are left out: a reward is read where a sequence ends, and must not be that of its middle.
            Otherwise they are cut.
    """

    max_length: int | None = SFT_MAX_LENGTH
    leaves_out: bool = False


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How prompts become rows.

    Args:
        max_length: Tokens of a prompt at most, counted from its end; None for no bound.
    """

    max_length: int | None = None


RowSettings = EncodeSettings | PackSettings | CompareSettings | PromptSettings


def row_settings(recipe: Recipe) -> RowSettings:
    """How the rows of a recipe are made, by its kind.

    Raises:
        RecipeError: packing without a length.
    """
    if recipe.kind == "pretrain":
        return pack_settings(recipe)
    if recipe.kind in PROMPTED:
        return PromptSettings(recipe.get("training", {}).get("max_prompt_length"))
    if recipe.kind in LABELLED:
        return LabelSettings(recipe.get("training", {}).get("max_length", SFT_MAX_LENGTH), completion_only_loss=True)
    return compare_settings(recipe) if recipe.kind in COMPARING else sft_settings(recipe)


def compare_settings(recipe: Recipe) -> CompareSettings:
    """Reads the settings of a `reward` or `dpo` recipe."""
    length = recipe.get("training", {}).get("max_length", SFT_MAX_LENGTH)
    return CompareSettings(length, leaves_out_long_rows(recipe.kind))


def leaves_out_long_rows(kind: str) -> bool:
    """Whether a kind of recipe leaves out sequences beyond `max_length`, where others cut them."""
    return kind == "reward"


def sft_settings(recipe: Recipe) -> EncodeSettings:
    """Reads the settings of an `sft` recipe.

    Raises:
        RecipeError: packing without a length.
    """
    training: dict[str, Any] = recipe.values.get("training") or {}
    max_length = training.get("max_length", SFT_MAX_LENGTH)
    packing, strategy = training.get("packing", False), training.get("packing_strategy", "bfd")
    if packing and max_length is None:
        where = recipe.where("training.max_length")
        raise RecipeError(Problem(where, "packing needs a max_length", "say how many tokens a packed row has"))
    best_fit = bool(packing) and strategy != "wrapped"
    return EncodeSettings(
        # The other strategies spread a long example over several rows, so nothing of it may be cut before.
        max_length=None if packing and strategy != "bfd" else max_length,
        completion_only_loss=training.get("completion_only_loss"),
        assistant_only_loss=bool(training.get("assistant_only_loss", False)),
        best_fit=best_fit,
        row_length=max_length if best_fit else None,
        seed=training.get("seed", SEED) if best_fit else 0,
    )


def pack_settings(recipe: Recipe) -> PackSettings:
    """Reads the settings of a `pretrain` recipe."""
    return PackSettings(recipe.get("data.context_length", CONTEXT_LENGTH), recipe.get("data.document_mask", True))


def packing_word(recipe: Recipe) -> str | None:
    """The word of a recipe by which rows hold several documents that are to be kept apart; None where none does."""
    if recipe.kind == "pretrain":
        return "data.document_mask" if pack_settings(recipe).document_mask else None
    if recipe.kind in (*COMPARING, *LABELLED, *PROMPTED):
        return None
    training: dict[str, Any] = recipe.values.get("training") or {}
    # Wrapped rows mix documents by design.
    apart = training.get("packing_strategy", "bfd") != "wrapped"
    return "training.packing" if training.get("packing") and apart else None


def augment_seed(recipe: Recipe) -> int:
    """What chooses the rows that get a changed copy."""
    return recipe.get("data.augment_seed", 0)


def describe(settings: RowSettings) -> dict[str, Any]:
    """The settings as plain values, for fingerprints."""
    return asdict(settings)


def text_column(recipe: Recipe, spec: dict[str, Any]) -> dict[str, Any]:
    """A source's `spec` with `training.dataset_text_field` taken as the column of the text, unless `columns` says one."""
    field = recipe.get("training.dataset_text_field", "text")
    if field == "text" or spec.get("columns"):
        return spec
    return {**spec, "columns": {"text": field}}
