"""The order of the rows is a pure function of the seed."""

from __future__ import annotations

import numpy as np
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from hfrecipes.trainers.sampler import EpochSampler

SIZES = {
    "rows": st.integers(1, 60),
    "batch": st.integers(1, 16),
    "seed": st.integers(0, 2**31),
    "epochs": st.integers(1, 4),
}


@given(**SIZES)
@settings(max_examples=60, deadline=None)
def test_passes_are_permutations_and_batches_are_full(rows: int, batch: int, seed: int, epochs: int) -> None:
    sampler = EpochSampler(rows, batch, seed)
    samples = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        samples += list(sampler)
    assert len(samples) == epochs * len(sampler)
    assert len(sampler) % batch == 0
    assert rows <= len(sampler) < rows + batch
    for number in range(len(samples) // rows):
        assert sorted(samples[number * rows : (number + 1) * rows]) == list(range(rows))


@given(**SIZES)
@settings(max_examples=40, deadline=None)
def test_any_slice_of_the_order_is_the_order(rows: int, batch: int, seed: int, epochs: int) -> None:
    sampler = EpochSampler(rows, batch, seed)
    total = epochs * len(sampler)
    whole = sampler.order(0, total)
    for start, stop in ((0, 0), (total // 3, total), (total // 2, total // 2 + 1)):
        assert np.array_equal(whole[start:stop], sampler.order(start, stop))


def test_processes_share_each_global_batch() -> None:
    """accelerate deals micro-batches in turn, so each step reads the same set of rows for every number of processes."""
    rows, batch = 37, 8
    steps = {}
    for world_size, micro in ((1, 8), (1, 2), (2, 4), (2, 1), (4, 2)):
        dealt = [
            list(
                BatchSamplerShard(BatchSampler(EpochSampler(rows, batch, 3), micro, drop_last=False), world_size, rank)
            )
            for rank in range(world_size)
        ]
        rounds = batch // (micro * world_size)
        count = len(dealt[0]) // rounds
        steps[world_size, micro] = [
            {row for rank in dealt for micro_batch in rank[step * rounds : (step + 1) * rounds] for row in micro_batch}
            for step in range(count)
        ]
    assert len({str(found) for found in steps.values()}) == 1


def test_seeds_and_epochs_differ() -> None:
    first, other = EpochSampler(100, 10, 1), EpochSampler(100, 10, 2)
    assert list(first) != list(other)
    before = list(first)
    first.set_epoch(1)
    assert before != list(first)
