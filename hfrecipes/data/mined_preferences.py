"""Preferences and rankings out of pairs of a function and its docstring: a function's own docstring is better than another's.

Within a split every docstring is the chosen one of one function and the rejected one of another, so that neither its length nor
anything else about it alone tells which it is: it has to be read beside the function.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from hfrecipes.data.mining import Piece

# Answers of a ranking: a function's own docstring, another one of its file, and two of other files.
RANKS = (0, 1, 2, 2)
# How far from a function, in the order of lengths, docstrings of other files are looked for.
_REACH = 50


def mine_preferences(pieces: Sequence[Piece]) -> list[tuple[Piece, Piece]]:
    """Each function with one whose docstring is not its own: of the same file where it can be, of nearly the same length.

    Args:
        pieces: From `mine_docstrings`, without repeats.

    Returns:
        In the order of `pieces`, without those that have no partner.
    """
    partner: dict[int, int] = {}
    left: list[int] = []
    for members in _groups(pieces, lambda piece: (piece.split, piece.file)):
        left += _pair(pieces, members, partner)
    for members in _groups([pieces[index] for index in left], lambda piece: (piece.split,)):
        _pair(pieces, [left[member] for member in members], partner)
    return [(piece, pieces[partner[index]]) for index, piece in enumerate(pieces) if index in partner]


def mine_rankings(pieces: Sequence[Piece]) -> list[tuple[Piece, list[Piece]]]:
    """Each function with three others: one of its file, which is nearer to it than the two of other files that follow.

    Args:
        pieces: As for `mine_preferences`.

    Returns:
        In the order of `pieces`; functions that are alone in their file are left out.
    """
    places = {id(piece): index for index, piece in enumerate(pieces)}
    others = {}
    for members in _groups(pieces, lambda piece: (piece.split,)):
        for turn, index in enumerate(members):
            around = (members[(turn + step) % len(members)] for near in range(1, _REACH) for step in (near, -near))
            others[index] = [place for place in around if pieces[place].file != pieces[index].file]
    found = []
    for piece, second in mine_preferences(pieces):
        if second.file != piece.file:
            continue
        said = {piece.summary, second.summary}
        far = []
        for place in others[places[id(piece)]]:
            if pieces[place].summary not in said:
                said.add(pieces[place].summary)
                far.append(pieces[place])
        if len(far) >= len(RANKS) - 2:
            found.append((piece, [second, *far[: len(RANKS) - 2]]))
    return found


def _groups(pieces: Sequence[Piece], key: Callable[[Piece], tuple[str, ...]]) -> Iterator[list[int]]:
    """Places of the pieces that share a key, in the order of their docstrings' lengths."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, piece in enumerate(pieces):
        groups[key(piece)].append(index)
    for members in groups.values():
        yield sorted(members, key=lambda index: (len(pieces[index].summary), pieces[index].summary, index))


def _pair(pieces: Sequence[Piece], members: list[int], partner: dict[int, int]) -> list[int]:
    """Makes neighbours each other's partners, in place.

    Returns:
        Those without one: the last of an odd number, and neighbours that say the same.
    """
    left = []
    turn = 0
    while turn < len(members):
        pair = members[turn : turn + 2]
        if len(pair) == 2 and pieces[pair[0]].summary != pieces[pair[1]].summary:
            partner[pair[0]], partner[pair[1]] = pair[1], pair[0]
            turn += 2
        else:
            left.append(pair[0])
            turn += 1
    return left
