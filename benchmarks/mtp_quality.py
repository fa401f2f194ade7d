"""Multi-token prediction beside next-token prediction: bits per byte of head 1, at equal parameters and tokens, three seeds each.

    python benchmarks/mtp_quality.py [--json FILE] [--seeds 3] [--steps 600]

A small Llama learns the source code of Python's standard library: once to predict the next token, once the next four, with the
recipe's defaults (parallel heads, weight 0.3, forward curriculum). `equal_parameters` takes the layers of the heads out of the
trunk, so both have as many weights, and both read the same rows in the same order. What is measured is the model as others load
it, without further heads, on files that neither has seen. A seed changes weights and order of rows. Intervals over seeds are
Student's t of the differences, which are paired by seed; those over documents resample files, with the losses of each file
summed over the seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.data.embedded import open_embedded
from hfrecipes.evaluation.intervals import bootstrap_interval, paired_difference
from hfrecipes.evaluation.language_modeling import measure_loss
from hfrecipes.recipe.rundir import RunDir

CONTEXT = 256
RECIPE = """
kind: pretrain
model:
  config: {{model_type: llama, hidden_size: 96, num_hidden_layers: 6, num_attention_heads: 4, intermediate_size: 256,
    tie_word_embeddings: true}}
  tokenizer: {{vocab_size: 1024}}
objective: {objective}
data:
  context_length: {context}
  train: [{{name: python_code, split: train}}]
evaluation: {{samples: 0}}
training:
  max_steps: {steps}
  seed: {seed}
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
PLAIN, MTP = "next token", "four tokens"
ARMS = {PLAIN: "{name: clm}", MTP: "{name: mtp, num_future_tokens: 4, equal_parameters: true}"}


def train(folder: Path, arm: str, seed: int, steps: int) -> RunDir:
    file = folder / f"{arm.replace(' ', '-')}-{seed}.yaml"
    words = {"objective": ARMS[arm], "context": CONTEXT, "steps": steps, "seed": seed}
    file.write_text(RECIPE.format(**words), encoding="utf-8")
    return RunDir(run(load_recipe(file), options=RunOptions(runs_dir=folder / "runs", quiet=True)))


def document_bits(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Bits of each held-out file under a saved model, and its bytes: `(files,)` each."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [
        row.values["text"]
        for split in ("validation", "test")
        for row in open_embedded({"name": "python_code", "split": split}, "").rows()
    ]
    rows, owners = [], []
    for document, text in enumerate(texts):
        for piece in pieces([*tokenizer(text)["input_ids"], tokenizer.eos_token_id]):
            rows.append({"input_ids": piece, "labels": piece, "num_bytes": 0})
            owners.append(document)
    nats = np.bincount(owners, measure_loss(model, rows, batch_size=16).nll)
    return nats / math.log(2), np.array([len(text.encode()) for text in texts])


def pieces(ids: list[int]) -> Iterator[list[int]]:
    """Rows of at most the context, each of which begins with the last token of the one before, so that all are predicted."""
    for start in range(0, len(ids) - 1, CONTEXT - 1):
        yield ids[start : start + CONTEXT]


def seed_interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def report_of(bits: dict[str, list[np.ndarray]], sizes: np.ndarray) -> dict[str, Any]:
    """Bits per byte of each arm, and of MTP minus next-token prediction, over seeds and over documents."""
    by_seed = {arm: [float(each.sum() / sizes.sum()) for each in found] for arm, found in bits.items()}
    by_document = {arm: np.mean(found, axis=0) for arm, found in bits.items()}
    gaps = [one - other for one, other in zip(by_seed[MTP], by_seed[PLAIN], strict=True)]
    return {
        "arms": {
            arm: {
                "over_seeds": seed_interval(by_seed[arm]),
                "over_documents": asdict(bootstrap_interval(by_document[arm], sizes)),
            }
            for arm in ARMS
        },
        "difference": {
            "over_seeds": seed_interval(gaps),
            "over_documents": asdict(paired_difference(by_document[MTP], by_document[PLAIN], sizes)),
        },
        "by_seed": by_seed,
    }


def shown(figure: dict[str, float]) -> str:
    return f"{figure['value']:+.4f} [{figure['low']:+.4f}, {figure['high']:+.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()
    bits: dict[str, list[np.ndarray]] = {arm: [] for arm in ARMS}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(args.seeds):
            for arm in ARMS:
                began = time.process_time()
                done = train(Path(name), arm, seed, args.steps)
                seconds = time.process_time() - began
                found, sizes = document_bits(done.model)
                bits[arm].append(found)
                plan = done.facts()["plan"]
                facts = {"parameters": plan["parameters"]["total"], "tokens": plan["tokens"], "cpu_seconds": seconds}
                runs.append({"arm": arm, "seed": seed, "bits_per_byte": float(found.sum() / sizes.sum()), **facts})
                print(runs[-1], flush=True)
    report = report_of(bits, sizes)
    for arm, figures in {**report["arms"], "difference": report["difference"]}.items():
        print(f"{arm:12} seeds {shown(figures['over_seeds'])}   documents {shown(figures['over_documents'])}")
    if args.json:
        facts = {"steps": args.steps, "documents": len(sizes), "bytes": int(sizes.sum())}
        args.json.write_text(json.dumps({**facts, **report, "runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
