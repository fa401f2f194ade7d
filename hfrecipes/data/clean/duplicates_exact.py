"""Leaves out documents, paragraphs or lines that are the same, word for word, as one before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hfrecipes.data.clean.clusters import first_equal
from hfrecipes.data.clean.columns import read_column
from hfrecipes.data.clean.pieces import compared_pieces, normalize
from hfrecipes.data.clean.repeats import describe, judge_documents, judge_pieces, write_decisions
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.word_hashes import HASH_VERSION
from hfrecipes.data.hashing import stable_key
from hfrecipes.recipe.cleaning import ExactDuplicates

_MIN_CHARACTERS = 20


class ExactDuplicateRule:
    """The first of equal texts, in the order of the data, is kept. See `normalize` for what makes no difference.

    - Documents: all texts of a row have to be equal, and as many; a repeat is left out.
    - Paragraphs and lines: repeats are cut out of documents that are one text, also repeats within one; a document is left
      out when nothing else is in it. Pieces shorter than `min_characters` stay.

    Texts are compared by 64-bit BLAKE2b: among ten million, two different ones are the same with a probability of 3e-6.
    Deciding takes some 60 bytes of memory for each text that is compared.

    Args:
        settings: The recipe's words.
    """

    name = "dedup_exact"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: ExactDuplicates) -> None:
        self._level = settings.level or "document"
        self._min_characters = _MIN_CHARACTERS if settings.min_characters is None else settings.min_characters

    @property
    def fingerprint(self) -> str:
        return HASH_VERSION

    def sketch(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        keys, num_compared = [], []
        for document in documents:
            texts = self._compared(document)
            keys += [stable_key(text) for text in texts]
            num_compared.append(len(texts))
        return {"keys": np.array(keys, dtype=np.uint64), **describe(documents, num_compared, self._level)}

    def resolve(self, sketches: Sequence[Path], decisions: Sequence[Path]) -> None:
        if sketches:
            firsts = first_equal(read_column(sketches, "keys"))
            write_decisions(sketches, decisions, firsts, None, self._level)

    def judge(self, documents: Sequence[Document], decisions: Mapping[str, np.ndarray]) -> list[Verdict]:
        if self._level == "document":
            return judge_documents(documents, decisions, "duplicate")
        return judge_pieces(documents, decisions, self._level, self._min_characters, "only_repeats")

    def _compared(self, document: Document) -> list[str]:
        if self._level == "document":
            # Lengths in front, so that no text can look like two.
            texts = [normalize(text) for text in document.texts]
            return ["".join(f"{len(text)}:{text}" for text in texts)]
        pieces, compared = compared_pieces(document, self._level, self._min_characters)
        return [normalize(pieces[index]) for index in compared]
