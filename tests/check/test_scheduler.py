"""Schedules that lack a word are told before transformers refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hfrecipes.check.scheduler import NEEDED, scheduler_problems
from hfrecipes.recipe.loader import Recipe


def found(**training: Any) -> list[str]:
    recipe = Recipe("sft", "x", Path("x.yaml"), {"training": training})
    return [f"{problem.message} {problem.fix}" for problem in scheduler_problems(recipe)]


def test_a_schedule_needs_what_transformers_asks_of_it() -> None:
    import torch
    from transformers import get_scheduler
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    refused = set()
    for name in TYPE_TO_SCHEDULER_FUNCTION:
        try:
            get_scheduler(name, optimizer, 2, 10)
        except (TypeError, ValueError):
            refused.add(name.value)
    assert refused == set(NEEDED)
    for name, (word, *_) in NEEDED.items():
        given = {word: 5 if word.endswith("steps") else 0.1}
        assert get_scheduler(name, optimizer, 2, 10, scheduler_specific_kwargs=given)
        assert f"{name} needs {word}" in found(lr_scheduler_type=name)[0]
        assert found(lr_scheduler_type=name, lr_scheduler_kwargs=given) == []


@pytest.mark.parametrize(("end", "number"), [(0.1, 1), (0.2, 1), (0.01, 0)])
def test_a_rate_that_falls_ends_below_where_it_begins(end: float, number: int) -> None:
    said = {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": end}}
    assert len(found(learning_rate=0.1, **said)) == number
