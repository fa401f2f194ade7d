"""How long a person waits for an answer: CPU seconds of our commands beside the ecosystem's, in one run.

    python benchmarks/startup.py [--json FILE] [--rounds 5]

CPU seconds of the whole process tree, the median of several rounds after one that warms the caches.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
COMMANDS = {
    "hfrecipes --help": ["hfrecipes", "--help"],
    "hfrecipes ls": ["hfrecipes", "ls"],
    "hfrecipes check --words tour/base": ["hfrecipes", "check", "--words", "tour/base"],
    "hfrecipes check tour/base": ["hfrecipes", "check", "tour/base"],
    "trl --help": ["trl", "--help"],
    "trl sft --help": ["trl", "sft", "--help"],
    "accelerate --help": ["accelerate", "--help"],
}


def cpu_seconds(command: list[str], folder: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    program = [str(BIN / command[0]), *command[1:]]
    subprocess.run(program, cwd=folder, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the medians there")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, command in COMMANDS.items():
            cpu_seconds(command, folder)
            medians[name] = statistics.median(cpu_seconds(command, folder) for _ in range(args.rounds))
            print(f"{name:36} {medians[name]:7.3f} CPU-s", flush=True)
    if args.json:
        args.json.write_text(json.dumps(medians, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
