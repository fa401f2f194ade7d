"""Gopher's rules: each threshold by itself, against counts made in the plainest way, on any text."""

import pickle
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean.gopher import GopherQualityRule
from hfrecipes.data.clean.ngrams import RepeatedNgrams
from hfrecipes.data.clean.repetition import GopherRepetitionRule
from hfrecipes.data.clean.rule import Document
from hfrecipes.data.clean.words import split_words
from hfrecipes.recipe.cleaning import GopherQuality, GopherRepetition
from hfrecipes.recipe.problem import RecipeError

SENTENCE = "The quick brown fox jumps over the lazy dog and then it went to sleep with the others of that kind"
GOOD = "\n".join(f"{SENTENCE}, number {word}." for word in ("one", "two", "three", "four", "five"))


def verdict(text, rule=GopherQualityRule, **words):
    limits = GopherQuality(**words) if rule is GopherQualityRule else GopherRepetition(**words)
    return rule(limits).judge([Document("x.jsonl:1", (text,))])[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        ("", "empty"),
        (" \r\n\t", "empty"),
        ("The end of that.", "min_words"),
        ("word " * 100_001, "max_words"),
        ("a b c to of " * 20, "min_mean_word_length"),
        ("internationalization of the characterization " * 20, "max_mean_word_length"),
        (GOOD + " # tag" * 30, "max_symbol_ratio"),
        (GOOD + " and more..." * 30, "max_symbol_ratio"),
        (GOOD + " and more…" * 30, "max_symbol_ratio"),
        ("\n".join(f"- {line}" for line in GOOD.split("\n")), "max_bullet_lines"),
        ("\n".join(f"• {line}" for line in GOOD.split("\n")), "max_bullet_lines"),
        (GOOD.replace(".", "..."), "max_ellipsis_lines"),
        (GOOD + " 1234 5678" * 30, "min_alphabetic_words"),
        ("lorem dolor amet elit magna " * 20, "min_stop_words"),
    ],
)
def test_each_threshold_is_the_reason_when_it_alone_fails(text, reason):
    assert verdict(text).reason == reason


def test_thresholds_are_inclusive():
    fifty = "that word " * 24 + "of the"
    assert verdict(fifty, max_symbol_ratio=0.0).reason is None
    assert verdict(fifty[:-4]).reason == "min_words"
    assert verdict("# " + fifty, max_symbol_ratio=1 / 51).reason is None
    assert verdict("# " + fifty, max_symbol_ratio=1 / 52).reason == "max_symbol_ratio"


def test_the_detail_says_figure_and_threshold():
    assert verdict("Too short.").detail == "words: 2, at least 50"
    assert verdict("a b c to of " * 20).detail == "mean word length: 1.4, at least 3"


def test_a_recipe_overrides_single_thresholds_of_the_profile():
    assert verdict("This was the ending of that.", min_words=5).reason is None
    assert verdict("Das ist das Ende und der Anfang. " * 10).reason == "min_stop_words"
    assert verdict("Das ist das Ende und der Anfang. " * 10, stop_words=["das", "und"]).reason is None


def test_chinese_counts_characters_and_has_its_own_stop_words():
    prose = "我们在这里学习中文，而且每天都有新的词语。他也是其中一个人，为了明天与朋友见面。" * 4
    assert verdict(prose, profile="zh").reason is None
    assert verdict(prose).reason == "min_mean_word_length"
    assert verdict("你好。" * 5, profile="zh").reason == "min_words"
    assert verdict("12，34；56。" * 40, profile="zh").reason == "min_alphabetic_words"


def test_code_is_judged_by_its_lines_not_by_its_words():
    code = "def add(first, second):\n    # the sum\n    return first + second\n"
    assert verdict(code, profile="code").reason is None
    assert verdict(code + "x = '" + "a1" * 600 + "'\n", profile="code").reason == "max_line_length"
    assert verdict("def f(): return " + "a + " * 50 + "a\n", profile="code").reason == "max_mean_line_length"
    assert (
        verdict("a, b = [(((((())))))], {{{{{{{{}}}}}}}} ; c, d, e = ()\n" * 3, profile="code").reason
        == "min_alphanumeric"
    )


def test_letters_of_other_scripts_are_alphanumeric():
    assert verdict("привет мир é\n" * 9, profile="code").reason is None
    assert verdict("→ ← ↑ ↓ a b c d e f → ← ↑ ↓ ⇒ ⇐ … … … …" * 9, profile="code", min_alphanumeric=0.3).reason


def test_short_instruction_rows_are_kept():
    rows = Document("x", ("What is 17 times 3?", "17 * 3 = 51, so it is 51."))
    assert GopherQualityRule(GopherQuality(profile="instruction")).judge([rows])[0].reason is None
    assert GopherRepetitionRule(GopherRepetition(profile="instruction")).judge([rows])[0].reason is None


def test_settings_that_nothing_can_keep_are_refused_with_the_place():
    with pytest.raises(RecipeError, match=r"my.yaml:4: error: min_words 10 is above max_words 5"):
        GopherQualityRule(GopherQuality(min_words=10, max_words=5), "my.yaml:4")
    with pytest.raises(RecipeError, match="min_stop_words is 2 of 1 stop words"):
        GopherQualityRule(GopherQuality(stop_words=["und"]))
    for limits in ({"two": 0.2}, {"0": 0.2}, {"-1": 0.2}):
        with pytest.raises(RecipeError, match="no length of an n-gram"):
            GopherRepetitionRule(GopherRepetition(max_top_ngrams=limits))
    with pytest.raises(RecipeError, match="no share"):
        GopherRepetitionRule(GopherRepetition(max_duplicate_ngrams={"5": 15}))


def test_fingerprints_tell_limits_apart_and_rules_survive_pickling():
    for make, limits in ((GopherQualityRule, GopherQuality), (GopherRepetitionRule, GopherRepetition)):
        prints = {make(limits(profile=profile)).fingerprint for profile in (None, "zh", "code", "instruction")}
        assert len(prints) == 4
        rule = pickle.loads(pickle.dumps(make(limits())))
        assert rule.fingerprint == make(limits()).fingerprint
        assert rule.judge([Document("x", ("short",))]) == make(limits()).judge([Document("x", ("short",))])


# ------------------------------------------------------------------------------------------------------------- repetition
PARAGRAPHS = [" ".join(f"{name}{letter * 3}" for letter in "mnopqrstu") + "." for name in "abcdefghij"]


@pytest.mark.parametrize(
    ("text", "words", "reason"),
    [
        ("\n\n".join(PARAGRAPHS), {}, None),
        ("\n\n".join(PARAGRAPHS[:2] + PARAGRAPHS[:1]), {}, "max_duplicate_paragraphs"),
        ("\r\n\r\n".join(PARAGRAPHS[:2] + PARAGRAPHS[:1]), {}, "max_duplicate_paragraphs"),
        (
            "\n\n\n".join([*PARAGRAPHS[:6], PARAGRAPHS[0] * 9, PARAGRAPHS[0] * 9]),
            {},
            "max_duplicate_paragraph_characters",
        ),
        ("\n".join(PARAGRAPHS[:2] + PARAGRAPHS[:1]), {}, "max_duplicate_lines"),
        ("\n".join([*PARAGRAPHS[:6], PARAGRAPHS[0] * 9, PARAGRAPHS[0] * 9]), {}, "max_duplicate_line_characters"),
        ("buy now " * 9 + " ".join(PARAGRAPHS), {"max_top_ngrams": {"2": 0.1}}, "max_top_ngrams.2"),
        (" ".join(PARAGRAPHS) + " " + " ".join(PARAGRAPHS[:4]), {"max_top_ngrams": {}}, "max_duplicate_ngrams.5"),
        ("\n\n\n", {}, "empty"),
        ("", {}, "empty"),
    ],
)
def test_each_kind_of_repetition_is_the_reason_when_it_fails(text, words, reason):
    assert verdict(text, GopherRepetitionRule, **words).reason == reason


def test_an_ngram_that_occurs_once_counts_in_documents_and_not_in_short_rows():
    assert verdict("Paris is nice", GopherRepetitionRule).reason == "max_top_ngrams.2"
    assert verdict("Paris is nice", GopherRepetitionRule, profile="instruction").reason is None


def test_ngram_lengths_may_be_numbers_as_yaml_has_them():
    assert verdict("a b c d e f g h " * 20, GopherRepetitionRule, max_top_ngrams={2: 0.01}).reason == "max_top_ngrams.2"


def brute_top(tokens, n):
    ngrams = Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
    if not ngrams:
        return 0
    most = max(ngrams.values())
    first = next(ngram for ngram, count in ngrams.items() if count == most)
    return len(" ".join(first)) * most


def brute_duplicate(tokens, n):
    seen, characters, start = set(), 0, 0
    while start + n <= len(tokens):
        ngram = tuple(tokens[start : start + n])
        if ngram in seen:
            characters += len("".join(ngram))
            start += n
        else:
            seen.add(ngram)
            start += 1
    return characters


def brute_covered(tokens, n):
    ngrams = Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
    inside = set()
    for start in range(len(tokens) - n + 1):
        if ngrams[tuple(tokens[start : start + n])] > 1:
            inside |= set(range(start, start + n))
    return sum(len(tokens[place]) for place in inside)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["a", "bb", "ccc", "d.", "学", "is"]), max_size=60), st.integers(1, 12))
def test_ngram_figures_are_those_of_counting_by_hand(parts, n):
    text = " ".join(parts)
    tokens, ngrams = split_words(text), RepeatedNgrams(text)
    assert ngrams.top(n) == brute_top(tokens, n)
    assert ngrams.duplicate(n) == brute_duplicate(tokens, n)
    assert ngrams.covered(n) == brute_covered(tokens, n)
    assert all(ngrams.duplicate(longer) <= ngrams.covered(n) for longer in range(n, 14))


def test_the_shortcut_over_long_ngrams_never_changes_a_verdict():
    rng = random.Random(3)
    limits = GopherRepetition(max_top_ngrams={}, max_duplicate_lines=1.0, max_duplicate_line_characters=1.0)
    rule = GopherRepetitionRule(limits)
    fired = 0
    for _ in range(300):
        phrases = [" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 12))) for _ in range(6)]
        text = " ".join(rng.choices(phrases, k=rng.randint(2, 9)) + rng.choices("0123456789", k=rng.randint(0, 80)))
        tokens = split_words(text)
        published = rule.limits.max_duplicate_ngrams
        expected = next(
            (n for n, most in published.items() if brute_duplicate(tokens, int(n)) / len(text) > most), None
        )
        reason = rule.judge([Document("x", (text,))])[0].reason
        assert reason == (f"max_duplicate_ngrams.{expected}" if expected else None)
        fired += reason is not None
    assert 30 < fired < 290


ODD = [
    "",
    " ",
    "\x00" * 9,
    "🙂🙃" * 50,
    "\r\n\r\n",
    "\ufeff",
    "\ud800 half a pair",
    "مرحبا بالعالم. كيف حالك؟ " * 9,
    "नमस्ते दुनिया। " * 20,
    "สวัสดีชาวโลก" * 20,
    "안녕하세요 여러분. " * 20,
    "no punctuation at all " * 30,
    "a" * 300_000,
    "a " * 100_000,
    "=" * 300_000,
    "\n" * 300_000,
    "ab\r\n" * 1000,
    "\u0e31\u093f",
    "\x1c\x1d\x85\u2028",
]


@pytest.mark.parametrize("profile", ["en", "zh", "code", "instruction"])
def test_no_text_makes_a_rule_raise(profile):
    zero = GopherQuality(profile=profile, min_words=0, min_mean_word_length=0, max_mean_word_length=1e9)
    for rule in (
        GopherQualityRule(GopherQuality(profile=profile)),
        GopherQualityRule(zero),
        GopherRepetitionRule(GopherRepetition(profile=profile)),
    ):
        documents = [Document("x", (text,)) for text in ODD] + [Document("x", ("", "")), Document("x", ())]
        verdicts = rule.judge(documents)
        assert len(verdicts) == len(documents)
        assert verdicts[0].reason == verdicts[1].reason == verdicts[-1].reason == verdicts[-2].reason == "empty"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_gets_the_verdict_of_the_plainest_counting(text):
    words = GopherQuality(min_words=0, min_mean_word_length=0, max_mean_word_length=100, min_stop_words=0)
    reason = GopherQualityRule(words).judge([Document("x", (text,))])[0].reason
    if not text.strip():
        assert reason == "empty"
        return
    tokens = split_words(text)
    lines = re.split("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", text)
    lines = lines[:-1] if lines[-1] == "" else lines
    marks = [text.count("#"), text.count("...") + text.count("…")]
    failed = [
        any(count / len(tokens) > 0.1 for count in marks) and "max_symbol_ratio",
        sum(line.lstrip()[:1] in ("•", "-") for line in lines) / len(lines) > 0.9 and "max_bullet_lines",
        sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > 0.3 and "max_ellipsis_lines",
        sum(any(map(str.isalpha, token)) for token in tokens) / len(tokens) < 0.8 and "min_alphabetic_words",
    ]
    assert reason == next(filter(None, failed), None)
