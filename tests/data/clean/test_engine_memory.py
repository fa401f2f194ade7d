"""Memory does not grow with the corpus."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

RECIPE = """
kind: sft
model: {config: {model_type: llama}, tokenizer: {vocab_size: 400}}
data:
  train: [{path: web.jsonl}]
  clean: [{rule: gopher_quality, min_stop_words: 0}, {rule: dedup_exact}, {rule: pii}]
training: {max_steps: 1}
"""
PROGRAM = """
import json, resource, sys
from pathlib import Path
from hfrecipes.data.clean.engine import clean
from hfrecipes.recipe.loader import load_recipe

report = clean(load_recipe("my.yaml"), cache=Path("cache")).report
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, report["documents"]["after"]]))
"""


def peak(folder: Path, documents: int) -> tuple[int, int]:
    """Peak resident memory (KiB) of a cleaning of so many documents of some 2 kB, and how many are left."""
    folder.mkdir()
    chance = random.Random(0)
    words = [f"word{number}" for number in range(20_000)]
    with (folder / "web.jsonl").open("w") as file:
        for _ in range(documents):
            file.write(json.dumps({"text": " ".join(chance.choices(words, k=220))}) + "\n")
    (folder / "my.yaml").write_text(RECIPE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    memory, left = json.loads(done.stdout)
    return memory, left


def test_memory_is_flat_on_a_corpus_four_times_larger(tmp_path: Path) -> None:
    small, left = peak(tmp_path / "small", 2_000)
    large, more = peak(tmp_path / "large", 8_000)
    assert (left, more) == (2_000, 8_000)
    assert large < 1.15 * small, f"{small / 1024:.0f} MiB, then {large / 1024:.0f} MiB"
