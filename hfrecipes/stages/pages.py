"""Card and report of a finished run, written after the facts that they are made of."""

from __future__ import annotations

from hfrecipes.publish.card import render_card
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.rundir import RunDir, write_atomically


def write_pages(run: RunDir) -> None:
    """Writes them from the run directory alone, in which no secret stands."""
    facts = run.facts()
    if _wants_card(run):
        write_atomically(run.card, render_card(facts, run.metrics()))
    write_atomically(run.report, render_report([run]))


def write_missing_pages(run: RunDir) -> None:
    """Writes them where a complete run was cut off before it had."""
    remove_drafts(run)
    if not run.report.is_file() or (_wants_card(run) and not run.card.is_file()):
        write_pages(run)


def remove_drafts(run: RunDir) -> None:
    """Removes what a kill left half written beside the files that it was to replace."""
    for draft in run.path.rglob(".*.part"):
        if draft.is_file():
            draft.unlink(missing_ok=True)


def _wants_card(run: RunDir) -> bool:
    publish = (run.facts().get("recipe") or {}).get("publish") or {}
    return publish.get("card", True) is not False
