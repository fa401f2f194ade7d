"""What a recipe says under `data.splits`, checked and completed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

from hfrecipes.data.hashing import SPLITS
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

DEFAULT_SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}

# Shares are exact fractions of a block of rows; beyond four decimals, blocks are longer than data sets.
_LARGEST_BLOCK = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSettings:
    """How rows are dealt.

    Args:
        weights: Split -> its rows in a block of `block` rows; for folds, `1` for each.
        method: `hash`, `stratified`, `time` or `order`.
        by: Column of the label or time.
        group: Column whose equal values stay together, `file`, or None.
        near_duplicates: Whether near-duplicate texts stay together.
        fold: Which fold is validation, from 1; None without folds.
        seed: Deals anew.
    """

    weights: Mapping[str, int]
    method: str = "hash"
    by: str | None = None
    group: str | None = None
    near_duplicates: bool = False
    fold: int | None = None
    seed: int = 0

    @property
    def block(self) -> int:
        return sum(self.weights.values())

    @property
    def names(self) -> tuple[str, ...]:
        """What parts are called, fold by fold where there are folds."""
        return tuple(self.weights)

    def split_of_part(self, part: str) -> str:
        """The split that a part belongs to: itself, or by whether it is the fold in turn."""
        if self.fold is None:
            return part
        return "validation" if part == f"fold-{self.fold}" else "train"


def split_settings(recipe: Recipe) -> SplitSettings | None:
    """Reads `data.splits`; None where a recipe has none.

    A recipe with folds of which none is chosen is trained fold by fold; who only looks at it sees the first.

    Raises:
        RecipeError: with every word that contradicts another.
    """
    if not recipe.get("data.splits"):
        return None
    words = {key: value for key, value in recipe.get("data.splits").items() if value is not None}
    faults = {**_share_faults(words), **_fold_faults(words), **_method_faults(words)}
    if faults:
        raise RecipeError([Problem(recipe.where(f"data.splits.{key}"), *fault) for key, fault in faults.items()])
    folds = words.pop("folds", None)
    shares = words.pop("shares", DEFAULT_SHARES)
    weights = {f"fold-{fold}": 1 for fold in range(1, folds + 1)} if folds else share_weights(shares)
    fold = words.pop("fold", 1) if folds else None
    return SplitSettings(weights=weights, fold=fold, **words)


def share_weights(shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers of rows in the shortest block that divides by the shares, in the order train, validation, test.

    Raises:
        ValueError: the shares do not add up to 1, or only a block of more than 10,000 rows divides by them.
    """
    exact = {name: Fraction(str(shares[name])) for name in SPLITS if shares.get(name)}
    if sum(exact.values()) != 1:
        raise ValueError(f"they add up to {float(sum(exact.values())):g}, not to 1")
    block = lcm(*(share.denominator for share in exact.values()))
    if block > _LARGEST_BLOCK:
        raise ValueError("they have more than four decimals")
    return {name: int(share * block) for name, share in exact.items()}


Faults = dict[str, tuple[str, str]]


def _share_faults(words: Mapping[str, Any]) -> Faults:
    if "shares" not in words:
        return {}
    shares = words["shares"]
    unknown = [name for name in shares if name not in SPLITS]
    if unknown:
        return {"shares": (f"there is no split {', '.join(unknown)}", f"the splits are {', '.join(SPLITS)}")}
    if any(share < 0 for share in shares.values()):
        return {"shares": ("a share is below 0", "shares run from 0 to 1")}
    try:
        share_weights(shares)
    except ValueError as error:
        return {"shares": (f"the shares are off: {error}", "as in {train: 0.8, validation: 0.1, test: 0.1}")}
    return {}


def _fold_faults(words: Mapping[str, Any]) -> Faults:
    folds, fold, method = words.get("folds"), words.get("fold"), words.get("method", "hash")
    if folds is None:
        return {"fold": (f"fold: {fold} has no folds beside it", "say folds: how many there are")} if fold else {}
    if "shares" in words:
        return {
            "folds": (
                "folds and shares contradict each other",
                "remove one: with K folds, validation is 1/K of the rows",
            )
        }
    if method in ("time", "order"):
        fix = "use method: hash or stratified, or leave out folds"
        return {"folds": (f"folds of method: {method} would train on rows behind those that are tested", fix)}
    if fold is not None and not 1 <= fold <= folds:
        return {"fold": (f"there is no fold {fold} of {folds}", f"it is from 1 to {folds}")}
    return {}


def _method_faults(words: Mapping[str, Any]) -> Faults:
    method = words.get("method", "hash")
    if method in ("stratified", "time") and not words.get("by"):
        what = {"stratified": "label", "time": "time"}[method]
        return {"method": (f"method: {method} needs the column of the {what}", "say by: with its name in the data")}
    if method in ("hash", "order") and words.get("by"):
        return {"by": (f"method: {method} reads no column", "remove by, or say method: stratified or time")}
    return {}
