"""A tiny model made longer in stages, 256 to 512 to 1024 tokens: what its gates see, and that they see a skipped rebuild.

    python benchmarks/long_context.py [--json FILE] [--runs DIR] [--resume] [--seed N]

Trains `long/tiny` as it is shipped: real training on a CPU, no network. Then two ways to end with a model whose config and
rotary modules tell of different positions. One trains the last stage again with the rebuild of the modules taken away; the
other writes the base of the stage before into the finished model's config. Both are refused, which is printed; then what
refuses is taken away, and the gate looks at what is measured. The text is coached (`recipes/long/recall.py`);
docs/long-context.md says what follows from such a model and what does not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.models import load, rope
from hfrecipes.models.of_run import load_run_model, load_run_tokenizer
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.pipeline import Step, expand_steps
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.resolve import resolve
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.gates import gate_faults
from hfrecipes.stages.long_context import LongContext
from hfrecipes.stages.training import run_training
from hfrecipes.tokenization.tokenizer import Tokenizer

RECIPE = "long/tiny"
# Fewer than the stage has, to save time; `as_trained` shows what so many do when the positions are right.
SKIPPED_STEPS = 100

Facts = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=Path, help="where the runs are written; a temporary folder by default")
    parser.add_argument("--resume", action="store_true", help="go on with the runs that are there")
    parser.add_argument("--seed", type=int, help="training.seed of every stage; the recipes' own by default")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        runs = args.runs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        result = measure(runs, args.resume, args.seed)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(runs: Path, resume: bool, seed: int | None) -> Facts:
    """Runs the stages and what must be caught, prints what was found, and returns it."""
    began = time.process_time()
    pipeline = seeded(load_recipe(RECIPE), seed)
    try:
        run(pipeline, options=RunOptions(runs_dir=runs, resume=resume))
        stopped = None
    except RecipeError as error:
        stopped = str(error)
        print(stopped)
    folder = runs / "tiny"
    steps = expand_steps(pipeline, folder)
    facts = {step.name: RunDir(folder / step.name).facts() for step in steps if (folder / step.name).is_dir()}
    result: Facts = {
        "seed": facts[steps[0].name]["recipe"]["training"]["seed"],
        "stopped": stopped,
        "stages": {name: stage_figures(entry) for name, entry in facts.items()},
        "caught": {},
    }
    if stopped is None:
        before = [facts[step.name] for step in steps[:-1]]
        result["caught"]["skipped rebuild"] = skipped_rebuild(steps, before, folder, resume)
        result["caught"]["edited config"] = edited_config(steps, before, folder)
    # Of a resumed benchmark, and of a stage that was resumed, this is only the last part.
    result["cpu_seconds"] = None if resume else round(time.process_time() - began, 1)
    report(result)
    return result


def seeded(pipeline: Recipe, seed: int | None) -> Recipe:
    """The pipeline with another seed in each of its steps."""
    if seed is None:
        return pipeline
    steps = range(len(pipeline.get("steps")))
    return load_recipe(RECIPE, [f"steps.{index}.with.training.seed={seed}" for index in steps])


def stage_figures(facts: Facts) -> Facts:
    """What one run measured, and what it cost."""
    training = {key: facts["training"][key] for key in ("steps", "tokens", "cpu_seconds", "wall_seconds")}
    return {"parameters": facts["model"]["parameters"]["total"], **long_figures(facts), **training}


def long_figures(facts: Facts) -> Facts:
    """Losses in short rows, and needles."""
    short = [
        {key: entry[key] for key in ("model", "dataset", "value", "low", "high", "n")}
        for entry in facts["evaluations"]
        if entry["metric"] == "token_loss" and entry.get("short_context")
    ]
    return {"short": short, "needles": facts["needles"]}


def skipped_rebuild(steps: Sequence[Step], before: list[Facts], folder: Path, resume: bool) -> Facts:
    """The last stage trained with the rotary modules of the one before: what the check says and, without it, the gate.

    `as_trained` is what the model finds with the positions it trained with, which its config does not tell of.
    """
    earlier, step = steps[-2:]
    training = {**step.recipe.get("training"), "max_steps": SKIPPED_STEPS}
    recipe = step.recipe.replace(name=f"{step.name}-skipped", training=training)
    with replaced(rope, "rebuild_rotary", lambda model: None):
        refused = refusal(lambda: run_training(step.recipe.replace(name="refused"), RunOptions(runs_dir=folder)))
        with replaced(load, "check_rotary", lambda model: []):
            run_training(recipe, RunOptions(runs_dir=folder, resume=resume, overwrite=not resume))
    skipped = RunDir(folder / recipe.name)
    facts = skipped.facts()
    live = repositioned(skipped, RunDir(folder / earlier.name), RunDir(folder / f"{step.name}-as-trained"))
    write_manifest(live.model)
    caught = {"refused": refused, "gate": gate_faults(step.gate, [*before, facts])}
    return {**caught, **stage_figures(facts), "as_trained": long_figures(measured(step, live))}


def edited_config(steps: Sequence[Step], before: list[Facts], folder: Path) -> Facts:
    """The finished model with the earlier stage's positions in its config: what loading it says, and what the gate says."""
    earlier, step = steps[-2:]
    edited = repositioned(
        RunDir(folder / step.name), RunDir(folder / earlier.name), RunDir(folder / f"{step.name}-edited")
    )
    refused = refusal(lambda: load_run_model(edited))
    write_manifest(edited.model)
    facts = measured(step, edited)
    return {"refused": refused, "gate": gate_faults(step.gate, [*before, facts]), **long_figures(facts)}


def repositioned(run: RunDir, other: RunDir, copy: RunDir) -> RunDir:
    """A copy of a run's model whose config tells of another run's positions; its manifest is of the config before."""
    shutil.rmtree(copy.path, ignore_errors=True)
    shutil.copytree(run.model, copy.model)
    config, stale = (json.loads((one.model / "config.json").read_text()) for one in (run, other))
    (copy.model / "config.json").write_text(json.dumps(config | {"rope_parameters": stale["rope_parameters"]}))
    return copy


def measured(step: Step, run: RunDir) -> Facts:
    """Short rows and needles of a model, as the step measures its own."""
    recipe = resolve(step.recipe, detect_hardware(), 1)
    long_context = LongContext(recipe, Tokenizer.load(run.model), load_run_tokenizer(run), Console())
    return long_context.measure(run, torch.device("cpu"), 0)


def refusal(act: Callable[[], Any]) -> str | None:
    """What is said against something that is tried; None where it is let pass."""
    try:
        act()
    except RecipeError as error:
        return str(error)
    return None


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Puts something else in the place of a module's function for a while."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


def report(result: Facts) -> None:
    """Prints the figures as tables."""
    for name, stage in result["stages"].items():
        print(f"\n{name}: {stage['steps']:,} steps, {stage['tokens']:,} tokens, {stage['cpu_seconds']:.0f} CPU-s")
        print_figures(stage)
    for name, caught in result["caught"].items():
        print(f"\n{name}: {caught['refused'] or 'let pass'}")
        print("the gate: " + ("; ".join(caught["gate"]) or "open"))
        print_figures(caught)
        if live := caught.get("as_trained"):
            print("  with the positions it trained with:")
            print_figures(live)
    if result["cpu_seconds"] is not None:
        print(f"\n{result['cpu_seconds']:.0f} CPU-seconds in all")


def print_figures(stage: Facts) -> None:
    for entry in stage["short"]:
        interval = f"{entry['value']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]"
        print(f"  {entry['model']:6} {entry['dataset']:50} {interval} nats/token, n {entry['n']}")
    for length in dict.fromkeys(cell["length"] for cell in stage["needles"]):
        cells = [cell for cell in stage["needles"] if cell["length"] == length]
        found = " ".join(f"{cell['language']}@{cell['depth']:g}:{cell['found']}/{cell['n']}" for cell in cells)
        print(f"  {length:5} tokens: {found}")


if __name__ == "__main__":
    main()
