"""What augmentation did: copies made, thrown away by reason, kept; with examples of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_EXAMPLES = 3
_CHARACTERS = 300


@dataclass
class MethodReport:
    """Counts of one method.

    Args:
        chosen: Rows that were to get a copy.
        kept: Copies that stay.
        thrown_away: Reason -> copies.
        examples: Some rows before and after; those thrown away have a `reason`.
    """

    chosen: int = 0
    kept: int = 0
    thrown_away: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)

    def count(self, where: str, before: str, after: str, reason: str | None) -> None:
        """Counts a copy, kept where there is no reason, and keeps it as an example while there are few of its sort."""
        self.chosen += 1
        if reason is None:
            self.kept += 1
        else:
            self.thrown_away[reason] += 1
        # A copy that equals its row shows nothing.
        if reason != "unchanged" and sum(one.get("reason") == reason for one in self.examples) < _EXAMPLES:
            shown = {"where": where, "before": before[:_CHARACTERS], "after": after[:_CHARACTERS]}
            self.examples.append(shown if reason is None else {**shown, "reason": reason})


@dataclass
class AugmentationReport:
    """Counts over all rows; one entry for each method of the recipe, in its order."""

    rows: int = 0
    methods: dict[str, MethodReport] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """As JSON takes it: `rows` of the source, `copies` that were added, and by method `chosen`, `made` (chosen but for
        those in which nothing could be changed), `thrown_away` by reason, `kept`, `share_kept` (of those made), `examples`."""
        return {
            "rows": self.rows,
            "copies": sum(method.kept for method in self.methods.values()),
            "methods": {name: _facts(method) for name, method in self.methods.items()},
        }


def _facts(method: MethodReport) -> dict[str, Any]:
    made = method.chosen - method.thrown_away["unchanged"]
    return {
        "chosen": method.chosen,
        "made": made,
        "kept": method.kept,
        "share_kept": method.kept / made if made else None,
        "thrown_away": {reason: count for reason, count in sorted(method.thrown_away.items()) if count},
        "examples": method.examples,
    }
