"""Best-fit-decreasing packing: ours beside TRL's, on the same documents in one process.

    python benchmarks/packing.py [--json FILE] [--rounds 5]

Documents per CPU second from memory-mapped rows of ids and labels to packed ones in an Arrow file, the median of several rounds
that take turns; how full the rows are; tokens that were lost. TRL packs by way of `Dataset.map`: as its trainer calls it, a
thousand documents at a time, and once more with all documents in one batch, which fills rows as well as best fit can. Ours writes
positions besides. `bins only` times the choice of rows, without moving a token.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from trl import pack_dataset

from hfrecipes.data.bfd import cut_documents, pack_best_fit
from hfrecipes.data.bfd_rows import Labelled, pack_examples
from hfrecipes.data.embedded import open_embedded
from hfrecipes.data.local import read_file
from hfrecipes.data.store import load_rows, write_rows
from hfrecipes.tokenization.tokenizer import Tokenizer
from hfrecipes.tokenization.training import train_tokenizer

DOCUMENTS = 20_000
COLUMNS = ("input_ids", "labels", "position_ids", "seq_lengths")
GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k_train_2500.jsonl"


def length_sets(folder: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Lengths of documents and the capacity they are packed to."""
    draw = np.random.default_rng(0)
    short = np.clip(draw.lognormal(4.3, 0.7, DOCUMENTS).astype(int), 5, 1024)
    web = np.clip(draw.lognormal(6.3, 1.1, DOCUMENTS).astype(int), 20, 50_000)
    sets = {"short instructions": (short, 1024), "web": (web, 2048), "web, long rows": (web, 8192)}
    return {**sets, **real_sets(folder)}


def real_sets(folder: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Real documents, under a tokenizer of 4096 entries that is trained on them."""
    texts = {
        "python_docstrings": [_text(row.values) for row in open_embedded({"name": "python_docstrings"}, "").rows()]
    }
    if GSM8K.is_file():
        texts["gsm8k"] = [_text(row.values) for row in read_file(GSM8K)]
    train_tokenizer((text for part in texts.values() for text in part[:2000]), 4096, folder)
    tokenizer = Tokenizer.load(folder)
    lengths = {name: np.array([len(ids) + 1 for ids in tokenizer.encode_ids(part)]) for name, part in texts.items()}
    return {
        f"{name}, rows of {capacity}": (each, capacity) for name, each in lengths.items() for capacity in (1024, 2048)
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.values())
    return "\n".join(map(_text, value)) if isinstance(value, list) else str(value)


def make_dataset(lengths: np.ndarray, folder: Path) -> Any:
    """Rows of ids and labels of these lengths, memory-mapped as prepared rows are."""
    draw = np.random.default_rng(1)
    ids = [draw.integers(0, 4096, length).astype(np.int32) for length in lengths]
    features = datasets.Features({name: datasets.List(datasets.Value("int32")) for name in ("input_ids", "labels")})
    datasets.Dataset.from_dict({"input_ids": ids, "labels": ids}, features=features).save_to_disk(folder)
    return datasets.load_from_disk(folder)


def trl(dataset: Any, capacity: int, strategy: str, batch: int) -> Any:
    return pack_dataset(dataset, capacity, strategy, {"batch_size": batch, "load_from_cache_file": False})


def ours(dataset: Any, capacity: int, overflow: str, file: Path) -> Any:
    write_rows(file, pack_examples(Labelled.from_dataset(dataset), capacity, overflow), COLUMNS)
    return load_rows(file)


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def compare(lengths: np.ndarray, capacity: int, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    dataset = make_dataset(lengths, folder)
    ways: dict[str, Callable[[], Any]] = {
        "ours, split": lambda: ours(dataset, capacity, "split", folder / "split.arrow"),
        "ours, truncate": lambda: ours(dataset, capacity, "truncate", folder / "cut.arrow"),
        "trl, bfd_split": lambda: trl(dataset, capacity, "bfd_split", 1000),
        "trl, bfd": lambda: trl(dataset, capacity, "bfd", 1000),
        "trl, bfd_split, one batch": lambda: trl(dataset, capacity, "bfd_split", len(dataset)),
        "bins only": lambda: pack_best_fit(cut_documents(lengths, capacity).length, capacity),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            spent, results[name] = cpu_seconds(way)
            seconds[name].append(spent)
    return {
        name: {
            "documents_per_cpu_second": len(lengths) / statistics.median(seconds[name]),
            **fill(packed_lengths(results[name], lengths, capacity), lengths, capacity),
        }
        for name in ways
    }


def packed_lengths(result: Any, lengths: np.ndarray, capacity: int) -> list[int]:
    """Tokens of each row, however it was made."""
    if isinstance(result, datasets.Dataset):
        return [len(ids) for ids in result.with_format("numpy")["input_ids"]]
    pieces = cut_documents(lengths, capacity).length
    return [int(pieces[members].sum()) for members in result]


def fill(rows: list[int], lengths: np.ndarray, capacity: int) -> dict[str, float]:
    return {
        "rows": len(rows),
        "full": sum(rows) / (capacity * len(rows)),
        "tokens_lost": int(lengths.sum()) - sum(rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, (lengths, capacity) in length_sets(folder / "tokenizer").items():
            print(
                f"\n{title}: {len(lengths):,} documents, median {np.median(lengths):.0f} tokens, into rows of {capacity:,}"
            )
            report[title] = compare(lengths, capacity, args.rounds, folder / title)
            for way, figures in report[title].items():
                speed, full, lost = (figures[key] for key in ("documents_per_cpu_second", "full", "tokens_lost"))
                print(
                    f"  {way:28} {speed:12,.0f} documents/CPU-s   {full:7.2%} full   {lost:12,} tokens lost", flush=True
                )
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
