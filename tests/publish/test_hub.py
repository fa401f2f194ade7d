"""Publications to a stand-in Hub, judged by what arrived there."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hfrecipes.publish.upload import plan_upload
from hfrecipes.recipe.rundir import RunDir

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
    third = publish(hub, run, "--repo", "ada/twice", "--message", "sharded")
    assert third.returncode == 0, third.stderr
    head = hub.commits("ada/twice")[-1]
    assert head["summary"] == "sharded"
    assert "model.safetensors" not in head["files"]
    assert "model-00001-of-00001.safetensors" in head["files"]


def test_a_failure_half_way_leaves_the_run_publishable(hub: Hub, run: RunDir) -> None:
    before = run.facts_file.read_bytes()
    hub.fail("/lfs/", 507)
    failed = publish(hub, run, "--repo", "ada/broken")
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert "ada/broken" in failed.stderr
    assert [commit["summary"] for commit in hub.commits("ada/broken")] == ["initial commit"]
    assert run.facts_file.read_bytes() == before
    assert publish(hub, run, "--repo", "ada/broken").returncode == 0
    assert "model.safetensors" in hub.commits("ada/broken")[-1]["files"]


def test_a_commit_by_someone_else_meanwhile_is_said(hub: Hub, run: RunDir) -> None:
    hub.fail("/commit/", 412)
    failed = publish(hub, run, "--repo", "ada/raced")
    assert failed.returncode == 2
    assert "changed by someone else" in failed.stderr
    assert "published" not in run.facts()


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
