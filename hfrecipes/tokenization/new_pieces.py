"""Which pieces a BPE tokenizer should have besides its own, learnt from text that it cuts too small.

BPE is learnt onwards: the text is cut by the tokenizer as it is, and merges are learnt between the pieces that come out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from hfrecipes.tokenization.units import BYTE_TOKENS, SPACE, Units

# Longer pieces stand for whole phrases; SentencePiece's own limit (max_sentencepiece_length).
LONGEST_PIECE = 16
# Share of a text's characters that have pieces, where others fall back to bytes: SentencePiece's advice for languages of
# many characters (character_coverage).
COVERAGE = 0.9995
# Pairs that occur once are no rule of a language.
_MIN_FREQUENCY = 2


@dataclass(frozen=True, slots=True)
class NewPiece:
    """A piece to add.

    Args:
        text: As the vocabulary spells it.
        merged: The two pieces that it is merged from; None for a character that was spelled in bytes.
        spelled: Ids of the old pieces that the tokenizer has spelled it in so far.
    """

    text: str
    merged: tuple[str, str] | None
    spelled: tuple[int, ...]


def fault_of(tokenizer: tokenizers.Tokenizer) -> str | None:
    """Why pieces cannot be added to a tokenizer; None where they can."""
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] != "BPE":
        return f"it is a {model['type']} tokenizer, and only the merges of BPE can be gone on with"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return "it marks pieces by their place in a word, so they cannot be merged freely"
    pieces = model["vocab"].keys()
    by_fallback = model.get("byte_fallback") and pieces >= set(BYTE_TOKENS)
    if not by_fallback and not pieces >= set(pre_tokenizers.ByteLevel.alphabet()):
        return "it has no piece for each of the 256 bytes, so it cannot spell every text"
    return None


def learn_pieces(tokenizer: tokenizers.Tokenizer, texts: Iterable[str], count: int) -> list[NewPiece]:
    """The pieces that shorten a text most, found greedily as BPE does (Sennrich et al. 2016).

    Where characters fall back to bytes, the most frequent get pieces first, up to `COVERAGE` of the text; merges fill the
    rest. A piece that would be spelled like one that there is, is passed over.

    Args:
        tokenizer: One with which nothing is wrong by `fault_of`.
        texts: What to learn from, read once.
        count: Pieces to learn.

    Returns:
        In the order in which they were learnt: what a piece is merged from stands before it. Fewer than `count` where no
        more pairs of pieces occur twice.
    """
    units = Units(tokenizer)
    words = units.words(texts)
    characters = _characters(units, words, count)
    found = [NewPiece(units.texts[unit], None, units.spelled[unit]) for unit in characters]
    if len(found) == count:
        return found
    words = _without(words, units, set(units.characters()) - set(characters))
    wanted = count - len(found)
    asked = wanted + wanted // 16 + 16
    while True:
        merges = _train(words, asked)
        pieces = list(_usable(merges, units))
        if len(pieces) >= wanted or len(merges) < asked:
            return found + pieces[:wanted]
        asked += 2 * (wanted - len(pieces)) + 16


def _characters(units: Units, words: Counter[str], count: int) -> list[int]:
    """Units of the characters that get a piece, the most frequent first."""
    counts: Counter[int] = Counter()
    for word, times in words.items():
        for unit in map(units.unit, word):
            if unit in units.characters():
                counts[unit] += times
    uncovered, chosen = counts.total(), []
    for unit, times in sorted(counts.items(), key=lambda entry: (-entry[1], units.texts[entry[0]])):
        if len(chosen) == count or times < _MIN_FREQUENCY or uncovered <= (1 - COVERAGE) * units.num_characters:
            break
        chosen.append(unit)
        uncovered -= times
    return chosen


def _without(words: Counter[str], units: Units, unknown: set[int]) -> Counter[str]:
    """Words cut at the characters that stay bytes."""
    table = {units.letter(unit): " " for unit in unknown}
    found: Counter[str] = Counter()
    for word, times in words.items():
        for part in word.translate(str.maketrans(table)).split(" ") if unknown else [word]:
            if len(part) > 1:
                found[part] += times
    return found


def _train(words: Counter[str], count: int) -> list[tuple[str, str]]:
    """The first `count` merges of characters, fewer where there are no more."""
    alphabet = len({letter for word in words for letter in word})
    trained = tokenizers.Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=alphabet + count, min_frequency=_MIN_FREQUENCY, special_tokens=[], show_progress=False
    )
    trained.train_from_iterator(chain.from_iterable(repeat(word, times) for word, times in words.items()), trainer)
    return [(left, right) for left, right in json.loads(trained.to_str())["model"]["merges"]]


def _usable(merges: list[tuple[str, str]], units: Units) -> Iterator[NewPiece]:
    """Merges of characters as pieces, without those that a vocabulary cannot hold, and what is merged from these.

    A vocabulary can hold a word that no merge leads to (Llama 3's does), and that is so spelled in pieces inside others.
    """
    texts = set(units.texts)
    made = {letter: (units.texts[unit], units.spelled[unit]) for letter, unit in _letters(units, merges)}
    for left, right in merges:
        if left not in made or right not in made:
            continue
        (begin, begin_ids), (end, end_ids) = made[left], made[right]
        text, spelled = begin + end, begin_ids + end_ids
        if text in texts or len(_plain(text, units)) > LONGEST_PIECE:
            continue
        texts.add(text)
        made[left + right] = (text, spelled)
        yield NewPiece(text, (begin, end), spelled)


def _letters(units: Units, merges: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    single = {letter for pair in merges for letter in chain.from_iterable(pair)}
    return ((letter, units.unit(letter)) for letter in single)


def _plain(text: str, units: Units) -> str:
    """A piece as a reader sees it."""
    if units.has_fallback:
        return text.removeprefix(SPACE)
    return decoders.ByteLevel().decode([text])
