"""Where a tokenizer's files are: a folder, or the Hub's cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError

TOKENIZER, CONFIG, TEMPLATE, SPECIALS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
)


class OfflineError(RecipeError):
    """Something lives on the Hub, is not in the local cache, and the Hub cannot be reached."""


def is_folder_name(name: str) -> bool:
    """Whether a name means a folder of this machine rather than a Hub id (`owner/name` or `name`)."""
    return Path(name).expanduser().is_dir() or name.startswith((".", "/", "~", "\\")) or name.count("/") > 1


def find_files(name: str, revision: str | None) -> dict[str, Path]:
    """The tokenizer files that exist under a folder or Hub id, by file name.

    Raises:
        RecipeError: no such folder or repository.
        OfflineError: the repository is neither cached nor reachable.
    """
    names = (TOKENIZER, CONFIG, TEMPLATE, SPECIALS)
    if is_folder_name(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise RecipeError(Problem(name, "no such folder", "give a folder that holds tokenizer.json, or a Hub id"))
        return {file: folder / file for file in names if (folder / file).is_file()}
    found = {file: _from_hub(name, file, revision) for file in names}
    return {file: path for file, path in found.items() if path is not None}


def _from_hub(repo_id: str, file: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    at = f" at revision {revision}" if revision else ""
    try:
        return Path(hf_hub_download(repo_id, file, revision=revision))
    except LocalEntryNotFoundError as error:
        if file != TOKENIZER and _is_cached(repo_id, revision):
            return None  # an optional file of a repository that was fetched before
        message = f"the tokenizer of {repo_id}{at} is not in the local cache, and the Hub cannot be reached"
        fix = "run once with network access, or give a folder that holds tokenizer.json"
        raise OfflineError(Problem(repo_id, message, fix)) from error
    except EntryNotFoundError:
        return None
    except HFValidationError as error:
        raise RecipeError(Problem(repo_id, f"is neither a folder nor a Hub id: {error}", "correct the name")) from error
    except RepositoryNotFoundError as error:
        message = f"no such repository on the Hub{at}, or it is private or gated"
        raise RecipeError(Problem(repo_id, message, "correct the name, or log in with `hf auth login`")) from error
    except HfHubHTTPError as error:
        raise OfflineError(Problem(repo_id, f"the Hub refuses {file}{at}: {error}", "try again later")) from error


def _is_cached(repo_id: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    files = (TOKENIZER, CONFIG)
    return any(isinstance(try_to_load_from_cache(repo_id, file, revision=revision), str) for file in files)


def read_json(path: Path | None) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file.

    Raises:
        RecipeError: the file is damaged.
    """
    if path is None:
        return {}
    fix = "fetch or save it again"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(Problem(str(path), f"is not valid JSON: {error}", fix)) from error
    if not isinstance(settings, dict):
        raise RecipeError(Problem(str(path), f"holds a {type(settings).__name__}, not settings by name", fix))
    return settings
