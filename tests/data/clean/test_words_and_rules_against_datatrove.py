"""The rules beside datatrove's on real and dirty prose: the same documents left out, for the same thresholds."""

import random
from itertools import islice

import pytest

pytest.importorskip("datatrove")
pytest.importorskip("spacy")  # datatrove's word splitter for English

from datatrove.data import Document as TheirDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_words

from hfrecipes.data import mining
from hfrecipes.data.clean.c4 import C4QualityRule
from hfrecipes.data.clean.fineweb import FineWebQualityRule
from hfrecipes.data.clean.gopher import GopherQualityRule
from hfrecipes.data.clean.repetition import GopherRepetitionRule
from hfrecipes.data.clean.rule import Document
from hfrecipes.data.clean.words import split_words
from hfrecipes.recipe.cleaning import C4Quality, FineWebQuality, GopherQuality, GopherRepetition

# Their reasons -> ours.
REASONS = {
    "gopher_short_doc": "min_words",
    "gopher_long_doc": "max_words",
    "gopher_below_avg_threshold": "min_mean_word_length",
    "gopher_above_avg_threshold": "max_mean_word_length",
    "gopher_too_many_hashes": "max_symbol_ratio",
    "gopher_too_many_ellipsis": "max_symbol_ratio",
    "gopher_too_many_bullets": "max_bullet_lines",
    "gopher_too_many_end_ellipsis": "max_ellipsis_lines",
    "gopher_below_alpha_threshold": "min_alphabetic_words",
    "gopher_enough_stop_words": "min_stop_words",
    "dup_para_frac": "max_duplicate_paragraphs",
    "dup_para_char_frac": "max_duplicate_paragraph_characters",
    "dup_line_frac": "max_duplicate_lines",
    "dup_line_char_frac": "max_duplicate_line_characters",
    **{f"top_{n}_gram": f"max_top_ngrams.{n}" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"max_duplicate_ngrams.{n}" for n in range(5, 11)},
    "lorem_ipsum": "drop_lorem_ipsum",
    "curly_bracket": "drop_curly_brackets",
    "too_few_sentences": "min_sentences",
    "line_punct_ratio": "min_punctuated_lines",
    "short_line_ratio": "max_short_lines",
    "char_dup_ratio": "max_duplicate_line_characters",
    "list_ratio": "max_newlines_per_word",
}
PAIRS = [
    (GopherQualityRule(GopherQuality()), GopherQualityFilter),
    (GopherRepetitionRule(GopherRepetition()), GopherRepetitionFilter),
    (C4QualityRule(C4Quality()), C4QualityFilter),
    (FineWebQualityRule(FineWebQuality()), FineWebQualityFilter),
]


@pytest.fixture(scope="module")
def texts():
    """Real docstrings, half of them with lines or words repeated, tagged or cut off."""
    rng = random.Random(0)
    some = islice(mining.mine_prose(mining.library_folder()), 1200)  # reading the whole library takes much longer
    chosen = rng.sample(sorted({piece.text[:4000] for piece in some}), 400)
    return [text if rng.random() < 0.5 else soil(text, rng) for text in chosen]


def soil(text, rng):
    lines = text.split("\n")
    words = text.split()
    kinds = [
        "\n".join(lines + rng.choices(lines, k=rng.randint(1, len(lines)))),
        text + "\n" + " ".join(words[:6] * rng.randint(2, 9)),
        "\n".join(line + "..." for line in lines),
        "\n".join(f"- {line[:25]}" for line in lines),
        " ".join("#" + word for word in words),
        "Please enable JavaScript now.\nLorem ipsum is here.\n" + text,
    ]
    return rng.choice(kinds)


@pytest.mark.parametrize(("rule", "make"), PAIRS, ids=lambda value: getattr(value, "name", ""))
def test_the_same_documents_are_left_out_for_the_same_thresholds(rule, make, texts):
    theirs = make()
    documents = [TheirDocument(text=text, id="") for text in texts]
    answers = [theirs.filter(document) for document in documents]
    expected = [None if answer is True else REASONS[answer[1]] for answer in answers]
    found = rule.judge([Document("x", (text,)) for text in texts])
    left_out = sum(reason is not None for reason in expected) / len(texts)
    assert 0.05 <= left_out <= 0.95
    decisions = sum((a is None) == (b.reason is None) for a, b in zip(expected, found, strict=True))
    reasons = sum(a == b.reason for a, b in zip(expected, found, strict=True))
    assert decisions >= 0.99 * len(texts)
    assert reasons >= 0.98 * len(texts)
    if rule.name == "c4_quality":
        both = [
            (verdict.texts or (text,), document.text)
            for text, verdict, document, reason in zip(texts, found, documents, expected, strict=True)
            if verdict.reason is None and reason is None
        ]
        assert len(both) > 20
        assert sum(ours[0].split() == edited.split() for ours, edited in both) >= 0.98 * len(both)


def test_words_are_those_of_spacy_but_for_a_few_in_a_thousand(texts):
    clean = texts[:150]
    total = sum(len(split_into_words(text)) for text in clean)
    apart = sum(len(set(split_into_words(text)) ^ set(split_words(text))) for text in clean)
    assert total > 10_000
    assert apart < 0.01 * total
