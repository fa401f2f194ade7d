"""Speed and memory of multi-token prediction on a GPU, at the size of Llama-3.2-1B. No figure of it exists yet.

    python benchmarks/mtp_gpu.py [--json FILE] [--rounds 3]     # one GPU of 24 GB or more for the way that needs most
    python benchmarks/mtp_gpu.py --tiny                         # the same code on a CPU, with a model of toy size

Random weights in bfloat16, 4,096 tokens a row, AdamW, the stock Trainer, activation checkpointing off. Ways:

    plain     next-token prediction with the model's own loss (n = 1)
    liger     the same with Liger's fused loss, where liger-kernel is installed
    ours      heads put on by add_mtp_heads, parallel, n = 2 and 4; chained at n = 4
    naive     the same parallel heads with the logits of all heads kept at once

Each figure comes from a process of its own, as in mtp_memory.py, which has the ways and says how they are built. A way that
runs out of memory is written down as that. Printed are tokens per second of the median step and the peak of allocated memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

LARGE = {
    "shape": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128_256,
        "tie_word_embeddings": True,
    },
    "tokens": 4096,
    "rows": 1,
    "steps": 8,
}
TINY = {
    "shape": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "vocab_size": 300,
    },
    "tokens": 32,
    "rows": 1,
    "steps": 3,
}
WAYS = ("n=1 plain", "n=1 liger", "n=2 naive", "n=2 ours", "n=4 naive", "n=4 ours", "n=4 chained")
OUT_OF_MEMORY = "out of memory"


def in_own_process(way: str, tiny: bool) -> dict[str, float] | str:
    """The figures of one way, or that the GPU has too little memory for it."""
    command = [sys.executable, __file__, "--one", way, *(["--tiny"] if tiny else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if "OutOfMemoryError" in done.stderr:
        return OUT_OF_MEMORY
    sys.exit(f"{way}: {done.stderr[-2000:]}")


def medians(found: list[dict[str, float] | str]) -> dict[str, float] | str:
    if OUT_OF_MEMORY in found:
        return OUT_OF_MEMORY
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def show(table: dict[str, dict[str, float] | str]) -> None:
    print(f"{'':14}{'parameters':>12}{'peak MiB':>10}{'tokens/s':>10}{'x plain':>9}")
    plain = table["n=1 plain"]
    for way, figures in table.items():
        if isinstance(figures, str):
            print(f"{way:14}{figures:>22}")
            continue
        speed = figures["tokens_per_second"]
        beside = "" if isinstance(plain, str) else f"{speed / plain['tokens_per_second']:.2f}"
        print(
            f"{way:14}{figures['parameters'] / 1e6:>10.1f} M{figures['peak_bytes'] / 2**20:>10.0f}{speed:>10.0f}{beside:>9}"
        )


def main() -> None:
    from mtp_memory import measure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="run the code on a CPU: its figures say nothing")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.tiny and not torch.cuda.is_available():
        sys.exit("this benchmark needs a GPU, and torch finds none here; --tiny runs its code on a CPU")
    if args.one:
        print(json.dumps(measure(args.one, TINY if args.tiny else LARGE, "cpu" if args.tiny else "cuda")))
        return
    ways = [way for way in WAYS if way != "n=1 liger" or (not args.tiny and importlib.util.find_spec("liger_kernel"))]
    found: dict[str, list[Any]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way in ways:
            found[way].append(in_own_process(way, args.tiny))
    table = {way: medians(rounds) for way, rounds in found.items()}
    show(table)
    if args.json:
        device = "cpu" if args.tiny else torch.cuda.get_device_name()
        facts = {"device": device, "torch": torch.__version__, "rounds": args.rounds, "ways": table}
        args.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
