"""What a run directory holds, what is damaged in it, and what leads out of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir, refuse_links

TOKEN = "hf_" + "aB3dE" * 6 + "xyz7"
FACTS: dict[str, Any] = {
    "name": "tiny",
    "kind": "sft",
    "status": "complete",
    "recipe": {"kind": "sft"},
    "data": [{"role": "train", "rows": 3}],
    "training": {"steps": 2},
    "warnings": ["none to speak of"],
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "runs" / "tiny")
    run.write_facts(FACTS)
    (run.checkpoints / "checkpoint-2").mkdir(parents=True)
    (run.checkpoints / "checkpoint-2" / "model.safetensors").write_bytes(b"weights")
    run.model.mkdir()
    run.metrics_file.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    return run


def refusal(run: RunDir) -> str:
    with pytest.raises(RecipeError) as caught:
        refuse_links(run)
    return str(caught.value)


def test_facts_are_read_as_they_were_written(run: RunDir) -> None:
    assert run.facts() == FACTS


def test_a_truncated_facts_file_is_refused_at_every_length(run: RunDir) -> None:
    whole = run.facts_file.read_bytes().rstrip()
    for length in range(len(whole)):
        run.facts_file.write_bytes(whole[:length])
        with pytest.raises(RecipeError, match=r"run\.json.*error: "):
            run.facts()


def test_a_flipped_bit_gives_facts_of_the_right_shape_or_a_refusal(run: RunDir) -> None:
    whole = run.facts_file.read_bytes()
    for place in range(0, len(whole), 2):
        for bit in (0, 5, 7):
            run.facts_file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                facts = run.facts()
            except RecipeError as error:
                assert str(run.facts_file) in str(error)  # most flips are refused, some change a letter
            else:
                assert isinstance(facts.get("name", ""), str)
                assert isinstance(facts.get("training", {}), dict)


@pytest.mark.parametrize(
    "damage",
    [
        {"name": 3},
        {"kind": ["sft"]},
        {"status": {}},
        {"recipe": "kind: sft"},
        {"data": {"rows": 3}},
        {"data": ["rows"]},
        {"training": [1]},
        {"training": {"x": 1}},
        {"training": {"steps": 2.0}},
        {"sessions": 5},
        {"sessions": [5]},
        {"sessions": [{"changes": 5}]},
        {"fingerprint": 5},
        {"marks": []},
        {"warnings": "none"},
        {"evaluations": [[1]]},
        {"published": "yes"},
    ],
)
def test_facts_of_another_shape_are_refused_by_name(run: RunDir, damage: dict[str, Any]) -> None:
    run.facts_file.write_text(json.dumps(FACTS | damage))
    with pytest.raises(RecipeError, match=f"is damaged: {next(iter(damage))} is"):
        run.facts()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"name": ' + "1" * 5000 + "}", "[]", "3", "\ud800", "{}", ""])
def test_what_is_no_facts_file_is_refused(run: RunDir, content: str) -> None:
    run.facts_file.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecipeError, match=r"run\.json"):
        run.facts()


def test_a_folder_in_place_of_the_facts_is_refused(run: RunDir) -> None:
    run.facts_file.unlink()
    run.facts_file.mkdir()
    with pytest.raises(RecipeError, match="cannot be read"):
        run.facts()
    with pytest.raises(RecipeError, match="is not a run directory"):
        RunDir(run.path / "nowhere").facts()


@pytest.mark.parametrize(
    "garbage",
    [
        b"{",
        b'{"step": 1, "lo',
        b"null",
        b"[1]",
        b"{}",
        b'{"step": "1"}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"}{",
        b'{"step": -1}',
        b'{"step": ' + b"9" * 400 + b"}",
    ],
)
def test_a_damaged_line_of_the_log_is_named_and_a_cut_one_left_out(run: RunDir, garbage: bytes) -> None:
    first, second, _ = run.metrics_file.read_bytes().split(b"\n")
    run.metrics_file.write_bytes(b"\n".join([first, second, garbage]))
    assert [line["step"] for line in run.metrics()] == [1, 2]
    run.metrics_file.write_bytes(b"\n".join([first, garbage, second]))
    with pytest.raises(RecipeError, match=r"metrics\.jsonl:2: error: is damaged"):
        run.metrics()


def test_a_log_is_read_to_its_end(run: RunDir) -> None:
    run.metrics_file.write_text('{"step": 1}\n{"step": 2}')
    assert len(run.metrics()) == 2
    run.metrics_file.write_text("")
    assert run.metrics() == []
    run.metrics_file.unlink()
    assert run.metrics() == []


def test_no_secret_is_written_into_the_facts(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_SECRET", odd := 'not "a\\token" of any form')
    texts = {
        "error": f"OSError: https://u:{TOKEN}@host",
        "command": ["run", f"--x={odd}"],
        TOKEN: {"deep": [{"a": odd}]},
    }
    run.write_facts(FACTS | texts | {"path": Path(f"/x/{TOKEN}")})
    text = run.facts_file.read_text()
    for secret in (TOKEN, odd, json.dumps(odd)[1:-1]):
        assert secret not in text
    facts = run.facts()
    assert facts["command"] == ["run", "--x=<redacted: the value of ODD_SECRET>"]
    assert facts["path"] == "/x/<redacted: a Hugging Face token>"
    assert {key: facts[key] for key in FACTS} == FACTS


def test_a_run_directory_without_links_is_fine(run: RunDir) -> None:
    refuse_links(run)
    refuse_links(RunDir(run.path.parent / "not-there-yet"))


def test_the_run_directory_itself_may_be_a_link_to_a_folder(run: RunDir, tmp_path: Path) -> None:
    """To another disk, by the user's own hand; so may the folder of all runs."""
    (tmp_path / "runs" / "linked").symlink_to(run.path)
    refuse_links(RunDir(tmp_path / "runs" / "linked"))
    (tmp_path / "all").symlink_to(tmp_path / "runs")
    refuse_links(RunDir(tmp_path / "all" / "tiny"))


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "README.md", "model", "checkpoints", "recipe.yaml"])
@pytest.mark.parametrize("target", ["outside", "outside/file", "nowhere", "runs/tiny/checkpoints/checkpoint-2"])
def test_a_link_in_a_run_directory_is_refused_wherever_it_leads(
    run: RunDir, tmp_path: Path, name: str, target: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("untouched")
    place = run.path / name
    if place.is_dir():
        place.rename(run.path / f"old-{name}")
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / target)
    message = refusal(run)
    assert f"{place}: error: is a link" in message
    assert str(tmp_path / target) in message


def test_a_link_below_the_checkpoints_is_refused_and_all_are_named(run: RunDir, tmp_path: Path) -> None:
    deep = run.checkpoints / "checkpoint-2" / "optimizer.pt"
    deep.symlink_to("/etc/passwd")
    (run.model / "weights").symlink_to(tmp_path)
    assert len(refusal(run).splitlines()) == 2


def test_a_pipe_in_place_of_a_file_is_not_waited_for(run: RunDir) -> None:
    run.metrics_file.unlink()
    os.mkfifo(run.metrics_file)
    assert "is neither a file nor a folder" in refusal(run)


def test_a_run_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is no folder" in refusal(RunDir(tmp_path / "file"))
    for target in ("file", "nowhere", "loop"):
        (tmp_path / "loop").unlink(missing_ok=True)
        (tmp_path / "loop").symlink_to(tmp_path / target)
        assert "which is no folder" in refusal(RunDir(tmp_path / "loop"))
