"""The published thresholds by profile, and ours where nothing is published.

`en` holds the numbers of the papers, as datatrove has them. `zh` counts characters where the papers count words; FineWeb-2
(Penedo et al. 2025) publishes thresholds for Chinese words (`configs/cmn_Hani.yml`), and a Chinese word is 1.6 characters
there, so a count of words becomes 1.6 of characters and an n of an n-gram 1.6 n. `code` and `instruction` are for texts that
no paper on web pages had in mind. A limit that is None is not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from hfrecipes.recipe.cleaning import C4Quality, FineWebQuality, GopherQuality, GopherRepetition

Settings = TypeVar("Settings", GopherQuality, GopherRepetition, C4Quality, FineWebQuality)

ENGLISH_STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]
# The single characters of FineWeb-2's list for Chinese, in both ways of writing, without the Japanese-looking dates (年月日)
# and the middle dot, and the particles of classical prose, of which it has only 而.
CHINESE_STOP_WORDS = list("的在是和了於于為为有被人中他與与後后也而由不之其以者")

_QUALITY_EN = GopherQuality(  # Rae et al. 2021, table A1 and section A.1.1
    min_words=50,
    max_words=100_000,
    min_mean_word_length=3,
    max_mean_word_length=10,
    max_symbol_ratio=0.1,
    max_bullet_lines=0.9,
    max_ellipsis_lines=0.3,
    min_alphabetic_words=0.8,
    min_stop_words=2,
    stop_words=ENGLISH_STOP_WORDS,
)
_QUALITY = {
    "en": _QUALITY_EN,
    "zh": replace(
        _QUALITY_EN,
        min_words=80,  # 50 words of 1.6 characters
        max_words=160_000,
        min_mean_word_length=1,  # FineWeb-2: 1 to 5; a character is one long, only Latin words and numbers lengthen the mean
        max_mean_word_length=5,
        # FineWeb-2 asks for .735 of the words. Ours, since marks are counted with characters: modern prose has .88 and more,
        # the short clauses of the classics .71 to .80, tables and numbers less.
        min_alphabetic_words=0.65,
        stop_words=CHINESE_STOP_WORDS,
    ),
    # The Stack's basic filter (Kocetkov et al. 2022, bigcode-dataset/preprocessing). Gopher's shares of hash signs, bullets
    # and alphabetic words would leave out comments, diffs and tables; a name has any length. Ours: five words at least.
    "code": GopherQuality(min_words=5, max_line_length=1000, max_mean_line_length=100, min_alphanumeric=0.25),
    # Ours. An answer may be one number, a list, or without any stop word: what remains is noise. The limits keep 99.9 % of
    # GSM8K's rows, whose answers are half digits and signs, and 99.8 % of one-sentence summaries of functions.
    "instruction": GopherQuality(
        min_words=3,
        max_words=100_000,
        min_mean_word_length=1.5,
        max_mean_word_length=12,
        max_symbol_ratio=0.2,
        max_ellipsis_lines=0.5,
        min_alphabetic_words=0.3,
    ),
}

_REPETITION_EN = GopherRepetition(  # Rae et al. 2021, table A1
    max_duplicate_lines=0.30,
    max_duplicate_paragraphs=0.30,
    max_duplicate_line_characters=0.20,
    max_duplicate_paragraph_characters=0.20,
    max_top_ngrams={"2": 0.20, "3": 0.18, "4": 0.16},
    max_duplicate_ngrams={"5": 0.15, "6": 0.14, "7": 0.13, "8": 0.12, "9": 0.11, "10": 0.10},
)
_REPETITION = {
    "en": _REPETITION_EN,
    "zh": GopherRepetition(  # FineWeb-2, which looks neither at paragraphs nor at the characters of lines
        max_duplicate_lines=0.287,
        max_top_ngrams={"3": 0.256, "5": 0.201, "6": 0.171},
        max_duplicate_ngrams={"8": 0.198, "10": 0.182, "11": 0.167, "13": 0.154, "14": 0.14, "16": 0.127},
    ),
    # Ours. Closing brackets, licences and tables repeat in good files: only what is mostly repetition is left out: 0.6 % of
    # the standard library's files.
    "code": GopherRepetition(
        max_duplicate_lines=0.6,
        max_duplicate_line_characters=0.5,
        max_top_ngrams={"4": 0.3},
        max_duplicate_ngrams={"10": 0.5},
    ),
    # Ours. An answer repeats much of its prompt, so the limits are about twice Gopher's, which leave out 9 % of GSM8K; loops
    # of a model stay above.
    "instruction": GopherRepetition(
        max_duplicate_lines=0.5,
        max_duplicate_line_characters=0.4,
        max_top_ngrams={"2": 0.4, "3": 0.36, "4": 0.32},
        max_duplicate_ngrams={"5": 0.4, "10": 0.3},
    ),
}

_C4_EN = C4Quality(  # Raffel et al. 2020, section 2.2; 3 words and 5 sentences as in datatrove
    min_sentences=5,
    min_words_per_line=3,
    max_word_length=1000,
    terminal_punctuation=True,
    drop_curly_brackets=True,
    drop_lorem_ipsum=True,
    drop_javascript_lines=True,
    drop_policy_lines=True,
    remove_citations=True,
)
# Neither code nor an instruction may lose lines: what is left would not run, or answer another question.
_C4_WHOLE = C4Quality(drop_lorem_ipsum=True)
_C4 = {
    "en": _C4_EN,
    "zh": replace(_C4_EN, min_words_per_line=5),  # 3 words of 1.6 characters
    "code": _C4_WHOLE,
    "instruction": _C4_WHOLE,
}

_FINEWEB_EN = FineWebQuality(  # Penedo et al. 2024, section 3.6
    min_punctuated_lines=0.12,
    max_short_lines=0.67,
    short_line_length=30,
    max_duplicate_line_characters=0.01,
    max_newlines_per_word=0.3,
)
_FINEWEB = {
    "en": _FINEWEB_EN,
    # FineWeb-2: .106, .1 and .178 a word; it does not look at short lines.
    "zh": FineWebQuality(
        min_punctuated_lines=0.106, max_duplicate_line_characters=0.1, max_newlines_per_word=0.178 / 1.6
    ),
    # Ours. Lines of code are short and end in anything; only a file that mostly repeats its own lines is left out.
    "code": FineWebQuality(max_duplicate_line_characters=0.5),
    # Ours. A list is an answer; a short row has few lines, so one repeated line is much.
    "instruction": FineWebQuality(max_duplicate_line_characters=0.2, max_newlines_per_word=1.0),
}
_PROFILES: dict[type, Mapping[str, Any]] = {
    GopherQuality: _QUALITY,
    GopherRepetition: _REPETITION,
    C4Quality: _C4,
    FineWebQuality: _FINEWEB,
}


def with_profile(settings: Settings) -> Settings:
    """The settings with every limit that they leave out taken from their profile; `en` where they name none."""
    profile = settings.profile or "en"
    limits = _PROFILES[type(settings)][profile]
    told = {item.name: value for item in fields(settings) if (value := getattr(settings, item.name)) is not None}
    return replace(limits, **told)


def fingerprint_of(limits: Any, edition: int) -> str:
    """Changes with the limits, those of a profile included, and with the edition of the rule's code.

    Args:
        limits: A dataclass of them.
        edition: Counted up when the same limits give other verdicts.
    """
    return hashlib.sha256(f"{edition} {limits!r}".encode()).hexdigest()[:16]
