"""Leaves out documents, paragraphs or lines that are nearly the same as one before them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hfrecipes.data.clean.clusters import cluster, estimate_similarity
from hfrecipes.data.clean.columns import map_column, read_column
from hfrecipes.data.clean.minhash import choose_bands, sketch_texts
from hfrecipes.data.clean.pieces import compared_pieces
from hfrecipes.data.clean.repeats import describe, judge_documents, judge_pieces, write_decisions
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.word_hashes import HASH_VERSION
from hfrecipes.recipe.cleaning import NearDuplicates

_THRESHOLD = 0.72
_NGRAM = 5
_NUM_HASHES = 112
_MIN_CHARACTERS = 100


class NearDuplicateRule:
    """The first of a cluster of texts that are nearly the same, in the order of the data, is kept.

    MinHash finds candidates, and the similarity that whole signatures estimate decides (`clusters.py`). At the level of
    documents, a conversation is compared as the text of all its turns. At that of paragraphs and lines, repeats are cut out
    of documents that are one text; a document is left out when nothing else is in it.

    Sketches take 336 bytes for each text that is compared, with the default of 112 hashes in 14 bands. Deciding takes some 70
    bytes of memory for each, and the signatures once more on disk.

    Args:
        settings: The recipe's words.
    """

    name = "dedup_minhash"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: NearDuplicates) -> None:
        self._level = settings.level or "document"
        self._threshold = _THRESHOLD if settings.threshold is None else settings.threshold
        self._ngram = settings.ngram or _NGRAM
        self._num_hashes = settings.num_hashes or _NUM_HASHES
        self._min_characters = _MIN_CHARACTERS if settings.min_characters is None else settings.min_characters

    @property
    def fingerprint(self) -> str:
        return HASH_VERSION

    def sketch(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        num_compared: list[int] = []
        texts = self._compared(documents, num_compared)
        sketches = sketch_texts(texts, self._ngram, self._num_hashes, self._threshold)
        bands = {_band(number): keys for number, keys in enumerate(sketches.keys)}
        return {"signatures": sketches.signatures, **bands, **describe(documents, num_compared, self._level)}

    def resolve(self, sketches: Sequence[Path], decisions: Sequence[Path]) -> None:
        if not sketches:
            return
        bands, _ = choose_bands(self._threshold, self._num_hashes)
        with tempfile.TemporaryDirectory(dir=decisions[0].parent) as folder:
            signatures = map_column(sketches, "signatures", Path(folder))
            keys = (read_column(sketches, _band(number)) for number in range(bands))
            firsts = cluster(keys, signatures, self._threshold)
            similarity = _similarity_to_first(signatures, firsts) if self._level == "document" else None
            write_decisions(sketches, decisions, firsts, similarity, self._level)
            del signatures

    def judge(self, documents: Sequence[Document], decisions: Mapping[str, np.ndarray]) -> list[Verdict]:
        if self._level == "document":
            return judge_documents(documents, decisions, "near_duplicate")
        return judge_pieces(documents, decisions, self._level, self._min_characters, "only_repeats")

    def _compared(self, documents: Sequence[Document], num_compared: list[int]) -> Iterator[str]:
        """The texts that are compared; how many of each document is added to the list, as they are read."""
        for document in documents:
            if self._level == "document":
                yield document.text
                continue
            pieces, compared = compared_pieces(document, self._level, self._min_characters)
            num_compared.append(len(compared))
            yield from (pieces[index] for index in compared)


def _band(number: int) -> str:
    return f"band_{number:03d}"


def _similarity_to_first(signatures: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """`(texts,)` float32, 1 for a first text itself."""
    similarity = np.ones(len(firsts), dtype=np.float32)
    repeats = np.flatnonzero(firsts != np.arange(len(firsts)))
    similarity[repeats] = estimate_similarity(signatures, repeats, firsts[repeats])
    return similarity
