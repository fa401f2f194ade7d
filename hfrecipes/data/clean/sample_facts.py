"""The figures of `CorpusMetrics` that are measured on its sample of documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfrecipes.data.clean import spelling
from hfrecipes.data.clean import text_measures as measures
from hfrecipes.data.clean.identification import identify
from hfrecipes.data.clean.segments import is_code, plain_words, split_sentences
from hfrecipes.recipe.problem import RecipeError

CODE, UNKNOWN = "code", "unknown"
# A language is taken for granted from this probability on. Short texts do not reach it.
_SURE = 0.5
# n-grams of words that are looked for within a document, as Gopher's repetition heuristics have it.
_NGRAM = 5


@dataclass(frozen=True, slots=True)
class _Text:
    """A document of the sample, taken apart once. `language` is a code of ISO 639-1, `code` or `unknown`."""

    text: str
    language: str
    words: list[str]
    sentences: list[str]


def sample_facts(texts: Sequence[str]) -> dict[str, Any]:
    """All figures of a sample."""
    parts = [_take_apart(text) for text in texts]
    prose = [part for part in parts if part.language != CODE]
    return {
        "sample": {"documents": len(texts), "characters": sum(map(len, texts))},
        "languages": _languages(parts),
        "spelling": _spelling(parts),
        "form": _form(prose),
        "density": _density(parts),
        "duplication": _duplication(parts),
        "diversity": _style(prose),
    }


def _take_apart(text: str) -> _Text:
    return _Text(text, _language(text), plain_words(text), [one for one in split_sentences(text) if one.strip()])


def _language(text: str) -> str:
    if is_code(text):
        return CODE
    try:
        language, probability = identify(text)
    except RecipeError:  # the identification is an extra; without it the other figures still stand
        return UNKNOWN
    return language if probability >= _SURE else UNKNOWN


def _languages(parts: Sequence[_Text]) -> dict[str, float]:
    counts = Counter(part.language for part in parts)
    return {
        language: count / len(parts) for language, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    }


def _spelling(parts: Sequence[_Text]) -> dict[str, Any]:
    """Share of the words that are known, by language, and how many documents were not measured, by language."""
    counts: dict[str, list[int]] = {}
    passed_over: Counter[str] = Counter()
    for part in parts:
        if part.language not in spelling.LANGUAGES:
            passed_over[part.language] += 1
            continue
        words = measures.counted_words(part.words, part.language)
        try:
            known = spelling.count_known(words, part.language)
        except ImportError:
            return {
                "known_words": None,
                "not_measured": "pyspellchecker is not installed: pip install 'hfrecipes[clean]'",
            }
        so_far = counts.setdefault(part.language, [0, 0])
        so_far[0] += known
        so_far[1] += len(words)
    known, total = (sum(one[index] for one in counts.values()) for index in (0, 1))
    return {
        "known_words": known / total if total else None,
        "words": total,
        "by_language": {language: one[0] / one[1] for language, one in sorted(counts.items()) if one[1]},
        "not_measured": dict(sorted(passed_over.items())),
    }


def _form(prose: Sequence[_Text]) -> dict[str, Any]:
    sentences = [sentence for part in prose for sentence in part.sentences]
    begins = [measures.begins_properly(sentence) for sentence in sentences]
    ends = [measures.ends_properly(sentence) for sentence in sentences]
    return {
        "sentences": len(sentences),
        "begin_with_capital": _share(begins),
        "end_with_mark": _share(ends),
        "both": _share([begin and end for begin, end in zip(begins, ends, strict=True)]),
    }


def _density(parts: Sequence[_Text]) -> dict[str, Any]:
    stop_words = [(measures.stop_word_share(part.words, part.language), len(part.words)) for part in parts]
    return {
        "compression_ratio": _weighted(
            (measures.compression_ratio(part.text), len(part.text.encode("utf-8", "surrogatepass"))) for part in parts
        ),
        "type_token_ratio": _weighted(
            (measures.moving_type_token_ratio([word.lower() for word in part.words]), len(part.words)) for part in parts
        ),
        "stop_words": _weighted(stop_words),
        "word_entropy_bits": measures.entropy(Counter(word.lower() for part in parts for word in part.words)),
    }


def _duplication(parts: Sequence[_Text]) -> dict[str, Any]:
    lines = [[line.strip() for line in part.text.split("\n") if line.strip()] for part in parts]
    grams = [list(measures.ngrams(part.words, _NGRAM)) for part in parts]
    words = [[word.lower() for word in part.words] for part in parts]
    return {
        "lines_within_documents": _weighted((measures.repeated_share(one), len(one)) for one in lines),
        f"{_NGRAM}_grams_within_documents": _weighted((measures.repeated_share(one), len(one)) for one in grams),
        **{f"distinct_{n}": measures.distinct_ngrams(words, n) for n in (1, 2, 3)},
    }


def _style(prose: Sequence[_Text]) -> dict[str, Any]:
    lengths = {
        "sentence_words": [float(len(plain_words(sentence))) for part in prose for sentence in part.sentences],
        "word_characters": [float(len(word)) for part in prose for word in part.words],
    }
    facts: dict[str, Any] = {}
    for name, values in lengths.items():
        mean, deviation = measures.mean_and_deviation(values) or (None, None)
        facts[name] = {"mean": mean, "sd": deviation}
    return facts


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _weighted(pairs: Any) -> float | None:
    """Mean of the measured values, each with its weight."""
    measured = [(value, weight) for value, weight in pairs if value is not None]
    total = sum(weight for _, weight in measured)
    return sum(value * weight for value, weight in measured) / total if total else None
