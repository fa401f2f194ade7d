"""The tour's road to preferences, three seeds: reward accuracy, DPO's win rate against its start, LoRA beside full and QLoRA.

    python benchmarks/preferences.py [--json FILE] [--folder RUNS] [--seeds 3]

All runs are shipped recipes (`tour/base`, `docstrings`, `reward`, `dpo`); what is said otherwise stands below. One base is
pretrained. The files of the training split are dealt in two halves by a hash of their path (`train_a`, `train_b`): fine-tuning
and DPO see the one, the judge sees the other, from a fine-tuning of its own on. So the reward model that judges has learnt
nothing from a file that the policy it judges was trained on, but for the base, which is both's. Held-out prompts and pairs are
of files of the split `test`. Seeds change the order of rows, adapters and heads. Intervals over seeds are Student's t; those
of single runs are Wilson's over pairs and prompts, and bootstrapped over rows for losses.

With --folder, runs that are complete there are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from scipy.stats import t

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.evaluation.intervals import proportion_interval
from hfrecipes.recipe.rundir import RunDir

# Functions and sentences of more tokens are left out, which keeps two thirds of them.
MAX_LENGTH = 160
SFT = ("evaluation.task=null", "evaluation.samples=0", "evaluation.compare_base=false", "data.eval=null")
SFT += ("training.eval_strategy='no'", "training.save_strategy='no'", "training.max_steps=80")
LORA, FULL, QLORA = "lora", "full", "qlora"
ARMS: dict[str, tuple[str, ...]] = {
    LORA: (),
    FULL: ("adapter=null", "training.learning_rate=1.0e-3"),
    QLORA: ("quantization={load_in_4bit: true}",),
}
READER = "reader"


class Runs:
    """Runs of shipped recipes in one folder; those that are complete are read.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def facts(self, recipe: str, name: str, *words: str) -> dict[str, Any]:
        """The facts of a run, which is made where it is not there."""
        done = RunDir(self.folder / name)
        if not done.facts_file.is_file() or done.facts()["status"] != "complete":
            began = time.process_time()
            options = RunOptions(runs_dir=self.folder, quiet=True, overwrite=True)
            run(load_recipe(recipe, [f"name={name}", *words]), options=options)
            print(f"{name}: {time.process_time() - began:.0f} CPU-s", flush=True)
        return done.facts()

    def model(self, name: str) -> str:
        return f"model.name_or_path={self.folder / name / 'model'}"


def fine_tune(runs: Runs, arm: str, seed: int, half: str, name: str) -> dict[str, Any]:
    data = f"data.train=[{{name: python_docstrings, split: {half}}}]"
    words = (*SFT, data, f"training.seed={seed}", f"training.max_length={MAX_LENGTH}", *ARMS[arm])
    return runs.facts("tour/docstrings", name, runs.model("base"), *words)


def metric(facts: dict[str, Any], name: str, dataset: str = "", model: str = "tuned") -> dict[str, Any]:
    """One entry of a run's evaluations."""
    found = [
        entry
        for entry in facts["evaluations"]
        if entry["metric"] == name and entry["model"] == model and dataset in entry["dataset"]
    ]
    return {key: found[0][key] for key in ("value", "low", "high", "n")}


def accuracies(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A reward model's accuracy by kind of pair, and over all kinds of flaws."""
    kinds = {
        entry["dataset"].removesuffix("/test"): {key: entry[key] for key in ("value", "low", "high", "n")}
        for entry in facts["evaluations"]
        if entry["metric"] == "pair_accuracy" and entry["model"] == "tuned" and entry["dataset"].endswith("/test")
    }
    flawed = [kind for name, kind in kinds.items() if name.startswith("python_flaws")]
    pairs = sum(kind["n"] for kind in flawed)
    whole = proportion_interval(sum(kind["value"] * kind["n"] for kind in flawed), pairs)
    return {"python_flaws": {"value": whole.value, "low": whole.low, "high": whole.high, "n": whole.n}, **kinds}


def seed_figures(runs: Runs, seed: int) -> dict[str, Any]:
    """What one seed gives."""
    losses = {arm: fine_tune(runs, arm, seed, "train_a", f"{arm}-{seed}") for arm in ARMS}
    rewards = runs.facts("tour/reward", f"reward-{seed}", runs.model(READER), f"training.seed={seed}")
    judge = f"evaluation.win_rate.judges.0.model={runs.folder / f'reward-{seed}' / 'model'}"
    policy = runs.facts("tour/dpo", f"dpo-{seed}", runs.model(f"{LORA}-{seed}"), f"training.seed={seed}", judge)
    entries = [entry for entry in policy["evaluations"] if entry["metric"] in ("alignment_tax", "kl_from_base")]
    return {
        "token_loss": {arm: metric(facts, "token_loss") for arm, facts in losses.items()},
        "reward_accuracy": accuracies(rewards),
        "win_rates": [{key: value for key, value in each.items() if key != "kind"} for each in policy["win_rates"]],
        "beside": {entry["metric"]: entry["value"] for entry in entries},
        "samples": policy["samples"][:8],
    }


def over_seeds(values: list[float]) -> dict[str, float]:
    """Mean and 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"value": mean, "low": mean, "high": mean, "n": 1}
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def report_of(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    def each(path: str, *keys: Any) -> list[float]:
        found = []
        for figures in seeds:
            value = figures[path]
            for key in keys:
                value = value[key]
            found.append(value["value"] if isinstance(value, dict) else value)
        return found

    losses = {arm: each("token_loss", arm) for arm in ARMS}
    judges = [found["judge"] for found in seeds[0]["win_rates"]]
    return {
        "reward_accuracy": {kind: over_seeds(each("reward_accuracy", kind)) for kind in seeds[0]["reward_accuracy"]},
        # The name of a run's judge holds its seed.
        "win_rate": {
            judge.rpartition("-")[0] or judge: over_seeds(each("win_rates", place))
            for place, judge in enumerate(judges)
        },
        "token_loss": {arm: over_seeds(found) for arm, found in losses.items()},
        "lora_minus_full": over_seeds([a - b for a, b in zip(losses[LORA], losses[FULL], strict=True)]),
        "qlora_over_lora": over_seeds([a / b - 1 for a, b in zip(losses[QLORA], losses[LORA], strict=True)]),
        "beside": {name: over_seeds(each("beside", name)) for name in seeds[0]["beside"]},
        "seeds": seeds,
    }


def measure(folder: Path, count: int) -> dict[str, Any]:
    runs = Runs(folder)
    base = runs.facts("tour/base", "base")
    fine_tune(runs, LORA, 0, "train_b", READER)
    report = report_of([seed_figures(runs, seed) for seed in range(count)])
    folders = sorted(file.parent for file in folder.glob("*/run.json"))
    seconds = {each.name: RunDir(each).facts()["training"]["cpu_seconds"] for each in folders}
    return {"versions": base["versions"], **report, "training_cpu_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--folder", type=Path, help="keep the runs there, and go on with those that are complete")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = measure(args.folder or Path(name), args.seeds)
    for section in ("reward_accuracy", "win_rate", "token_loss"):
        for name, figure in report[section].items():
            print(f"{section:16} {name:28} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]")
    for name in ("lora_minus_full", "qlora_over_lora"):
        figure = report[name]
        print(f"{name:45} {figure['value']:+.4f} [{figure['low']:+.4f}, {figure['high']:+.4f}]")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
