"""A tiny model made longer in stages, 256 to 512 to 1024 tokens: what its gates see, and that they see a skipped rebuild.

    python benchmarks/long_context.py [--json FILE] [--runs DIR] [--resume]

Trains `long/tiny` as it is shipped: real training on a CPU, no network. Then the last stage is trained once more with the rebuild
of the rotary modules taken away, and the check that would refuse it: the config says one base, the model turns by another. What
the gate says of that run is printed beside. The text is coached (`recipes/long/recall.py`); docs/long-context.md says what
follows from such a model and what does not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.models import load, rope
from hfrecipes.recipe.pipeline import expand_steps
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.gates import gate_faults
from hfrecipes.stages.training import run_training

RECIPE = "long/tiny"
SKIPPED = "to-1024-skipped"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=Path, help="where the runs are written; a temporary folder by default")
    parser.add_argument("--resume", action="store_true", help="go on with the runs that are there")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        runs = args.runs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        result = measure(runs, args.resume)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(runs: Path, resume: bool) -> dict[str, Any]:
    """Runs the stages and the stage that skips, prints what was found, and returns it."""
    began = time.process_time()
    options = RunOptions(runs_dir=runs, resume=resume)
    try:
        run(load_recipe(RECIPE), options=options)
        stopped = None
    except RecipeError as error:
        stopped = str(error)
        print(stopped)
    steps = expand_steps(load_recipe(RECIPE), runs / "tiny")
    facts = {
        step.name: RunDir(runs / "tiny" / step.name).facts() for step in steps if (runs / "tiny" / step.name).is_dir()
    }
    result: dict[str, Any] = {
        "stopped": stopped,
        "stages": {name: stage_figures(entry) for name, entry in facts.items()},
    }
    if stopped is None:
        result["skipped"] = skipped_stage(steps[-1], [facts[step.name] for step in steps[:-1]], runs / "tiny")
    # Of a resumed benchmark this is only the last part; each stage's own seconds are whole.
    result["cpu_seconds"] = None if resume else round(time.process_time() - began, 1)
    report(result)
    return result


def stage_figures(facts: dict[str, Any]) -> dict[str, Any]:
    """What one run measured: losses in short rows, needles, and what it cost."""
    short = [
        {key: entry[key] for key in ("model", "dataset", "value", "low", "high", "n")}
        for entry in facts["evaluations"]
        if entry["metric"] == "token_loss" and entry.get("short_context")
    ]
    training = {key: facts["training"][key] for key in ("steps", "tokens", "cpu_seconds", "wall_seconds")}
    return {
        "parameters": facts["model"]["parameters"]["total"],
        "short": short,
        "needles": facts["needles"],
        **training,
    }


def skipped_stage(step: Any, before: list[dict[str, Any]], runs: Path) -> dict[str, Any]:
    """The last stage with its rebuild taken away: what the check says, and, where that is taken away too, the gate."""
    recipe = step.recipe.replace(name=SKIPPED)
    options = RunOptions(runs_dir=runs, overwrite=True)
    with replaced(rope, "rebuild_rotary", lambda model: None):
        try:
            run_training(recipe, options)
            refused = None
        except RecipeError as error:
            refused = str(error)
        with replaced(load, "check_rotary", lambda model: []):
            run_training(recipe, options)
    facts = RunDir(runs / SKIPPED).facts()
    return {"check": refused, "gate": gate_faults(step.gate, [*before, facts]), **stage_figures(facts)}


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Puts something else in the place of a module's function for a while."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


def report(result: dict[str, Any]) -> None:
    """Prints the figures as tables."""
    stages = dict(result["stages"])
    if "skipped" in result:
        stages["skipped"] = result["skipped"]
    for name, stage in stages.items():
        print(f"\n{name}: {stage['steps']:,} steps, {stage['tokens']:,} tokens, {stage['cpu_seconds']:.0f} CPU-s")
        for entry in stage["short"]:
            interval = f"{entry['value']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]"
            print(f"  {entry['model']:6} {entry['dataset']:50} {interval} nats/token, n {entry['n']}")
        for length in dict.fromkeys(cell["length"] for cell in stage["needles"]):
            cells = [cell for cell in stage["needles"] if cell["length"] == length]
            found = " ".join(f"{cell['language']}@{cell['depth']:g}:{cell['found']}/{cell['n']}" for cell in cells)
            print(f"  {length:5} tokens: {found}")
    if "skipped" in result:
        print(f"\nthe check on the skipped rebuild: {result['skipped']['check']}")
        print("the gate on it: " + ("; ".join(result["skipped"]["gate"]) or "open"))
    if result["cpu_seconds"] is not None:
        print(f"\n{result['cpu_seconds']:.0f} CPU-seconds in all")


if __name__ == "__main__":
    main()
