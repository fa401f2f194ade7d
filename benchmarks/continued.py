"""Continued pretraining: a curriculum beside a constant mix and no replay, three seeds each.

    python benchmarks/continued.py [--json FILE] [--seeds 3]

A tiny Llama learns Python's documentation (old), then goes on with its source code (new), the same number of tokens in every
arm; the arms with replay read a quarter of them from the old domain, spread evenly, early or late. Gain on the new domain and
forgetting of the old one are in bits per byte of held-out text, each run against the one base model. Intervals are Student's t
over seeds, which change the order of the rows only; differences between arms are paired by seed.
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
from hfrecipes.recipe.rundir import RunDir

BASE_STEPS, STEPS = 400, 150
COMMON = """
kind: pretrain
evaluation: {samples: 0}
training:
  learning_rate: 3.0e-3
  lr_scheduler_type: cosine
  warmup_steps: 0.05
  weight_decay: 0.1
  adam_beta2: 0.95
  global_batch_size: 8
  per_device_train_batch_size: 8
  eval_strategy: "no"
  save_strategy: "no"
  logging_steps: 20
"""
BASE = """
  max_steps: {steps}
model:
  config: {{model_type: llama, hidden_size: 96, num_hidden_layers: 3, num_attention_heads: 4, intermediate_size: 256,
    tie_word_embeddings: true}}
  tokenizer: {{vocab_size: 1024}}
data:
  context_length: 256
  train: [{{name: python_prose, split: train}}]
  eval: [{{name: python_prose, split: validation, limit: 20}}]
"""
CONTINUED = """
  max_steps: {steps}
  seed: {seed}
model: {{name_or_path: {base}}}
data:
  context_length: 256
  mixture:
    seed: {seed}
    sources: {sources}
  eval:
    - {{name: python_prose, split: validation, limit: 100, domain: old}}
    - {{name: python_code, split: validation, limit: 12, domain: new}}
"""
# The weights of the old and the new domain over the progress of the training; those with replay have a mean of 0.25 and 0.75.
ARMS: dict[str, dict[str, Any]] = {
    "no replay": {"new": 1.0},
    "constant mix": {"old": 0.25, "new": 0.75},
    "curriculum, replay early": {"old": [[0, 0.5], [1, 0.0]], "new": [[0, 0.5], [1, 1.0]]},
    "curriculum, replay late": {"old": [[0, 0.0], [1, 0.5]], "new": [[0, 1.0], [1, 0.5]]},
}
SOURCES = {"old": "python_prose", "new": "python_code"}


def train(folder: Path, name: str, text: str) -> Path:
    """Runs a recipe; gives the run directory."""
    file = folder / f"{name}.yaml"
    file.write_text(COMMON + text, encoding="utf-8")
    return run(load_recipe(file), options=RunOptions(runs_dir=folder / "runs", quiet=True))


def continued(folder: Path, base: Path, arm: str, seed: int) -> dict[str, float]:
    """Gain, forgetting, and the tokens of each source, of one run."""
    sources = {
        name: {"name": SOURCES[name], "split": "train", "domain": name, "weight": weight}
        for name, weight in ARMS[arm].items()
    }
    values = {"steps": STEPS, "seed": seed, "base": base / "model", "sources": json.dumps(sources)}
    name = f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
    facts = RunDir(train(folder, name, CONTINUED.format(**values))).facts()
    figures = facts["continued"]
    trained = facts["plan"]["mixture"]["sources"]
    return {
        "gain": figures["gain"]["value"],
        "forgetting": figures["forgetting"]["value"],
        "old_share": trained["old"]["share"] if "old" in trained else 0.0,
        "tokens": facts["plan"]["mixture"]["tokens"],
    }


def interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def shown(figure: dict[str, float]) -> str:
    return f"{figure['value']:+.4f} [{figure['low']:+.4f}, {figure['high']:+.4f}]"


def report_of(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    arms = {
        arm: {name: interval([each[name] for each in figures]) for name in ("gain", "forgetting")}
        for arm, figures in runs.items()
    }
    against = {
        arm: {
            name: interval(
                [one[name] - other[name] for one, other in zip(runs[arm], runs["constant mix"], strict=True)]
            )
            for name in ("gain", "forgetting")
        }
        for arm in runs
        if arm != "constant mix"
    }
    return {"arms": arms, "minus_constant_mix": against, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    began = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = train(folder, "base", BASE.format(steps=BASE_STEPS))
        print(f"base: {time.process_time() - began:.0f} CPU-s", flush=True)
        runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
        for seed in range(args.seeds):
            for arm in ARMS:
                runs[arm].append(continued(folder, base, arm, seed))
                figures = " ".join(f"{key} {value:.4f}" for key, value in runs[arm][-1].items())
                print(f"{arm}, seed {seed}: {figures}, {time.process_time() - began:.0f} CPU-s", flush=True)
    report = {**report_of(runs), "cpu_seconds": time.process_time() - began}
    print(f"\n{'':26} {'gain, bits/byte':30} {'forgetting, bits/byte':30}")
    for arm, figures in report["arms"].items():
        print(f"{arm:26} {shown(figures['gain']):30} {shown(figures['forgetting']):30}")
    print("minus constant mix")
    for arm, figures in report["minus_constant_mix"].items():
        print(f"{arm:26} {shown(figures['gain']):30} {shown(figures['forgetting']):30}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
