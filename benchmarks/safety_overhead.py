"""What safety costs: a 5M-parameter run with our trainer beside the stock one that saves as often.

    python benchmarks/safety_overhead.py [--json FILE] [--steps 60] [--saves 6] [--rounds 3]

Both train the same model on the same rows in the same order with the same arguments, on one thread of a CPU, keep two
checkpoints and save a final model. The stock trainer is `transformers.Trainer`, given our order of rows (the one thing it
would do otherwise); ours is the one of `hfrecipes.build`, with all its callbacks and the checks before the first step. What
both end with is compared byte for byte.

They take turns as stock, ours, ours, stock in each round, so that a machine that slows down hurts both. Compared are CPU
seconds, those of the threads that hash files included, with wall seconds beside. What lies between steps and saves is told
apart: saves by the clock around each, steps on a model so small that nothing else counts (a guard looks at one number,
whatever the model's size). Exits with 1 where the overhead is 2 % or more, or the weights differ.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import yaml
from transformers import PrinterCallback, Trainer, TrainingArguments

import hfrecipes
from hfrecipes.callbacks.signals import catch_signals
from hfrecipes.callbacks.stopping import StopCallback
from hfrecipes.data.gate import refuse_unusable_rows
from hfrecipes.models.load import load_model
from hfrecipes.objectives.clm import PackedCollator
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.trainers.arguments import build_arguments
from hfrecipes.trainers.sampler import EpochSampler

LIMIT = 0.02
KEEP = 2
# 5,004,032 parameters with a vocabulary of 2048.
LLAMA = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 5, "num_attention_heads": 4}
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@dataclass
class Seconds:
    """CPU and wall seconds."""

    cpu: float = 0.0
    wall: float = 0.0

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall


@dataclass
class Block:
    """One run: of all of it, of its saves, of the final model; and what it ended with."""

    whole: Seconds = field(default_factory=Seconds)
    saves: Seconds = field(default_factory=Seconds)
    final: Seconds = field(default_factory=Seconds)
    weights: str = ""


class StockTrainer(Trainer):
    """The stock trainer on rows in our order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return EpochSampler(len(self.train_dataset), self.args.train_batch_size, self.args.seed)


def write_recipe(folder: Path, model: dict[str, int], batch: int, context: int, steps: int, saves: int) -> Path:
    values = {
        "kind": "pretrain",
        "name": "overhead",
        "model": {"config": {"model_type": "llama", **model}, "tokenizer": {"vocab_size": 2048}},
        "data": {"train": [{"name": "python_prose", "split": "train"}], "context_length": context},
        "training": {
            "learning_rate": 1e-3,
            "global_batch_size": batch,
            "per_device_train_batch_size": batch,
            "max_steps": steps,
            "logging_steps": 10,
            **({"save_steps": steps // saves} if saves else {"save_strategy": "no"}),
            "save_total_limit": KEEP,
        },
    }
    file = folder / "overhead.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


def open_session(recipe: Path, folder: Path) -> Any:
    return hfrecipes.build(recipe, options=hfrecipes.RunOptions(runs_dir=folder, quiet=True))


def run_ours(recipe: Path, folder: Path) -> Block:
    session, block = open_session(recipe, folder), Block()
    trainer = session.trainer
    clock_saves(trainer, block)
    with block.whole.counting(), catch_signals() as stop:
        trainer.add_callback(StopCallback(stop))
        rows = trainer.model.get_input_embeddings().num_embeddings
        refuse_unusable_rows(trainer.train_dataset, rows, str(recipe), "the training rows")
        trainer.refuse_poisoned_weights("before the first step")
        trainer.train()
        with block.final.counting():
            trainer.save_final(session.run.model)
    block.weights = hash_of(session.run.model)
    return block


def run_stock(recipe: Path, folder: Path) -> Block:
    session, block = open_session(recipe, folder), Block()
    args = build_arguments(TrainingArguments, session.recipe, session.hardware, 1, session.run.checkpoints)
    args.save_total_limit = KEEP
    trainer = StockTrainer(
        model=load_model(session.recipe, session.tokenizer),
        args=args,
        train_dataset=session.prepared.train,
        data_collator=PackedCollator(session.tokenizer.pad_token_id),
        processing_class=session.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    clock_saves(trainer, block)
    with block.whole.counting():
        trainer.train()
        with block.final.counting():
            trainer.save_model(str(session.run.model))
    block.weights = hash_of(session.run.model)
    return block


def clock_saves(trainer: Any, block: Block) -> None:
    """Counts what is done at steps after which a checkpoint is written: in both, the same method does all of it."""
    method = trainer._maybe_log_save_evaluate

    def clocked(*args: Any, **kwargs: Any) -> None:
        with block.saves.counting() if trainer.control.should_save else contextlib.nullcontext():
            method(*args, **kwargs)

    trainer._maybe_log_save_evaluate = clocked


def hash_of(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def take_turns(recipe: Path, rounds: int, told: Callable[[str, Block], None]) -> tuple[list[Block], list[Block]]:
    """Blocks of the stock trainer and of ours, after one of each that warms the caches and is not counted."""
    blocks: dict[str, list[Block]] = {"stock": [], "ours": []}
    runs = {"stock": run_stock, "ours": run_ours}
    for number, name in enumerate(["stock", "ours", *["stock", "ours", "ours", "stock"] * rounds]):
        folder = Path(tempfile.mkdtemp(dir=recipe.parent))
        # The stock trainer leaves its files to be written to the disk later, which would burden who comes next.
        os.sync()
        block = runs[name](recipe, folder)
        shutil.rmtree(folder)
        if number >= len(runs):
            blocks[name].append(block)
            told(name, block)
    return blocks["stock"], blocks["ours"]


def median_of(blocks: list[Block], value: Callable[[Block], float]) -> float:
    return statistics.median(value(block) for block in blocks)


def overhead(stock: list[Block], ours: list[Block], value: Callable[[Block], float]) -> list[float]:
    """One figure a round: two blocks of each trainer, one around the other."""
    sums = [[sum(map(value, blocks[at : at + 2])) for at in range(0, len(blocks), 2)] for blocks in (stock, ours)]
    return [after / before - 1 for before, after in zip(*sums, strict=True)]


def step_cost(folder: Path, rounds: int, steps: int = 400) -> float:
    """CPU seconds that ours adds to a step, on a model whose steps cost next to nothing."""
    recipe = write_recipe(folder, TINY, batch=1, context=16, steps=steps, saves=0)
    stock, ours = take_turns(recipe, rounds, lambda *_: None)
    in_steps = [median_of(blocks, lambda block: block.whole.cpu - block.final.cpu) for blocks in (stock, ours)]
    return (in_steps[1] - in_steps[0]) / steps


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    recipe = write_recipe(folder, LLAMA, args.batch, args.context, args.steps, args.saves)
    print(f"{'':8}{'CPU-s':>9}{'wall-s':>9}{'a save, CPU-s':>15}{'wall-s':>9}{'final, CPU-s':>14}", flush=True)

    def tell(name: str, block: Block) -> None:
        save = [seconds / args.saves for seconds in (block.saves.cpu, block.saves.wall)]
        line = f"{name:8}{block.whole.cpu:9.2f}{block.whole.wall:9.2f}{save[0]:15.3f}{save[1]:9.3f}"
        print(f"{line}{block.final.cpu:14.3f}", flush=True)

    stock, ours = take_turns(recipe, args.rounds, tell)
    by_round = {
        unit: overhead(stock, ours, lambda block, unit=unit: getattr(block.whole, unit)) for unit in ("cpu", "wall")
    }
    save_cost = {
        unit: (
            median_of(ours, lambda block, unit=unit: getattr(block.saves, unit))
            - median_of(stock, lambda block, unit=unit: getattr(block.saves, unit))
        )
        / args.saves
        for unit in ("cpu", "wall")
    }
    a_step = step_cost(folder, args.rounds)
    whole = median_of(stock, lambda block: block.whole.cpu)
    final = median_of(ours, lambda block: block.final.cpu) - median_of(stock, lambda block: block.final.cpu)
    return {
        "overhead_cpu": statistics.median(by_round["cpu"]),
        "overhead_wall": statistics.median(by_round["wall"]),
        "overhead_by_round": by_round,
        "overhead_cpu_from_parts": (args.saves * save_cost["cpu"] + args.steps * a_step + final) / whole,
        "added_per_save": save_cost,
        "added_per_step_cpu": a_step,
        "added_to_final_save_cpu": final,
        "stock_seconds_per_step_cpu": (whole - median_of(stock, lambda block: block.saves.cpu)) / args.steps,
        "stock_cpu": whole,
        "ours_cpu": median_of(ours, lambda block: block.whole.cpu),
        "stock_wall": median_of(stock, lambda block: block.whole.wall),
        "ours_wall": median_of(ours, lambda block: block.whole.wall),
        "same_weights": len({block.weights for block in [*stock, *ours]}) == 1,
        "blocks": {"stock": [asdict(block) for block in stock], "ours": [asdict(block) for block in ours]},
    }


def print_result(result: dict[str, Any], args: argparse.Namespace) -> None:
    spread = ", ".join(f"{value:+.2%}" for value in result["overhead_by_round"]["cpu"])
    rows = [
        ("whole run, stock", f"{result['stock_cpu']:.2f} CPU-s, {result['stock_wall']:.2f} wall-s"),
        ("whole run, ours", f"{result['ours_cpu']:.2f} CPU-s, {result['ours_wall']:.2f} wall-s"),
        (
            "a stock step",
            f"{result['stock_seconds_per_step_cpu']:.3f} CPU-s; a save each {args.steps // args.saves} steps",
        ),
        ("added to a save", "{cpu:+.4f} CPU-s, {wall:+.4f} wall-s".format(**result["added_per_save"])),
        ("added to a step", f"{result['added_per_step_cpu'] * 1000:+.3f} CPU-ms"),
        ("added to the end", f"{result['added_to_final_save_cpu']:+.4f} CPU-s"),
        ("overhead", f"{result['overhead_cpu']:+.2%} of CPU ({spread}), {result['overhead_wall']:+.2%} of wall"),
        ("sum of the parts", f"{result['overhead_cpu_from_parts']:+.2%} of CPU"),
        ("same weights", "yes" if result["same_weights"] else "NO"),
    ]
    print("\n" + "\n".join(f"{name:18} {words}" for name, words in rows))


def conditions(args: argparse.Namespace) -> dict[str, Any]:
    hardware = detect_hardware()
    return {
        "command": ["python", *sys.argv],
        "hardware": {"name": hardware.name, "cpu_count": os.cpu_count(), "memory_bytes": hardware.memory_bytes},
        "load_at_start": os.getloadavg()[0],
        "system": platform.platform(),
        "versions": {name: version(name) for name in ("torch", "transformers")} | {"python": platform.python_version()},
        "settings": {
            "model": LLAMA,
            **{key: value for key, value in vars(args).items() if key not in ("json", "folder")},
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--folder", type=Path, help="where checkpoints are written (default: the temporary folder)")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--saves", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3, help="of four runs each")
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--context", type=int, default=256, help="tokens of a row")
    args = parser.parse_args()
    if args.saves < 1 or args.steps % args.saves:
        parser.error("--steps has to be a multiple of --saves")
    torch.set_num_threads(1)
    facts = conditions(args)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = measure(args, Path(folder))
    print_result(result, args)
    if args.json:
        args.json.write_text(json.dumps(facts | result, indent=1) + "\n", encoding="utf-8")
    return 0 if result["same_weights"] and result["overhead_cpu"] < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
