"""What the heads of multi-token prediction are worth in decoding: a sentence and a table for card and report."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.figures import count, dig, is_number, number, share
from hfrecipes.publish.tables import Rows

# Places of the columns of figures.
DECODING_FIGURES = (0, 1, 2, 3)


def decoding_sentence(facts: dict[str, Any]) -> str:
    """Tokens a pass, speed and agreement; empty where nothing was decoded with heads."""
    found = facts.get("decoding") or {}
    known = ("prompts", "identical", "tokens_per_pass", "times_generate", "max_new_tokens")
    if not all(is_number(found.get(name)) for name in known):
        return ""
    per_pass, speed = number(found["tokens_per_pass"], 2), number(found["times_generate"], 2)
    return (
        f"Decoded greedily with its heads, one prompt at a time, the model writes {per_pass} tokens with each pass, at "
        f"{speed} times the speed of plain `generate` on the machine of the run; {count(found['identical'])} of "
        f"{count(found['prompts'])} held-out prompts were continued with the same tokens "
        f"({count(found['max_new_tokens'])} at most)."
    )


def decoding_table(facts: dict[str, Any]) -> Rows:
    """Heading and a row for each head; empty where nothing was decoded with heads."""
    if not decoding_sentence(facts):
        return []
    names = ("drafted", "accepted_by_head", "written_by_place")
    columns = [dig(facts, f"decoding.{name}") or [] for name in names]
    rows = [
        [count(ahead), count(drafted), share(accepted), share(written)]
        for ahead, (drafted, accepted, written) in enumerate(zip(*columns, strict=False), start=2)
    ]
    return [["Token ahead", "Drafted", "Accepted when judged", "Written of all drafts"], *rows] if rows else []
