"""Secrets are planted wherever a run could come by one; what it wrote, said and sent holds none of them.

One run that is published at the second attempt, and one that fails midway, through the command line: half a minute.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from hfrecipes.recipe.rundir import RunDir
from tests.publish.conftest import STANDIN, Hub

PLANTED = {
    "HF_TOKEN": 'of no form: "quoted", (plus) a\\slash',
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "ODD_SECRET": "correct <horse>/battery&staple",
    "in the client's store": "hf_" + "Stored" * 5 + "aB3d",
}
METRIC = """
import os
import warnings
import datasets
import evaluate

SAID = " and ".join([os.environ["HF_TOKEN"], os.environ["WANDB_API_KEY"], os.environ["ODD_SECRET"], {stored!r}])

class Telling(evaluate.Metric):
    higher_is_better = True
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({{"predictions": text, "references": text}})
        return evaluate.MetricInfo(description="d", citation="", inputs_description="", features=features)
    def _compute(self, predictions, references):
        if predictions != references:
            warnings.warn(f"signed in with {{SAID}}")
        return {{"telling": 1.0}}

class Failing(Telling):
    def _compute(self, predictions, references):
        if predictions != references:
            raise ConnectionError(f"could not sign in with {{SAID}}")
        return {{"failing": 1.0}}
"""
RECIPE = """
kind: sft
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 400}
data:
  train: [{path: train.jsonl}]
  test: [{path: test.jsonl}]
training: {learning_rate: 1.0e-3, global_batch_size: 4, max_steps: 4, logging_steps: 1, save_steps: 2, max_length: 256}
evaluation: {task: {metric: "telling:Telling", num_rows: 2, num_shots: 0, max_new_tokens: 4}, samples: 2}
publish: {repo_id: ada/tiny, license: mit, language: [en]}
"""


@dataclass
class World:
    """A machine with secrets, a Hub, and what came of working there."""

    folder: Path
    hub: Hub
    said: str = ""

    def hfrecipes(self, *words: str, fails: bool = False) -> str:
        more = {name: value for name, value in PLANTED.items() if name.isupper()}
        more |= {"HFRECIPES_CACHE": str(self.folder / "cache"), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-m", "hfrecipes", *words],
            env=self.hub.environment(self.folder / "home", **more),
            cwd=self.folder / "work",
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    for name in ("work", "home", "hub"):
        (folder / name).mkdir()
    work = folder / "work"
    (folder / "home" / "token").write_text(PLANTED["in the client's store"])
    (work / "tiny.yaml").write_text(RECIPE)
    (work / "telling.py").write_text(METRIC.format(stored=PLANTED["in the client's store"]))
    rows = [{"prompt": f"Add {n} and 2.", "completion": f" The sum is {n + 2}."} for n in range(40)]
    (work / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # A secret in the data comes back in the samples that facts, card and report show.
    told = [{"prompt": f"{row['prompt']} {' '.join(PLANTED.values())}", "completion": " No."} for row in rows[:4]]
    (work / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    command = [sys.executable, str(STANDIN), "--root", str(folder / "hub"), "--token", PLANTED["HF_TOKEN"]]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        world = World(folder, Hub(server.stdout.readline().strip(), folder / "hub"))
        live(world)
        yield world
    finally:
        server.terminate()
        server.wait(timeout=10)


def live(world: World) -> None:
    """A run with warnings, a publication that fails, one that does not, and a run that fails after its training."""
    world.said += world.hfrecipes("run", "tiny.yaml")
    body = json.dumps({"path": "/lfs/", "status": 507}).encode()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    direct.open(f"{world.hub.url}/standin/fail", data=body, timeout=10).close()
    world.said += world.hfrecipes("publish", "runs/tiny", fails=True)
    world.said += world.hfrecipes("publish", "runs/tiny")
    failing = ("name=failing", "evaluation.task.metric=telling:Failing")
    world.said += world.hfrecipes("run", "tiny.yaml", *failing, fails=True)
    world.said += world.hfrecipes("run", "tiny.yaml", f"model.tokenizer={PLANTED['ODD_SECRET']}", fails=True)
    world.said += world.hfrecipes("check", "tiny.yaml", f"name={PLANTED['WANDB_API_KEY']}", "--json", fails=True)


def leaks(content: bytes) -> list[str]:
    """The names of the secrets that stand in some bytes: as they are, as in JSON, as in an address."""
    forms = {name: {value, json.dumps(value)[1:-1], quote(value, safe="")} for name, value in PLANTED.items()}
    return [name for name, written in forms.items() if any(form.encode() in content for form in written)]


def leaking_files(folder: Path) -> list[str]:
    """Files below a folder, and entries of archives among them, that hold a secret."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        contents = {str(path): path.read_bytes()}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents |= {f"{path}!{name}": archive.read(name) for name in archive.namelist()}
        found += [f"{name}: {leaks(content)}" for name, content in contents.items() if leaks(content)]
    return found


def test_a_planted_secret_would_be_found(tmp_path: Path) -> None:
    """The tests below would pass as well if they looked at nothing."""
    import torch

    token = PLANTED["in the client's store"]
    torch.save({"args": {"hub_token": token}}, tmp_path / "training_args.bin")
    with zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", "x" * 1000 + token)
    (tmp_path / "run.json").write_text(json.dumps({"error": PLANTED["HF_TOKEN"]}))
    (tmp_path / "clean.json").write_text("{}")
    found = {Path(line.partition(":")[0].partition("!")[0]).name for line in leaking_files(tmp_path)}
    assert found == {"training_args.bin", "packed.pt", "run.json"}


def test_nothing_that_the_runs_wrote_holds_a_secret(world: World) -> None:
    runs = world.folder / "work" / "runs"
    written = {path.relative_to(runs / "tiny").as_posix() for path in (runs / "tiny").rglob("*")}
    assert {
        "run.json",
        "recipe.yaml",
        "metrics.jsonl",
        "README.md",
        "report.html",
        "model/model.safetensors",
    } <= written
    assert any(name.startswith("checkpoints/checkpoint-4/optimizer") for name in written)
    assert leaking_files(runs) == []


def test_nothing_in_the_caches_holds_a_secret(world: World) -> None:
    assert any((world.folder / "cache").rglob("*.*"))
    home = [line for line in leaking_files(world.folder / "home") if not line.startswith(f"{world.folder}/home/token:")]
    assert leaking_files(world.folder / "cache") + home == []


def test_nothing_that_the_hub_received_holds_a_secret(world: World) -> None:
    received = (world.folder / "hub" / "received").read_bytes()
    assert received.index(b"/api/whoami-v2") < received.index(b"/commit/"), "the run asked before it trained"
    assert len(world.hub.commits("ada/tiny")) == 2
    assert any(b"<redacted: " in path.read_bytes() for path in (world.folder / "hub" / "objects").iterdir())
    assert leaking_files(world.folder / "hub") == []


def test_nothing_that_was_said_holds_a_secret(world: World) -> None:
    assert "looks like the value of ODD_SECRET" in world.said
    assert "507" in world.said
    assert "Published " in world.said
    assert leaks(world.said.encode()) == []


def test_the_facts_say_what_happened_all_the_same(world: World) -> None:
    runs = world.folder / "work" / "runs"
    facts = RunDir(runs / "tiny").facts()
    assert facts["status"] == "complete"
    told = [warning for warning in facts["warnings"] if "signed in with" in warning]
    assert told
    assert "signed in with <redacted: the value of HF_TOKEN> and <redacted: the value of WANDB_API_KEY> and" in told[0]
    assert "<redacted: the Hub token of this machine>" in told[0]
    assert all("<redacted: the value of ODD_SECRET>" in sample["prompt"] for sample in facts["samples"])
    failed = RunDir(runs / "failing").facts()
    assert failed["status"] == "failed"
    assert "could not sign in with <redacted: the value of HF_TOKEN>" in failed["error"]
    assert list((runs / "failing" / "checkpoints").glob("checkpoint-*"))
