"""Pushes a run to the Hub in one commit, and only when told to."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hfrecipes.publish.naming import portable
from hfrecipes.publish.origin import name_of
from hfrecipes.publish.reading import facts_of
from hfrecipes.publish.secrets import refuse_secret_words
from hfrecipes.publish.upload import UploadFile, plan_upload
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir, now, refuse_links
from hfrecipes.recipe.secrets import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

# Files at the root by which a loader decides what a repository holds. One that an earlier publication left behind
# (a shard too many, an adapter where whole weights are now) would load beside the new weights or instead of them.
_DECIDES_LOADING = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "bottleneck_config.json")

_WHERE = "Hub"
_AGAIN = "the run is unchanged: publish it again"
# The client waits without end for a Hub that has fallen silent. A commit of many large files takes the Hub minutes.
SILENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Publication:
    """What a publication did.

    Args:
        repo_id: `owner/name`, as the Hub writes it.
        commit: The commit that now holds the run, whether made now or before.
        url: Its page.
        pushed: Paths in the repository that were written; empty where nothing had changed.
        deleted: Stale weights of an earlier publication that were taken out.
        unrecorded: Why the run's facts do not say so, where they could not be written.
    """

    repo_id: str
    commit: str
    url: str
    pushed: list[str]
    deleted: list[str]
    unrecorded: str = ""


def publish_run(
    run: RunDir,
    repo_id: str,
    private: bool = True,
    revision: str | None = None,
    message: str | None = None,
    base_model: str | None = None,
) -> Publication:
    """Pushes what `plan_upload` lists in one commit; publishing an unchanged run again makes none.

    The token comes from the environment or the client's store. Everything that can be refused is refused before the
    first byte is sent, and a failure in between leaves the repository at its last commit and the run as it was. Where the
    Hub made the commit and its answer was lost, publishing again finds that and makes no second one.

    Args:
        run: A complete run.
        repo_id: `owner/name`; created where it is missing.
        private: Whether a new repository is private. An existing public one is refused unless this is false.
        revision: Branch to push to; created where it is missing. The main branch by default.
        message: Commit message.
        base_model: Hub id of the base, for a run that started from a folder.

    Raises:
        RecipeError: for all that `plan_upload` refuses, and where the Hub cannot be reached or does not allow it.
    """
    refuse_links(run)
    facts = facts_of(run)
    message = message or f"Publish run {name_of(facts)}"
    refuse_secret_words(repo=repo_id, base_model=base_model, revision=revision, message=message)
    api = _signed_in_api()
    with _explained(repo_id), _not_for_ever():
        repo_id = _full_name(api, repo_id)
    files = plan_upload(run, repo_id, base_model)
    with _explained(repo_id), _not_for_ever():
        _open_repository(api, repo_id, private, revision)
        done = _push(api, repo_id, files, revision, message)
    known = facts.get("published") or {}
    if (known.get("repo_id"), known.get("commit")) == (repo_id, done.commit):
        return done
    try:
        run.write_facts(facts | {"published": {"repo_id": repo_id, "commit": done.commit, "time": now()}})
    except OSError as error:
        return replace(done, unrecorded=f"{run.facts_file}: {error.strerror}")
    return done


def _push(api: HfApi, repo_id: str, files: list[UploadFile], revision: str | None, message: str) -> Publication:
    """Commits what the branch does not hold yet, on top of what was seen there; nothing where it holds all."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    head, remote = _remote_files(api, repo_id, revision)
    changed = [file for file in files if not _same(file, remote.get(file.path_in_repo))]
    stale = _stale(files, remote)
    if not changed and not stale:
        return Publication(repo_id, head, f"{api.endpoint}/{repo_id}/commit/{head}", [], [])
    added = [CommitOperationAdd(f.path_in_repo, f.path if f.content is None else f.content) for f in changed]
    deleted = [CommitOperationDelete(path) for path in stale]
    options = {"commit_message": message, "revision": revision, "parent_commit": head}
    commit = api.create_commit(repo_id, [*added, *deleted], **options)
    return Publication(repo_id, commit.oid, commit.commit_url, [file.path_in_repo for file in changed], stale)


def _signed_in_api() -> HfApi:
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise RecipeError(Problem(_WHERE, "HF_HUB_OFFLINE is set: nothing can be pushed", "unset it, or use --dry-run"))
    if not get_token():
        raise RecipeError(Problem(_WHERE, "no access token was found", "run `hf auth login`, or set HF_TOKEN"))
    return HfApi(library_name="hfrecipes")


def _full_name(api: HfApi, repo_id: str) -> str:
    """`owner/name`; asks who the token belongs to, which also finds a token that is no longer valid."""
    user = api.whoami()["name"]
    return repo_id if "/" in repo_id else f"{user}/{repo_id}"


def _open_repository(api: HfApi, repo_id: str, private: bool, revision: str | None) -> None:
    """Makes sure that the repository and the branch are there; never widens who can read the run."""
    if not api.repo_exists(repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
    elif private and not api.model_info(repo_id).private:
        message = f"{repo_id} exists and is public, and the run was to be published privately"
        raise RecipeError(Problem(_WHERE, message, "add --public, or choose another --repo"))
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)


def _remote_files(api: HfApi, repo_id: str, revision: str | None) -> tuple[str, dict[str, RepoFile]]:
    """The head of the branch, and what it holds by path."""
    from huggingface_hub.hf_api import RepoFile

    head = api.model_info(repo_id, revision=revision).sha
    tree = api.list_repo_tree(repo_id, recursive=True, revision=head)
    return head, {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _same(file: UploadFile, remote: RepoFile | None) -> bool:
    """Whether the repository already holds these very bytes: large files go by SHA-256, small ones by git's name."""
    if remote is None:
        return False
    return remote.lfs.sha256 == file.sha256 if remote.lfs else remote.blob_id == file.git_oid


def _stale(files: list[UploadFile], remote: dict[str, RepoFile]) -> list[str]:
    kept = {file.path_in_repo for file in files}
    old = [path for path in remote if "/" not in path and path not in kept]
    return sorted(path for path in old if any(fnmatch.fnmatch(path, pattern) for pattern in _DECIDES_LOADING))


@contextmanager
def _not_for_ever() -> Iterator[None]:
    """Gives the client's requests a limit of time."""
    from huggingface_hub import get_session

    session = get_session()
    before = session.timeout
    session.timeout = SILENCE_SECONDS
    try:
        yield
    finally:
        session.timeout = before


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """Turns what the client raises into a problem that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        yield
    except RecipeError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        # The client's threads wrap what broke an upload, and an answer that cannot be read is a ValueError.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            raise RecipeError(_http_problem(repo_id, cause.response.status_code, cause)) from error
        broken = isinstance(cause, HTTPError | OSError)
        what = "the Hub could not be reached, or the connection broke" if broken else repo_id
        raise RecipeError(Problem(_WHERE, f"{what}: {_one_line(cause)}", _AGAIN)) from error


def _http_problem(repo_id: str, status: int, error: Exception) -> Problem:
    if status == 401:
        return Problem(_WHERE, "the access token is not valid", "run `hf auth login` with a token that may write")
    if status == 403:
        fix = "use a token with write access, or a --repo of your own"
        return Problem(_WHERE, f"the access token may not write to {repo_id}", fix)
    if status == 412:
        return Problem(_WHERE, f"{repo_id} was changed by someone else meanwhile", "publish again")
    return Problem(_WHERE, f"{repo_id}: {_one_line(error)}", _AGAIN)


def _one_line(error: BaseException) -> str:
    # Secrets go before the end does: half a token is still one that should not be shown.
    return redact(portable(" ".join(str(error).split())))[:300] or type(error).__name__
