"""Keys of short rows as a whole, for evaluation rows with too few words for an n-gram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfrecipes.data.clean.word_hashes import hash_runs, hash_words, weigh_words


@dataclass(frozen=True, slots=True)
class WholeKeys:
    """Hashes of all words and symbols of rows, whatever their case, spaces and punctuation.

    Args:
        full: `(rows,)` uint64, of all texts of a row.
        full_weight: `(rows,)` float, how many words these are; a character of a script without spaces is half a word.
        prompt: `(rows,)` uint64, of all texts but the last: a prompt without its completion.
        prompt_weight: `(rows,)` float.
    """

    full: np.ndarray
    full_weight: np.ndarray
    prompt: np.ndarray
    prompt_weight: np.ndarray


def whole_keys(rows: Sequence[Sequence[str]]) -> WholeKeys:
    """The keys of rows.

    An answer alone has no key: "New York City" is the answer to many a question, and a label that of half of all rows.

    Args:
        rows: The texts of each row, in their order.

    Returns:
        Their keys; those of weight 0 say nothing.
    """
    words = hash_words([text for texts in rows for text in texts], symbols=True)
    last_text = np.cumsum([len(texts) for texts in rows], dtype=np.int64)
    begins = words.bounds[np.concatenate([[0], last_text])]
    weights = weigh_words(words)
    in_prompt = np.ones(len(words.hashes), dtype=bool)
    for text in last_text[np.diff(last_text, prepend=0) > 0] - 1:
        in_prompt[words.bounds[text] : words.bounds[text + 1]] = False
    return WholeKeys(
        _by_row(words.hashes, begins),
        _sum_by_row(weights, begins),
        _by_row(words.hashes * in_prompt, begins),
        _sum_by_row(weights * in_prompt, begins),
    )


def _by_row(hashes: np.ndarray, begins: np.ndarray) -> np.ndarray:
    keys = np.zeros(len(begins) - 1, dtype=np.uint64)
    filled = np.diff(begins) > 0
    keys[filled] = hash_runs(hashes, begins[:-1][filled])
    return keys


def _sum_by_row(weights: np.ndarray, begins: np.ndarray) -> np.ndarray:
    sums = np.concatenate([[0], np.cumsum(weights)])
    return sums[begins[1:]] - sums[begins[:-1]]
