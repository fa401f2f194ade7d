"""Facts, logs and cards that somebody has changed: refused by name, or read as far as they go; never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.publish.card import render_card
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.reading import facts_of
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .conftest import write_run
from .facts import make_facts, make_metrics
from .test_cleaning_tables import PREPARED

WHOLE = make_facts(sessions=[{"started": "2026-01-02T03:04:05Z", "first_step": 0}], recipe__adapter={"method": "lora"})
WHOLE |= {**PREPARED, "model": WHOLE["model"] | {"adapter": {"r": 8}, "quantization": {"bits": 4}}}
WHOLE["data"][0]["kinds"] = {"refusal": {"rows": 1, "tokens": 9, "supervised_tokens": 4}}
WRONG = [5, -1e308, 10**400, True, "", "x\ud800\x1b[31m\n```\n<b>", [], [5], [None], {}, {"a": 5}, [{"a": [1]}]]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path to every value in nested dicts and lists."""
    yield path
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(entry, (*path, key))


def changed(path: tuple, value: Any) -> dict[str, Any]:
    facts = copy.deepcopy(WHOLE)
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return facts


def publishable(run: RunDir) -> bool:
    """Whether card and report can be made of the run; a RecipeError says that they cannot."""
    try:
        facts = facts_of(run)
        card = render_card(facts, run.metrics())
        lint_card(card, facts)
        render_report([run, run]).encode()
        card.encode()
    except RecipeError as error:
        assert "run.json" in str(error)
        return False
    return True


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_no_value_at_any_place_ends_in_a_traceback(tmp_path: Path, wrong: Any) -> None:
    run = write_run(tmp_path / "r", WHOLE, make_metrics(12))
    assert publishable(run)
    for path in list(places(WHOLE))[1:]:
        run.facts_file.write_text(json.dumps(changed(path, wrong)))
        try:
            publishable(run)
        except Exception as error:
            raise AssertionError(f"{path} = {wrong!r}") from error
