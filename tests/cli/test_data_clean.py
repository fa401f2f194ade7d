"""`hfrecipes data clean`, and what it leaves on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfrecipes.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = """\
kind: sft
model: {config: {model_type: llama}, tokenizer: {vocab_size: 400}}
data:
  train: [{path: web.jsonl}, {path: more/web.jsonl}]
  clean:
    - {rule: gopher_quality, min_words: 5, min_stop_words: 0}
    - {rule: dedup_exact}
    - {rule: pii}
training: {max_steps: 1}
"""
GOOD = "The ship left the harbour of number {} early and came back late at night."


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HFRECIPES_CACHE", str(tmp_path / "cache"))
    rows = [
        *(GOOD.format(number) for number in range(12)),
        "Too short.",
        GOOD.format(3),
        "Please write to ann@corp.org when you are back in the harbour and have had your dinner.",
    ]
    (tmp_path / "more").mkdir()
    for folder, texts in ((tmp_path, rows), (tmp_path / "more", [GOOD.format(5), GOOD.format(50)])):
        (folder / "web.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "my.yaml").write_text(RECIPE)
    return tmp_path / "my.yaml"


def read(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_it_prints_what_the_rules_did_and_writes_what_is_left(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "clean", "my.yaml", "--out", "out"]) == 0
    told = capsys.readouterr().out
    assert "14 of 17 documents are left (82.4%)" in told and "dedup_exact" in told and "wrote out/report.md" in told
    assert sorted(path.as_posix() for path in Path("out").rglob("*") if path.is_file()) == [
        *("out/manifest.json", "out/report.json", "out/report.md"),
        *("out/train/more-web.jsonl", "out/train/web.jsonl"),
    ]
    assert read(Path("out/train/web.jsonl")) == [
        *(GOOD.format(number) for number in range(12)),
        "Please write to <EMAIL> when you are back in the harbour and have had your dinner.",
    ]
    assert read(Path("out/train/more-web.jsonl")) == [GOOD.format(50)]
    assert json.loads(Path("out/report.json").read_text())["documents"]["after"] == 14


def test_what_it_wrote_loads_with_datasets_and_as_a_source(recipe: Path) -> None:
    from datasets import load_dataset

    assert main(["data", "clean", "my.yaml", "--out", "out"]) == 0
    assert load_dataset("json", data_files="out/train/*.jsonl", split="train").num_rows == 14
    assert load_dataset("out", split="train").num_rows == 14  # not the report
    # What is clean stays so.
    sources = "data.train=[{path: out, split: train}]"
    assert main(["data", "clean", "my.yaml", sources, "--out", "again"]) == 0
    assert sorted(read(Path("again/train/out-train.jsonl"))) == sorted(
        read(Path("out/train/web.jsonl")) + read(Path("out/train/more-web.jsonl"))
    )


def test_overrides_may_change_the_rules(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "clean", "my.yaml", "--workers", "1", "data.clean=[{rule: dedup_exact}]"]) == 0
    assert "15 of 17 documents are left" in capsys.readouterr().out


def test_a_folder_of_its_own_is_replaced_and_no_other(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["data", "clean", "my.yaml", "--out", "out"]
    assert main(line) == 0 and main([*line, "data.clean=[{rule: pii}]"]) == 0
    assert len(read(Path("out/train/web.jsonl"))) == 15
    Path("out/notes.txt").write_text("mine")
    capsys.readouterr()
    assert main(line) == 2
    assert "--out: error: out was changed since it was written: notes.txt" in capsys.readouterr().err
    assert main([*line[:-1], "more"]) == 2
    assert "holds files that this command did not write" in capsys.readouterr().err
    assert main([*line[:-1], "my.yaml"]) == 2
    assert Path("out/notes.txt").read_text() == "mine" and Path("more/web.jsonl").is_file()
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["data.clean=[{rule: gopher_quality, min_words: 9999}]"], "the rules leave none of the 17 documents"),
        (["--executor", "slurm"], "it needs to know partition, time"),
        (["--executor-option", "time=1"], "is for datatrove's executors"),
        (["--executor", "ray", "--executor-option", "time"], "--executor-option time: error: is not KEY=VALUE"),
        (["data.clean=[{rule: gopher_qualty}]"], "did you mean gopher_quality?"),
    ],
)
def test_mistakes_are_told_with_their_mend(
    arguments: list[str], told: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "clean", "my.yaml", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error


@pytest.mark.parametrize("workers", ["x", "0", "-2"])
def test_a_number_of_workers_that_is_none_is_refused_in_plain_words(
    workers: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["data", "clean", "my.yaml", f"--workers={workers}"])
    assert "is no whole number from 1" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_cleaned(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("/proc/here/out", "my.yaml/out"):
        assert main(["data", "clean", "my.yaml", "--out", out]) == 2
        assert f"--out: error: {out} cannot be written" in capsys.readouterr().err
    assert not Path("cache").exists()


def test_a_source_that_changes_while_it_is_read_leaves_nothing_to_go_on_with(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hfrecipes.data.clean import work

    before, write = Path("web.jsonl").read_bytes(), work.write_part

    def changing(*words: object) -> None:
        write(*words)
        Path("web.jsonl").write_bytes(before + b'{"text": "another"}\n')

    with monkeypatch.context() as patch:
        patch.setattr(work, "write_part", changing)
        assert main(["data", "clean", "my.yaml"]) == 2
    assert "my.yaml:4: error: web.jsonl has changed while it was read" in capsys.readouterr().err
    assert not [path for path in Path("cache/cleaned").iterdir() if path.is_dir()]
    Path("web.jsonl").write_bytes(before)
    assert main(["data", "clean", "my.yaml"]) == 0
    assert "14 of 17 documents are left" in capsys.readouterr().out


def test_a_recipe_without_rules_is_told_where_they_go(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in RECIPE.splitlines() if "rule" not in line and "clean" not in line]
    recipe.write_text("\n".join(lines))
    assert main(["data", "clean", "my.yaml"]) == 2
    assert "my.yaml:3: error: data.clean names no rules (add rules" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_told(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    monkeypatch.setenv("HFRECIPES_CACHE", str(Path("file/cache").absolute()))
    assert main(["data", "clean", "my.yaml"]) == 2
    assert "cannot be written: Not a directory (set HFRECIPES_CACHE" in capsys.readouterr().err


FULL_DISK = """
import resource, signal, sys
from hfrecipes.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
sys.exit(main(["data", "clean", "my.yaml", "data.clean=[]"]))
"""


def test_a_disk_without_room_is_told_and_gone_on_from(recipe: Path) -> None:
    with Path("web.jsonl").open("a") as file:
        for number in range(3000):
            file.write(json.dumps({"text": f"{number * 7919} {hash(str(number))}"}) + "\n")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "there is no room left to write into this folder of the cache" in done.stderr
    assert "Traceback" not in done.stderr
    assert main(["data", "clean", "my.yaml", "data.clean=[]"]) == 0


def test_a_signal_ends_it_with_the_way_to_go_on(recipe: Path) -> None:
    with Path("web.jsonl").open("a") as file:
        for number in range(40_000):
            file.write(json.dumps({"text": GOOD.format(number) * 5}) + "\n")
    line = [sys.executable, "-m", "hfrecipes", "data", "clean", "my.yaml"]
    process = subprocess.Popen(
        line, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    end = time.monotonic() + 60
    while not list(Path("cache/cleaned").glob("*.work/pass-1/00001")) and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 75
    last = told.strip().splitlines()[-1]
    assert last.startswith("stopped: cleaning was interrupted, in pass 1 of 2, with ")
    assert last.endswith("of 42 parts done; what is done is kept, and the same command goes on from there")


def test_help_teaches_with_a_recipe_and_what_to_do_when_it_was_killed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "clean", "--help"])
    told = capsys.readouterr().out
    assert "{rule: dedup_minhash, threshold: 0.7}" in told and "goes on where it was" in told
    assert max(map(len, told.split("examples")[-1].splitlines())) <= 130


def test_data_preview_goes_on_working(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "preview", "my.yaml", "--rows", "1"]) == 0
    assert "The ship left the harbour" in capsys.readouterr().out
