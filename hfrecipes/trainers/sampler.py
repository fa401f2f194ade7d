"""The order of the training rows: a pure function of the seed, the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Shuffled rows without end, cut into epochs of whole global batches.

    Sample n of the run is row `n mod rows` of the permutation of pass `n // rows`. Each epoch yields
    `ceil(rows / global_batch_size) * global_batch_size` samples, so that every optimizer step has a full batch: the last batch
    of an epoch is completed with the first rows of the next pass, and nothing is dropped or seen twice out of turn.

    Args:
        rows: Rows of the data set.
        global_batch_size: Rows of one optimizer step over all processes.
        seed: Decides every permutation.
    """

    def __init__(self, rows: int, global_batch_size: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0
        self._length = -(-rows // global_batch_size) * global_batch_size

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self._length
        return iter(self.order(start, start + self._length).tolist())

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the beginning of each epoch, a resumed one included."""
        self.epoch = epoch

    def order(self, start: int, stop: int) -> np.ndarray:
        """Rows of the samples [start, stop) of the whole run."""
        passes = range(start // self.rows, -(-stop // self.rows)) if stop > start else range(0)
        rows = [self._permutation(number) for number in passes]
        offset = start // self.rows * self.rows
        return np.concatenate([*rows, np.empty(0, dtype=np.int64)])[start - offset : stop - offset].astype(np.int64)

    def _permutation(self, number: int) -> np.ndarray:
        # PCG64 keyed by the seed and the pass: numpy keeps bit generators stable, and `permuted` of random keys by a stable
        # sort does not depend on how a future numpy shuffles.
        keys = np.random.PCG64([self.seed, number]).random_raw(self.rows)
        return np.argsort(keys, kind="stable")
