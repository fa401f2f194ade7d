"""Rows that stand twice: among those that are trained on, or there and among those that are measured on."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.check.rows import Scan, named_places
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem

# Rules that leave out what stood in an earlier row.
_REMOVE_REPEATS = ("dedup_exact", "dedup_minhash")


def repeat_problems(recipe: Recipe, scans: list[Scan]) -> Iterator[Problem]:
    """Rows that are trained on several times, where no rule leaves them out."""
    if any(rule.get("rule") in _REMOVE_REPEATS for rule in recipe.get("data.clean", [])):
        return
    for scan in of_role(recipe, scans, "train"):
        if scan.repeats:
            first, second = scan.repeats[0]
            fault = f"{len(scan.repeats):,} of {scan.num_rows:,} rows say what an earlier row says"
            fix = f"remove repeats, such as {second}, which repeats {first}"
            yield Problem(recipe.where(scan.key), fault, fix, "warning")


def overlap_problems(recipe: Recipe, scans: list[Scan]) -> Iterator[Problem]:
    """Rows that are trained on and measured on: the measure would tell what was learnt by heart."""
    trained = of_role(recipe, scans, "train")
    for scan in [*of_role(recipe, scans, "eval"), *of_role(recipe, scans, "test")]:
        pairs = [
            (place, other.places[content])
            for content, place in scan.places.items()
            for other in trained
            if content in other.places
        ]
        if pairs:
            there = "data.mixture" if recipe.get("data.mixture") else "data.train"
            fault = f"{len(pairs):,} of the {scan.num_rows:,} rows of {scan.key} also stand in {there}"
            shown = named_places([f"{one} = {other}" for one, other in pairs])
            yield Problem(recipe.where(scan.key), fault, f"{shown}; remove them, or {_parting(recipe, scan)}")
        yield from _same_origin(recipe, scan, trained)


def _parting(recipe: Recipe, scan: Scan) -> str:
    """How rows come to stand on one side only."""
    if not (recipe.get(scan.key) or {}).get("split"):
        return "give both sources a split:"
    # Dealt already, as whole rows: what is compared here is one example of each, such as the prompt and the chosen answer.
    return "keep rows that share a text on one side: data.splits: {group: COLUMN}, such as group: prompt"


def _same_origin(recipe: Recipe, scan: Scan, trained: list[Scan]) -> Iterator[Problem]:
    """Sources whose rows are not read here: the same one, with the same split or one that includes it."""
    spec = recipe.get(scan.key)
    for other in trained:
        theirs = recipe.get(other.key)
        same = spec.get("name") and all(spec.get(word) == theirs.get(word) for word in ("name", "subset"))
        if same and (spec.get("split") == theirs.get("split") or None in (spec.get("split"), theirs.get("split"))):
            fault = f"{scan.key} and {other.key} are the same rows of {spec['name']}"
            yield Problem(
                recipe.where(scan.key), fault, "give them different splits, as in split: train and split: test"
            )


def of_role(recipe: Recipe, scans: list[Scan], role: str) -> list[Scan]:
    """The scans of the sources of `train`, `eval` or `test`."""
    keys = {key for key, _ in recipe.sources(role)}
    return [scan for scan in scans if scan.key in keys]
