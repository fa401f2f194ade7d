"""A cleaning that is killed outright at some moment, and repeated, ends with the bytes of one that was not.

The rules are real ones, in processes of their own, with one worker and with two.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

RECIPE = """
kind: sft
model: {config: {model_type: llama}, tokenizer: {vocab_size: 400}}
data:
  train: [{path: a.jsonl}, {path: b.jsonl}]
  eval: [{path: measured.jsonl}]
  clean: [{rule: gopher_quality, min_stop_words: 0, min_words: 10}, {rule: dedup_exact}, {rule: pii}, {rule: dedup_minhash}]
training: {max_steps: 1}
"""
# Kills itself where it would do this for the nth time: before a file or manifest gets its name, or after.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from hfrecipes.data.clean import parts
from hfrecipes.data.clean.engine import clean
from hfrecipes.recipe.loader import load_recipe

def kill_at(name, nth, after):
    count, real = 0, getattr(Path, name)
    def counted(*args):
        nonlocal count
        count += 1
        if count == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args)
        if count == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(Path, name, counted)

if __name__ == "__main__":
    workers, name, nth, after = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after"
    parts.MAX_RECORDS = 40
    if nth:
        kill_at(name, nth, after)
    print(clean(load_recipe("my.yaml"), workers=workers, cache=Path(sys.argv[5])).folder)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    chance = random.Random(0)
    words = [f"word{number}" for number in range(300)]
    said = [" ".join(chance.choices(words, k=chance.choice([5, 30, 60]))) for _ in range(150)]
    for name in ("a", "b"):
        texts = [f"{chance.choice(said)} write to me{chance.randint(1, 9)}@corp.org" for _ in range(160)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "measured.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in said[:5]))
    (folder / "my.yaml").write_text(RECIPE)
    (folder / "program.py").write_text(PROGRAM)
    return folder


def command(
    folder: Path, cache: Path, workers: int = 1, kill: tuple[str, int, str] = ("rename", 0, "after")
) -> list[str]:
    name, nth, when = kill
    return [sys.executable, "program.py", str(workers), name, str(nth), when, str(cache)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}


def run(folder: Path, *args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    line = command(folder, *args, **kwargs)  # type: ignore[arg-type]
    return subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False)


def result(cache: Path) -> dict[str, str]:
    """Digests of all that is in the cache, which is the result alone."""
    cleaned = cache / "cleaned"
    return {
        path.relative_to(cleaned).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cleaned.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("whole")
    done = run(folder, cache)
    assert done.returncode == 0, done.stderr
    found = result(cache)
    report = json.loads((Path(done.stdout.strip()) / "report.json").read_text())
    # Every rule has something to do, so that a kill could lose something of each.
    assert all(rule["reasons"] or rule["changed"] for rule in report["rules"]) and len(report["rules"]) == 5
    assert sum(name.endswith(".arrow") for name in found) > 4
    return found


# Of about 40 renames: parts that are read, tasks of three passes, decisions, the result; `replace` writes manifests.
KILLS = [("rename", 3, "before"), ("replace", 22, "after"), ("rename", 29, "after"), ("rename", 35, "before")]


@pytest.mark.parametrize("kill", KILLS)
def test_killed_at_a_moment_and_repeated_it_gives_the_same_bytes(
    kill: tuple[str, int, str], folder: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    assert run(folder, tmp_path, kill=kill).returncode == -signal.SIGKILL
    assert not any("index.json" in name for name in result(tmp_path) if ".part" not in name)
    again = run(folder, tmp_path)
    assert again.returncode == 0, again.stderr
    assert result(tmp_path) == whole


def test_killed_with_its_workers_at_work_it_leaves_none_of_them(
    folder: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    line = command(folder, tmp_path, workers=2)
    process = subprocess.Popen(
        line, cwd=folder, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        for _ in until(60):
            if sum(1 for _ in tmp_path.glob("cleaned/*.work/pass-[123]/[0-9]*")) >= 14:
                break
            assert process.poll() is None
        workers = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    again = run(folder, tmp_path, workers=2)
    assert again.returncode == 0, again.stderr
    assert result(tmp_path) == whole


def test_ctrl_c_ends_workers_and_goes_on_from_there(folder: Path, whole: dict[str, str], tmp_path: Path) -> None:
    """As a terminal does it: the signal goes to the whole group."""
    line = command(folder, tmp_path, workers=2)
    process = subprocess.Popen(
        line, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in until(60):
        if sum(1 for _ in tmp_path.glob("cleaned/*.work/pass-1/[0-9]*")) >= 1:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert told.rstrip().splitlines()[-2].startswith("KeyboardInterrupt"), told
    assert "parts done" in told.rstrip().splitlines()[-1]
    assert run(folder, tmp_path, workers=2).returncode == 0
    assert result(tmp_path) == whole


def until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.002)
    pytest.fail("it did not come so far")
