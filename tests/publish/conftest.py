"""A real tiny model in a run directory, and a stand-in Hub to publish it to."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.prepare import prepare
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.tokenization.tokenizer import Tokenizer

from .facts import make_facts, make_metrics

STANDIN = Path(__file__).resolve().parent.parent / "standin_hub.py"
TOKEN = runpy.run_path(str(STANDIN))["TOKEN"]
READ_ONLY_TOKEN = runpy.run_path(str(STANDIN))["READ_ONLY_TOKEN"]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of hidden size 32 and a trained byte-level tokenizer, saved by transformers."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["def add(a, b): return a + b"] * 4, vocab_size=300, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


PREPARED_RECIPE = """
kind: sft
model: {config: {model_type: llama}, tokenizer: {vocab_size: 300}}
data:
  train:
    - {path: answers.jsonl, license: cc-by-4.0, columns: {prompt: prompt, completion: completion, kind: tag}}
    - {path: questions.jsonl, license: mit, kind: clarification}
  test: [{path: test.jsonl}]
  clean: [{rule: dedup_exact}, {rule: pii}]
  augment: [{method: noise, share: 0.5, rate: 0.1}]
training: {max_steps: 1}
"""


def prepared_rows() -> dict[str, list[dict[str, str]]]:
    """Rows by file: of `answers`, 8 are said twice, 5 hold an address of mail, 12 are refusals and 10 have no tag."""
    answers = [
        {
            "prompt": f"Please name river number {n} of the old town",
            "completion": f" It is called {'abcdefghij'[n % 10] * 4}, as I said.",
            "tag": "refusal" if n < 12 else "" if n < 22 else "chain_of_thought",
        }
        for n in range(40)
    ]
    mails = [{"prompt": f"Who is {n}?", "completion": f" bob{n}@corp.org", "tag": "refusal"} for n in range(5)]
    questions = [{"prompt": f"Say colour {n} of the house", "completion": f" Which of {n}?"} for n in range(20)]
    test = [{"prompt": f"Sum {n} and 3.", "completion": f" {n + 3}"} for n in range(4)]
    return {"answers": [*answers, *answers[-8:], *mails], "questions": questions, "test": test}


@pytest.fixture(scope="session")
def preparation(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> dict[str, Any]:
    """What the preparation of `prepared_rows` by `PREPARED_RECIPE` puts into run.json."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "my.yaml").write_text(PREPARED_RECIPE)
    for name, rows in prepared_rows().items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFRECIPES_CACHE", str(folder / "cache"))
        recipe = load_recipe(str(folder / "my.yaml"))
        prepared = prepare(recipe, Tokenizer.load(model_folder), folder / "cache")
    return {"data": prepared.facts, **prepared.refinement}


def write_run(path: Path, facts: dict[str, Any], metrics: list[dict[str, Any]]) -> RunDir:
    run = RunDir(path)
    run.write_facts(facts)
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in metrics))
    return run


@pytest.fixture
def run(tmp_path: Path, model_folder: Path) -> RunDir:
    """A complete run with everything a real one leaves, clutter included."""
    run = write_run(tmp_path / "runs" / "tiny-docstrings", make_facts(), make_metrics())
    shutil.copytree(model_folder, run.model)
    write_manifest(run.model, step=40)
    (run.model / "training_args.bin").write_bytes(b"not for publication")
    (run.model / "optimizer.pt").write_bytes(b"not for publication")
    (run.model / "README.md").write_text("a card that a library wrote")
    (run.checkpoints / "checkpoint-40").mkdir(parents=True)
    (run.checkpoints / "checkpoint-40" / "model.safetensors").write_bytes(b"not for publication")
    return run


@dataclass(frozen=True)
class Hub:
    """The running stand-in, seen from its own side."""

    url: str
    root: Path

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """What a client process needs to talk to it, and no token."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        ours = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        return kept | ours | {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"} | more

    def repo(self, repo_id: str) -> dict[str, Any]:
        return json.loads((self.root / "repos" / "model" / f"{repo_id}.json").read_text())

    def commits(self, repo_id: str, branch: str = "main") -> list[dict[str, Any]]:
        """From the first commit to the head of the branch."""
        repo, chain = self.repo(repo_id), []
        sha = repo["branches"][branch]
        while sha:
            chain.append(repo["commits"][sha] | {"sha": sha})
            sha = repo["commits"][sha]["parent"]
        return chain[::-1]

    def content(self, repo_id: str, path: str) -> bytes:
        return (self.root / "objects" / self.commits(repo_id)[-1]["files"][path]["sha256"]).read_bytes()

    def fail(self, path: str, status: int, times: int = 1) -> None:
        body = json.dumps({"path": path, "status": status, "times": times}).encode()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(f"{self.url}/standin/fail", data=body, timeout=10).close()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    command = [sys.executable, str(STANDIN), "--root", str(root)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Hub(server.stdout.readline().strip(), root)
    finally:
        server.terminate()
        server.wait(timeout=10)
