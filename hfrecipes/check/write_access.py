"""Whether the Hub would take a publication: asked before a run, so that it is not found out after it."""

from __future__ import annotations

from typing import Any

from hfrecipes.check import hub
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.secrets import redact

_NOT_NOW = "the run is trained all the same, and can be published later: hfrecipes publish RUN"
_OR_WITHOUT = "or train all the same with publish.repo_id=null"
# What a fine-grained token may hold for one owner or repository; the second is the first by an earlier name.
_WRITES = {"repo.write", "repo.content.write"}
# Of an organisation: `contributor` may create repositories and write to these, `write` and `admin` to all.
_READERS = {"read", "no_access"}
_LONGEST_REASON = 300


def probe_publication(recipe: Recipe) -> list[Problem]:
    """What the Hub says to a push to `publish.repo_id`, in at most a few seconds; nothing is written there.

    A Hub that cannot be asked prevents no training, and is told of. What it surely would refuse is an error, since the run
    asks for something that cannot be; each says how to train without it.

    Args:
        recipe: A recipe with a `publish.repo_id` of the form `owner/name`, on a machine that has a token.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    where, repo_id = recipe.where("publish.repo_id"), recipe.get("publish.repo_id")
    unasked = f"whether {repo_id} can be written to is not known"
    if constants.is_offline_mode():
        return [Problem(where, f"{unasked}: HF_HUB_OFFLINE is set", _NOT_NOW, "unchecked")]
    if reason := hub.hub_unreachable():
        return [Problem(where, f"{unasked}: {reason}", _NOT_NOW, "warning")]
    try:
        refusal = _refusal(repo_id, _whoami())
        return [Problem(where, *refusal)] if refusal else _repository_problems(recipe, repo_id, where)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            fix = f"log in with `hf auth login`, {_OR_WITHOUT}"
            return [Problem(where, f"the Hub does not know the token that {repo_id} would be pushed with", fix)]
        return [Problem(where, f"{unasked}: {_reason(error)}", _NOT_NOW, "warning")]
    except (HTTPError, OSError, ValueError) as error:  # a page that is no JSON is a ValueError
        return [Problem(where, f"{unasked}: {_reason(error)}", _NOT_NOW, "warning")]


def _whoami() -> dict[str, Any]:
    """Who the token belongs to and what it may do. `HfApi.whoami` asks the same, and waits without end."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    answer = get_session().get(
        f"{constants.ENDPOINT}/api/whoami-v2", headers=build_hf_headers(), timeout=hub.TIMEOUT_SECONDS
    )
    hf_raise_for_status(answer)
    user = answer.json()
    if not isinstance(user, dict) or not isinstance(user.get("name"), str):
        raise ValueError("the Hub gave an answer that cannot be read")
    return user


def _refusal(repo_id: str, user: dict[str, Any]) -> tuple[str, str] | None:
    """Fault and mend where the owner of the token, or the token itself, surely may not write; None where it may."""
    owner = repo_id.partition("/")[0]
    token = _mapping(_mapping(user.get("auth")).get("accessToken"))
    if token.get("role") == "read":
        fix = f"use one that may write: hf.co/settings/tokens, {_OR_WITHOUT}"
        return f"the token of {user['name']} may only read, and {repo_id} is to be written to", fix
    scoped = _mapping(token.get("fineGrained")).get("scoped") if token.get("role") == "fineGrained" else None
    if isinstance(scoped, list):
        if any(_covers(_mapping(scope), repo_id) for scope in scoped):
            return None
        fix = f"give it write access to the repositories of {owner}: hf.co/settings/tokens, {_OR_WITHOUT}"
        return f"the fine-grained token of {user['name']} may not write to {repo_id}", fix
    return None if _same(owner, user["name"]) else _refusal_of_organisation(owner, user)


def _refusal_of_organisation(owner: str, user: dict[str, Any]) -> tuple[str, str] | None:
    organisations = user.get("orgs")
    if not isinstance(organisations, list):
        return None
    mine = next((org for org in map(_mapping, organisations) if _same(owner, org.get("name"))), None)
    fix = f"publish to {user['name']}/…, ask {owner} for write access, {_OR_WITHOUT}"
    if mine is None:
        return f"{user['name']} is not {owner}, and is no member of an organisation of that name", fix
    if mine.get("roleInOrg") in _READERS:
        return f"{user['name']} may only read what belongs to {owner}", fix
    return None


def _covers(scope: dict[str, Any], repo_id: str) -> bool:
    """Whether a scope of a fine-grained token lets it write to a repository; what it does not say is taken as a yes."""
    entity, permissions = _mapping(scope.get("entity")).get("name"), scope.get("permissions")
    named = entity is None or _same(entity, repo_id) or _same(entity, repo_id.partition("/")[0])
    return named and (not isinstance(permissions, list) or any(word in _WRITES for word in permissions))


def _repository_problems(recipe: Recipe, repo_id: str, where: str) -> list[Problem]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    api = HfApi()
    try:
        found = api.model_info(repo_id, timeout=hub.TIMEOUT_SECONDS)
    except GatedRepoError:
        return []
    except RepositoryNotFoundError:
        return [problem for kind in ("dataset", "space") for problem in _namesake(api, repo_id, kind, where)]
    if found.private is False and recipe.get("publish.private", True):
        fix = f"say publish.private: false, choose another name, {_OR_WITHOUT}"
        return [Problem(where, f"{repo_id} exists and is public, and this run is to be published privately", fix)]
    return []


def _namesake(api: Any, repo_id: str, kind: str, where: str) -> list[Problem]:
    """The Hub keeps models, datasets and spaces apart, so that one name can stand for each; seldom is that meant."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        api.repo_info(repo_id, repo_type=kind, timeout=hub.TIMEOUT_SECONDS)
    except RepositoryNotFoundError:
        return []
    fault = f"{repo_id} is a {kind}; a model repository of the same name would be made beside it"
    return [Problem(where, fault, "choose another name, if that is not meant", "warning")]


def _reason(error: Exception) -> str:
    """The first line of what the client or the Hub said."""
    lines = redact(str(error)).strip().splitlines()
    return lines[0][:_LONGEST_REASON] if lines else type(error).__name__


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _same(name: Any, other: Any) -> bool:
    """Whether two names are the same to the Hub, which takes no notice of their case."""
    return isinstance(name, str) and isinstance(other, str) and name.lower() == other.lower()
