"""From shares to whole samples, block by block: never further than one sample from what is due, and within limits.

All of it is in whole numbers of small parts of a sample, so that the result is the same on every machine.
"""

from __future__ import annotations

import numpy as np

# Parts of a sample. With this many, 64 bits hold the parts of the largest mixture.
PARTS = 1 << 24
MOST_SAMPLES = (1 << 62) // PARTS


def parts_of(shares: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """What each source is due in each block, in parts of a sample.

    Args:
        shares: `(blocks, sources)`, each row summing to 1.
        sizes: `(blocks,)` int64, parts in each block.

    Returns:
        `(blocks, sources)` int64, each row summing to its size; where a share is 0, so is what is due.
    """
    parts = np.rint(shares * sizes[:, None]).astype(np.int64)
    # A few parts that rounding made too many or too few; the largest share does not feel them.
    parts[np.arange(len(parts)), shares.argmax(axis=1)] += sizes - parts.sum(axis=1)
    return parts


def limited_parts(shares: np.ndarray, sizes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """`parts_of`, where no source goes on when it is used up: the others take its part by their own shares.

    Args:
        shares: As in `parts_of`.
        sizes: As in `parts_of`.
        limits: `(sources,)` int64, the most parts of each source.

    Raises:
        ValueError: somewhere no source with a share has anything left.
    """
    parts, left, first = parts_of(shares, sizes), limits.copy(), 0
    # Each round ends with a source that is used up.
    while (over := (np.cumsum(parts[first:], axis=0) > left).any(axis=1)).any():
        block = first + int(over.argmax())
        left -= parts[first:block].sum(axis=0)
        parts[block] = _filled(shares[block], int(sizes[block]), left, block / len(shares))
        left -= parts[block]
        first = block + 1
        rest = np.where(left > 0, shares[first:], 0.0)
        sums = sum(rest.T, np.zeros(len(rest)))
        if (sums <= 0).any():
            _refuse_nothing((first + int((sums <= 0).argmax())) / len(shares))
        parts[first:] = parts_of(rest / sums[:, None], sizes[first:])
    return parts


def _filled(share: np.ndarray, size: int, left: np.ndarray, progress: float) -> np.ndarray:
    """The parts of a block in which a source comes to its end."""
    taken = np.zeros_like(left)
    while missing := size - int(taken.sum()):
        able = np.where(left > taken, share, 0.0)
        if not able.any():
            _refuse_nothing(progress)
        more = parts_of((able / sum(able))[None], np.array([missing]))[0]
        taken += np.minimum(more, left - taken)
    return taken


def _refuse_nothing(progress: float) -> None:
    raise ValueError(f"from progress {progress:.3f} on, no source with a weight has rows left")


def whole_counts(parts: np.ndarray) -> np.ndarray:
    """Whole samples of each source before each block and after the last, which follow the parts that are due.

    The j-th sample of a source may be drawn from the block on in which more than j - 1 of them are due, and must be by the end of
    the block in which j are. Blocks are filled in the order of these deadlines, which keeps all of them wherever that is possible
    at all; and it is, since drawing parts of samples as they become due would do so (the chairman assignment problem: Tijdeman
    1980). Rounding each block by the largest remainder would not: it forgets what is due soon, and errors can add up.

    Args:
        parts: `(blocks, sources)` int64; each row sums to whole samples.

    Returns:
        `(blocks + 1, sources)` int64, never falling; each less than one sample from what was due until then, and row b
        summing to the samples of the blocks before b.
    """
    due = np.concatenate([np.zeros((1, parts.shape[1]), dtype=np.int64), np.cumsum(parts, axis=0)])
    whole = due // PARTS
    most = -(-due // PARTS)
    # The block in which the sample behind the whole ones must come; that of the last ones never does.
    deadlines = np.stack([np.searchsorted(source, source + 1) for source in whole.T], axis=1)
    sizes = (parts.sum(axis=1) // PARTS).tolist()
    counts = np.zeros_like(due)
    now = [0] * parts.shape[1]
    rows = zip(whole[1:].tolist(), most[1:].tolist(), deadlines[1:].tolist(), sizes, strict=True)
    for block, (must, may, deadline, size) in enumerate(rows, start=1):
        before = sum(now)
        now = [max(count, least) for count, least in zip(now, must, strict=True)]
        free = size - (sum(now) - before)
        if free:
            open_to = [source for source, count in enumerate(now) if count < may[source]]
            for source in sorted(open_to, key=deadline.__getitem__)[:free]:
                now[source] += 1
        counts[block] = now
    return counts
