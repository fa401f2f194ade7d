from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from hfrecipes.check.check import check_recipe
from hfrecipes.cli.main import main
from hfrecipes.plan.mixture import mixture_facts, turning_points
from hfrecipes.plan.plan import Plan, make_plan
from hfrecipes.plan.render import plan_lines, print_plan
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.smoke import shrink

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
RECIPE = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2}
  tokenizer: {vocab_size: 300}
data:
  context_length: 32
  mixture:
    LENGTH
    sources:
      sums: {path: sums.jsonl, weight: [[0, 0.9], [1, 0.1]], interpolation: cosine}
      squares: {path: squares.jsonl, weight: [[0, 0.1], [1, 0.9]], max_epochs: 5}
training: {global_batch_size: 8}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    sums = [{"text": f"The sum of {n} and {n + 1} is {2 * n + 1}."} for n in range(90)]
    squares = [{"text": f"The square of {n} is {n * n}."} for n in range(30)]
    for name, rows in {"sums": sums, "squares": squares}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.yaml").write_text(RECIPE.replace("LENGTH", "total_tokens: 12000"))
    return tmp_path / "r.yaml"


def shown(plan: Plan) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_plan(console, plan)
    return console.file.getvalue()


def test_a_plan_says_what_is_read_of_each_source_and_no_epochs_of_all(recipe_file: Path) -> None:
    plan = make_plan(load_recipe(recipe_file), CPU)
    assert plan.tokens == pytest.approx(12_000, abs=8 * 32)
    assert plan.steps == plan.mixture.plan.total // 8 and plan.epochs is None
    lines = dict(plan_lines(plan))
    assert "epoch" not in lines["Training"] and "tokens in all" in lines["Data"]
    # The squares are used up before the end: from there on all is sums.
    assert lines["Mixture"].startswith("sums 89.") and lines["Mixture"].endswith("→ 0.0% of the tokens")
    facts = plan.to_dict()["mixture"]
    assert facts == mixture_facts(plan.mixture) == json.loads(json.dumps(facts))
    squares = facts["sources"]["squares"]
    assert 4.9 < squares["epochs"] <= 5
    assert squares["repeated_tokens"] == round(squares["trained_tokens"] - squares["tokens"])
    assert sum(source["share"] for source in facts["sources"].values()) == pytest.approx(1)
    assert sum(source["trained_tokens"] for source in facts["sources"].values()) == pytest.approx(plan.tokens, abs=2)
    table = shown(plan)
    (row,) = (line.split() for line in table.splitlines() if line.startswith("squares"))
    assert (row[1], row[5]) == ("10.8%", "0.0%")
    assert row[-2] == f"{squares['epochs']:.3g}"
    assert "≈ by a sample of rows" in table


def test_the_table_keeps_its_names_on_a_narrow_screen(recipe_file: Path) -> None:
    console = Console(file=io.StringIO(), width=60)
    print_plan(console, make_plan(load_recipe(recipe_file), CPU))
    assert "squares" in console.file.getvalue() and "again" in console.file.getvalue()


@pytest.mark.parametrize(
    ("said", "training", "steps"),
    [
        ("total_tokens: 6400", "", 25),
        ("total_tokens: null", ", max_steps: 7", 7),
        ("total_tokens: null", "", None),
        ("total_tokens: 2x", "", None),
    ],
)
def test_steps_of_sources_that_nobody_can_count(
    said: str, training: str, steps: int | None, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = RECIPE.replace("LENGTH", said).replace("batch_size: 8", f"batch_size: 8{training}")
    recipe_file.write_text(text.replace("path: sums.jsonl", "name: somebody/sums"))
    plan = make_plan(load_recipe(recipe_file), CPU)
    assert plan.mixture is None
    if "x" in said:
        assert plan.steps == round(2 * plan.parameters.total / 32 / 8)
    else:
        assert plan.steps == steps
    assert (plan.tokens is None) == (plan.steps is None)
    assert any(problem.severity == "unchecked" for problem in plan.problems)


def test_turning_points() -> None:
    assert turning_points(np.full(50, 0.3)) == [0.3]
    assert turning_points(np.linspace(0.1, 0.9, 50)) == [0.1, pytest.approx(0.9)]
    up_and_down = np.concatenate([np.linspace(0.1, 0.6, 50), np.linspace(0.6, 0.2, 50)])
    assert turning_points(up_and_down) == [0.1, 0.6, pytest.approx(0.2)]
    assert turning_points(np.array([0.5, 0.502, 0.498, 0.5])) == [0.5]


def errors(recipe: Recipe) -> list[str]:
    return [str(problem) for problem in check_recipe(recipe, CPU) if problem.severity == "error"]


def test_check_reports_what_is_wrong_with_a_mixture(recipe_file: Path) -> None:
    assert errors(load_recipe(recipe_file)) == []
    (found,) = errors(load_recipe(recipe_file, ["data.mixture.sources.squares.weight=null"]))
    assert found.startswith(f"{recipe_file}:12: error: squares has no weight")
    (found,) = errors(load_recipe(recipe_file, ["data.mixture.sources={}"]))
    assert "data.mixture names no sources" in found
    (found,) = errors(load_recipe(recipe_file, ["data.mixture.sources.sums.path=away.jsonl"]))
    assert "away.jsonl does not exist" in found
    (found,) = errors(load_recipe(recipe_file, ["data.eval=[{path: squares.jsonl}]"]))
    assert "30 of the 30 rows of data.eval.0 also stand in data.mixture" in found


def test_a_hub_source_of_a_mixture_is_unchecked_offline(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sources = "{a: {name: fineweb-edu, weight: 1}, b: {name: wikipedia, weight: 1}}"
    problems = check_recipe(load_recipe(recipe_file, [f"data.mixture.sources={sources}"]), CPU)
    assert {problem.severity for problem in problems} == {"unchecked"}
    assert sum("HuggingFaceFW/fineweb-edu" in str(problem) for problem in problems) == 1


def test_smoke_keeps_names_and_shares_and_makes_the_rest_small(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["data.mixture.sources.squares.limit=7", "data.mixture.seed=5"])
    small = shrink(recipe)
    sources = small.get("data.mixture.sources")
    assert list(sources) == ["sums", "squares"]
    assert sources["sums"]["weight"] == [[0, 0.9], [1, 0.1]] and sources["sums"]["interpolation"] == "cosine"
    assert {spec["name"] for spec in sources.values()} == {"python_prose"}
    assert "max_epochs" not in sources["squares"] and small.get("data.mixture.total_tokens") is None
    assert (small.get("data.mixture.seed"), small.get("data.train"), small.get("training.max_steps")) == (5, None, 2)
    assert errors(small) == []


def test_the_preview_shows_shares_and_draws_them(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    pictures: dict[str, Any] = {}
    for name, length in (("all", "12000"), ("again", "12000"), ("longer", "30000")):
        file = tmp_path / f"{name}.png"
        said = ["data.mixture.sources.squares.max_epochs=null", f"data.mixture.total_tokens={length}"]
        status = main(["data", "preview", str(recipe_file), *said, "--rows", "0", "--plot", str(file)])
        assert status == 0
        pictures[name] = file.read_bytes()
    out = capsys.readouterr().out
    assert "Shares of the tokens as the training goes on" in out
    row = next(line.split() for line in out.splitlines() if line.startswith("sums "))
    # Half a cosine against a line, from .9 to .1 and from .1 to .9: at the quarters .783 / (.783 + .3) and the mirror of it.
    shares = [float(share.rstrip("%")) / 100 for share in row[1:6]]
    assert shares == pytest.approx([0.9, 0.723, 0.5, 0.277, 0.1], abs=0.03)
    assert pictures["all"] == pictures["again"]
    with Image.open(tmp_path / "all.png") as image:
        colours = {tuple(pixel[:3]) for pixel in image.convert("RGB").resize((300, 150), Image.NEAREST).getdata()}
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)} <= colours
