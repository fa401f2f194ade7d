"""Whether a finished run could be pushed to where the recipe says."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hfrecipes.check.write_access import probe_publication
from hfrecipes.recipe.licenses import LICENSES
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, Severity
from hfrecipes.recipe.validate import nearest

_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9](?:[\w.-]*\w)?", re.ASCII)
# ISO 639-1 and -3, with a script or region behind; `code` and `multilingual` are the Hub's own.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|code|multilingual")


def publish_problems(recipe: Recipe, asked: bool) -> list[Problem]:
    """What stands in the way of publishing.

    Args:
        recipe: The recipe.
        asked: Whether the user is about to publish: then what is missing is an error, before that it is a warning. What can
            never be published as it stands, or what the Hub refuses when it is asked, is an error in any case.
    """
    severity: Severity = "error" if asked else "warning"
    return [*_repository_problems(recipe, asked, severity), *_card_problems(recipe, severity)]


def _repository_problems(recipe: Recipe, asked: bool, severity: Severity) -> Iterator[Problem]:
    repo_id = recipe.get("publish.repo_id")
    if repo_id is None:
        if asked:
            fix = "add it, as in repo_id: my-name/my-model"
            yield Problem(recipe.where("publish"), "publish.repo_id is missing", fix, severity)
        return
    owner, slash, name = repo_id.partition("/")
    if not slash or not _NAME.fullmatch(owner) or not _NAME.fullmatch(name) or len(repo_id) > 96:
        fault = f"publish.repo_id is {repo_id!r}, which is no Hub id"
        fix = "write owner/name: letters, digits, -, _ and ., not beginning or ending with - or ."
        yield Problem(recipe.where("publish.repo_id"), fault, fix)
        return
    from huggingface_hub import get_token

    if get_token() is None:
        fault = f"there is no token to push {repo_id} with"
        fix = "log in with `hf auth login`, or set HF_TOKEN in the environment"
        yield Problem(recipe.where("publish.repo_id"), fault, fix, severity)
        return
    yield from probe_publication(recipe)


def _card_problems(recipe: Recipe, severity: Severity) -> Iterator[Problem]:
    license = recipe.get("publish.license")
    if license is not None and license not in LICENSES:
        guess = nearest(license, LICENSES)
        fix = f"did you mean {guess}?" if guess else "the Hub lists its identifiers; `other` fits all else"
        yield Problem(
            recipe.where("publish.license"), f"publish.license {license!r} is unknown to the Hub", fix, severity
        )
    if license is None and recipe.get("publish.repo_id") is not None:
        fix = "add it, as in license: apache-2.0"
        yield Problem(
            recipe.where("publish"), "publish.license is missing: nobody may use what has none", fix, severity
        )
    for index, language in enumerate(recipe.get("publish.language", [])):
        if not _LANGUAGE.fullmatch(str(language)):
            fault = f"publish.language {language!r} is no language code"
            fix = "write it as in en, zh or pt-BR; code for programs"
            yield Problem(recipe.where(f"publish.language.{index}"), fault, fix, severity)
