"""Text as words of units, each unit one character: what a trainer of merges goes on from that knows characters only.

A unit is a piece of the tokenizer, or a character that the tokenizer has no piece for and spells in bytes.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import tokenizers

# Begins a word in SentencePiece's pieces.
SPACE = "▁"
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
# Beyond the white space and the surrogates of Unicode, with room for a million units.
_FIRST = 0x10000
_BATCH_TEXTS = 256
# One word in the classes below: perhaps with the space before it, then letters.
_WORD = re.compile("s?l+")
_STARTS, _LETTERS, _OTHER = "s", "l", "x"


class Units:
    """Units of a tokenizer.

    Args:
        tokenizer: A BPE that covers every byte, by byte-level letters or by byte tokens to fall back on.

    Attributes:
        texts: By unit, how the vocabulary spells it.
        spelled: By unit, the ids that the tokenizer spells it in.
        num_characters: Of all texts that were cut into words.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self._tokenizer = tokenizer
        self._added = set(tokenizer.get_added_tokens_decoder())
        self.texts = [""] * (max(vocabulary.values()) + 1)
        for text, token in vocabulary.items():
            self.texts[token] = text
        self.spelled: list[tuple[int, ...]] = [(token,) for token in range(len(self.texts))]
        self.num_characters = 0
        fallback = json.loads(tokenizer.to_str())["model"].get("byte_fallback")
        self._bytes = {vocabulary[token]: byte for byte, token in enumerate(BYTE_TOKENS)} if fallback else {}
        self._first_character = len(self.texts)
        self._characters: dict[str, int] = {}
        self._classes = [self._class_of(token) for token in range(len(self.texts))] if fallback else []

    @property
    def has_fallback(self) -> bool:
        """Whether characters without a piece become byte tokens; else pieces are made of byte-level letters."""
        return bool(self._bytes)

    def words(self, texts: Iterable[str]) -> Counter[str]:
        """How often each word occurs, as characters that stand for units. A word's units may be merged, two words' not."""
        found: Counter[str] = Counter()
        cut = self._words_of_letters if self.has_fallback else self._words_of_encoding
        for batch in _batches(texts):
            self.num_characters += sum(map(len, batch))
            for encoding in self._tokenizer.encode_batch(batch, add_special_tokens=False):
                found.update(cut(encoding))
        return found

    def unit(self, letter: str) -> int:
        """The unit that a character of a word stands for."""
        return ord(letter) - _FIRST

    def letter(self, unit: int) -> str:
        """The character that stands for a unit."""
        return chr(_FIRST + unit)

    def characters(self) -> range:
        """Units that are no piece yet."""
        return range(self._first_character, len(self.texts))

    def _words_of_encoding(self, encoding: tokenizers.Encoding) -> Iterator[str]:
        """The tokenizer's own words: it merges within them alone."""
        letters = "".join(map(self.letter, encoding.ids))
        # What stands for no word (None) is an added token.
        numbers = np.array([-1 if number is None else number for number in encoding.word_ids])
        ends = [*(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(letters)]
        begin = 0
        for end in ends:
            if end - begin > 1:
                yield letters[begin:end]
            begin = end

    def _words_of_letters(self, encoding: tokenizers.Encoding) -> Iterator[str]:
        """SentencePiece's words, for a tokenizer that itself merges across a whole text: a space, then letters.

        So no piece is learnt that joins words, digits or punctuation. Other characters come alone, to be counted.
        """
        units = [unit for run in self._runs(encoding.ids) for unit in run]
        classes = "".join(self._classes[unit] for unit in units)
        end = 0
        for match in _WORD.finditer(classes):
            yield from self._alone(units[end : match.start()])
            yield "".join(map(self.letter, units[match.start() : match.end()]))
            end = match.end()
        yield from self._alone(units[end:])

    def _alone(self, units: Sequence[int]) -> Iterator[str]:
        return (self.letter(unit) for unit in units if unit >= self._first_character)

    def _runs(self, ids: Sequence[int]) -> Iterator[list[int]]:
        """Ids, with the characters that byte tokens spell in their place."""
        for are_bytes, run in groupby(ids, key=self._bytes.__contains__):
            tokens = list(run)
            if not are_bytes:
                yield tokens
                continue
            text = bytes(self._bytes[token] for token in tokens).decode(errors="replace")
            # A byte by itself gains nothing from a piece.
            yield [self._character(letter) if ord(letter) >= 0x80 else self._token_of(letter) for letter in text]

    def _token_of(self, letter: str) -> int:
        return self._tokenizer.token_to_id(BYTE_TOKENS[ord(letter)])

    def _character(self, character: str) -> int:
        if character not in self._characters:
            self._characters[character] = len(self.texts)
            self.texts.append(character)
            spelled = (self._tokenizer.token_to_id(BYTE_TOKENS[byte]) for byte in character.encode())
            self.spelled.append(tuple(spelled))
            self._classes.append(_LETTERS if _is_letters(character) else _OTHER)
        return self._characters[character]

    def _class_of(self, token: int) -> str:
        text = self.texts[token]
        if token in self._added or token in self._bytes:
            return _OTHER
        word = text.removeprefix(SPACE)
        if not _is_letters(word):
            return _OTHER
        return _STARTS if text.startswith(SPACE) else _LETTERS


def _is_letters(text: str) -> bool:
    return all(unicodedata.category(character)[0] in "LM" for character in text)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH_TEXTS:
            yield batch
            batch = []
    if batch:
        yield batch
