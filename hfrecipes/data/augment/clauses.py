"""Sentences of English and Chinese said in another way: clauses in another order, two sentences as one, one as two."""

from __future__ import annotations

import re
from collections.abc import Callable

# What stands within one clause: no further comma, no quotes, brackets or code.
_CLAUSE = r"[^,;:.!?()\[\]\"“”`，；：。！？（）「」『』\n]+"
_FIRST = re.compile(rf"(If|When|Although|Because|After|Before|Unless|Whenever|Though) ({_CLAUSE}), ({_CLAUSE})([.!])")
_SECOND = re.compile(rf"({_CLAUSE}) (if|when|although|because|unless|whenever) ({_CLAUSE})([.!])")
_AND = re.compile(rf"({_CLAUSE}), (and|but) ((?:he|she|they|we|I|it|you|this|these|those) {_CLAUSE})([.!])")
_BECAUSE_ZH = re.compile(rf"(?:因为|由于)({_CLAUSE})，所以({_CLAUSE})(。)")
_WHY_ZH = re.compile(rf"之所以({_CLAUSE})，是因为({_CLAUSE})(。)")
_THOUGH_ZH = re.compile(rf"(虽然|尽管)({_CLAUSE})，(?:但是|但|可是|然而)({_CLAUSE})(。)")
# Words that are no names, so that they can lose their capital within a sentence.
_NO_NAMES = re.compile(
    r"(?:an?|the|this|that|these|those|s?he|it|we|you|they|his|her|its|our|your|their|my|there|here|some|many|most|all|both|"
    r"each|every|no|one|two|three|several|people|if|when|because|although|after|before|then|now|as|in|on|at|for|with|from)",
    re.IGNORECASE,
)
# Words with which a sentence begins that can follow `and`.
_SUBJECT = re.compile(
    r"(?:an?|the|this|that|these|those|s?he|it|we|you|they|I|his|her|its|our|your|their|my|there)\b", re.IGNORECASE
)
# Words of which it is not sure that a clause with them can stand before or after another.
_BOUND = re.compile(
    r"\b(?:then|so|not only|either|neither|both|whether|than|as if|even|only|just|what|who|which|that)\b", re.IGNORECASE
)
# A joined sentence does not become longer than two of this many characters.
_JOINED = 80
_FEWEST_WORDS = 3


def reordered(sentence: str) -> str | None:
    """The sentence with its two clauses exchanged; None where it has not two that can be."""
    for pattern, write in _ORDERS:
        if (match := pattern.fullmatch(sentence)) and (changed := write(match)):
            return changed
    return None


def split(sentence: str) -> str | None:
    """A sentence as two; None where it is one.

    English ones are parted before `and` or `but` where a pronoun follows that can be a subject; Chinese ones at `；`.
    """
    if match := _AND.fullmatch(sentence):
        first, word, second, mark = match.groups()
        if len(first.split()) < _FEWEST_WORDS or _BOUND.search(first):
            return None
        return f"{first}{mark} " + (f"But {second}{mark}" if word == "but" else f"{_capital(second)}{mark}")
    if sentence.endswith("。") and sentence.count("；") == 1 and not re.search("[“”「」『』（）]", sentence):
        return sentence.replace("；", "。")
    return None


def joined(first: str, second: str) -> str | None:
    """Two sentences as one; None where they are too long or how to join them is not clear."""
    if len(first) > _JOINED or len(second) > _JOINED or "\n" in first + second:
        return None
    if first.endswith("。") and second.endswith("。"):
        return (
            None if "；" in first + second or re.search("[“”「」『』]", first + second) else f"{first[:-1]}；{second}"
        )
    if (
        not (first.endswith(".") and second.endswith("."))
        or first.endswith("..")
        or re.search(r"[\"“”;]", first + second)
    ):
        return None
    rest = _uncapital(second)
    return None if rest is None or not _SUBJECT.match(rest) or " and " in first else f"{first[:-1]}, and {rest}"


def _first_to_second(match: re.Match[str]) -> str | None:
    word, condition, main, mark = match.groups()
    if _BOUND.search(main) or _BOUND.search(condition) or re.match(r"(?:do|does|did|please)\b", main):
        return None
    return f"{_capital(main)} {word.lower()} {condition}{mark}"


def _second_to_first(match: re.Match[str]) -> str | None:
    main, word, condition, mark = match.groups()
    rest = _uncapital(main)
    bound = (
        _BOUND.search(main)
        or _BOUND.search(condition)
        or re.search(r"\b(?:and|or|if|when|because)\b", main + condition)
    )
    if rest is None or bound or len(main.split()) < _FEWEST_WORDS:
        return None
    return f"{_capital(word)} {condition}, {rest}{mark}"


_ORDERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str | None]], ...] = (
    (_FIRST, _first_to_second),
    (_SECOND, _second_to_first),
    (_BECAUSE_ZH, lambda match: f"之所以{match[2]}，是因为{match[1]}{match[3]}"),
    (_WHY_ZH, lambda match: f"因为{match[2]}，所以{match[1]}{match[3]}"),
    (_THOUGH_ZH, lambda match: f"{match[3]}，{match[1]}{match[2]}{match[4]}"),
)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _uncapital(text: str) -> str | None:
    """A sentence as it goes on in another; None where its first word may be a name. `I` stays."""
    word = re.match(r"[\w’']+", text)
    if word is None:
        return None
    if word[0] in ("I", "I'm", "I’m", "I've", "I’ve", "I'll", "I’ll"):
        return text
    return text[0].lower() + text[1:] if _NO_NAMES.fullmatch(word[0]) else None
