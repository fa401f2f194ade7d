"""A recipe over written rows, and rules of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.clean import parts, registry
from hfrecipes.recipe.loader import Recipe
from tests.data.clean import own_rules

Rows = Iterable[dict[str, Any]]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes may name the rules of `own_rules`, and parts are small."""
    for name, cls in own_rules.CLASSES.items():
        monkeypatch.setitem(registry.CLASSES, name, f"tests.data.clean.own_rules:{cls.__name__}")
        monkeypatch.setitem(registry.RULES, name, own_rules.Settings)
    monkeypatch.setattr(parts, "MAX_RECORDS", 10)


@pytest.fixture
def cleaning(tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe whose sources are these rows, and which cleans them by these rules."""

    def make(rules: list[dict[str, Any]], eval: Rows = (), **sources: Rows) -> Recipe:
        for name, rows in {**sources, "measured": eval}.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        data: dict[str, Any] = {"train": [{"path": f"{name}.jsonl"} for name in sources], "clean": rules}
        if eval:
            data["eval"] = [{"path": "measured.jsonl"}]
        return Recipe("sft", "my", tmp_path / "my.yaml", {"kind": "sft", "data": data})

    return make
