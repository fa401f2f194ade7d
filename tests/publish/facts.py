"""Complete, invented facts of a run, as run.json holds them, and a log to go with them."""

from __future__ import annotations

import copy
import math
from typing import Any

MODEL = "base"


def evaluation(model: str, metric: str, value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    entry = {
        "model": model,
        "dataset": "python_docstrings/test",
        "metric": metric,
        "value": value,
        "low": low,
        "high": high,
    }
    return entry | {"n": 200, "unit": "", "higher_is_better": True, "step": 40} | more


BITS = {"unit": "bits/byte", "higher_is_better": False, "n": 1024}

FACTS: dict[str, Any] = {
    "hfrecipes": "0.1.0",
    "name": "tiny-docstrings",
    "kind": "sft",
    "status": "complete",
    "started": "2026-01-02T03:04:05Z",
    "finished": "2026-01-02T03:09:17Z",
    "command": ["hfrecipes", "run", "sft/tiny-docstrings", "training.max_steps=40"],
    "recipe_file": "sft/tiny-docstrings.yaml",
    "recipe": {
        "kind": "sft",
        "name": "tiny-docstrings",
        "model": {"name_or_path": "/home/ada/work/runs/tiny-base/model", "dtype": "float32"},
        "data": {
            "train": [{"name": "python_docstrings", "split": "train"}],
            "test": [{"name": "python_docstrings", "split": "test"}],
            "context_length": 512,
        },
        "training": {"learning_rate": 5e-4, "max_steps": 40, "global_batch_size": 16, "seed": 7, "bf16": False},
        "publish": {"license": "apache-2.0", "language": ["en"], "private": True},
    },
    "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0"},
    "hardware": {
        "device": "cpu",
        "name": "AMD EPYC 9R14",
        "count": 1,
        "world_size": 1,
        "cpu_count": 2,
        "memory_bytes": 16 * 2**30,
    },
    "model": {
        "name_or_path": "/home/ada/work/runs/tiny-base/model",
        "revision": None,
        "model_type": "llama",
        "base": "/home/ada/work/runs/tiny-base/model",
        "parameters": {"total": 1_234_567, "trainable": 1_234_567, "embedding": 400_000, "non_embedding": 834_567},
        "adapter": None,
        "quantization": None,
        "context_length": 512,
    },
    "data": [
        {
            "role": "train",
            "name": "python_docstrings",
            "split": "train",
            "rows": 4321,
            "documents": 4321,
            "tokens": 654_321,
            "supervised_tokens": 98_765,
            "truncated_rows": 12,
            "truncated_tokens": 345,
            "bytes": 2_345_678,
            "revision": "sha256:0123456789abcdef0123456789abcdef",
            "license": "PSF-2.0",
        },
        {
            "role": "test",
            "name": "python_docstrings",
            "split": "test",
            "rows": 1024,
            "documents": 1024,
            "tokens": 150_000,
            "supervised_tokens": 21_000,
            "truncated_rows": 0,
            "truncated_tokens": 0,
            "bytes": 456_789,
            "revision": "sha256:fedcba9876543210fedcba9876543210",
            "license": "PSF-2.0",
        },
    ],
    "training": {
        "steps": 40,
        "epochs": 0.148,
        "rows": 640,
        "tokens": 327_680,
        "supervised_tokens": 49_152,
        "flops": 2.427e12,
        "wall_seconds": 192.4,
        "cpu_seconds": 371.9,
        "tokens_per_second": 1703.1,
        "peak_memory_bytes": 1_610_612_736,
        "global_batch_size": 16,
        "micro_batch_size": 4,
        "accumulation_steps": 4,
        "first_loss": 5.4321,
        "final_loss": 2.1098,
    },
    "plan": {
        "parameters": {"total": 1_234_567, "trainable": 1_234_567},
        "steps": 40,
        "tokens": 327_680,
        "flops": 2.427e12,
        "memory_bytes": 1_500_000_000,
        "checkpoint_bytes": 14_814_804,
    },
    "evaluations": [
        evaluation("base", "bits_per_byte", 2.3456, 2.3012, 2.3901, step=0, **BITS),
        evaluation("base, 3 examples", "docstring_f1", 0.1042, 0.0801, 0.1283, step=0),
        evaluation("base", "docstring_f1", 0.0211, 0.0102, 0.0320, step=0),
        evaluation("tuned", "bits_per_byte", 1.2345, 1.2011, 1.2679, **BITS),
        evaluation("tuned", "docstring_f1", 0.3127, 0.2801, 0.3453),
    ],
    "samples": [
        {
            "model": "tuned",
            "prompt": "def add(a, b):\n    return a + b\n",
            "completion": "Return the sum of a and b.",
            "reference": "Return a plus b.",
        },
        {
            "model": "tuned",
            "prompt": "def name(self):\n    return None",
            "completion": "Return the name.",
            "reference": None,
        },
    ],
    "warnings": ["12 of 4,321 rows were cut at 512 tokens"],
}


def make_facts(**changes: Any) -> dict[str, Any]:
    """A copy of the facts with changes at nested places: `model__base=…`."""
    facts = copy.deepcopy(FACTS)
    for path, value in changes.items():
        *parents, key = path.split("__")
        place = facts
        for parent in parents:
            place = place[parent]
        place[key] = value
    return facts


def make_metrics(steps: int = 40, shift: float = 0.0) -> list[dict[str, Any]]:
    """A log as the Trainer writes it: a line a step, an evaluation every tenth."""
    lines = []
    for step in range(1, steps + 1):
        loss = 2.1 + 3.3 * math.exp(-step / 9) + 0.08 * math.sin(step * 1.7) + shift
        rate = 5e-4 * min(step / 4, (steps - step + 1) / (steps - 3))
        line = {
            "step": step,
            "epoch": step / 270,
            "time": 1000 + 4.8 * step + math.sin(step) / 2,
            "loss": loss,
            "learning_rate": rate,
        }
        lines.append(line | {"grad_norm": 1.5 + 3 * math.exp(-step / 5)})
        if step % 10 == 0:
            bits = 1.2 + 1.1 * math.exp(-step / 12) + shift / 2
            lines.append(
                {
                    "step": step,
                    "epoch": step / 270,
                    "time": 1001 + 4.8 * step,
                    "eval_loss": loss + 0.1,
                    "eval_bits_per_byte": bits,
                }
            )
    return lines
