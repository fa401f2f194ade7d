"""Text to arrays of 64-bit hashes, one for each word: the alphabet of near duplicates and of decontamination.

All arithmetic is on unsigned 64-bit integers modulo 2**64 and is written out here, so a hash is the same on every machine and
with every version of numpy. What a letter is comes from Python's own table of Unicode.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

# Changes with the hashes: those of an older version must not be compared with newer ones.
HASH_VERSION = f"1, Unicode {unicodedata.unidata_version}"

_SEPARATOR, _LETTER, _SYMBOL, _SINGLE, _DROPPED = range(5)
# Scripts that put no space between words, by blocks of Unicode; a character of theirs is a word.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # 々 〆 〇
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # small Katakana
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # compatibility forms of Han
    (0x1B000, 0x1B16F),  # older Kana
    (0x20000, 0x323AF),  # Han, later extensions
)
_APOSTROPHES = "'’‘ʼ`"
# Punctuation that is an operator in code and mathematics; other punctuation says little and is left out.
_OPERATORS = "*/%&-−\\"

# Odd numbers without structure: the first is the golden ratio's fraction, the others are the mixers of splitmix64
# (Steele, Lea and Flood 2014) and multipliers of Steele and Vigna 2021.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BASE = np.uint64(0xD1342543DE82EF95)
# Positions are counted modulo this, which only a word of so many characters could notice.
_NUM_POWERS = 1 << 16


@dataclass(frozen=True, slots=True)
class WordHashes:
    """The words of several texts, one after the other.

    Args:
        hashes: `(words,)` uint64.
        bounds: `(texts + 1,)` int64: words `bounds[i]:bounds[i + 1]` are those of text i.
        codes: `(characters,)` uint32: the texts as they were read, folded in case and form.
        starts: `(words + 1,)` int64: where each word begins in `codes`, and at last their number.
    """

    hashes: np.ndarray
    bounds: np.ndarray
    codes: np.ndarray
    starts: np.ndarray

    def between(self, first: int, end: int) -> str:
        """The folded text of words `first:end`, with what stands between them."""
        piece = self.codes[self.starts[first] : self.starts[end]]
        return " ".join(piece.astype("<u4").tobytes().decode("utf-32-le", "replace").split())


def hash_words(texts: Sequence[str], symbols: bool) -> WordHashes:
    """Reads the words of texts.

    Case, forms of a character (NFKC), apostrophes and invisible characters do not count. A word is a run of letters, marks and
    digits, or one character of a script that writes without spaces. Whatever stands between is left out.

    Args:
        texts: Any texts.
        symbols: Whether a run of mathematical and other symbols is a word as well, so that `3 + 4` is not `3 / 4`.

    Returns:
        Their words.
    """
    folded = [_folded(text) for text in texts]
    ends = np.cumsum([len(text) + 1 for text in folded], dtype=np.int64)
    joined = "\n".join([*folded, ""])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32, copy=False)
    kinds = _kinds(symbols)[codes]
    kept = kinds != _DROPPED
    if not kept.all():
        ends = np.cumsum(kept)[ends - 1] if len(ends) else ends
        codes, kinds = codes[kept], kinds[kept]
    begins = np.flatnonzero(_begins_word(kinds))
    hashes = hash_runs((codes.astype(np.uint64) + np.uint64(1)) * (kinds != _SEPARATOR), begins)
    bounds = np.concatenate([[0], np.searchsorted(begins, ends)]).astype(np.int64)
    return WordHashes(hashes, bounds, codes, np.append(begins, len(codes)))


def hash_windows(words: np.ndarray, length: int) -> np.ndarray:
    """The hashes of all runs of so many words, wherever they begin: `(words - length + 1,)` uint64 of `(words,)` uint64."""
    count = len(words) - length + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    sums = words[:count].copy()
    for offset in range(1, length):
        sums *= _BASE
        sums += words[offset : offset + count]
    return mix(sums)


def hash_runs(values: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """The hashes of runs of numbers, each of which ends where the next begins.

    Args:
        values: `(values,)` uint64; a zero counts for nothing, so those at the end of a run are as if not there.
        begins: `(runs,)` int64, rising.

    Returns:
        `(runs,)` uint64: mixed sums of value * base**position, positions counted from the begin of the run.
    """
    if len(begins) == 0:
        return np.zeros(0, dtype=np.uint64)
    lengths = np.diff(begins, append=len(values))
    positions = np.arange(begins[0], len(values)) - np.repeat(begins, lengths)
    terms = values[begins[0] :] * _powers()[positions & (_NUM_POWERS - 1)]
    return mix(np.add.reduceat(terms, begins - begins[0]))


def mix(values: np.ndarray) -> np.ndarray:
    """Spreads every bit of `(n,)` uint64 over all 64: the finaliser of splitmix64, which is one-to-one."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def numbered_hashes(count: int, salt: int = 0) -> np.ndarray:
    """`(count,)` uint64 that look random and are for ever the same: the stream of splitmix64 from `salt`."""
    steps = np.arange(1, count + 1, dtype=np.uint64)
    return mix(np.uint64(salt) + steps * _GOLDEN)


def weigh_words(words: WordHashes) -> np.ndarray:
    """How much each word says, roughly: `(words,)` float, 1, or .5 for a character of a script without spaces, 0 for symbols."""
    kinds = _kinds(symbols=True)[words.codes[words.starts[:-1]]]
    return (kinds == _LETTER) + 0.5 * (kinds == _SINGLE)


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    # NFKC would make a space and a mark of the acute accent that many write for an apostrophe.
    return unicodedata.normalize("NFKC", text.replace("´", "'")).casefold()


def _begins_word(kinds: np.ndarray) -> np.ndarray:
    begins = kinds != _SEPARATOR
    begins[1:] &= (kinds[1:] != kinds[:-1]) | (kinds[1:] == _SINGLE)
    return begins


@cache
def _powers() -> np.ndarray:
    factors = np.full(_NUM_POWERS, _BASE, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


@cache
def _kinds(symbols: bool) -> np.ndarray:
    """The kind of every code point: `(0x110000,)` uint8."""
    by_category = {"S": _SYMBOL if symbols else _SEPARATOR, "P": _SEPARATOR, "Z": _SEPARATOR}
    # A character that this Python's Unicode does not know yet is most likely a letter of a script added since.
    kinds = np.fromiter(
        (by_category.get(unicodedata.category(chr(code))[0], _LETTER) for code in range(0x110000)), np.uint8, 0x110000
    )
    kinds[:0x20] = kinds[0x7F:0xA0] = kinds[0xD800:0xE000] = _SEPARATOR
    formats = [code for code in range(0x20000) if unicodedata.category(chr(code)) == "Cf"]
    kinds[[*formats, *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000)]] = _DROPPED
    for first, last in _UNSPACED:
        block = kinds[first : last + 1]
        block[block == _LETTER] = _SINGLE
    kinds[[ord(mark) for mark in _APOSTROPHES]] = _DROPPED
    if symbols:
        kinds[[ord(mark) for mark in _OPERATORS]] = _SYMBOL
    return kinds
