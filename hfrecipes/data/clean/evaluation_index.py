"""What is looked for in training documents: n-grams of the evaluation rows, and rows that are too short to have any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from hfrecipes.data.clean.common_phrases import Rows, content_windows
from hfrecipes.data.clean.minhash import batched_by_characters
from hfrecipes.data.clean.whole_texts import whole_keys
from hfrecipes.data.clean.word_hashes import HASH_VERSION, hash_windows, hash_words

# A row of fewer words is no content of its own: a label, a name, a number.
MIN_WHOLE_WORDS = 3


class HashTable:
    """Sorted hashes, and the evaluation row of each.

    Args:
        hashes: `(n,)` uint64, in any order; of equal ones the lowest row counts.
        rows: `(n,)` int64.
    """

    def __init__(self, hashes: np.ndarray, rows: np.ndarray) -> None:
        order = np.lexsort((rows, hashes))
        self.hashes, first = np.unique(hashes[order], return_index=True)
        self.rows = rows[order][first]
        # Most hashes of a training text are in no table: one look at an array of flags, which mostly is in the cache, tells.
        bits = min(max(len(self.hashes) * 16, 1 << 10).bit_length(), 26)
        self._shift = np.uint64(64 - bits)
        self._flags = np.zeros(1 << bits, dtype=bool)
        self._flags[self.hashes >> self._shift] = True

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The indices of those of `(n,)` hashes that are in the table, and the row of each."""
        likely = np.flatnonzero(self._flags[hashes >> self._shift])
        if len(likely) == 0:
            return likely, likely
        places = np.searchsorted(self.hashes, hashes[likely])
        places[places == len(self.hashes)] = 0
        found = self.hashes[places] == hashes[likely]
        return likely[found], self.rows[places[found]]


@dataclass(frozen=True, slots=True)
class EvaluationIndex:
    """What is looked for.

    Args:
        names: The title of its evaluation set, and the place, of each evaluation row.
        ngrams: The n-grams with content.
        wholes: Keys of whole rows, and of whole prompts, in which no n-gram has content.
        max_whole_words: Words of the longest of these; longer documents cannot be equal to one.
        fingerprint: Changes with all of it.
    """

    names: list[tuple[str, str]]
    ngrams: HashTable
    wholes: HashTable
    max_whole_words: int
    fingerprint: str


def build_index(
    evaluation_texts: Iterable[tuple[str, str, Sequence[str]]], ngram: int, max_rows: int
) -> EvaluationIndex:
    """Reads the evaluation rows. Takes some 150 bytes of memory for each word of them while it does.

    Args:
        evaluation_texts: For each row the title of its set, its place (`test.jsonl:7`) and its texts.
        ngram: Words in an n-gram.
        max_rows: What is in more rows is form, not content.

    Returns:
        The index.
    """
    names: list[tuple[str, str]] = []
    texts_of_rows: list[tuple[str, ...]] = []
    for title, where, texts in evaluation_texts:
        names.append((title, where))
        texts_of_rows.append(tuple(texts))
    titles = {title: number for number, title in enumerate(dict.fromkeys(title for title, _ in names))}
    rows = Rows(np.array([titles[title] for title, _ in names], dtype=np.int64), max_rows)
    ngrams, ngram_rows, has_content = _content_ngrams(texts_of_rows, rows, ngram)
    wholes, whole_rows, max_words = _content_wholes(texts_of_rows, rows, has_content)
    digest = hashlib.sha256(f"{HASH_VERSION} {ngram} {max_rows} {names}".encode("utf-8", "surrogatepass"))
    for array in (ngrams, ngram_rows, wholes, whole_rows):
        digest.update(np.ascontiguousarray(array).astype("<u8").tobytes())
    return EvaluationIndex(
        names, HashTable(ngrams, ngram_rows), HashTable(wholes, whole_rows), max_words, digest.hexdigest()
    )


def _content_ngrams(
    texts_of_rows: Sequence[Sequence[str]], rows: Rows, length: int
) -> tuple[np.ndarray, np.ndarray, list[list[bool]]]:
    """The n-grams with content, the row of each, and which texts of each row have any."""
    words, text_of_word = _read_words([text for texts in texts_of_rows for text in texts])
    num_texts = np.array([len(texts) for texts in texts_of_rows], dtype=np.int64)
    row_of_text = np.repeat(np.arange(len(texts_of_rows)), num_texts)
    windows, row_of_window, within = _windows(words, text_of_word, row_of_text, length)
    kept = np.flatnonzero(within)
    if len(kept):
        phrase_length = max(length // 2, 2)
        phrases, row_of_phrase, within_text = _windows(words, text_of_word, row_of_text, phrase_length)
        within_text[within_text] = rows.are_common(phrases[within_text], row_of_phrase[within_text])
        kept = kept[content_windows(words, within_text, phrase_length, length)[kept]]
        kept = kept[~rows.are_common(windows[kept], row_of_window[kept])]
    has_content = np.zeros(len(row_of_text), dtype=bool)
    has_content[text_of_word[kept]] = True
    flags = iter(has_content.tolist())
    return windows[kept], row_of_window[kept], [list(islice(flags, count)) for count in num_texts]


def _content_wholes(
    texts_of_rows: Sequence[Sequence[str]], rows: Rows, has_content: Sequence[Sequence[bool]]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Keys of rows and prompts without such n-grams, the row of each, and the most words that one of them has."""
    short = [row for row, flags in enumerate(has_content) if not any(flags) or (flags[1:] and not any(flags[:-1]))]
    keys = whole_keys([texts_of_rows[row] for row in short])
    whole_too = np.array([not any(has_content[row]) for row in short], dtype=bool)
    numbers = np.array(short, dtype=np.int64)
    full, prompt = (keys.full_weight >= MIN_WHOLE_WORDS) & whole_too, keys.prompt_weight >= MIN_WHOLE_WORDS
    hashes = np.concatenate([keys.full[full], keys.prompt[prompt]])
    found_in = np.concatenate([numbers[full], numbers[prompt]])
    content = ~rows.are_common(hashes, found_in)
    # A word weighs at least a half.
    longest = max([*keys.full_weight[full], *keys.prompt_weight[prompt]], default=0)
    return hashes[content], found_in[content], int(2 * longest)


def _read_words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The words of all texts, and the text of each."""
    hashes, counts = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for batch in batched_by_characters(texts):
        words = hash_words(batch, symbols=False)
        hashes.append(words.hashes)
        counts.append(np.diff(words.bounds))
    return np.concatenate(hashes), np.repeat(np.arange(len(texts)), np.concatenate(counts))


def _windows(
    words: np.ndarray, text_of_word: np.ndarray, row_of_text: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hash and row of every run of words, and whether it lies within one text."""
    windows = hash_windows(words, length)
    first, last = text_of_word[: len(windows)], text_of_word[length - 1 : length - 1 + len(windows)]
    return windows, row_of_text[first], first == last
