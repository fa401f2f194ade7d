"""What the Hub says about a repository, asked once, quickly, and never waited for."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from hfrecipes.data.embedded import NAMES as EMBEDDED
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.source_list import ROLES

# A check is no place to wait: what does not answer in this time counts as out of reach.
TIMEOUT_SECONDS = 3.0
_NOT_ASKED = "it is not looked for before the run"


def hub_unreachable(endpoint: str | None = None) -> str | None:
    """Why the Hub cannot be asked; None where it answers.

    Args:
        endpoint: Address of the Hub; by default the one that `huggingface_hub` uses.
    """
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else _no_answer(endpoint or constants.ENDPOINT)


def stay_offline(recipe: Recipe) -> None:
    """Where the recipe names something on the Hub and the Hub does not answer, the libraries look in their caches alone.

    Left to themselves they ask five times for each file, with growing pauses. To be called before they are imported.
    """
    models = [name for key in ("model.name_or_path", "model.tokenizer") if isinstance(name := recipe.get(key), str)]
    remote = [name for name in models if not recipe.find_file(name).exists()]
    sources = [source for role in ROLES for _, source in recipe.sources(role)]
    remote += [source["name"] for source in sources if source.get("name") and source["name"] not in EMBEDDED]
    if remote and hub_unreachable():
        from huggingface_hub import constants

        os.environ["HF_HUB_OFFLINE"] = "1"
        constants.HF_HUB_OFFLINE = True


@cache
def _no_answer(endpoint: str) -> str | None:
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return None  # a proxy decides; a connection of our own would say nothing
    address = urlsplit(endpoint)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
        return f"{address.hostname} does not answer ({error})"
    return None


def repository_problems(
    repo_id: str,
    repo_type: Literal["model", "dataset"],
    revision: str | None,
    where: str,
    endpoint: str | None = None,
) -> list[Problem]:
    """Whether a repository, and the revision of it, exists on the Hub.

    Args:
        repo_id: As in `owner/name`.
        repo_type: What it holds.
        revision: A commit, branch or tag; None for the newest.
        where: The recipe's place that names it.
        endpoint: Address of the Hub; by default the one that `huggingface_hub` uses.
    """
    if malformed := malformed_id(repo_id, where):
        return malformed
    if reason := hub_unreachable(endpoint):
        return [Problem(where, f"the {repo_type} {repo_id} is on the Hub: {reason}", _NOT_ASKED, "unchecked")]
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # HTTPError is the base of all errors of the HTTP library that this huggingface_hub stands on, time-outs included.
    try:
        HfApi(endpoint=endpoint).repo_info(repo_id, repo_type=repo_type, revision=revision, timeout=TIMEOUT_SECONDS)
    except GatedRepoError:
        fix = f"accept its terms on huggingface.co/{repo_id} and log in with `hf auth login`"
        return [Problem(where, f"the {repo_type} {repo_id} is gated, and this token may not read it", fix)]
    except RevisionNotFoundError:
        return [Problem(where, f"the {repo_type} {repo_id} has no revision {revision}", "name one of its commits")]
    except RepositoryNotFoundError:
        fix = "correct the name, or log in with `hf auth login` where it is private"
        return [Problem(where, f"there is no {repo_type} {repo_id} on the Hub", fix)]
    except (HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return [Problem(where, f"the {repo_type} {repo_id} is on the Hub: {reason}", _NOT_ASKED, "unchecked")]
    return []


def malformed_id(repo_id: str, where: str) -> list[Problem]:
    """Whether a name can be a Hub id at all, which needs no Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        return [
            Problem(where, f"{repo_id!r} is neither a folder nor a Hub id", "correct the path, or write owner/name")
        ]
    return []


def hub_file(repo_id: str, file: str, revision: str | None) -> Path | None:
    """A small file of a Hub repository: from the cache, or fetched where the Hub answers; None where it cannot be had."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HTTPError

    cached = try_to_load_from_cache(repo_id, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if hub_unreachable():
        return None
    try:
        return Path(hf_hub_download(repo_id, file, revision=revision))
    except (HTTPError, OSError):
        return None
