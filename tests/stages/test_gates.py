"""Gates as functions of facts: what opens them, and what is said where they stay shut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import Step
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.gates import gate_faults, needle_faults, refuse_shut_gate, short_loss_faults


def loss(model: str, value: float, half: float = 0.05, n: int = 30, dataset: str = "prose, 256 tokens") -> dict:
    figures = {"value": value, "low": value - half, "high": value + half, "n": n}
    return {"model": model, "dataset": dataset, "metric": "token_loss", "short_context": 256, **figures}


def run_of(*entries: dict, needles: list[dict] | None = None) -> dict:
    return {"kind": "pretrain", "evaluations": list(entries), "needles": needles or []}


def cell(found: int, depth: float = 0.5, length: int = 1024, language: str = "en") -> dict:
    return {"language": language, "length": length, "depth": depth, "found": found, "n": 4, "log_probability": -1.0}


FIRST = run_of(loss("tuned", 2.00))


@pytest.mark.parametrize(("value", "opens"), [(1.80, True), (2.00, True), (2.05, True), (2.0501, False), (2.9, False)])
def test_short_loss_may_rise_to_the_end_of_the_first_interval(value: float, opens: bool) -> None:
    stage = run_of(loss("base", 2.00), loss("tuned", value))
    assert (short_loss_faults([FIRST, stage]) == []) is opens


def test_a_little_lost_in_each_step_adds_up() -> None:
    second = run_of(loss("base", 2.00), loss("tuned", 2.04))
    third = run_of(loss("base", 2.04), loss("tuned", 2.08))
    assert short_loss_faults([FIRST, second]) == []
    (fault,) = short_loss_faults([FIRST, second, third])
    assert fault == "prose, 256 tokens: loss 2.0800 nats a token, at the beginning 2.0000 [1.9500, 2.0500]"


def test_the_model_from_the_hub_that_a_chain_began_with_counts_before_what_it_became() -> None:
    first = run_of(loss("base", 2.00), loss("tuned", 2.20))
    assert short_loss_faults([first]) != []
    second = run_of(loss("base", 2.20), loss("tuned", 2.10))
    assert "at the beginning 2.0000" in short_loss_faults([first, second])[0]


def test_every_data_set_counts() -> None:
    stage = run_of(loss("tuned", 2.0), loss("base", 1.0, dataset="code"), loss("tuned", 1.2, dataset="code"))
    (fault,) = short_loss_faults([FIRST, stage])
    assert fault.startswith("code: loss 1.2")


@pytest.mark.parametrize(
    ("chain", "fault"),
    [
        ([FIRST, run_of()], "says no evaluation.short_context"),
        ([FIRST], "no earlier loss to hold against"),
        ([FIRST, run_of(loss("tuned", 1.0, n=29))], "measured on 29 rows, before on 30"),
        ([FIRST, run_of(loss("tuned", float("nan")))], "loss nan"),
    ],
)
def test_what_cannot_be_compared_keeps_the_gate_shut(chain: list[dict], fault: str) -> None:
    assert fault in short_loss_faults(chain)[0]


def test_losses_in_rows_of_the_new_length_are_no_short_losses() -> None:
    long = {key: value for key, value in loss("tuned", 9.0).items() if key != "short_context"}
    assert short_loss_faults([FIRST, run_of(loss("tuned", 2.0), long)]) == []


@pytest.mark.parametrize(
    ("found", "least", "opens"), [(4, 1.0, True), (3, 1.0, False), (3, 0.75, True), (0, 0.0, True)]
)
def test_needles_must_be_found_in_each_cell(found: int, least: float, opens: bool) -> None:
    facts = run_of(needles=[cell(4, 0.0), cell(found, 0.5), cell(4, 1.0)])
    assert (needle_faults(facts, least) == []) is opens


def test_the_worst_cells_are_named_and_the_others_counted() -> None:
    cells = [cell(3, 0.0), cell(0, 0.25, 512, "zh"), cell(2, 0.5), cell(1, 0.75), cell(3, 1.0), cell(4, 0.1)]
    (fault,) = needle_faults(run_of(needles=cells), 1.0)
    assert fault.startswith("needles: 0 of 4 at 512 tokens, depth 0.25, zh; 1 of 4 at 1,024 tokens, depth 0.75, en; ")
    assert fault.endswith(" and 1 more; the gate asks for 100% in each of 6 cells")


def test_a_gate_asks_only_for_what_it_says() -> None:
    bad = run_of(loss("base", 2.0), loss("tuned", 3.0), needles=[cell(0)])
    assert len(gate_faults({"short_loss": True, "needles": 0.5}, [bad])) == 2
    assert len(gate_faults({"short_loss": True}, [bad])) == 1
    assert len(gate_faults({"needles": 0.5}, [bad])) == 1
    assert gate_faults({"short_loss": False}, [bad]) == []
    assert "no needle was hidden" in gate_faults({"needles": 0.0}, [run_of()])[0]


def test_a_shut_gate_names_its_place_its_figures_and_what_to_try(tmp_path: Path) -> None:
    def step(name: str, start: str | None, gate: dict) -> Step:
        model = {"name_or_path": str(RunDir(tmp_path / start).model)} if start else {}
        recipe = Recipe("pretrain", name, Path("x.yaml"), {"model": model})
        return Step(name, recipe, (start,) if start else (), gate, "long.yaml:9")

    steps = [step("first", None, {}), step("other", None, {}), step("second", "first", {"short_loss": True})]
    facts = {"first": FIRST, "other": run_of(loss("tuned", 9.0)), "second": run_of(loss("tuned", 2.5))}
    for name, entry in facts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(entry))
    with pytest.raises(RecipeError) as caught:
        refuse_shut_gate(steps[-1], steps, RunDir(tmp_path))
    (problem,) = caught.value.problems
    assert problem.where == "long.yaml:9"
    assert "the gate of second is shut: prose, 256 tokens: loss 2.5000" in problem.message
    assert "at the beginning 2.0000" in problem.message
    assert f"remove {tmp_path / 'second'}, then --resume" in problem.fix
