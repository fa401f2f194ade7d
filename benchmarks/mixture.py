"""Mixing three sources: `Mixture` beside `datasets.interleave_datasets`, map-style and streaming, on the same rows.

    python benchmarks/mixture.py [--json FILE] [--rows 1000000] [--rounds 3] [--skips 10000 100000]

Each source is an Arrow file of rows of 32 tokens. All seconds are CPU seconds, medians of rounds in which the contestants take
turns: building (plan or index), rows through a `DataLoader` in the training process, going on at sample N until its row is there
(a stream's `skip` is measured once), and by how much memory grows when ten times as many rows are read. `interleave_datasets`
streams with constant probabilities and unshuffled, which is its fastest way; `Mixture` follows a curriculum and permutes each
source. Exits with 1 where a target is missed: 100,000 `locate`s a second, 4 times the rows of streaming, building 50 times as
fast as the index, going on in .1 s from anywhere, memory flat.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from accelerate import skip_first_batches
from datasets import Dataset, interleave_datasets
from torch.utils.data import DataLoader

from hfrecipes import Mixture

NAMES, TOKENS, BATCH = ("web", "books", "code"), 32, 32
CURRICULUM = {"web": [[0, 0.7], [1, 0.3]], "books": [[0, 0.2], [1, 0.3]], "code": [[0, 0.1], [1, 0.4]]}
CONSTANT = [0.5, 0.25, 0.25]
LOCATED, LOADED, RESUMED = 50_000, 30_000, (10_000, 100_000, 1_000_000)


def write_sources(folder: Path, rows: int) -> dict[str, Dataset]:
    """Arrow files of rows that differ, mapped into memory."""
    for number, name in enumerate(NAMES):
        tokens = np.arange(number * rows * TOKENS, (number + 1) * rows * TOKENS, dtype=np.int64)
        column = pa.FixedSizeListArray.from_arrays(pa.array(tokens), TOKENS).cast(pa.list_(pa.int64()))
        file = folder / f"{name}.arrow"
        with (
            pa.OSFile(str(file), "wb") as sink,
            pa.ipc.new_stream(sink, pa.schema({"input_ids": column.type})) as writer,
        ):
            writer.write_table(pa.table({"input_ids": column}), max_chunksize=1000)
    return open_sources(folder)


def open_sources(folder: Path) -> dict[str, Dataset]:
    return {name: Dataset.from_file(str(folder / f"{name}.arrow")) for name in NAMES}


def mixed(sources: dict[str, Dataset], total: int) -> Mixture:
    return Mixture(sources, CURRICULUM, total)


def indexed(sources: dict[str, Dataset], **words: Any) -> Dataset:
    return interleave_datasets(list(sources.values()), probabilities=CONSTANT, seed=0, **words)


def streamed(sources: dict[str, Dataset], shuffled: bool = False) -> Any:
    streams = [source.to_iterable_dataset() for source in sources.values()]
    if shuffled:
        streams = [stream.shuffle(seed=0, buffer_size=1000) for stream in streams]
    return interleave_datasets(streams, probabilities=CONSTANT, seed=0)


def cpu_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def medians(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """CPU seconds of each, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            seconds[name].append(cpu_seconds(work))
    return {name: statistics.median(each) for name, each in seconds.items()}


def load(rows: Any, sampler: Any = None) -> None:
    loader = DataLoader(rows, batch_size=BATCH, sampler=sampler, collate_fn=len)
    read = sum(islice(loader, -(-LOADED // BATCH)))
    assert read >= LOADED, f"only {read} rows were there"


def measure_building(sources: dict[str, Dataset], rounds: int) -> dict[str, float]:
    total = len(indexed(sources))
    seconds = medians({"mixture": lambda: mixed(sources, total), "interleave, map": lambda: indexed(sources)}, rounds)
    return {"samples": total, **seconds, "times as fast": seconds["interleave, map"] / seconds["mixture"]}


def measure_locating(mixture: Mixture, rounds: int) -> dict[str, float]:
    anywhere = np.random.default_rng(0).integers(0, len(mixture), LOCATED).tolist()

    def locate(indices: Any) -> None:
        for index in indices:
            mixture.locate(index)

    seconds = medians(
        {
            "one after the other": lambda: locate(range(LOCATED)),
            "anywhere": lambda: locate(anywhere),
            "sampler": lambda: sum(1 for _ in islice(mixture.sampler(), LOCATED)),
        },
        rounds,
    )
    return {name: LOCATED / each for name, each in seconds.items()}


def measure_loading(sources: dict[str, Dataset], rounds: int) -> dict[str, float]:
    mixture, index = mixed(sources, 3 * len(sources["web"])), indexed(sources)
    behind = mixture.dataset
    seconds = medians(
        {
            "mixture": lambda: load(mixture, range(len(mixture))),
            "mixture, data set and sampler": lambda: load(behind, mixture.sampler()),
            "interleave, map": lambda: load(index),
            "interleave, streaming": lambda: load(streamed(sources)),
            "interleave, streaming, shuffled": lambda: load(streamed(sources, shuffled=True)),
        },
        rounds,
    )
    return {name: LOADED / each for name, each in seconds.items()}


def measure_resuming(sources: dict[str, Dataset], rounds: int, skips: list[int]) -> dict[str, dict[str, float]]:
    """Seconds from nothing but the sources to the row of sample N."""
    total = max(3 * len(sources["web"]), max(RESUMED) + 1)

    def ours(start: int) -> None:
        mixture = mixed(sources, total)
        next(iter(DataLoader(mixture.dataset, sampler=mixture.sampler(start), collate_fn=len)))

    # The first one pays for what is done once.
    ours(0)
    own = {start: medians({"": lambda start=start: ours(start)}, rounds)[""] for start in (0, *RESUMED)}
    skipped = {start: cpu_seconds(lambda start=start: next(iter(streamed(sources).skip(start)))) for start in skips}
    return {"mixture": own, "interleave, streaming, skip": skipped}


def measure_trainer(sources: dict[str, Dataset], rounds: int) -> dict[str, dict[int, float]]:
    """Seconds that accelerate takes under the Trainer to throw away N samples, and be at the next."""
    mixture = mixed(sources, max(3 * len(sources["web"]), max(RESUMED) + BATCH))
    rows = mixture.dataset

    def go_on(start: int, passed_over: int) -> None:
        sampler = mixture.sampler()
        sampler.passed_over = passed_over
        loader = DataLoader(rows, batch_size=BATCH, sampler=sampler, collate_fn=len)
        next(iter(skip_first_batches(loader, start // BATCH)))

    ways = {"looked up and thrown away": lambda start: 0, "passed over, as our trainers do": lambda start: start}
    return {
        name: {
            start: medians({"": lambda start=start, way=way: go_on(start, way(start))}, rounds)[""] for start in RESUMED
        }
        for name, way in ways.items()
    }


def measure_memory(folder: Path) -> dict[str, float]:
    """Bytes by which a fresh process grows while it reads so many rows; the pages of the files apart."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        return {
            f"{rows:,} rows": fresh.submit(grown_by_reading, folder, rows).result() for rows in (LOADED, 10 * LOADED)
        }


def grown_by_reading(folder: Path, rows: int) -> float:
    sources = open_sources(folder)
    mixture = mixed(sources, 3 * len(sources["web"]))
    behind = mixture.dataset
    before, most = private_bytes(), 0
    for number, index in enumerate(islice(mixture.sampler(), rows)):
        behind[index]
        if number % 1000 == 0:
            most = max(most, private_bytes() - before)
    return float(most)


def private_bytes() -> int:
    """Resident memory that is no file's."""
    fields = dict(
        line.split(":") for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if ":" in line
    )
    return int(fields["RssAnon"].split()[0]) * 1024


def missed(report: dict[str, Any]) -> list[str]:
    """The targets that were not reached."""
    loading, memory = report["rows a second"], list(report["memory"].values())
    own = report["going on"]["mixture"]
    tests = {
        "100,000 locates a second": min(report["located a second"].values()) >= 100_000,
        "4 times the rows of streaming": min(loading["mixture"], loading["mixture, data set and sampler"])
        >= 4 * loading["interleave, streaming"],
        "50 times as fast to build": report["building"]["times as fast"] >= 50,
        "going on within .1 s": max(own.values()) < 0.1,
        "going on takes as long everywhere": max(own.values()) < 2 * min(own.values()) + 0.005,
        "memory flat": memory[1] < memory[0] + 8 * 2**20,
    }
    return [name for name, reached in tests.items() if not reached]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each source")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skips", type=int, nargs="*", default=[10_000, 100_000], help="samples that a stream skips")
    args = parser.parse_args()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        sources = write_sources(Path(folder), args.rows)
        report = {
            "rows of a source": args.rows,
            "building": measure_building(sources, args.rounds),
            "located a second": measure_locating(mixed(sources, 3 * args.rows), args.rounds),
            "rows a second": measure_loading(sources, args.rounds),
            "going on": measure_resuming(sources, args.rounds, args.skips),
            "under accelerate": measure_trainer(sources, args.rounds),
            "memory": measure_memory(Path(folder)),
            "versions": {name: version(name) for name in ("datasets", "torch", "accelerate", "numpy", "pyarrow")},
            "python": platform.python_version(),
        }
    report["missed"] = missed(report)
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if report["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
