"""The BibTeX entry of a card."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from hfrecipes.publish.escaping import one_line
from hfrecipes.publish.header import base_on_hub
from hfrecipes.publish.tables import base_name
from hfrecipes.recipe.source_list import SAMPLE

# What is cited, by the kind of its run.
_WHAT = {
    "folds": "Cross-validation of language models, trained",
    "reward": "Reward model, trained",
    SAMPLE: "Answers of a language model with scores, drawn",
}


def citation(facts: dict[str, Any], name: str, repo_id: str | None, base_model: str | None) -> str:
    """The entry, each of its fields on a line of its own, as TeX takes it."""
    key = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "model"
    fields = {"title": _tex(name)}
    if repo_id and "/" in repo_id:
        fields["author"] = repo_id.split("/")[0]
        fields["howpublished"] = f"\\url{{https://huggingface.co/{repo_id}}}"
    year = _year(facts)
    if year:
        fields["year"] = year
    base = base_on_hub(facts, base_model) or base_name(facts)
    what = _WHAT.get(str(facts.get("kind")), "Language model, trained")
    made = f"with hfrecipes {facts['hfrecipes']}" if facts.get("hfrecipes") else "with hfrecipes"
    fields["note"] = _tex(f"{what} {made}" + (f", from {base}" if base else ""))
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def _tex(text: str) -> str:
    return re.sub(r"([{}\\&%$#_])", r"\\\1", one_line(text))


def _year(facts: dict[str, Any]) -> str | None:
    started = facts.get("finished") or facts.get("started")
    try:
        return str(datetime.fromisoformat(str(started).replace("Z", "+00:00")).year)
    except ValueError:
        return None
