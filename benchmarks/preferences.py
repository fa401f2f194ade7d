"""The tour's road to preferences, three seeds: reward accuracy, DPO's win rate against its start, LoRA beside full and QLoRA.

    python benchmarks/preferences.py [--json FILE] [--folder RUNS] [--seeds 3] [--parts preferences adapters]

All runs are shipped recipes (`tour/base`, `docstrings`, `reward`, `dpo`); what is said otherwise stands below. One base is
pretrained. The files of the training split are dealt in two halves by a hash of their path (`train_a`, `train_b`): fine-tuning
and DPO see the one, the judge sees the other, from a fine-tuning of its own on. So the reward model that judges has learnt
nothing from a file that the policy it judges was trained on, but for the base, which is both's. DPO learns from answers that its
start draws to prompts of its half, of which a rule (`docstring_fits`) says which is the best and which the worst; the rule and
the reward model then judge answers to prompts of the split `test`, drawn at temperature 1. Seeds change the order of rows,
adapters, heads and pairs. Intervals over seeds are Student's t; those of single runs are Wilson's over pairs and prompts,
and bootstrapped over rows for losses.

With --folder, runs that are complete there are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel
from scipy.stats import t
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.data.embedded import open_embedded
from hfrecipes.evaluation.intervals import bootstrap_interval, proportion_interval
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.win_rates import WinRates

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
# Prompts that a fine-tuned model answers itself, draws of each, and how far the scores of the best and the worst lie apart.
OWN_PROMPTS, DRAWS, APART = 400, 8, 0.3
PROMPT_CHARACTERS = 400
DPO = ("training.max_length=220", "data.eval=null", "training.eval_strategy='no'", "data.test.0.limit=150")
# Chosen among nine on the validation prompts of the first seed: docs/preferences.md.
DPO += ("training.max_steps=64", "training.learning_rate=2.0e-3")
DPO += ("evaluation.win_rate.num_prompts=120", "evaluation.samples=6")
FIGURE = ("value", "low", "high", "n")


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


def adapted(runs: Runs, name: str) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(runs.folder / "base" / "model")
    return PeftModel.from_pretrained(base, runs.folder / name / "model").eval()


def own_pairs(runs: Runs, name: str, seed: int) -> Path:
    """Pairs of a fine-tuned model's own answers to training prompts, the best by the rule against the worst."""
    file = runs.folder / f"prompts-{seed}.jsonl"
    if not file.is_file():
        source = open_embedded({"name": "python_docstrings", "split": "train_a"}, "")
        prompts = [row.values["prompt"] for row in source.rows()]
        prompts = [prompt for prompt in prompts if len(prompt[0]["content"]) < PROMPT_CHARACTERS]
        chosen = prompts[seed :: max(1, len(prompts) // OWN_PROMPTS)][:OWN_PROMPTS]
        file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in chosen), encoding="utf-8")
    words = (f"data.train=[{{path: {file}}}]", f"generation.num_return_sequences={DRAWS}", f"generation.seed={seed}")
    runs.facts("tour/own-answers", f"answers-{seed}", runs.model(name), *words, f"pairs.margin={APART}")
    return RunDir(runs.folder / f"answers-{seed}").pairs


def metric(facts: dict[str, Any], name: str, dataset: str = "", model: str = "tuned") -> dict[str, Any]:
    """One entry of a run's evaluations."""
    found = [
        entry
        for entry in facts["evaluations"]
        if entry["metric"] == name and entry["model"] == model and dataset in entry["dataset"]
    ]
    return {key: found[0][key] for key in FIGURE}


def accuracies(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A reward model's accuracy by kind of pair, and over all kinds of flaws."""
    kinds = {
        entry["dataset"].removesuffix("/test"): {key: entry[key] for key in FIGURE}
        for entry in facts["evaluations"]
        if entry["metric"] == "pair_accuracy" and entry["model"] == "tuned" and entry["dataset"].endswith("/test")
    }
    flawed = [kind for name, kind in kinds.items() if name.startswith("python_flaws")]
    pairs = sum(kind["n"] for kind in flawed)
    whole = proportion_interval(sum(kind["value"] * kind["n"] for kind in flawed), pairs)
    return {"python_flaws": {"value": whole.value, "low": whole.low, "high": whole.high, "n": whole.n}, **kinds}


def preferences(runs: Runs, seed: int) -> dict[str, Any]:
    """Reward accuracy and win rates of one seed."""
    fine_tune(runs, LORA, seed, "train_a", f"{LORA}-{seed}")
    rewards = runs.facts("tour/reward", f"reward-{seed}", runs.model(READER), f"training.seed={seed}")
    pairs = f"data.train=[{{path: {own_pairs(runs, f'{LORA}-{seed}', seed)}}}]"
    judge = f"evaluation.win_rate.judges.0.model={runs.folder / f'reward-{seed}' / 'model'}"
    words = (runs.model(f"{LORA}-{seed}"), f"training.seed={seed}", judge, pairs, *DPO)
    policy = runs.facts("tour/dpo", f"own-{seed}", *words)
    entries = [entry for entry in policy["evaluations"] if entry["metric"] in ("alignment_tax", "kl_from_base")]
    # The name of a run's reward model holds its seed.
    judges = {each["judge"].partition("-")[0]: each for each in policy["win_rates"]}
    return {
        "reward_accuracy": accuracies(rewards),
        "win_rate": judges,
        "beside": {entry["metric"]: {key: entry[key] for key in FIGURE} for entry in entries},
        "samples": policy["samples"],
    }


def over_prompts(runs: Runs, count: int) -> dict[str, dict[str, Any]]:
    """Win rates on all held-out prompts, drawn anew: outcomes are averaged over seeds, and the interval is over prompts."""
    source = open_embedded({"name": "python_preferences", "split": "test"}, "")
    prompts = [row.values["prompt"] for row in source.rows()]
    found: dict[str, list[np.ndarray]] = {"reward": [], "docstring_fits": []}
    for seed in range(count):
        judge = f"evaluation.win_rate.judges.0.model={runs.folder / f'reward-{seed}' / 'model'}"
        recipe = load_recipe("tour/dpo", [judge])
        duel = WinRates(recipe, AutoTokenizer.from_pretrained(runs.folder / "base" / "model"), 32)
        for name in ("own", LORA):
            duel.take_answers(adapted(runs, f"{name}-{seed}"), name, prompts)
        for place, name in enumerate(found):
            sides = (duel.answers["own"], duel.answers[LORA])
            spec = recipe.get(f"evaluation.win_rate.judges.{place}")
            found[name].append(duel.outcomes(place, spec, prompts, *sides, "cpu")[0])
    return {name: asdict(bootstrap_interval(np.mean(each, axis=0))) for name, each in found.items()}


def adapters(runs: Runs, seed: int) -> dict[str, Any]:
    """Loss of held-out sentences by the token, in nats, of each way to fine-tune."""
    facts = {arm: fine_tune(runs, arm, seed, "train_a", f"{arm}-{seed}") for arm in ARMS}
    return {"token_loss": {arm: metric(found, "token_loss") for arm, found in facts.items()}}


def over_seeds(values: list[float]) -> dict[str, float]:
    """Mean and 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"value": mean, "low": mean, "high": mean, "n": 1}
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def summary(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Each figure over seeds, and what the seeds gave."""
    sections = [name for name in seeds[0] if name != "samples"]
    found: dict[str, Any] = {
        section: {name: over_seeds([each[section][name]["value"] for each in seeds]) for name in seeds[0][section]}
        for section in sections
    }
    if "token_loss" in found:
        losses = {arm: [each["token_loss"][arm]["value"] for each in seeds] for arm in ARMS}
        found["differences"] = {
            "lora_minus_full": over_seeds([a - b for a, b in zip(losses[LORA], losses[FULL], strict=True)]),
            "qlora_over_lora": over_seeds([a / b - 1 for a, b in zip(losses[QLORA], losses[LORA], strict=True)]),
        }
    return {**found, "seeds": seeds}


PARTS = {"preferences": preferences, "adapters": adapters}


def measure(folder: Path, count: int, parts: list[str]) -> dict[str, Any]:
    """The parts that are asked for; all begin from one base."""
    runs = Runs(folder)
    versions = runs.facts("tour/base", "base")["versions"]
    if "preferences" in parts:
        fine_tune(runs, LORA, 0, "train_b", READER)
    report = {part: summary([PARTS[part](runs, seed) for seed in range(count)]) for part in parts}
    if "preferences" in parts:
        report["preferences"]["win_rate_over_prompts"] = over_prompts(runs, count)
    folders = sorted(file.parent for file in folder.glob("*/run.json"))
    facts = {each.name: RunDir(each).facts() for each in folders}
    seconds = {name: found.get("training", found.get("drawing"))["cpu_seconds"] for name, found in facts.items()}
    return {"versions": versions, **report, "training_cpu_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--folder", type=Path, help="keep the runs there, and go on with those that are complete")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = measure(args.folder or Path(name), args.seeds, args.parts)
    sections = [(part, name, report[part][name]) for part in args.parts for name in report[part] if name != "seeds"]
    for part, section, figures in sections:
        for name, figure in figures.items():
            bounds = f"[{figure['low']:.4f}, {figure['high']:.4f}]"
            print(f"{part:12} {section:16} {name:26} {figure['value']:.4f} {bounds}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
