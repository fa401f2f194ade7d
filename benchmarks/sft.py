"""Supervised fine-tuning through a recipe beside plain scripts of TRL's: tokens per second and memory, with padding and packed.

    python benchmarks/sft.py [--json FILE] [--rounds 3]        # on a CPU: some five minutes

The same model (random weights, saved once), the same tokenizer, the same files of rows, the same number of rows in a step, in
float32 on one thread. Each figure comes from a process of its own with empty caches, forked from one that has done nothing but
imports; in a round all ways take turns, and ratios are those of one round, of which the median is told. `train` is the CPU time
from `on_train_begin` to `on_train_end`; `whole` that of the script: reading, tokenising, training, saving; for ours all that
`hfrecipes run` does beside it, with nothing measured at the end. Peak memory is the largest resident size above the fork's.

What TRL's config turns on by itself and a CPU is slowed down by, it is spared: bfloat16 and activation checkpointing are off.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import datasets
import torch
import transformers
from datasets import load_dataset
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

import hfrecipes.stages.session  # noqa: F401 - before the clock starts, as TRL is
from hfrecipes import RunOptions, build
from hfrecipes.data.embedded import open_embedded
from hfrecipes.tokenization.training import train_tokenizer

BATCH, LONGEST, VOCABULARY = 8, 1024, 4096
SHAPE = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
}
SHORT, LONG = "short conversations", "longer texts"
ROWS = {SHORT: 144, LONG: 48}
# Characters of texts that count as long: some 200 to 900 tokens, so that nothing is cut on any way.
LONG_TEXT = range(700, 3000)
# Rows that reach the model at once, and the words of the config; of TRL's, what its documentation offers against padding.
THEIRS: dict[str, tuple[int, dict[str, Any]]] = {
    "trl, padding": (8, {}),
    "trl, by length": (8, {"train_sampling_strategy": "group_by_length"}),
    "trl, packing, 1 x 8": (1, {"packing": True}),
    "trl, padding-free": (8, {"padding_free": True, "max_length": None}),
    "trl, packing": (8, {"packing": True}),
}
# Without a kernel for rows of several documents these compute all of a micro-batch's tokens against all: told of once.
ONCE = ("trl, padding-free", "trl, packing")
# A recipe that packs takes rows one at a time by itself.
OURS: dict[str, dict[str, Any]] = {"ours, padding": {}, "ours, packing": {"packing": True}}
WAYS = (*THEIRS, *OURS)
FLOOR_OF_BEST, FLOOR_OF_PADDING = 0.97, 1.6


def write_inputs(folder: Path) -> None:
    """The rows of both sets, a tokenizer that was trained on them, a model with random weights."""
    asked = (row.values for row in open_embedded({"name": "python_docstrings", "split": "train"}, "").rows())
    told = (row.values for row in open_embedded({"name": "python_prose", "split": "train"}, "").rows())
    sets = {
        SHORT: list(asked),
        LONG: [values for values in told if len(values["text"]) in LONG_TEXT],
    }
    train_tokenizer((json.dumps(row) for rows in sets.values() for row in rows[:1000]), VOCABULARY, folder / "model")
    for name, rows in sets.items():
        lines = (json.dumps(row) + "\n" for row in rows[: ROWS[name]])
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE, max_position_embeddings=LONGEST)).save_pretrained(folder / "model")


class Clock:
    """CPU seconds of this process, all threads, and the largest resident size, from here on."""

    def __init__(self) -> None:
        # Largest sizes are counted from now on (Linux, proc(5)).
        Path("/proc/self/clear_refs").write_text("5")
        self.held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        self.began = time.process_time()
        self.training = 0.0

    def watch(self, trainer: Any) -> None:
        clock = self

        class Watch(TrainerCallback):
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                clock.training -= time.process_time()

            def on_train_end(self, *_: Any, **__: Any) -> None:
                clock.training += time.process_time()

        trainer.add_callback(Watch())

    def figures(self) -> dict[str, float]:
        peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return {
            "whole_seconds": time.process_time() - self.began,
            "train_seconds": self.training,
            "peak_bytes": int(peak.split()[1]) * 1024 - self.held,
            "held_bytes": self.held,
        }


def run_theirs(way: str, data: Path, model: Path, folder: Path) -> tuple[Clock, Any]:
    """The script that TRL's documentation shows."""
    clock, (micro, words) = Clock(), THEIRS[way]
    args = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=BATCH // micro,
        num_train_epochs=1,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **{"max_length": LONGEST, **words},
    )
    rows = load_dataset("json", data_files=str(data), split="train", cache_dir=str(folder / "datasets"))
    trainer = SFTTrainer(model=str(model), args=args, train_dataset=rows)
    clock.watch(trainer)
    trainer.train()
    trainer.save_model()
    return clock, trainer


def run_ours(way: str, data: Path, model: Path, folder: Path) -> tuple[Clock, Any]:
    clock, file = Clock(), folder / "recipe.yaml"
    recipe = {
        "kind": "sft",
        "model": {"name_or_path": str(model)},
        "data": {"train": [{"path": str(data)}]},
        "evaluation": {"samples": 0, "compare_base": False},
        "training": {
            "global_batch_size": BATCH,
            "num_train_epochs": 1,
            "max_length": LONGEST,
            "save_strategy": "no",
            "report_to": "none",
            **OURS[way],
        },
    }
    file.write_text(json.dumps(recipe), encoding="utf-8")
    session = build(file, options=RunOptions(runs_dir=folder, quiet=True))
    clock.watch(session.trainer)
    session.train()
    return clock, session.trainer


def count_tokens(trainer: Any) -> dict[str, int]:
    """What was trained on, as the collator gives it: tokens of texts, those that are predicted, and all that is computed."""
    read = targets = computed = 0
    for batch in trainer.get_train_dataloader():
        ids, labels, mask = batch["input_ids"], batch["labels"], batch.get("attention_mask")
        computed += ids.numel()
        read += ids.numel() if mask is None else int(mask.sum())
        targets += int((labels[:, 1:] != -100).sum())
    return {"tokens": read, "target_tokens": targets, "computed_tokens": computed}


def measure(way: str, data: Path, model: Path, caches: str) -> dict[str, float]:
    """In this process."""
    os.environ["HFRECIPES_CACHE"] = caches
    run = run_theirs if way in THEIRS else run_ours
    with tempfile.TemporaryDirectory(dir=caches) as name:
        clock, trainer = run(way, data, model, Path(name))
        return with_speeds({**clock.figures(), **count_tokens(trainer), "steps": trainer.state.global_step})


def with_speeds(one: dict[str, float]) -> dict[str, float]:
    """Adds tokens of texts per CPU second of the training and of the whole script, and tokens that are predicted."""
    speeds = {f"{part}_tokens_per_second": one["tokens"] / one[f"{part}_seconds"] for part in ("train", "whole")}
    return {**one, **speeds, "targets_per_second": one["target_tokens"] / one["train_seconds"]}


def in_own_process(work: Callable[..., Any], *given: Any) -> Any:
    """What a function gives in a fork of this process."""
    forks = multiprocessing.get_context("fork")
    here, there = forks.Pipe(duplex=False)
    child = forks.Process(target=lambda: there.send(work(*given)))
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(f"{work.__name__}{given} ended with {child.exitcode}")
    return here.recv()


def play_round(folder: Path, title: str, number: int) -> dict[str, dict[str, float]]:
    """Every second round backwards: a machine that slows down hurts no side."""
    found = {}
    for way in WAYS[:: 1 - 2 * (number % 2)]:
        if number == 0 or way not in ONCE:
            with tempfile.TemporaryDirectory() as caches:
                found[way] = in_own_process(measure, way, folder / f"{title}.jsonl", folder / "model", caches)
            line = f"{number + 1}, {title}, {way}: {found[way]['train_tokens_per_second']:,.0f} tokens/s"
            print(line, file=sys.stderr, flush=True)
    return found


def compare(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians by way; ratios of speeds are the medians of those of each round."""
    own = {way: [one[way] for one in rounds if way in one] for way in WAYS}
    table: dict[str, Any] = {
        way: {name: statistics.median(one[name] for one in found) for name in found[0]} for way, found in own.items()
    }
    best = max(THEIRS, key=lambda way: table[way]["train_tokens_per_second"])
    for way in WAYS:
        for title, other in (("padding", "trl, padding"), ("best", best)):
            for part in ("train", "whole"):
                speed = f"{part}_tokens_per_second"
                ratios = [one[way][speed] / one[other][speed] for one in rounds if way in one and other in one]
                table[way][f"{part}_of_{title}"] = statistics.median(ratios)
    table["best of trl"] = best
    return table


def show(title: str, table: dict[str, Any]) -> None:
    first = table["trl, padding"]
    print(f"\n{title}: {first['tokens']:,.0f} tokens, {first['target_tokens']:,.0f} of them predicted")
    heads = ("computed", "tokens/s", "targets/s", "x padding", "x best", "whole s", "x padding", "peak MiB")
    print(f"{'':22}" + "".join(f"{head:>11}" for head in heads))
    for way in WAYS:
        one = table[way]
        print(
            f"{way:22}{one['computed_tokens']:>11,.0f}{one['train_tokens_per_second']:>11,.0f}"
            f"{one['targets_per_second']:>11,.0f}{one['train_of_padding']:>11.2f}{one['train_of_best']:>11.3f}"
            f"{one['whole_seconds']:>11.2f}{one['whole_of_padding']:>11.2f}{one['peak_bytes'] / 2**20:>11.0f}",
            flush=True,
        )


def falls_short(tables: dict[str, dict[str, Any]]) -> list[str]:
    """What was promised and is not held."""
    faults = [
        f"{title}: {table['ours, packing']['train_of_best']:.3f} of {table['best of trl']}"
        for title, table in tables.items()
        if max(table[way]["train_of_best"] for way in OURS) < FLOOR_OF_BEST
    ]
    short = tables[SHORT]["ours, packing"]["train_of_padding"]
    return [*faults, *([f"{SHORT}: {short:.2f} of trl, padding"] if short < FLOOR_OF_PADDING else [])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_own_process(write_inputs, folder)
        rounds = {title: [play_round(folder, title, number) for number in range(args.rounds)] for title in ROWS}
    tables = {title: compare(each) for title, each in rounds.items()}
    for title, table in tables.items():
        show(title, table)
    if args.json:
        names = ("torch", "transformers", "trl", "datasets")
        facts = {
            "system": platform.platform(),
            "versions": {name: version(name) for name in names},
            "model": SHAPE,
            "rows": ROWS,
            "rows_of_a_step": BATCH,
            "rounds": args.rounds,
            "ways": tables,
            "measured": rounds,
        }
        args.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for fault in (faults := falls_short(tables)):
        print(f"short of what is promised: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
