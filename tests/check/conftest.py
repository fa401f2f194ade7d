from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hfrecipes.cli.check import add_parser
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.tokenization.tokenizer import train_tokenizer

CPU = Hardware("cpu", "a test's processor", 1, 8 * 2**30, bf16=False, flash_attention=False)
GPU = Hardware("cuda", "a test's GPU", 2, 80 * 2**30, bf16=True, flash_attention=False)
UNMARKED = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + (m['content'] | title) + '<|im_end|>' }}{% endfor %}"


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipes of `broken/` with the tokenizers and models that they name."""
    folder = tmp_path_factory.mktemp("check") / "broken"
    shutil.copytree(Path(__file__).parent / "broken", folder)
    texts = [line for file in sorted((folder / "data").glob("*.jsonl")) for line in file.read_text().splitlines()]
    train_tokenizer(texts, 400, folder / "tokenizer")
    for name in ("without_template", "without_markers", "model", "pickled"):
        shutil.copytree(folder / "tokenizer", folder / name)
    (folder / "without_template" / "chat_template.jinja").unlink()
    (folder / "without_markers" / "chat_template.jinja").write_text(UNMARKED)
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 2048}
    for name in ("model", "pickled"):
        (folder / name / "config.json").write_text(json.dumps({**config, "vocab_size": 400}))
    save_file({"lm_head.weight": np.zeros((400, 64), dtype=np.float32)}, folder / "model" / "model.safetensors")
    for name in ("cut", "own_code", "runs/unfinished/model"):
        shutil.copytree(folder / "model", folder / name)
    cut = folder / "cut" / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    (folder / "runs" / "unfinished" / "run.json").write_text(json.dumps({"name": "unfinished", "kind": "sft"}))
    own = {**config, "vocab_size": 400, "model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "own_code" / "config.json").write_text(json.dumps(own))
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"never opened")
    return folder


@pytest.fixture
def in_broken(broken: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stands in that folder, on a CPU, offline and without a token."""
    monkeypatch.chdir(broken)
    monkeypatch.setattr("hfrecipes.recipe.hardware.detect_hardware", lambda: CPU)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    return broken


@pytest.fixture
def check(in_broken: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`hfrecipes check ...` in this process: its exit status and what it prints."""

    def run(*words: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        arguments = parser.parse_args(["check", *words])
        status = arguments.command(arguments)
        return status, capsys.readouterr().out

    return run
