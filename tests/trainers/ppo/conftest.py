"""Garbage of the libraries themselves is not looked through at each of many short trainings: that took half of the time."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import tests.trainers.ppo.tiny  # noqa: F401  (what is imported by now is what is frozen)


@pytest.fixture(scope="package", autouse=True)
def frozen_imports() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
