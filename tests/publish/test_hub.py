"""Publications to a stand-in Hub, judged by what arrived there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.publish.hub import publish_run
from hfrecipes.publish.upload import plan_upload
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .client import main
from .conftest import READ_ONLY_TOKEN, TOKEN, Hub
from .facts import make_facts

CLIENT = str(Path(__file__).with_name("client.py"))


def publish(
    hub: Hub, run: RunDir, *arguments: str, token: str | None = TOKEN, **env: str
) -> subprocess.CompletedProcess[str]:
    environment = hub.environment(run.path.parent / "home", **env) | ({"HF_TOKEN": token} if token else {})
    command = [sys.executable, CLIENT, "publish", str(run.path), *arguments]
    return subprocess.run(command, env=environment, cwd=run.path.parent, capture_output=True, text=True, timeout=120)


def test_what_arrives_is_what_the_plan_said(hub: Hub, run: RunDir) -> None:
    done = publish(hub, run, "--repo", "ada/whole")
    assert done.returncode == 0, done.stderr
    first, head = hub.commits("ada/whole")
    assert hub.repo("ada/whole")["private"] is True
    assert head["parent"] == first["sha"]
    planned = {file.path_in_repo: file.sha256 for file in plan_upload(run, "ada/whole")}
    arrived = {path: entry["sha256"] for path, entry in head["files"].items() if path != ".gitattributes"}
    assert arrived == planned
    weights = hashlib.sha256((run.model / "model.safetensors").read_bytes()).hexdigest()
    assert arrived["model.safetensors"] == weights
    assert {
        "README.md",
        "config.json",
        "hfrecipes/run.json",
        "hfrecipes/recipe.yaml",
        "hfrecipes/report.html",
    } <= arrived.keys()
    assert not {"training_args.bin", "optimizer.pt"} & arrived.keys()
    published = run.facts()["published"]
    assert published["repo_id"] == "ada/whole"
    assert published["commit"] == head["sha"]
    assert head["sha"] in done.stdout


def test_nothing_of_the_machine_arrives(hub: Hub, run: RunDir) -> None:
    assert publish(hub, run, "--repo", "ada/clean").returncode == 0
    for path in hub.commits("ada/clean")[-1]["files"]:
        content = hub.content("ada/clean", path)
        assert b"/home/ada" not in content, path
        assert str(run.path).encode() not in content, path
        assert TOKEN.encode() not in content, path
    assert 'model_id = "ada/clean"' in hub.content("ada/clean", "README.md").decode()


def test_publishing_again_makes_no_commit(hub: Hub, run: RunDir) -> None:
    assert publish(hub, run, "--repo", "ada/twice").returncode == 0
    facts = run.facts()
    again = publish(hub, run, "--repo", "ada/twice")
    assert again.returncode == 0, again.stderr
    assert "Nothing has changed" in again.stdout
    assert len(hub.commits("ada/twice")) == 2
    assert run.facts() == facts
    # Only what changed is pushed, and weights that the run no longer has go.
    (run.model / "model.safetensors").rename(run.model / "model-00001-of-00001.safetensors")
    write_manifest(run.model)
    third = publish(hub, run, "--repo", "ada/twice", "--message", "sharded")
    assert third.returncode == 0, third.stderr
    head = hub.commits("ada/twice")[-1]
    assert head["summary"] == "sharded"
    assert "model.safetensors" not in head["files"]
    assert "model-00001-of-00001.safetensors" in head["files"]


# What goes wrong, what the user is told, and how many commits the repository has then: the first is the Hub's own.
FAILURES = {
    "whoami": ({"path": "/whoami", "status": 500}, "500", 0),
    "creation": ({"path": "/repos/create", "status": 403}, "may not write to", 0),
    "tree": ({"path": "/tree/", "status": 500}, "500", 1),
    "preupload": ({"path": "/preupload/", "status": 500}, "500", 1),
    "token-revoked-in-the-middle": ({"path": "/preupload/", "status": 401}, "access token is not valid", 1),
    "batch": ({"path": "/objects/batch", "status": 502}, "502", 1),
    "storage-full": ({"path": "/lfs/", "status": 507}, "507", 1),
    "storage-refuses": ({"path": "/lfs/", "status": 403}, "may not write to", 1),
    "cut-in-the-middle-of-a-file": ({"path": "/lfs/", "how": "cut", "after": 20_000}, "connection broke", 1),
    "storage-silent": ({"path": "/lfs/", "how": "silent"}, "connection broke", 1),
    "commit": ({"path": "/commit/", "status": 500}, "500", 1),
    "commit-cut": ({"path": "/commit/", "how": "cut", "after": 100}, "connection broke", 1),
    "commit-by-someone-else": ({"path": "/commit/", "status": 412}, "changed by someone else", 1),
    "answer-to-the-commit-lost": ({"path": "/commit/", "how": "lost"}, "connection broke", 2),
    "answer-to-the-creation-lost": ({"path": "/repos/create", "how": "lost"}, "connection broke", 1),
}


@pytest.mark.parametrize("point", FAILURES)
def test_a_failed_push_leaves_the_run_whole_and_is_repeated_once(
    at_hub: None, hub: Hub, run: RunDir, point: str
) -> None:
    failure, said, commits = FAILURES[point]
    repo_id, before = f"ada/fails-at-{point}", contents(run)
    tell(hub, "fail", failure | {"times": 1000})
    with pytest.raises(RecipeError) as caught:
        publish_run(run, repo_id)
    assert said in str(caught.value)
    assert contents(run) == before
    assert commits_of(hub, repo_id) == commits
    tell(hub, "heal")
    done = publish_run(run, repo_id)
    assert commits_of(hub, repo_id) == 2
    assert (done.pushed == []) == (commits == 2)
    head = hub.commits(repo_id)[-1]
    assert set(head["files"]) - {".gitattributes"} == {file.path_in_repo for file in plan_upload(run, repo_id)}
    published = run.facts()["published"]
    assert (published["repo_id"], published["commit"]) == (repo_id, head["sha"])
    assert {path: data for path, data in contents(run).items() if path != "run.json"} == {
        path: data for path, data in before.items() if path != "run.json"
    }
    after = contents(run)
    third = publish_run(run, repo_id)
    assert (third.commit, third.pushed, third.deleted) == (head["sha"], [], [])
    assert commits_of(hub, repo_id) == 2
    assert contents(run) == after


def test_a_push_that_the_run_cannot_write_down_is_told_as_one(
    at_hub: None, hub: Hub, run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    # What run.json is written by way of cannot be written, as on a disk that is read-only.
    blocked = run.path / f".run.json.{os.getpid()}.part"
    blocked.mkdir()
    before = run.facts_file.read_bytes()
    assert main(["publish", str(run.path), "--repo", "ada/read-only"]) == 0
    told = capsys.readouterr()
    head = hub.commits("ada/read-only")[-1]
    assert f"Published {len(head['files']) - 1} files" in told.out and head["sha"] in told.out
    assert f"warning: the run's facts do not say so, as they cannot be written: {run.facts_file}" in told.err
    assert run.facts_file.read_bytes() == before
    blocked.rmdir()
    assert main(["publish", str(run.path), "--repo", "ada/read-only"]) == 0
    assert "Nothing has changed" in capsys.readouterr().out
    assert run.facts()["published"]["commit"] == head["sha"] and commits_of(hub, "ada/read-only") == 2


def test_the_verb_says_what_failed_and_succeeds_the_second_time(hub: Hub, run: RunDir) -> None:
    tell(hub, "fail", {"path": "/lfs/", "status": 507})
    failed = publish(hub, run, "--repo", "ada/broken")
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert "ada/broken" in failed.stderr
    assert "publish it again" in failed.stderr
    assert publish(hub, run, "--repo", "ada/broken").returncode == 0
    assert "model.safetensors" in hub.commits("ada/broken")[-1]["files"]


@pytest.fixture
def at_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """This process's client talks to the stand-in, is soon out of patience, and retries without pauses."""
    from huggingface_hub import close_session, constants

    close_session()
    for name, value in (("ENDPOINT", hub.url), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("hfrecipes.publish.hub.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield
    tell(hub, "heal")
    close_session()


def tell(hub: Hub, what: str, body: dict[str, Any] | None = None) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    direct.open(f"{hub.url}/standin/{what}", data=json.dumps(body or {}).encode(), timeout=10).close()


def contents(run: RunDir) -> dict[str, bytes]:
    """Every byte of a run directory, by path."""
    files = [path for path in run.path.rglob("*") if path.is_file()]
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in files}


def commits_of(hub: Hub, repo_id: str) -> int:
    file = hub.root / "repos" / "model" / f"{repo_id}.json"
    return len(json.loads(file.read_text())["commits"]) if file.is_file() else 0


def test_what_links_elsewhere_is_not_published(hub: Hub, run: RunDir) -> None:
    secret = run.path.parent / "private.txt"
    secret.write_text("nobody is to read this")
    run.card.symlink_to(secret)
    for arguments in (["--repo", "ada/linked"], ["--repo", "ada/linked", "--dry-run"]):
        refused = publish(hub, run, *arguments)
        assert refused.returncode == 2
        assert "README.md: error: is a link" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert commits_of(hub, "ada/linked") == 0


def test_a_recipe_that_says_so_is_published_publicly(hub: Hub, run: RunDir) -> None:
    facts = run.facts()
    run.write_facts(facts | {"recipe": {**facts["recipe"], "publish": {"private": False}}})
    assert publish(hub, run, "--repo", "ada/said-public").returncode == 0
    assert hub.repo("ada/said-public")["private"] is False


@pytest.mark.parametrize(
    ("token", "env", "repo_id", "said"),
    [
        (None, {}, "ada/none", "no access token"),
        ("hf_" + "Wrong" * 7, {}, "ada/none", "access token is not valid"),
        (READ_ONLY_TOKEN, {}, "ada/none", "may not write to ada/none"),
        (TOKEN, {}, "grace/none", "may not write to grace/none"),
        (TOKEN, {"HF_HUB_OFFLINE": "1"}, "ada/none", "HF_HUB_OFFLINE is set"),
        (TOKEN, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "ada/none", "could not be reached"),
        (TOKEN, {}, "ada/none/of this", "not a Hub repository"),
    ],
)
def test_refusals_come_before_any_upload(
    hub: Hub, run: RunDir, token: str | None, env: dict, repo_id: str, said: str
) -> None:
    before, objects = run.facts_file.read_bytes(), set((hub.root / "objects").iterdir())
    refused = publish(hub, run, "--repo", repo_id, token=token, **env)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert set((hub.root / "objects").iterdir()) == objects
    assert not (hub.root / "repos" / "model" / f"{repo_id}.json").exists()
    assert run.facts_file.read_bytes() == before


def test_a_private_run_is_not_pushed_into_a_public_repository(hub: Hub, run: RunDir) -> None:
    assert publish(hub, run, "--repo", "ada/open", "--public").returncode == 0
    assert hub.repo("ada/open")["private"] is False
    refused = publish(hub, run, "--repo", "ada/open")
    assert refused.returncode == 2
    assert "is public" in refused.stderr


def test_a_branch_of_its_own(hub: Hub, run: RunDir) -> None:
    done = publish(hub, run, "--repo", "ada/branches", "--revision", "v2")
    assert done.returncode == 0, done.stderr
    assert len(hub.commits("ada/branches")) == 1
    assert "README.md" in hub.commits("ada/branches", "v2")[-1]["files"]


def test_dry_run_needs_neither_token_nor_network(hub: Hub, run: RunDir) -> None:
    dead = {"HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "160"}
    shown = publish(hub, run, "--repo", "ada/dry", "--dry-run", token=None, **dead)
    assert shown.returncode == 0, shown.stderr
    for file in plan_upload(run, "ada/dry"):
        assert file.path_in_repo in shown.stdout
        assert file.sha256[:12] in shown.stdout
    assert "stays: model/training_args.bin" in shown.stdout
    assert not (hub.root / "repos" / "model" / "ada" / "dry.json").exists()


PULL = """
import json, sys
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("ada/pulled")
card = open(snapshot_download("ada/pulled") + "/README.md").read()
code = card.split("```python")[1].split("```")[0]
exec(code)
print(json.dumps({name: float(tensor.double().sum()) for name, tensor in model.state_dict().items()}))
"""


def test_the_published_model_loads_and_its_snippet_runs(hub: Hub, run: RunDir) -> None:
    from safetensors.torch import load_file

    assert publish(hub, run, "--repo", "ada/pulled").returncode == 0
    environment = hub.environment(run.path.parent / "home", HF_TOKEN=TOKEN)
    pulled = subprocess.run([sys.executable, "-c", PULL], env=environment, capture_output=True, text=True, timeout=180)
    assert pulled.returncode == 0, pulled.stderr[-2000:]
    sums = json.loads(pulled.stdout.strip().splitlines()[-1])
    for name, tensor in load_file(run.model / "model.safetensors").items():
        assert sums[name] == float(tensor.double().sum())


def test_an_unfinished_run_is_refused(hub: Hub, run: RunDir) -> None:
    run.write_facts(make_facts(status="interrupted"))
    refused = publish(hub, run, "--repo", "ada/unfinished")
    assert refused.returncode == 2
    assert "status is interrupted" in refused.stderr
