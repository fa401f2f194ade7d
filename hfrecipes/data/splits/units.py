"""Rows that may not be parted: those of a group, equal ones, near duplicates; and all that these tie together."""

from __future__ import annotations

import numpy as np


def tie(*relations: np.ndarray) -> np.ndarray:
    """Joins rows that are equal in any of the relations, directly or by way of others.

    Args:
        relations: `(rows,)` each, equal for rows that belong together.

    Returns:
        `(rows,)` int64: the first row of each one's unit.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = len(relations[0])
    ids, offset, sources, targets = np.arange(rows), rows, [], []
    for relation in relations:
        values, codes = np.unique(relation, return_inverse=True)
        sources.append(ids)
        targets.append(codes + offset)
        offset += len(values)
    edges = (np.ones(rows * len(relations), dtype=np.int8), (np.concatenate(sources), np.concatenate(targets)))
    _, component = connected_components(coo_array(edges, shape=(offset, offset)), directed=False)
    return firsts(component[:rows])


def firsts(values: np.ndarray) -> np.ndarray:
    """For each row the first one of the same value: `(rows,)` int64."""
    _, first, codes = np.unique(values, return_index=True, return_inverse=True)
    return first[codes]
