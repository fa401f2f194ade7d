"""How many of each kind can stay so that none is more than its share of what stays."""

from __future__ import annotations

from collections.abc import Mapping


def kept_counts(counts: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, int]:
    """The largest set in which no listed kind is above its share; kinds without a share stay whole.

    With K documents kept in all, a kind that is listed keeps min(count, share * K): the largest such K is one of the points
    where the kinds that are scarcest are used up. Whole numbers are within one document of the exact shares. Where shares
    sum to 1 and all kinds are listed, the result has exactly those shares, and the scarcest kind says how large it is.

    Args:
        counts: Documents of each kind.
        shares: Kind -> share between 0 and 1, in sum at most 1.

    Returns:
        Documents to keep, of each kind in `counts`.
    """
    listed = {kind: shares[kind] for kind in counts if kind in shares}
    total = _largest_total(counts, listed)
    kept = {kind: min(count, round(listed[kind] * total)) for kind, count in counts.items() if kind in listed}
    return {kind: kept.get(kind, count) for kind, count in counts.items()}


def _largest_total(counts: Mapping[str, int], listed: Mapping[str, float]) -> float:
    """The largest K that solves K = free + sum of min(count, share * K)."""
    free = sum(count for kind, count in counts.items() if kind not in listed)
    # The first to be used up as K grows stands first.
    order = sorted((kind for kind in listed if listed[kind] > 0), key=lambda kind: counts[kind] / listed[kind])
    largest = 0.0
    for used_up in range(len(order) + 1):
        whole = free + sum(counts[kind] for kind in order[:used_up])
        rest = 1 - sum(listed[kind] for kind in order[used_up:])
        if rest > 1e-12:
            total = whole / rest
            ends = [counts[kind] / listed[kind] for kind in order]
            above = used_up == 0 or total >= ends[used_up - 1] * (1 - 1e-9)
            below = used_up == len(order) or total <= ends[used_up] * (1 + 1e-9)
            largest = max(largest, total) if above and below else largest
    return largest
