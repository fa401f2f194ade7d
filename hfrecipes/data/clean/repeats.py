"""What rules about duplicates share: a first text is kept and its repeats are left out, whatever makes them the same."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hfrecipes.data.clean.columns import map_column, read_one
from hfrecipes.data.clean.pieces import compared_pieces, cut_out
from hfrecipes.data.clean.rule import KEPT, Document, Verdict

# Longer names of places are cut; they are for people, and the end of one says the row.
_PLACE_BYTES = 120


def describe(documents: Sequence[Document], num_compared: Sequence[int], level: str) -> dict[str, np.ndarray]:
    """What a sketch says beside the texts' hashes: how many of each document's pieces are compared, or where documents are."""
    if level != "document":
        return {"num_compared": np.array(num_compared, dtype=np.int64)}
    places = [document.where.encode("utf-8", "replace")[-_PLACE_BYTES:] for document in documents]
    return {"places": np.array(places, dtype=f"S{max(map(len, places), default=1)}")}


def write_decisions(
    sketches: Sequence[Path], decisions: Sequence[Path], firsts: np.ndarray, similarity: np.ndarray | None, level: str
) -> None:
    """Writes for each part which of its texts repeat one before them.

    Args:
        sketches: The sketches of all parts.
        decisions: What to write.
        firsts: `(texts,)` int64 over all parts: the first text that each one is the same as; its own index for a first.
        similarity: `(texts,)` float to that first text; None where they are equal.
        level: Whether texts are documents, or their paragraphs or lines.
    """
    repeated = firsts != np.arange(len(firsts))
    with tempfile.TemporaryDirectory(dir=decisions[0].parent) as folder:
        places = map_column(sketches, "places", Path(folder)) if level == "document" else None
        done = 0
        for sketch, decision in zip(sketches, decisions, strict=True):
            count = len(read_one(sketch, "places")) if level == "document" else read_one(sketch, "num_compared").sum()
            part = slice(done, done + count)
            arrays = {"repeated": repeated[part]}
            if places is not None:
                arrays["first_places"] = places[firsts[part]]
            if similarity is not None:
                arrays["similarity"] = similarity[part]
            with decision.open("wb") as file:
                np.savez(file, **arrays)
            done += count
        del places


def judge_documents(documents: Sequence[Document], decisions: Mapping[str, np.ndarray], reason: str) -> list[Verdict]:
    """Leaves out documents that repeat one before them, and says which."""
    similarity = decisions.get("similarity")
    verdicts = []
    for index, repeated in enumerate(decisions["repeated"]):
        if not repeated:
            verdicts.append(KEPT)
            continue
        detail = f"the same as {decisions['first_places'][index].decode('utf-8', 'replace')}"
        if similarity is not None:
            detail = f"nearly {detail} (Jaccard {similarity[index]:.2f})"
        verdicts.append(Verdict(reason=reason, detail=detail))
    return verdicts


def judge_pieces(
    documents: Sequence[Document], decisions: Mapping[str, np.ndarray], level: str, min_characters: int, reason: str
) -> list[Verdict]:
    """Cuts paragraphs or lines that repeat earlier ones out of the documents, and leaves out those that hold nothing else."""
    verdicts, done = [], 0
    for document in documents:
        pieces, compared = compared_pieces(document, level, min_characters)
        flags = decisions["repeated"][done : done + len(compared)]
        done += len(compared)
        unwanted = {index for index, flag in zip(compared, flags, strict=True) if flag}
        verdicts.append(_verdict(pieces, unwanted, level, reason) if unwanted else KEPT)
    return verdicts


def _verdict(pieces: Sequence[str], unwanted: set[int], level: str, reason: str) -> Verdict:
    counts = {f"{level}s": len(unwanted)}
    left = cut_out(pieces, unwanted)
    if left.strip():
        return Verdict(texts=(left,), counts=counts)
    return Verdict(reason=reason, counts=counts, detail=f"every {level} of it is in texts before it")
