"""Runs with several seeds against runs of another recipe: in a pipeline, in facts, card and report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from hfrecipes import RecipeError, RunDir, RunOptions, load_recipe, run
from hfrecipes.check.check import check_recipe
from hfrecipes.publish.lint import lint_card
from hfrecipes.recipe.hardware import detect_hardware

ARM = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 300}
data:
  train: [{name: python_prose, split: train, limit: 10}]
  test: [{name: python_prose, split: validation, limit: 4}]
  context_length: 128
evaluation: {samples: 0, decoding_prompts: 0}
training: {seed: 0, learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 2, logging_steps: 1, save_strategy: "no"}
"""
MTP = "{name: mtp, num_future_tokens: 2, equal_parameters: true}"
PIPELINE = f"""
kind: pipeline
steps:
  - {{name: next-0, recipe: arm.yaml}}
  - {{name: next-1, recipe: arm.yaml, with: {{training.seed: 1}}}}
  - name: heads-1
    recipe: arm.yaml
    with: {{training.seed: 1, objective: {MTP}, evaluation.compare_runs: ["${{steps.next-1.run}}"]}}
  - name: heads-0
    recipe: arm.yaml
    with:
      objective: {MTP}
      evaluation.other_seeds: ["${{steps.heads-1.run}}"]
      evaluation.compare_runs: {{next token: ["${{steps.next-0.run}}", "${{steps.next-1.run}}"]}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    (folder / "arm.yaml").write_text(ARM)
    (folder / "all.yaml").write_text(PIPELINE)
    return run(load_recipe(folder / "all.yaml"), options=RunOptions(runs_dir=folder / "runs", quiet=True))


def bits(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Bits and bytes of each held-out row, from the run's file."""
    rows = json.loads((folder / "row-losses.jsonl").read_text().splitlines()[0])
    return np.array(rows["nll"]) / math.log(2), np.array(rows["num_bytes"])


def figure(folder: Path) -> float:
    entries = RunDir(folder).facts()["evaluations"]
    return next(each["value"] for each in entries if (each["model"], each["metric"]) == ("tuned", "bits_per_byte"))


def test_the_rows_beside_the_facts_give_their_figure(runs: Path) -> None:
    found, sizes = bits(runs / "next-0")
    assert found.sum() / sizes.sum() == pytest.approx(figure(runs / "next-0"), rel=1e-12)


def test_both_recipes_have_as_many_parameters_and_tokens(runs: Path) -> None:
    plans = [RunDir(runs / name).facts()["plan"] for name in ("next-0", "heads-0")]
    assert plans[0]["parameters"]["total"] == plans[1]["parameters"]["total"]
    assert plans[0]["tokens"] == plans[1]["tokens"]


def test_seeds_are_paired_and_the_interval_takes_in_seeds_and_rows(runs: Path) -> None:
    (entry,) = RunDir(runs / "heads-0").facts()["comparisons"]
    assert (entry["against"], entry["metric"], entry["paired"]) == ("next token", "bits_per_byte", True)
    assert entry["ours"] == {"values": [figure(runs / "heads-0"), figure(runs / "heads-1")], "seeds": [0, 1]}
    assert entry["theirs"] == {"values": [figure(runs / "next-0"), figure(runs / "next-1")], "seeds": [0, 1]}
    gaps = np.array(entry["ours"]["values"]) - entry["theirs"]["values"]
    assert entry["difference"] == pytest.approx(gaps.mean(), rel=1e-12)
    arms = [[bits(runs / f"{arm}-{seed}") for seed in (0, 1)] for arm in ("heads", "next")]
    sizes = arms[0][0][1]
    mean = [sum(row for row, _ in arm) / 2 for arm in arms]
    # The variance over rows by leaving out one after the other, which knows nothing of linearised ratios.
    total = mean[0].sum() - mean[1].sum()
    left = (total - (mean[0] - mean[1])) / (sizes.sum() - sizes)
    over_rows = (len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum()
    over_seeds = gaps.var(ddof=1) / 2
    both = over_seeds + over_rows
    freedom = both**2 / (over_seeds**2 / 1 + over_rows**2 / (len(left) - 1))
    half = t.ppf(0.975, freedom) * math.sqrt(both)
    assert entry["over_seeds"]["high"] - entry["difference"] == pytest.approx(half, rel=0.1)
    assert entry["over_rows"]["n"] == len(sizes)
    assert entry["over_rows"]["low"] < entry["difference"] < entry["over_rows"]["high"]


def test_one_run_against_one_is_compared_over_rows_alone(runs: Path) -> None:
    facts = RunDir(runs / "heads-1").facts()
    (entry,) = facts["comparisons"]
    assert entry["against"] == "next-1"
    assert entry["over_seeds"] is None
    assert entry["over_rows"]["low"] < entry["difference"] < entry["over_rows"]["high"]
    assert {each["model"] for each in facts["evaluations"]} == {"next-1", "tuned"}


def test_card_and_report_show_the_comparison(runs: Path) -> None:
    last = RunDir(runs / "heads-0")
    card, report, facts = last.card.read_text(), last.report.read_text(), last.facts()
    (entry,) = facts["comparisons"]
    shown = f"{entry['difference']:+.4f} [{entry['over_seeds']['low']:+.4f}, {entry['over_seeds']['high']:+.4f}]"
    assert shown in card
    assert shown in report
    assert "their variation between seeds was not measured" not in card
    assert not [str(problem) for problem in lint_card(card, facts) if problem.severity == "error"]
    wrong = card.replace(shown, shown.replace(f"{entry['difference']:+.4f}", "-9.8765"))
    assert any("9.8765" in str(problem) for problem in lint_card(wrong, facts))


def again(runs: Path, *overrides: str) -> Any:
    """The last arm once more, into a run directory of its own."""
    words = [f"name={overrides[0]}", f"objective={MTP}", *overrides[1:]]
    recipe = load_recipe(runs.parents[1] / "arm.yaml", words)
    return run(recipe, options=RunOptions(runs_dir=runs.parent, quiet=True))


def test_runs_of_another_recipe_are_no_other_seeds(runs: Path) -> None:
    compared = f"evaluation.compare_runs=[{runs / 'next-0'}]"
    others = f"evaluation.other_seeds=[{runs / 'next-1'}, {runs / 'heads-0'}]"
    with pytest.raises(RecipeError) as caught:
        again(runs, "refused", compared, others)
    text = str(caught.value)
    assert "objective.name" in text
    assert "heads-0 has training.seed 0, as this run has" in text
    assert not RunDir(runs.parent / "refused").facts_file.exists()


def test_other_seeds_without_a_comparison_are_an_error(runs: Path) -> None:
    words = [f"evaluation.other_seeds=[{runs / 'heads-1'}]"]
    problems = check_recipe(load_recipe(runs.parents[1] / "arm.yaml", words), detect_hardware())
    assert any("compare_runs" in str(problem) for problem in problems if problem.severity == "error")


def test_a_name_without_runs_is_an_error(runs: Path) -> None:
    words = ["evaluation.compare_runs={plain: []}"]
    problems = check_recipe(load_recipe(runs.parents[1] / "arm.yaml", words), detect_hardware())
    assert any("names no run under plain" in str(problem) for problem in problems if problem.severity == "error")


def test_runs_without_their_rows_are_compared_over_seeds(runs: Path) -> None:
    kept = (runs / "next-0" / "row-losses.jsonl").read_text()
    (runs / "next-0" / "row-losses.jsonl").write_text("[")
    try:
        words = [
            f"evaluation.other_seeds=[{runs / 'heads-1'}]",
            f"evaluation.compare_runs={{other: [{runs / 'next-0'}]}}",
        ]
        (entry,) = RunDir(again(runs, "rowless", *words)).facts()["comparisons"]
    finally:
        (runs / "next-0" / "row-losses.jsonl").write_text(kept)
    assert entry["over_rows"] is None
    assert not entry["paired"]
