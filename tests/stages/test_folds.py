"""K-fold cross-validation as a person has it: one command, a kill in the middle, `--resume`, and a mean with its spread."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kills.session import Session

RECIPE = """
kind: sft
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 400}
data:
  train: [{path: rows.jsonl, split: train, columns: {kind: tag, prompt: prompt, completion: completion}}]
  eval: [{path: rows.jsonl, split: validation}]
  clean: [{rule: dedup_exact}]
  splits: {folds: 3, method: stratified, by: topic}
training: {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 30, logging_steps: 1, save_steps: 2, max_length: 64}
evaluation: {samples: 1}
"""
LIMIT = 200.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds two runs of the same recipe: `whole` was left alone, `killed` was killed in its second fold and resumed."""
    folder = tmp_path_factory.mktemp("folds")
    (folder / "cv.yaml").write_text(RECIPE)
    rows = [
        {
            "prompt": f"What follows {n}?",
            "completion": f" It is {n + 1}.",
            "topic": "ab"[n % 2],
            "tag": "sum" if n % 2 else "",
        }
        for n in range(42)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = Session(["-m", "hfrecipes", "cv.yaml", "name=whole"], folder, folder / "whole.log")
    assert whole.finish(LIMIT) == 0, whole.tail()
    command = ["-m", "hfrecipes", "cv.yaml", "name=killed"]
    begun = Session(command, folder, folder / "begun.log")
    end = time.monotonic() + LIMIT
    while not list((folder / "runs/killed/fold-2/checkpoints").glob("checkpoint-*/manifest.json")):
        assert begun.runs and time.monotonic() < end, begun.tail()
        time.sleep(0.005)
    assert begun.kill()
    (folder / "first.json").write_text((folder / "runs/killed/fold-1/run.json").read_text())
    resumed = Session([*command, "--resume"], folder, folder / "resumed.log")
    assert resumed.finish(LIMIT) == 0, resumed.tail()
    return folder


def facts(folder: Path, run: str) -> dict[str, Any]:
    return json.loads((folder / "runs" / run / "run.json").read_text())


def test_each_fold_is_measured_on_other_rows_and_together_on_all(folder: Path) -> None:
    measured = trained = 0
    for fold in (1, 2, 3):
        data = {entry["role"]: entry for entry in facts(folder, f"whole/fold-{fold}")["data"]}
        assert data["train"]["documents"] == 28 and data["eval"]["documents"] == 14
        assert data["train"]["kinds"]["sum"]["rows"] == 14  # half, as the topics are dealt alike
        measured, trained = measured + data["eval"]["documents"], trained + data["train"]["documents"]
    assert (measured, trained) == (42, 84)
    tokens = {entry["tokens"] for fold in (1, 2, 3) for entry in facts(folder, f"whole/fold-{fold}")["data"]}
    assert len(tokens) > 2  # not three times the same rows


def test_means_and_spreads_are_those_of_the_folds_own_figures(folder: Path) -> None:
    found = facts(folder, "whole")
    assert found["status"] == "complete" and [step["run"] for step in found["steps"]] == ["fold-1", "fold-2", "fold-3"]
    each = [facts(folder, f"whole/fold-{fold}")["evaluations"] for fold in (1, 2, 3)]
    assert found["folds"] and len(found["folds"]) == len(each[0])
    for figure in found["folds"]:
        key = ("model", "dataset", "metric")
        values = [one["value"] for fold in each for one in fold if all(one[name] == figure[name] for name in key)]
        assert figure["values"] == values and len(set(values)) == 3
        assert figure["mean"] == pytest.approx(statistics.mean(values))
        assert figure["spread"] == pytest.approx(statistics.stdev(values))


def test_a_run_that_was_killed_ends_as_if_nothing_had_happened(folder: Path) -> None:
    assert facts(folder, "killed")["folds"] == facts(folder, "whole")["folds"]
    first = json.loads((folder / "first.json").read_text())
    assert facts(folder, "killed/fold-1")["sessions"] == first["sessions"]  # it was not trained again
    second = facts(folder, "killed/fold-2")["sessions"]
    assert len(second) == 2 and second[1]["first_step"] > 0


def test_card_and_report_are_of_all_folds(folder: Path) -> None:
    for run in ("whole", "killed"):
        page, card = ((folder / "runs" / run / name).read_text() for name in ("report.html", "README.md"))
        assert "Over all folds" in page and "3-fold cross-validation" in card
        assert all(f"fold-{fold}" in page and f"Fold {fold}" in card for fold in (1, 2, 3))
