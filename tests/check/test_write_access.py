"""Whether a publication would be taken, asked of a Hub that runs here."""

from __future__ import annotations

import json
import runpy
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfrecipes import RecipeError, RunOptions, load_recipe, run
from hfrecipes.check.publish import publish_problems
from hfrecipes.recipe.loader import Recipe, check_words
from hfrecipes.recipe.problem import Problem
from tests.publish.conftest import READ_ONLY_TOKEN, STANDIN, TOKEN, Hub, hub  # noqa: F401  a fixture

FINE_TOKEN = runpy.run_path(str(STANDIN))["FINE_TOKEN"]

VALUES: dict[str, Any] = {
    "kind": "pretrain",
    "model": {"config": {"model_type": "llama"}, "tokenizer": {"vocab_size": 512}},
    "data": {"train": [{"name": "python_prose", "split": "train", "limit": 8}]},
    "training": {"max_steps": 1},
}


def recipe(**publish: Any) -> Recipe:
    return check_words({**VALUES, "publish": {"license": "mit", **publish}}, Path("my.yaml"))


@pytest.fixture
def ask(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Problem]]:  # noqa: F811
    """What a check says to a repository's name, where the Hub answers and the token is this one."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def ask(repo_id: str, token: str = TOKEN, *, asked: bool = False, **publish: Any) -> list[Problem]:
        monkeypatch.setenv("HF_TOKEN", token)
        return publish_problems(recipe(repo_id=repo_id, **publish), asked)

    yield ask
    tell(hub, "heal")


def tell(hub: Hub, what: str, **body: Any) -> None:  # noqa: F811
    post(f"{hub.url}/standin/{what}", body)


def post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Authorization": f"Bearer {TOKEN}"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    direct.open(request, timeout=10).close()


@pytest.mark.parametrize(
    ("repo_id", "token"),
    [("ada/new", TOKEN), ("Ada/new", TOKEN), ("guild/new", TOKEN), ("ada/one-of-hers", FINE_TOKEN)],
)
def test_what_may_be_written_to_is_no_problem(ask, repo_id: str, token: str) -> None:
    assert ask(repo_id, token) == []


@pytest.mark.parametrize(
    ("repo_id", "token", "fault"),
    [
        ("ada/new", "hf_" + "Wrong" * 7, "does not know the token"),
        ("ada/new", READ_ONLY_TOKEN, "the token of ada may only read"),
        ("ada/another", FINE_TOKEN, "fine-grained token of ada may not write to ada/another"),
        ("grace/new", TOKEN, "ada is not grace, and is no member"),
        ("library/new", TOKEN, "ada may only read what belongs to library"),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_what_the_hub_refuses_is_an_error_before_the_run(
    ask, repo_id: str, token: str, fault: str, asked: bool
) -> None:
    (problem,) = ask(repo_id, token, asked=asked)
    assert problem.severity == "error"
    assert fault in problem.message
    assert "publish.repo_id=null" in problem.fix
    assert token not in str(problem)


def test_a_public_repository_is_refused_unless_that_is_wanted(hub: Hub, ask) -> None:  # noqa: F811
    post(f"{hub.url}/api/repos/create", {"name": "seen", "private": True})
    assert ask("ada/seen") == []
    tell(hub, "public", type="model", repo_id="ada/seen")
    (problem,) = ask("ada/seen")
    assert problem.severity == "error"
    assert "exists and is public" in problem.message
    assert "publish.private: false" in problem.fix
    assert "publish.repo_id=null" in problem.fix
    assert ask("ada/seen", private=False) == []


def test_a_dataset_of_that_name_is_told_of(hub: Hub, ask) -> None:  # noqa: F811
    post(f"{hub.url}/api/repos/create", {"name": "rows", "type": "dataset", "private": True})
    (problem,) = ask("ada/rows")
    assert (problem.severity, "ada/rows is a dataset" in problem.message) == ("warning", True)


@pytest.mark.parametrize(
    "failure",
    [
        {"path": "/whoami", "status": 503},
        {"path": "/whoami", "status": 429},
        {"path": "/whoami", "status": 200},
        {"path": "/whoami", "how": "lost"},
        {"path": "/api/models/", "status": 500},
        {"path": "/whoami", "how": "silent"},
        {"path": "/api/models/", "how": "silent"},
    ],
)
def test_a_hub_that_cannot_say_prevents_no_training(
    hub: Hub,  # noqa: F811
    ask,
    monkeypatch: pytest.MonkeyPatch,
    failure: dict[str, Any],
) -> None:
    monkeypatch.setattr("hfrecipes.check.hub.TIMEOUT_SECONDS", 0.3)
    tell(hub, "fail", **failure, times=9)
    start = time.monotonic()
    (problem,) = ask("ada/new")
    assert time.monotonic() - start < 3
    assert problem.severity == "warning"
    assert "whether ada/new can be written to is not known" in problem.message
    assert "can be published later" in problem.fix


def test_neither_does_one_that_is_not_there_nor_one_that_is_not_to_be_asked(
    ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    (problem,) = ask("ada/new")
    assert (problem.severity, "does not answer" in problem.message) == ("warning", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (problem,) = ask("ada/new")
    assert (problem.severity, "HF_HUB_OFFLINE is set" in problem.message) == ("unchecked", True)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    (problem,) = ask("ada/new")
    assert (problem.severity, "there is no token" in problem.message) == ("warning", True)


@pytest.mark.parametrize(
    "user",
    [
        {"name": "ada"},
        {"name": "ada", "auth": None, "orgs": None},
        {"name": "ada", "auth": {"type": "oauth"}, "orgs": []},
        {"name": "ada", "auth": {"accessToken": {"role": "fineGrained"}}},
        {"name": "ada", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"scoped": [{}]}}}},
        {"name": "ada", "auth": {"accessToken": {"role": "a role of tomorrow"}}, "orgs": [{"name": "guild"}, 3]},
    ],
)
def test_what_the_hub_does_not_say_is_not_held_against_anyone(user: dict[str, Any]) -> None:
    from hfrecipes.check.write_access import _refusal

    assert _refusal("ada/new", user) is None
    assert (_refusal("guild/new", user) is None) == (user.get("orgs") != [])


@pytest.mark.parametrize("name", ["my model", "no-owner", "a/b/c", "ada/../x"])
def test_a_name_that_can_be_none_is_an_error_without_any_hub(name: str) -> None:
    (problem,) = publish_problems(recipe(repo_id=name), asked=False)
    assert problem.severity == "error"
    assert "no Hub id" in problem.message


def test_a_run_is_refused_before_it_begins(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("ada/new", READ_ONLY_TOKEN)
    file = tmp_path / "my.yaml"
    file.write_text(json.dumps({**VALUES, "publish": {"repo_id": "ada/new", "license": "mit"}}))
    with pytest.raises(RecipeError, match="may only read"):
        run(load_recipe(file), options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))
    assert not (tmp_path / "runs").exists()
