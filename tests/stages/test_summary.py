"""The table at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.stages.summary import print_summary


def entry(dataset: str, metric: str, model: str, value: float) -> dict:
    figures = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 100, "higher_is_better": True}
    return {"dataset": dataset, "metric": metric, "model": model} | figures


def test_long_names_are_whole_and_models_stand_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ("python_docstrings/validation", "python_docstrings/test")
    evaluations = [
        entry(name, metric, model, value)
        for model, value in (("base, 3 examples", 0.5), ("tuned", 0.7))
        for name in names
        for metric in ("answer_match_unseen_families", "f1")
    ]
    facts = {"kind": "sft", "name": "mine", "evaluations": evaluations}
    (tmp_path / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    print_summary(tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if len(line) == 1] == [[name] for name in names]
    firsts = [line[:2] for line in lines if "…" in line]
    assert firsts == [["answer", "match"], ["answer", "match"], ["f1", "↑"], ["f1", "↑"]] * 2
