"""A run with heads under FSDP2, from recipe to card, and gone on with: what it measures and saves is what one process does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hfrecipes import RunDir, RunOptions, load_recipe, run

# Two starts of two processes: some 45 CPU seconds.
pytestmark = pytest.mark.matrix

# After the first of three steps the heads have not been trained yet.
RECIPE = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 300}
objective: {name: mtp, num_future_tokens: 2}
data:
  train: [{name: python_prose, split: train, limit: 10}]
  test: [{name: python_prose, split: validation, limit: 4}]
  context_length: 128
evaluation: {samples: 1, decoding_prompts: 2}
training: {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 3, logging_steps: 1, save_steps: 1, save_total_limit: 3}
"""


def launch(folder: Path, *words: str) -> None:
    worker = [str(Path(__file__).with_name("sharded_worker.py")), "mine.yaml", *words]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *worker]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the runs `one`, of one process, and `two`, sharded over two."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "mine.yaml").write_text(RECIPE)
    recipe = load_recipe(folder / "mine.yaml", ["name=one"])
    run(recipe, options=RunOptions(runs_dir=folder / "runs", quiet=True))
    launch(folder, "name=two")
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors") | load_file(run / "model" / "mtp_heads.safetensors")


def test_a_sharded_run_measures_and_saves_what_one_process_does(folder: Path) -> None:
    one, two = (RunDir(folder / "runs" / name).facts() for name in ("one", "two"))
    assert (one["hardware"]["world_size"], two["hardware"]["world_size"]) == (1, 2)
    figures = [[(entry["metric"], entry["value"]) for entry in facts["evaluations"]] for facts in (two, one)]
    assert [name for name, _ in figures[0]] == [name for name, _ in figures[1]]
    assert [value for _, value in figures[0]] == pytest.approx([value for _, value in figures[1]], rel=1e-6)
    assert two["decoding"]["identical"] == two["decoding"]["prompts"] == 2
    ours, theirs = (weights(folder / "runs" / name) for name in ("two", "one"))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert float((ours[name] - tensor).norm()) <= 1e-5 * float(tensor.norm()), name


def test_a_sharded_run_is_gone_on_with_before_its_heads_have_been_trained(folder: Path) -> None:
    wanted, run_dir = weights(folder / "runs" / "two"), RunDir(folder / "runs" / "two")
    for lost in (run_dir.model, *(run_dir.checkpoints / f"checkpoint-{step}" for step in (2, 3))):
        shutil.rmtree(lost)
    facts = run_dir.facts()
    run_dir.write_facts(
        {key: facts[key] for key in facts.keys() - {"training", "evaluations"}} | {"status": "interrupted"}
    )
    launch(folder, "name=two", "--resume")
    assert RunDir(folder / "runs" / "two").facts()["sessions"][-1]["first_step"] == 1
    got = weights(folder / "runs" / "two")
    assert all(torch.equal(got[name], tensor) for name, tensor in wanted.items())
