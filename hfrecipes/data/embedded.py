"""The sources that need no network: what `mining` finds, mined once per Python and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hfrecipes.data import mining
from hfrecipes.data.flawed_answers import FLAWS, mine_flaws
from hfrecipes.data.hashing import SPLITS, sha256_of_texts, stable_key
from hfrecipes.data.mined_instructions import Instruction, mine_instructions
from hfrecipes.data.mined_preferences import RANKS, mine_preferences, mine_rankings
from hfrecipes.data.mining import Piece
from hfrecipes.data.row import Row, Source
from hfrecipes.data.store import make_once
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import cache_folder

# Counted up when mining changes what it finds, so that no old result is taken for a new one.
_VERSION = 1
_LICENSE = "PSF-2.0"
_PIECES = "pieces.jsonl"

_MINERS: dict[str, Callable[[Path], Iterator[Piece]]] = {
    "python_code": mining.mine_code,
    "python_prose": mining.mine_prose,
    "python_docstrings": mining.mine_docstrings,
}
PREFERENCES, RANKINGS, FLAWED = "python_preferences", "python_rankings", "python_flaws"
INSTRUCTIONS = "python_instructions"
NAMES = (*_MINERS, PREFERENCES, RANKINGS, FLAWED, INSTRUCTIONS)
# The files of `train` in two halves, for a model and a judge that are to have learnt from different ones.
HALVES = ("train_a", "train_b")


def open_embedded(spec: dict[str, Any], where: str) -> Source:
    """One of `NAMES`.

    Files of the standard library are split 90, 5 and 5 % by a hash of their path, the same for all: what is
    trained on in one is never tested on in another. `train_a` and `train_b` are the files of `train` in two halves, by another
    hash; rows whose answers come from both are in neither.

    Raises:
        RecipeError: for a split, subset or revision that there is not.
    """
    name, split, subset = spec["name"], spec.get("split"), spec.get("subset")
    if split not in (None, *SPLITS, *HALVES):
        raise RecipeError(Problem(where, f"{name} has no split {split!r}", f"it has {', '.join((*SPLITS, *HALVES))}"))
    if name == FLAWED and subset not in (None, *FLAWS):
        raise RecipeError(Problem(where, f"{name} has no subset {subset!r}", f"it has {', '.join(FLAWS)}"))
    for word in ("revision",) if name == FLAWED else ("subset", "revision"):
        if spec.get(word):
            fix = f"remove it: {name} is the running Python's, whose version is in run.json"
            raise RecipeError(Problem(where, f"{name} has no {word}", fix))

    def groups() -> list[Group]:
        return [group for group in _grouped(name, subset) if all(_is_in(piece, split) for piece in group)]

    def read() -> Iterator[Row]:
        return (Row(f"{name}: {group[0].file}:{group[0].line}", _values(name, group)) for group in groups())

    def hash_content() -> str:
        parts = (part for group in groups() for piece in group for part in (piece.file, piece.text, piece.summary))
        return sha256_of_texts(parts)

    title = f"{name}/{subset}" if subset else name
    return Source(title, split, _LICENSE, True, read, hash_content, where, spec.get("limit"))


# A piece, and those whose answers it is compared with.
Group = tuple[Piece, ...]


def _is_in(piece: Piece, split: str | None) -> bool:
    if split not in HALVES:
        return split in (None, piece.split)
    return piece.split == "train" and HALVES[stable_key(f"half {piece.file}") % len(HALVES)] == split


def _grouped(name: str, subset: str | None) -> list[Group]:
    if name == PREFERENCES:
        return list(mine_preferences(mined("python_docstrings")))
    if name == RANKINGS:
        return [(piece, *others) for piece, others in mine_rankings(mined("python_docstrings"))]
    if name == FLAWED:
        found = mine_flaws(mined("python_docstrings"), FLAWS if subset is None else (subset,))
        return [(piece, replace(piece, summary=text)) for piece, text in found]
    if name == INSTRUCTIONS:
        return [(piece,) for piece in mine_instructions(mined("python_docstrings"))]
    return [(piece,) for piece in mined(name)]


def _values(name: str, group: Group) -> dict[str, Any]:
    piece = group[0]
    if not piece.summary:
        return {"text": piece.text}
    if isinstance(piece, Instruction):
        turns = [{"role": "user", "content": piece.text}], [{"role": "assistant", "content": piece.summary}]
        return {"prompt": turns[0], "completion": turns[1], "family": piece.family, "kind": piece.kind}
    question = f"{mining.INSTRUCTION}\n\n```python\n{piece.text}\n```"
    prompt = [{"role": "user", "content": question}]
    answers = [[{"role": "assistant", "content": each.summary}] for each in group]
    if name in (PREFERENCES, FLAWED):
        return {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}
    if name == RANKINGS:
        return {"prompt": prompt, "answers": answers, "ranks": list(RANKS)}
    return {"prompt": prompt, "completion": answers[0]}


@lru_cache(maxsize=len(_MINERS))
def mined(name: str) -> list[Piece]:
    """All pieces of one of the sources that are mined, from the cache where this Python was mined before."""
    root = mining.library_folder()
    if name == "python_code":
        return list(mining.mine_code(root))  # reading files again is as fast as reading a cache of them
    folder = cache_folder() / "mined" / f"{name}-{_library_key(root)}"
    make_once(folder, lambda draft: _write_pieces(draft, mining.without_repeats(list(_MINERS[name](root)))))
    lines = (folder / _PIECES).read_text(encoding="utf-8").splitlines()
    return [Piece(**{**record, "same_as": tuple(record["same_as"])}) for record in map(json.loads, lines)]


def _write_pieces(folder: Path, pieces: list[Piece]) -> None:
    lines = (json.dumps(asdict(piece)) + "\n" for piece in pieces)
    (folder / _PIECES).write_text("".join(lines), encoding="utf-8")


def _library_key(root: Path) -> str:
    """Changes with the Python and with any of its library files."""
    facts = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in mining.library_files(root)]
    known = [_VERSION, platform.python_implementation(), sys.version, str(root), facts]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
