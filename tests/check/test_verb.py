"""The verb in a process of its own: what it imports, what it costs, what it prints."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import argparse, sys
from hfrecipes.cli.check import add_parser
parser = argparse.ArgumentParser()
add_parser(parser.add_subparsers())
arguments = parser.parse_args(["check", *sys.argv[1:]])
status = arguments.command(arguments)
heavy = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "evaluate", "bitsandbytes"} & set(sys.modules)
print("heavy:", *sorted(heavy), file=sys.stderr)
sys.exit(status)
"""


def in_a_process(folder: Path, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """The finished process and the CPU-seconds it took."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "CUDA"))}
    plain |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "HFRECIPES_CACHE": str(folder / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=folder,
        env={**plain, **environment},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


@pytest.mark.parametrize(
    ("name", "line", "word"),
    [
        ("typo-in-training", 9, "learning_rate"),
        ("tab", 8, "spaces"),
        ("none-rows", 2, "data/none.jsonl"),
        ("bf16-on-a-cpu", 8, "a CPU"),
        ("prompt-longer-than-context", 7, "max_length 64"),
        ("pipeline-unknown-step", 8, "base"),
    ],
)
def test_a_real_process_says_the_same(broken: Path, name: str, line: int, word: str) -> None:
    done, _ = in_a_process(broken, f"{name}.yaml")
    assert done.returncode == 2
    (problem,) = [text for text in done.stdout.splitlines() if " error: " in text]
    assert f":{line}: error: " in problem
    assert word in problem
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.strip() == "heavy:"


def test_a_whole_check_loads_nothing_heavy_and_is_quick(broken: Path) -> None:
    done, seconds = in_a_process(broken, "good.yaml", "evaluation.compare_base=false")
    assert (done.returncode, done.stdout) == (0, "good.yaml: ready to run\n")
    assert done.stderr.strip() == "heavy:"
    assert seconds < 4


def test_an_embedded_recipe_is_checked_without_mining(broken: Path) -> None:
    done, seconds = in_a_process(
        broken, "good.yaml", "data.train=[{name: python_docstrings, split: train}]", "model.tokenizer={vocab_size: 512}"
    )
    assert (done.returncode, done.stdout) == (0, "good.yaml: ready to run\n")
    assert done.stderr.strip() == "heavy:"
    assert seconds < 4
    assert not (broken / "cache" / "mined").exists()


def test_words_alone_take_a_moment(broken: Path) -> None:
    done, seconds = in_a_process(broken, "missing-file.yaml", "--words")
    assert (done.returncode, done.stdout) == (0, "missing-file.yaml: ready to run\n")
    assert done.stderr.strip() == "heavy:"
    assert seconds < 1


def test_a_format_function_is_found_and_not_run(broken: Path) -> None:
    done, _ = in_a_process(broken, "wrong-columns.yaml", "data.train.0.format=rewards:join")
    assert done.returncode == 0
    assert "unchecked: the rows of data/questions.jsonl pass through rewards:join" in done.stdout
    assert "RuntimeError" not in done.stdout + done.stderr


def test_json_holds_every_problem(check) -> None:
    status, printed = check("publish-to-no-place.yaml", "training.bf16=true", "--json")
    problems = json.loads(printed)
    assert status == 2
    assert [set(problem) for problem in problems] == [{"where", "message", "fix", "severity"}] * len(problems)
    # Errors come first; what only a publication needs is a warning until it is asked for.
    assert [problem["severity"] for problem in problems] == ["error", "error", "warning"]
    assert problems[0]["where"] == "override training.bf16=true"


def test_lines_stay_whole_and_plain_off_a_terminal(check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    _, printed = check("typo-in-training.yaml")
    assert len(printed.splitlines()) == 2
    assert "\x1b" not in printed


def test_no_color_is_obeyed(broken: Path) -> None:
    painted, _ = in_a_process(broken, "typo-in-training.yaml", "--words", FORCE_COLOR="1")
    assert "\x1b[" in painted.stdout
    plain, _ = in_a_process(broken, "typo-in-training.yaml", "--words", NO_COLOR="1")
    assert "\x1b[" not in plain.stdout


def test_help_teaches_by_example(broken: Path) -> None:
    done, _ = in_a_process(broken, "--help")
    assert done.returncode == 0
    for word in ("--words", "--publish", "--num-processes", "--json", "hfrecipes check mine.yaml training.max_length="):
        assert word in done.stdout


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_processes_are_counted_from_one(broken: Path, number: str) -> None:
    done, _ = in_a_process(broken, "good.yaml", f"--num-processes={number}")
    assert done.returncode == 2
    assert "whole number above 0" in done.stderr


def test_words_that_are_wrong_do_not_hide_what_the_others_mean(check) -> None:
    words = [
        "training.learning_rat=1",
        "training.logging_steps=1.5",
        "training.bf16=true",
        "data.train.0.path=none.jsonl",
    ]
    status, printed = check("good.yaml", *words)
    assert status == 2
    for said in ("did you mean learning_rate?", "say 1 or 2", "training.bf16 is on", "none.jsonl does not exist"):
        assert said in printed
    assert "4 errors" in printed
    # The words alone are those of the schema.
    assert "1 error\n" in check("good.yaml", *words, "--words")[1]


@pytest.mark.parametrize(
    "word",
    [
        "training.max_lenght=4000",  # not: the default reaches beyond the model
        "data.train=rows.jsonl",  # not: data.train is missing
        "data.train.0={file: data/questions.jsonl}",  # not: it has neither a name nor a path
        "data.train.0.colums={prompt: q}",  # not: its columns make no example
        "adapter.method=lorra",
        "model.tokenizr=other",
    ],
)
def test_nothing_is_said_that_follows_from_a_word_that_is_wrong(check, word: str) -> None:
    _, printed = check("good.yaml", word)
    assert printed.count(" error: ") == 1
