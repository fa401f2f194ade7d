"""What the next step of a pipeline waits for: functions from the facts of runs to what is not good enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfrecipes.recipe.pipeline import Step
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

Facts = dict[str, Any]

TUNED = "tuned"
LOSS = "token_loss"
# Of many cells in which needles were missed, the worst are named.
_NAMED_CELLS = 4


def refuse_shut_gate(step: Step, done: Sequence[Step], folder: RunDir) -> None:
    """Looks at the gate of a finished step.

    Args:
        step: The step.
        done: The steps up to it, in their order.
        folder: The pipeline's run directory.

    Raises:
        RecipeError: with the figures that are not good enough, and what to try.
    """
    chain = [RunDir(folder.path / name).facts() for name in model_chain(step, done, folder)]
    run = folder.path / step.name
    fix = (
        f"remove {run}, then --resume with a step that trains longer, lengthens less at once, changes rope_theta less or "
        "mixes in more short text; or lower the gate"
    )
    if faults := gate_faults(step.gate, chain):
        raise RecipeError([Problem(step.where, f"the gate of {step.name} is shut: {fault}", fix) for fault in faults])


def model_chain(step: Step, done: Sequence[Step], folder: RunDir) -> list[str]:
    """The steps that led to a step's model, each having started from the one before; the step itself is the last."""
    by_model = {str(RunDir(folder.path / one.name).model): one for one in done}
    chain = [step.name]
    while before := by_model.get(str(step.recipe.get("model.name_or_path"))):
        chain.insert(0, before.name)
        step = before
    return chain


def gate_faults(gate: dict[str, Any], chain: Sequence[Facts]) -> list[str]:
    """What keeps a gate shut.

    Args:
        gate: As the step says it: `short_loss` and `needles`.
        chain: Facts of the runs that led to the step's model, oldest first; those of the step are the last.

    Returns:
        One sentence for each figure that is not good enough; none opens the gate.
    """
    faults = short_loss_faults(chain) if gate.get("short_loss") else []
    if (least := gate.get("needles")) is not None:
        faults += needle_faults(chain[-1], least)
    return faults


def short_loss_faults(chain: Sequence[Facts]) -> list[str]:
    """Where a model reads short rows worse than the first of its chain did, by more than that one's interval.

    The first counts, not the one before: else each step might lose a little. It is the model that the oldest run with
    these figures started from, or its own where it started from random weights.
    """
    faults = []
    now = _short_losses(chain[-1])
    if not now[TUNED]:
        return ["the loss in short rows was not measured: the step's recipe says no evaluation.short_context"]
    for dataset, entry in now[TUNED].items():
        before = _earliest(dataset, chain)
        if before is None:
            faults.append(f"{dataset}: no earlier loss to hold against, such as compare_base: true would measure")
        elif before["n"] != entry["n"]:
            faults.append(
                f"{dataset}: measured on {entry['n']} rows, before on {before['n']}; data.eval must stay the same"
            )
        elif not entry["value"] <= before["high"]:
            interval = f"{before['value']:.4f} [{before['low']:.4f}, {before['high']:.4f}]"
            faults.append(f"{dataset}: loss {entry['value']:.4f} nats a token, at the beginning {interval}")
    return faults


def needle_faults(facts: Facts, least: float) -> list[str]:
    """Cells of the needle grid in which too few were found.

    Args:
        facts: Of the run.
        least: Share that must be found in every cell of language, length and depth.
    """
    cells = facts.get("needles") or []
    if not cells:
        return ["no needle was hidden: the step's recipe says no evaluation.needle"]
    missed = sorted(
        (cell for cell in cells if cell["found"] < least * cell["n"]), key=lambda cell: cell["found"] / cell["n"]
    )
    if not missed:
        return []
    named = [
        f"{cell['found']} of {cell['n']} at {cell['length']:,} tokens, depth {cell['depth']:g}, {cell['language']}"
        for cell in missed[:_NAMED_CELLS]
    ]
    more = f" and {len(missed) - len(named)} more" if len(missed) > len(named) else ""
    return [f"needles: {'; '.join(named)}{more}; the gate asks for {least:.0%} in each of {len(cells)} cells"]


def _earliest(dataset: str, chain: Sequence[Facts]) -> Facts | None:
    """The oldest figure of a data set: what a run started from comes before what it made."""
    for facts in chain:
        by_model = _short_losses(facts)
        others = {model: losses for model, losses in by_model.items() if model != TUNED}
        for losses in (*others.values(), *([] if facts is chain[-1] else [by_model[TUNED]])):
            if dataset in losses:
                return losses[dataset]
    return None


def _short_losses(facts: Facts) -> dict[str, dict[str, Facts]]:
    """Entries of the loss in short rows: model -> data set -> entry."""
    found: dict[str, dict[str, Facts]] = {TUNED: {}}
    for entry in facts.get("evaluations") or []:
        if entry.get("metric") == LOSS and entry.get("short_context"):
            found.setdefault(entry["model"], {})[entry["dataset"]] = entry
    return found
