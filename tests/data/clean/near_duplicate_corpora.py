"""Real texts, near duplicates made of them, and their exact similarities: by words and sets, with nothing of the package."""

from __future__ import annotations

import ast
import itertools
import json
import random
import re
import sysconfig
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
_PIECES = re.compile(r"\s+|[A-Za-z0-9_]+|[^\w\s]|\w")
_HAN = re.compile(r"[\u3400-\u9fff]")


def english(count: int) -> list[str]:
    """Scenes of plays, some 150 words each."""
    words = (DATA / "tinyshakespeare.txt").read_text(encoding="utf-8").split(" ")
    return [" ".join(words[start : start + 150]) for start in range(0, len(words), 150)][:count]


def chinese(count: int) -> list[str]:
    """Passages of Mengzi and Lunyu, at least 120 characters each."""
    texts, text = [], ""
    for name in ("mengzi", "lunyu"):
        for chapter in json.loads((DATA / "zh_classics" / f"{name}.json").read_text(encoding="utf-8")):
            for paragraph in chapter["paragraphs"]:
                text += paragraph
                if len(text) >= 120:
                    texts.append(text)
                    text = ""
    return texts[:count]


def code(count: int) -> list[str]:
    """Functions of Python's standard library, at least 40 words each."""
    return list(itertools.islice((text for text in _functions() if len(text.split()) >= 40), count))


CORPORA: dict[str, Callable[[int], list[str]]] = {"English": english, "Chinese": chinese, "code": code}


def with_near_duplicates(texts: list[str], seed: int, max_variants: int = 1) -> list[str]:
    """The texts, shuffled with variants of each: words edited, ends cut, lines in another order, boilerplate around."""
    chance = random.Random(seed)
    vocabulary = [piece for text in texts for piece in _PIECES.findall(text) if not piece.isspace()]
    made = list(texts)
    for text in texts:
        for _ in range(chance.randint(1, max_variants)):
            made.append(_variant(text, vocabulary, chance))
    chance.shuffle(made)
    return made


def ngrams(text: str, length: int = 5) -> frozenset[tuple[str, ...]]:
    """The n-grams of words, runs of symbols and Han characters, read one character after the other."""
    words: list[str] = []
    before = ""
    for character in unicodedata.normalize("NFKC", text).casefold():
        kind = _kind(character)
        if kind == "dropped":
            continue
        if kind == before and kind in ("letter", "symbol"):
            words[-1] += character
        elif kind != "separator":
            words.append(character)
        before = kind
    if len(words) < length:
        return frozenset([tuple(words)])
    return frozenset(tuple(words[start : start + length]) for start in range(len(words) - length + 1))


def similar_pairs(texts: list[str], at_least: float) -> dict[tuple[int, int], float]:
    """All pairs of texts with at least that Jaccard similarity of their 5-grams."""
    sets = [ngrams(text) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = {}
    shared: dict[tuple[int, int], int] = {}
    for index, grams in enumerate(sets):
        for gram in grams:
            for other in holders.setdefault(gram, []):
                shared[other, index] = shared.get((other, index), 0) + 1
            holders[gram].append(index)
    similarity = {(a, b): count / (len(sets[a]) + len(sets[b]) - count) for (a, b), count in shared.items()}
    return {pair: value for pair, value in similarity.items() if value >= at_least}


def _kind(character: str) -> str:
    if character in "'’‘ʼ`" or unicodedata.category(character) == "Cf":
        return "dropped"
    if _HAN.match(character):
        return "Han"
    if character in "*/%&-−\\" or unicodedata.category(character)[0] == "S":
        return "symbol"
    return "letter" if unicodedata.category(character)[0] in "LNM" else "separator"


def _variant(text: str, vocabulary: list[str], chance: random.Random) -> str:
    pieces = _PIECES.findall(text)
    how = chance.choice(["edit", "edit", "cut", "reorder", "wrap"])
    if how == "edit":
        rate = chance.uniform(0, 0.08)
        return "".join(chance.choice(vocabulary) if not p.isspace() and chance.random() < rate else p for p in pieces)
    if how == "cut":
        return "".join(pieces[: int(len(pieces) * chance.uniform(0.5, 1))])
    if how == "reorder":
        parts = re.split(r"(?<=[\n。])", text)
        first = chance.randrange(len(parts))
        return "".join(parts[first:] + parts[:first])
    around = [chance.choice(vocabulary) for _ in range(int(len(pieces) * chance.uniform(0, 0.2)))]
    return " ".join(around[::2]) + "\n" + text + "\n" + " ".join(around[1::2])


def _functions() -> Iterator[str]:
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        source = file.read_text(encoding="utf-8")
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                yield "".join(lines[node.lineno - 1 : node.end_lineno])
