"""Speed, memory and utilisation of fine-tuning on one GPU, at the sizes of Llama-3.2-1B and 3.1-8B. No figure of it exists yet.

    python benchmarks/sft_gpu.py [--shapes 1b 8b] [--rounds 3] [--json FILE]      # one GPU
    python benchmarks/sft_gpu.py --smoke                                          # the same code on a CPU, at toy size

Random weights are written once for each shape (some 2.5 and 16 GB), and a recipe begins from them as from any folder: Python
files, packed into rows of 4,096 tokens, four of them in a step, and what a recipe leaves open as it is resolved on that machine
(bfloat16 arithmetic, activation checkpointing). Ways:

    full     all weights, kept in float32
    lora     r 16 on all linear layers, weights in bfloat16
    qlora    the same on NF4 weights, double quantization

Each figure comes from a process of its own. Told are tokens per second of the median step, the peak of allocated memory, and the
share of the device's dense bfloat16 peak (MFU) by model FLOPs: 6 N for each token where all weights are trained, 4 N under an
adapter, attention as it is masked; recomputed activations do not count. A way that runs out of memory is written down as that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128_256,
        "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
    },
    "smoke": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
    },
}
LORA = {"adapter": {"method": "lora", "r": 16, "lora_alpha": 32}}
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": LORA,
    "qlora": {**LORA, "quantization": {"load_in_4bit": True}},
}
# Tokens of a row, rows of a step, steps of which the first ones are not counted; entries of the tokenizer.
LARGE = {"tokens": 4096, "rows": 4, "steps": 10, "warm": 3, "entries": 8192}
SMALL = {"tokens": 128, "rows": 2, "steps": 4, "warm": 1, "entries": 512}
OUT_OF_MEMORY = "out of memory"


def write_model(shape: str, sizes: dict[str, int], folder: Path) -> None:
    """Random weights as a folder, with a tokenizer that was trained on the rows."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hfrecipes.data.embedded import open_embedded
    from hfrecipes.tokenization.training import train_tokenizer

    rows = open_embedded({"name": "python_code", "split": "train"}, "").rows()
    texts = [row.values["text"] for _, row in zip(range(300), rows, strict=False)]
    train_tokenizer(texts, sizes["entries"], folder)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=sizes["tokens"], dtype="bfloat16")
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def measure(way: str, model: Path, sizes: dict[str, int]) -> dict[str, float | None]:
    """In this process: a recipe is run to the end of its training."""
    from transformers import TrainerCallback

    from hfrecipes import RunDir, RunOptions, build
    from hfrecipes.plan.devices import recognise

    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = wall_clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(wall_clock() - self.began)

    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "recipe.yaml"
        file.write_text(json.dumps(recipe_of(way, model, sizes)), encoding="utf-8")
        session = build(file, options=RunOptions(runs_dir=Path(name), quiet=True))
        session.trainer.add_callback(Clock())
        facts = RunDir(session.train()).facts()
    trained, step = facts["training"], statistics.median(seconds[sizes["warm"] :])
    speed = trained["tokens"] / trained["steps"] / step
    device = recognise(session.hardware)
    return {
        "parameters": facts["model"]["parameters"]["total"],
        "trained_parameters": facts["model"]["parameters"]["trainable"],
        "peak_bytes": trained["peak_memory_bytes"],
        "step_seconds": step,
        "tokens_per_second": speed,
        "mfu": trained["flops"] / trained["tokens"] * speed / device.peak_flops if device else None,
    }


def recipe_of(way: str, model: Path, sizes: dict[str, int]) -> dict[str, Any]:
    return {
        "kind": "sft",
        "model": {"name_or_path": str(model)},
        **WAYS[way],
        "data": {"train": [{"name": "python_code", "split": "train", "limit": 400}]},
        "evaluation": {"samples": 0, "compare_base": False},
        "training": {
            "packing": True,
            "packing_strategy": "bfd_split",
            "max_length": sizes["tokens"],
            "per_device_train_batch_size": 1,
            "global_batch_size": sizes["rows"],
            "max_steps": sizes["steps"],
            "save_strategy": "no",
            "report_to": "none",
        },
    }


def wall_clock() -> float:
    """Of a GPU that is done with its work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def in_own_process(way: str, model: Path, smoke: bool) -> dict[str, float | None] | str:
    """The figures of one way, or that the GPU has too little memory for it."""
    command = [sys.executable, __file__, "--one", way, "--model", str(model), *(["--smoke"] if smoke else [])]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if "OutOfMemoryError" in done.stderr:
        return OUT_OF_MEMORY
    sys.exit(f"{way}: {done.stderr[-3000:]}")


def medians(found: list[dict[str, float | None] | str]) -> dict[str, float | None] | str:
    if OUT_OF_MEMORY in found:
        return OUT_OF_MEMORY
    rows = [one for one in found if isinstance(one, dict)]
    return {name: None if rows[0][name] is None else statistics.median(one[name] for one in rows) for name in rows[0]}


def show(shape: str, table: dict[str, Any]) -> None:
    print(f"\n{shape:8}{'parameters':>12}{'trained':>11}{'peak GiB':>10}{'tokens/s':>10}{'MFU':>8}")
    for way, one in table.items():
        if isinstance(one, str):
            print(f"{way:8}{one:>24}")
            continue
        share = "?" if one["mfu"] is None else f"{one['mfu']:.1%}"
        print(
            f"{way:8}{one['parameters'] / 1e6:>10.1f} M{one['trained_parameters'] / 1e6:>9.2f} M"
            f"{one['peak_bytes'] / 2**30:>10.2f}{one['tokens_per_second']:>10,.0f}{share:>8}"
        )


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=["1b", "8b"], default=["1b", "8b"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--smoke", action="store_true", help="run the code on a CPU: its figures say nothing")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.smoke and not torch.cuda.is_available():
        sys.exit("this benchmark needs a GPU, and torch finds none here; --smoke runs its code on a CPU")
    sizes = SMALL if args.smoke else LARGE
    if args.one:
        print(json.dumps(measure(args.one, args.model, sizes)))
        return
    tables: dict[str, Any] = {}
    for shape in ["smoke"] if args.smoke else args.shapes:
        with tempfile.TemporaryDirectory() as name:
            write_model(shape, sizes, Path(name))
            torch.cuda.empty_cache()
            rounds = [
                {way: in_own_process(way, Path(name), args.smoke) for way in WAYS}
                for _ in range(1 if args.smoke else args.rounds)
            ]
        tables[shape] = {way: medians([one[way] for one in rounds]) for way in WAYS}
        show(shape, tables[shape])
    if args.json:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        facts = {"device": device, "torch": torch.__version__, "sizes": sizes, "shapes": SHAPES, "ways": tables}
        args.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
