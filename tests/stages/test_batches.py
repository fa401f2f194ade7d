"""The same global batch gives the same losses however it is divided: micro-batches, accumulation, processes; through the CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hfrecipes import RunDir

BATCH, STEPS = 8, 4
MODEL = """
model:
  config: {model_type: TYPE, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 320}
"""
TRAINING = (
    f"{{learning_rate: 3.0e-3, global_batch_size: {BATCH}, max_steps: {STEPS}, logging_steps: 1, eval_steps: 4, "
    'save_strategy: "no", MORE}'
)
EVALUATION = "evaluation: {samples: 0}"
# Of 22 rows in batches of eight the third is completed by the next pass over them.
ROWS, HELD_OUT = 22, 7


def recipe(kind: str, data: str, *, model: str = "llama", more: str = "max_length: 96", lines: str = EVALUATION) -> str:
    training = TRAINING.replace("MORE", more)
    return f"kind: {kind}\n{MODEL.replace('TYPE', model)}data: {data}\ntraining: {training}\n{lines}\n"


def sources(name: str) -> str:
    return f"{{train: [{{path: {name}.jsonl}}], eval: [{{path: {name}-held-out.jsonl}}]}}"


RECIPES = {
    "pretrain": recipe("pretrain", sources("texts").replace("{train", "{context_length: 32, train"), more="seed: 1"),
    "sft": recipe("sft", sources("asked"), model="qwen2"),
    "sft-packed": recipe(
        "sft", sources("asked"), more="max_length: 96, packing: true", lines=f"adapter: {{method: lora}}\n{EVALUATION}"
    ),
    "reward-pairs": recipe("reward", sources("pairs"), lines=""),
    "reward-rankings": recipe(
        "reward", sources("rankings"), more="max_length: 96, center_rewards_coefficient: 0.01", lines=""
    ),
    "dpo": recipe("dpo", sources("pairs")),
    "dpo-sft": recipe(
        "dpo",
        sources("pairs"),
        more="max_length: 96, loss_type: [sigmoid, sft], loss_weights: [1.0, 0.3]",
        lines=f"adapter: {{method: lora}}\n{EVALUATION}",
    ),
}
# Rows that reach the model at once, and processes.
WAYS = {"whole": (BATCH, 1), "split": (1, 1), "two": (2, 2)}
# Held-out rows at once: of seven, two processes are given eight or twelve.
AT_ONCE = {"whole": 4, "split": 1, "two": 3}


def rows_of(name: str, number: int) -> dict[str, Any]:
    """Rows of very different lengths: a mean of the means of micro-batches would be another one."""
    prompt, answer = f"What is {number} times 3?", f" It is {number * 3}" + "!" * (number * 7 % 31)
    if name == "texts":
        return {"text": f"{prompt}{answer} " * (1 + number % 5)}
    if name == "asked":
        return {"prompt": prompt, "completion": answer}
    if name == "pairs":
        return {"prompt": prompt, "chosen": answer, "rejected": f" {number}" + "?" * (number % 9)}
    others = [f" {number}{'.' * rank}" for rank in range(1, 2 + number % 3)]
    return {"prompt": prompt, "responses": [answer, *others], "scores": [9, *range(len(others))]}


def write_all(folder: Path) -> None:
    for kind, text in RECIPES.items():
        (folder / f"{kind}.yaml").write_text(text)
    for name in ("texts", "asked", "pairs", "rankings"):
        for file, numbers in ((name, range(ROWS)), (f"{name}-held-out", range(ROWS, ROWS + HELD_OUT))):
            lines = (json.dumps(rows_of(name, number)) + "\n" for number in numbers)
            (folder / f"{file}.jsonl").write_text("".join(lines))


def scenes() -> list[dict[str, Any]]:
    first_port = 20_000 + os.getpid() % 20_000
    ways = [(kind, way) for kind in RECIPES for way in WAYS]
    return [
        {
            "arguments": [
                *(f"{kind}.yaml", f"name={kind}-{way}", "--quiet"),
                f"training.per_device_train_batch_size={WAYS[way][0]}",
                f"training.per_device_eval_batch_size={AT_ONCE[way]}",
            ],
            "world_size": WAYS[way][1],
            "port": first_port + number,
        }
        for number, (kind, way) in enumerate(ways)
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs, made by two processes that accelerate launched, or by the first of them alone."""
    folder = tmp_path_factory.mktemp("batches")
    write_all(folder)
    (folder / "scenes.json").write_text(json.dumps(scenes()))
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    worker = [str(Path(__file__).with_name("batch_worker.py")), "scenes.json"]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    command = [*launch, "--num_processes", "2", "--main_process_port", "0", *worker]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    for number, scene in enumerate(scenes()):
        for rank in range(scene["world_size"]):
            assert (folder / f"ended-{number}-{rank}").read_text() == "0", (scene, result.stderr[-4000:])
    return folder / "runs"


def figures(run: RunDir, name: str) -> list[float]:
    return [line[name] for line in run.metrics() if name in line]


@pytest.mark.parametrize("kind", RECIPES)
def test_one_batch_many_ways(kind: str, runs: Path) -> None:
    whole, split, two = (RunDir(runs / f"{kind}-{way}") for way in WAYS)
    expected = figures(whole, "loss")
    assert len(expected) == STEPS
    assert [run.facts()["training"]["accumulation_steps"] for run in (whole, split, two)] == [1, 8, 2]
    assert [run.facts()["hardware"]["world_size"] for run in (whole, split, two)] == [1, 1, 2]
    for run in (split, two):
        assert figures(run, "loss") == pytest.approx(expected, rel=2e-5)
        assert figures(run, "grad_norm") == pytest.approx(figures(whole, "grad_norm"), rel=1e-3)
        assert run.facts()["training"]["tokens"] == whole.facts()["training"]["tokens"]


# Of `sft` beside another loss, the part that is a mean over tokens is one of each held-out batch.
@pytest.mark.parametrize("kind", [kind for kind in RECIPES if kind != "dpo-sft"])
def test_held_out_rows_cost_the_same_however_they_are_divided(kind: str, runs: Path) -> None:
    whole, *others = (RunDir(runs / f"{kind}-{way}") for way in WAYS)
    (name,) = {name for line in whole.metrics() for name in line if name.startswith("eval") and name.endswith("_loss")}
    expected = figures(whole, name)
    assert len(expected) == 1
    for run in others:
        assert figures(run, name) == pytest.approx(expected, rel=2e-5)
    # What is measured at the end reads row by row, in code of its own.
    final = [entry["value"] for entry in whole.facts()["evaluations"] if entry["metric"] == "token_loss"]
    assert bool(final) == (kind in ("pretrain", "sft", "sft-packed"))
    assert not final or final == pytest.approx(expected, rel=2e-5)
