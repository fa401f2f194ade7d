"""`hfrecipes data preview` of data that are cleaned and tagged, in the terminal and as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.cli.main import main

RECIPE = """\
kind: sft
model: {config: {model_type: llama}, tokenizer: {vocab_size: 400}}
data:
  train: [{path: a.jsonl, columns: {kind: tag, prompt: prompt}}]
  clean: [{rule: dedup_exact}, {rule: pii}]
training: {max_steps: 1, max_length: 64}
"""


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HFRECIPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "150")
    rows = [
        {"prompt": f"Who is {n}?", "completion": f" ann{n}@corp.org is", "tag": ["refusal", "", "[bold]学"][n % 3]}
        for n in range(30)
    ]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows[:6]]))
    Path("my.yaml").write_text(RECIPE)


def test_rows_kinds_and_what_cleaning_left_out_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "preview", "my.yaml", "--rows", "30"]) == 0
    told = capsys.readouterr().out
    assert "<EMAIL>" in told and "corp.org" not in told.partition("Examples")[0].partition("examples")[0]
    for kind in ("refusal", "[bold]学", "untagged"):
        assert kind in told
    assert "30 of 36 documents are left (83.3%)" in told and "dedup_exact" in told
    assert "a.jsonl: 30 rows" in told


@pytest.mark.parametrize("name", ["p.svg", "p.png"])
def test_the_picture_holds_lengths_kinds_and_rules(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "preview", "my.yaml", "--rows", "0", "--plot", name]) == 0
    assert f"wrote {name}" in capsys.readouterr().out
    if name.endswith("svg"):
        drawn = Path(name).read_text(encoding="utf-8")
        for word in ("dedup_exact", "refusal", "untagged", "a.jsonl"):
            assert word in drawn
    else:
        assert Path(name).read_bytes().startswith(b"\x89PNG") and Path(name).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("p.jpg", "a picture ends in .png or .svg"),
        ("gone/p.png", "gone/p.png lies in a folder that does not exist"),
        ("d.png", "d.png is a folder"),
    ],
)
def test_a_picture_that_cannot_be_written_is_told_before_anything_is_cleaned(
    name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("d.png").mkdir()
    assert main(["data", "preview", "my.yaml", "--plot", name]) == 2
    assert f"--plot: error: {told}" in capsys.readouterr().err
    assert not Path("cache").exists()


def test_preferences_in_fine_tuning_are_refused_by_row(capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.jsonl").write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    assert main(["data", "preview", "my.yaml", "data.train=[{path: b.jsonl, task: preference}]"]) == 2
    told = capsys.readouterr().err
    assert "b.jsonl:1: error: compares two answers" in told and "{prompt: prompt, completion: chosen}" in told


def test_loops_of_a_template_that_would_never_end_are_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}"
    template = (
        f"[{{path: a.jsonl, templates: [{{prompt: '{loops}{{{{ prompt }}}}', completion: '{{{{ completion }}}}'}}]}}]"
    )
    assert main(["data", "preview", "my.yaml", f"data.train={template}"]) == 2
    assert (
        "a.jsonl:1: error: templates.0.prompt fails on this row: SecurityError: counting further"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("number", ["x", "-1", "1.5", ""])
def test_a_number_of_rows_that_is_none_is_refused_in_plain_words(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["data", "preview", "my.yaml", f"--rows={number}"])
    assert "is no whole number from 0" in capsys.readouterr().err
