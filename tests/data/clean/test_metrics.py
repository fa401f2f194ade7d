"""Corpus metrics: each figure against counting by hand, sketches against exact counts."""

from __future__ import annotations

import json
import math
import pickle
import random
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean import spelling
from hfrecipes.data.clean import text_measures as measures
from hfrecipes.data.clean.metrics import CorpusMetrics
from hfrecipes.data.clean.segments import is_code, plain_words, split_sentences
from hfrecipes.data.clean.sketches import DistinctCount, TextSample

DATA = Path(__file__).parents[4] / "shared" / "data"
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "the", "of"]), max_size=40)
ENGLISH = "The old man walked along the quiet street. He had not seen his brother for many years, and he was tired."


@settings(deadline=None)
@given(WORDS, st.integers(1, 12))
def test_moving_type_token_ratio_is_the_mean_over_windows(words: list[str], window: int) -> None:
    if not words:
        assert measures.moving_type_token_ratio(words, window) is None
        return
    size = min(window, len(words))
    shares = [len(set(words[start : start + size])) / size for start in range(len(words) - size + 1)]
    assert measures.moving_type_token_ratio(words, window) == pytest.approx(sum(shares) / len(shares))


@settings(deadline=None)
@given(st.lists(WORDS, max_size=5), st.integers(1, 4))
def test_ngrams_are_counted_within_documents(documents: list[list[str]], n: int) -> None:
    grams = [tuple(words[start : start + n]) for words in documents for start in range(len(words) - n + 1)]
    assert measures.distinct_ngrams(documents, n) == (len(set(grams)) / len(grams) if grams else None)
    for words in documents:
        own = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
        assert list(measures.ngrams(words, n)) == own
        repeats = sum(gram in own[:place] for place, gram in enumerate(own))
        assert measures.repeated_share(own) == (pytest.approx(repeats / len(own)) if own else None)


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 50), max_size=8))
def test_entropy_and_effective_number(counts: dict[str, int]) -> None:
    total = sum(counts.values())
    if not total:
        assert measures.entropy(counts) is None and measures.effective_number(counts) is None
        return
    nats = -sum(n / total * math.log(n / total) for n in counts.values() if n)
    assert measures.entropy(counts) == pytest.approx(nats / math.log(2))
    assert measures.effective_number(counts) == pytest.approx(math.exp(nats))


def test_effective_number_of_equal_kinds_is_their_number() -> None:
    assert measures.effective_number({"a": 7, "b": 7, "c": 7}) == pytest.approx(3)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30))
def test_mean_and_deviation(values: list[float]) -> None:
    mean, deviation = measures.mean_and_deviation(values)
    expected = sum(values) / len(values)
    assert mean == pytest.approx(expected, abs=1e-9)
    assert deviation == pytest.approx((sum((v - expected) ** 2 for v in values) / len(values)) ** 0.5, abs=1e-6)


def test_density_and_form_of_a_sentence() -> None:
    data = ENGLISH.encode()
    assert measures.compression_ratio(ENGLISH) == len(zlib.compress(data, 6)) / len(data)
    assert measures.compression_ratio("ab" * 500) < 0.05 and measures.compression_ratio("") is None
    assert measures.stop_word_share(["The", "old", "man", "of"], "en") == 0.5
    assert measures.stop_word_share(["The"], "fi") is None
    assert [measures.begins_properly(one) for one in ("“Go", "go", "2 go", "他走", "…")] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert [measures.ends_properly(one) for one in ("go.", "go.”\n", "go", "走。", "走")] == [
        True,
        True,
        False,
        True,
        False,
    ]


def test_sentences_end_where_they_end() -> None:
    text = 'Mr. Smith paid 3.5 dollars, e.g. for "tea." Then J. S. Bach left! Really?\n\n- one\n- two\n他走了。“好！”她说。'
    assert [one.strip() for one in split_sentences(text)] == [
        'Mr. Smith paid 3.5 dollars, e.g. for "tea."',
        "Then J. S. Bach left!",
        "Really?",
        "- one",
        "- two\n他走了。",
        "“好！”",
        "她说。",
    ]


@given(st.text(alphabet='aB. !?\n"”。！-1', max_size=60))
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(split_sentences(text)) == text


def test_words_of_any_script() -> None:
    assert plain_words("Don’t stop—well-known l'homme, 学而 2x!") == [
        "Don’t",
        "stop",
        "well-known",
        "l'homme",
        "学",
        "而",
        "2x",
    ]


def test_code_is_told_from_prose() -> None:
    assert is_code(Path(__file__).read_text(encoding="utf-8"))
    assert is_code("function f(a) {\n  return a + 1;\n}\n")
    assert not is_code(ENGLISH) and not is_code("") and not is_code("Natalia sold 48 / 2 = 24 clips in May.\nSo 72.")


def test_spelling_knows_words_of_their_language() -> None:
    pytest.importorskip("spellchecker")
    assert spelling.count_known(["house", "hoose", "well-known", "don’t", "zqx-known"], "en") == 3
    assert spelling.count_known(["l'homme", "maison", "house"], "fr") >= 2
    assert measures.counted_words(["The", "NASA", "house", "x", "b2b", "Haus"], "en") == ["house"]
    assert measures.counted_words(["Haus", "DIN", "gut"], "de") == ["haus", "gut"]


def test_metrics_of_a_small_corpus_are_what_can_be_counted() -> None:
    pytest.importorskip("spellchecker")
    texts = [
        ENGLISH,
        ENGLISH,
        "他们在会议之前已经看完了全部的报告，没有人发现其中有什么问题。",
        "def f(x):\n    return x\n" * 3,
    ]
    metrics = CorpusMetrics()
    metrics.add(texts[:3], source="a", topics=["x", "x", "y"])
    metrics.add(texts[3:], source="b")
    facts = metrics.facts()
    assert (facts["documents"], facts["characters"]) == (4, sum(map(len, texts)))
    assert facts["languages"] == {"en": 0.5, "code": 0.25, "zh": 0.25}
    assert facts["spelling"]["known_words"] == 1.0 and facts["spelling"]["not_measured"] == {"code": 1, "zh": 1}
    assert facts["form"] == {"sentences": 5, "begin_with_capital": 1.0, "end_with_mark": 1.0, "both": 1.0}
    assert facts["duplication"]["documents"] == 0.25
    assert facts["duplication"]["lines"] == pytest.approx(5 / 9)  # the English line once more, two of code twice more
    assert facts["duplication"]["lines_within_documents"] == pytest.approx(4 / 9)
    assert facts["diversity"]["effective_sources"] == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), abs=1e-5
    )
    assert facts["diversity"]["effective_topics"] == pytest.approx(
        math.exp(-2 / 3 * math.log(2 / 3) - math.log(1 / 3) / 3), abs=1e-5
    )
    assert facts["density"]["word_entropy_bits"] == pytest.approx(
        measures.entropy(Counter(word.lower() for text in texts for word in plain_words(text))), abs=1e-5
    )
    json.dumps(facts)


def test_metrics_of_nothing_are_nothing() -> None:
    facts = CorpusMetrics().facts()
    assert facts["documents"] == 0 and facts["duplication"]["lines"] is None and facts["languages"] == {}


def test_missing_libraries_are_said_and_the_rest_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from hfrecipes.data.clean import identification

    metrics = CorpusMetrics()
    metrics.add([ENGLISH])
    monkeypatch.setitem(sys.modules, "spellchecker", None)
    spelling._dictionary.cache_clear()
    assert "hfrecipes[clean]" in metrics.facts()["spelling"]["not_measured"]
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    identification._load.cache_clear()
    facts = metrics.facts()
    assert facts["languages"] == {"unknown": 1.0} and facts["form"]["sentences"] == 2
    identification._load.cache_clear()


def test_parts_merge_to_what_one_process_sees_in_any_order() -> None:
    texts = [f"Line {n % 700}\nAnd a {n % 13}. More of it." for n in range(3000)]
    whole = CorpusMetrics(sample_size=50)
    whole.add(texts, source="a", topics=["x"] * 3000)
    merged = CorpusMetrics(sample_size=50)
    for start in (2000, 0, 1000):
        part = CorpusMetrics(sample_size=50)
        part.add(texts[start : start + 1000], source="a", topics=["x"] * 1000)
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert merged.facts() == whole.facts()
    assert whole.facts()["sample"]["documents"] == 50


def test_distinct_counts_are_exact_when_few_and_close_when_many() -> None:
    draws = random.Random(0)
    few = DistinctCount(size=1000)
    values = [draws.getrandbits(64) for _ in range(900)]
    few.add(values + values[:300])
    assert few.distinct == 900 and few.repeated == pytest.approx(300 / 1200)
    many = DistinctCount(size=4096)
    many.add(draws.getrandbits(64) for _ in range(200_000))
    assert many.distinct == pytest.approx(200_000, rel=4 / 4096**0.5)
    assert len(pickle.dumps(many)) < 200_000


def test_the_sample_is_the_lowest_hashes() -> None:
    draws = random.Random(1)
    keys = [draws.getrandbits(64) for _ in range(500)]
    sample = TextSample(size=20, characters=4)
    for key in keys:
        sample.add(key, f"{key}")
    assert sample.texts() == [str(key)[:4] for key in sorted(keys)[:20]]


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
def test_real_text_measures_better_than_the_same_text_damaged() -> None:
    text = (DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")
    good = [text[start : start + 1500] for start in range(0, 90_000, 1500)]
    draws = random.Random(0)
    bad = ["".join(draws.choice("abcdefghij ") if draws.random() < 0.1 else one for one in part) for part in good]
    before, after = CorpusMetrics(), CorpusMetrics()
    before.add(bad + bad[:10])
    after.add(good)
    before_facts, after_facts = before.facts(), after.facts()
    assert after_facts["spelling"]["known_words"] > 0.97 > 0.8 > before_facts["spelling"]["known_words"]
    assert before_facts["duplication"]["documents"] == pytest.approx(1 / 7, abs=1e-5)
    assert after_facts["duplication"]["documents"] == 0
    assert after_facts["density"]["compression_ratio"] < before_facts["density"]["compression_ratio"]
