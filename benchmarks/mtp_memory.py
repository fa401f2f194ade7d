"""Memory and time of a training step with multi-token prediction: ours, written out naively, and plain next-token prediction.

    python benchmarks/mtp_memory.py [--json FILE] [--rounds 3]          # on a CPU: minutes

Each figure comes from a process of its own that builds the model and the batch, notes what it holds, and then makes steps of the
stock Trainer (AdamW): peak memory above that, and the median CPU time of a step. `n=4 naive` keeps the logits of every head;
`equal parameters` takes the layers that the heads are made of out of the trunk, as Gloeckle et al. (2024) do. On a GPU, at the
size of a real model: mtp_gpu.py.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

IGNORED = -100
SMALL = {
    "shape": {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "vocab_size": 32_000,
    },
    "tokens": 512,
    "rows": 8,
    "steps": 3,
}
# Name -> heads in all, how the loss is made, whether the trunk gives up the layers of the heads.
WAYS: dict[str, tuple[int, str, bool]] = {
    "n=1 plain": (1, "plain", False),
    "n=1 liger": (1, "liger", False),
    "n=2 naive": (2, "naive", False),
    "n=2 ours": (2, "ours", False),
    "n=4 naive": (4, "naive", False),
    "n=4 ours": (4, "ours", False),
    "n=4 naive, equal parameters": (4, "naive", True),
    "n=4 ours, equal parameters": (4, "ours", True),
    "n=4 chained": (4, "chained", False),
}
# Those that are measured on a CPU.
HERE = [way for way in WAYS if way != "n=1 liger"]


class Naive(nn.Module):
    """The loss of all heads from logits that are all kept."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        model, caught = self.model, {}
        anatomy = model.mtp_anatomy
        hook = anatomy.last_layer(model).register_forward_pre_hook(
            lambda _, args, kwargs: caught.update(args=args, kwargs=kwargs), with_kwargs=True
        )
        logits = [model(input_ids=input_ids, use_cache=False).logits]
        hook.remove()
        for layer in model.mtp_heads.layers:
            made = layer(*caught["args"], **caught["kwargs"])
            states = anatomy.normalise(model, made[0] if isinstance(made, tuple) else made)
            logits.append(model.get_output_embeddings()(states))
        loss = sum(
            functional.cross_entropy(each[:, :-ahead].flatten(0, 1).float(), labels[:, ahead:].flatten())
            for ahead, each in enumerate(logits, start=1)
        )
        return {"loss": loss}


def build(way: str, setting: dict[str, Any], device: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    from hfrecipes.models.mtp.attach import add_mtp_heads

    heads, loss, equal = WAYS[way]
    shape = dict(setting["shape"])
    if equal:
        shape["num_hidden_layers"] -= heads - 1
    torch.manual_seed(0)
    config = LlamaConfig(**shape, max_position_embeddings=setting["tokens"])
    model = LlamaForCausalLM(config).to(device, torch.bfloat16 if device == "cuda" else torch.float32)
    if loss == "liger":
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        apply_liger_kernel_to_llama(model=model, rope=False, rms_norm=False, swiglu=False)
    if heads == 1:
        return model
    add_mtp_heads(model, heads, "chained" if loss == "chained" else "parallel")
    return Naive(model) if loss == "naive" else model


def measure(way: str, setting: dict[str, Any], device: str) -> dict[str, float]:
    """In this process: peak bytes above what it held before the first step, and seconds of a step.

    Args:
        way: Of `WAYS`.
        setting: Shape of the model, tokens of a row, rows of a step, steps.
        device: `cpu` or `cuda`.
    """
    from transformers import Trainer, TrainerCallback, TrainingArguments

    gpu = device == "cuda"
    model = build(way, setting, device)
    rows = setting["rows"] * setting["steps"]
    ids = torch.randint(setting["shape"]["vocab_size"], (rows, setting["tokens"]))
    dataset = [{"input_ids": row, "labels": row} for row in ids]
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = clock(gpu)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(clock(gpu) - self.began)

    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=setting["rows"],
            max_steps=setting["steps"],
            use_cpu=not gpu,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model=model, args=args, train_dataset=dataset, callbacks=[Clock()])
        base = held(gpu)
        trainer.train()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "peak_bytes": peak(gpu) - base,
        "base_bytes": base,
        "step_seconds": statistics.median(seconds[1:]),
        "tokens_per_second": setting["rows"] * setting["tokens"] / statistics.median(seconds[1:]),
        "parameters": parameters,
    }


def clock(gpu: bool) -> float:
    """Wall seconds of a GPU that is done with its work; CPU seconds without one."""
    if gpu:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def held(gpu: bool) -> int:
    if gpu:
        return torch.cuda.memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak(gpu: bool) -> int:
    return torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_own_process(way: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--one", way], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, SMALL, "cpu")))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in HERE}
    for _ in range(args.rounds):
        for way in HERE:
            found[way].append(in_own_process(way))
    table = {
        way: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        for way, rounds in found.items()
    }
    plain = table["n=1 plain"]
    print(f"{'':30}{'parameters':>12}{'peak MiB':>10}{'x plain':>9}{'step s':>9}{'x plain':>9}")
    for way, figures in table.items():
        print(
            f"{way:30}{figures['parameters'] / 1e6:>10.1f} M{figures['peak_bytes'] / 2**20:>10.0f}"
            f"{figures['peak_bytes'] / plain['peak_bytes']:>9.2f}{figures['step_seconds']:>9.2f}"
            f"{figures['step_seconds'] / plain['step_seconds']:>9.2f}"
        )
    if args.json:
        facts = {"device": "cpu", "torch": torch.__version__, "rounds": args.rounds, "ways": table}
        args.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
