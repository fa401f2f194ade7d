"""What a recipe says of a model's rotary positions, and the config that follows from it. Imports neither torch nor transformers.

`model.rope_parameters` and `model.max_position_embeddings` are the words of transformers' own configs. They replace what the
model's config says, but for what a change of length has no business to lose: a base, or a share of rotated dimensions, that
is not named stays the model's, and a scaling goes on from the length that the model was first trained on.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from hfrecipes.recipe.loader import Recipe

WORDS = ("rope_parameters", "max_position_embeddings")
# Of what the model was trained with, that which a recipe leaves out is kept.
_KEPT = ("rope_theta", "partial_rotary_factor", "mrope_section")
# Types that scale from the length which the model was first trained on.
FROM_ORIGINAL = ("yarn", "llama3", "longrope")


@dataclass(frozen=True, slots=True)
class RopeChange:
    """What a recipe asks of rotary positions.

    Args:
        parameters: `model.rope_parameters`; None keeps the model's.
        max_positions: `model.max_position_embeddings`; None leaves the model's, or as many as the rows have tokens.
        row_length: Tokens in a row, where that is known.
    """

    parameters: dict[str, Any] | None
    max_positions: int | None
    row_length: int | None


def rope_change(recipe: Recipe) -> RopeChange | None:
    """The change that a recipe asks for; None where it asks for none."""
    parameters, positions = (recipe.get(f"model.{word}") for word in WORDS)
    if parameters is None and positions is None:
        return None
    length = recipe.get("data.context_length") or recipe.get("training.max_length")
    return RopeChange(parameters, positions, length)


def change_config(config: Any, change: RopeChange) -> None:
    """Writes a change into a transformers config; a model that was built from it before still turns as it did.

    Raises:
        ValueError: where the config has no such positions, or refuses the words; it is then as it was.
    """
    text = config.get_text_config()
    if not getattr(text, "rope_parameters", None):
        raise ValueError(f"the config of model type {text.model_type!r} has no rope_parameters")
    trial = copy.deepcopy(text)
    trial.max_position_embeddings = _positions(text, change)
    trial.rope_parameters = _parameters(text, change)
    try:
        trial.standardize_rope_params()
        trial.validate_rope()
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(str(error.args[0] if error.args else error)) from error
    text.max_position_embeddings, text.rope_parameters = trial.max_position_embeddings, trial.rope_parameters


def layer_kinds(parameters: dict[str, Any]) -> list[str]:
    """The kinds of layers that have rotary parameters of their own; none where all layers share one set."""
    return [key for key, value in parameters.items() if isinstance(value, dict)]


def _positions(text: Any, change: RopeChange) -> int:
    own = text.max_position_embeddings
    if change.max_positions is not None:
        return change.max_positions
    return max(own, change.row_length or 0)


def _parameters(text: Any, change: RopeChange) -> dict[str, Any]:
    old, said = text.rope_parameters, change.parameters
    if said is None:
        return copy.deepcopy(old)
    kinds, named = layer_kinds(old), layer_kinds(said)
    if not kinds:
        if named:
            raise ValueError(f"all layers of this model turn alike: say rope_parameters without {' and '.join(named)}")
        return _merged(old, said, text)
    if unknown := [key for key in said if key not in kinds]:
        shown = f"{{{', '.join(f'{kind}: {{…}}' for kind in kinds)}}}"
        raise ValueError(
            f"its layers turn by their kind: write {', '.join(unknown)} below one of rope_parameters: {shown}"
        )
    if missing := [kind for kind in named if kind not in text.layer_types]:
        raise ValueError(
            f"no layer of this model is {' or '.join(missing)}: its layers are {', '.join(sorted(set(text.layer_types)))}"
        )
    return {**copy.deepcopy(old), **{kind: _merged(old[kind], said[kind], text) for kind in named}}


def _merged(old: dict[str, Any], said: dict[str, Any], text: Any) -> dict[str, Any]:
    was = old.get("rope_type", "default")
    if "rope_type" not in said and was != "default":
        raise ValueError(f"rope_type is {was} so far: say which it is to be, default or {was}")
    merged = {"rope_type": "default", **{key: old[key] for key in _KEPT if old.get(key) is not None}, **said}
    if merged["rope_type"] in FROM_ORIGINAL:
        # Left open, transformers would take the new length for the one that the model was trained on.
        original = old.get("original_max_position_embeddings") or text.max_position_embeddings
        merged.setdefault("original_max_position_embeddings", original)
    return merged
