"""An adapter's folder and the base that it names, looked at before either is loaded. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfrecipes.models.integrity import ADAPTER_CONFIG, BOTTLENECK_CONFIG, named_at, read_settings, refuse_damaged_model
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.files import is_folder_name

# With this, peft imports whatever module the adapter's config names.
_IMPORTING = "megatron_config"


def is_adapter(folder: str | Path) -> bool:
    return (Path(folder) / ADAPTER_CONFIG).is_file()


def is_bottleneck(folder: str | Path) -> bool:
    """Whether a folder holds bottleneck adapters, which are not peft's."""
    return (Path(folder) / BOTTLENECK_CONFIG).is_file()


def refuse_damaged_adapter(folder: Path, where: str | None = None, *, hashes: bool = True) -> None:
    """Makes sure that an adapter, and its base where that is a folder, are whole.

    Args:
        folder: An adapter's folder.
        where: The place that named it; the folder itself where nothing did.
        hashes: As for `refuse_damaged_model`.

    Raises:
        RecipeError: naming what is damaged, or why there is no base.
    """
    refuse_damaged_model(folder, where, hashes=hashes)
    try:
        base, _ = adapter_base(folder)
        if is_folder_name(base):
            refuse_damaged_model(base, str(_config_of(folder)), hashes=hashes)
    except RecipeError as error:
        if where is None:
            raise
        raise RecipeError([named_at(where, problem) for problem in error.problems]) from None


def adapter_base(folder: Path) -> tuple[str, str | None]:
    """The folder or Hub id of the model that an adapter stands on, and its revision.

    Raises:
        RecipeError: where it names none, a folder that is not here, or another adapter.
    """
    file = _config_of(folder)
    settings = read_settings(file)
    if settings.get(_IMPORTING):
        fault = f"{_IMPORTING} makes peft import the module that the file names"
        raise RecipeError(Problem(str(file), fault, f"remove {_IMPORTING}"))
    base = settings.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        fix = "write the base's folder or Hub id there"
        raise RecipeError(Problem(str(file), "names no base: base_model_name_or_path is missing", fix))
    place = Path(base).expanduser()
    if is_folder_name(base) and not place.is_dir():
        fix = "put the base there, or write its folder or Hub id into base_model_name_or_path"
        raise RecipeError(Problem(str(file), f"names the base {base}, and there is no such folder", fix))
    if is_adapter(place) or is_bottleneck(place):
        fix = "merge that adapter into its own base first"
        raise RecipeError(Problem(str(file), f"names the base {base}, which is an adapter itself", fix))
    return str(place) if is_folder_name(base) else base, settings.get("revision")


def trained_tokens(settings: Mapping[str, Any]) -> set[int]:
    """Ids whose rows of the embeddings an adapter trains and holds, by peft's `trainable_token_indices`.

    Args:
        settings: Of its config.
    """
    said = settings.get("trainable_token_indices") or []
    return {token for ids in said.values() for token in ids} if isinstance(said, dict) else set(said)


def _config_of(folder: Path) -> Path:
    return folder / (BOTTLENECK_CONFIG if is_bottleneck(folder) else ADAPTER_CONFIG)
