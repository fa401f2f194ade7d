"""FineWeb's rule: each threshold by itself, against counting in the plainest way, on any text."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean.fineweb import FineWebQualityRule
from hfrecipes.data.clean.rule import Document
from hfrecipes.data.clean.words import SENTENCE_ENDS, split_words
from hfrecipes.recipe.cleaning import FineWebQuality

LINES = [
    f"This is the {name} line of a text that goes on for a while." for name in ("first", "second", "third", "fourth")
]
GOOD = "\n".join(LINES)


def verdict(*texts, **words):
    return FineWebQualityRule(FineWebQuality(**words)).judge([Document("x.jsonl:1", texts)])[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        (GOOD.replace("\n", "\r\n\r\n"), None),
        ("", "empty"),
        ("\n \r\n", "empty"),
        (GOOD.replace(".", ""), "min_punctuated_lines"),
        ("\n".join(["A menu item."] * 9), "max_short_lines"),
        (GOOD + "\n" + LINES[0], "max_duplicate_line_characters"),
        (GOOD + "\n" * 40 + "The end of this text is here, far below.", "max_newlines_per_word"),
        ("。\n".join("我们今天在这里学习中文，" * 3 + name for name in "甲乙丙丁") + "。", None),
    ],
)
def test_each_threshold_is_the_reason_when_it_alone_fails(text, reason):
    assert verdict(text).reason == reason


def test_the_detail_says_figure_and_threshold():
    assert verdict(GOOD + "\n" + LINES[0]).detail == "text in repeated lines: 0.1986, at most 0.01"


def test_profiles_ask_of_a_text_what_its_kind_can_give():
    code = "def f(x):\n    return x\n\n\ndef g(x):\n    return x\n"
    assert verdict(code).reason == "min_punctuated_lines"
    assert verdict(code, profile="code").reason is None
    assert verdict("Name three.", "one\ntwo\nthree", profile="instruction").reason is None
    assert verdict("子曰：“学而时习之，不亦说乎？”\n曾子曰：“吾日三省吾身。”", profile="zh").reason is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["", " ", "one two.", "one two", "x" * 31, "学。", "三个字"]) | st.text(max_size=9), max_size=12
    )
)
def test_the_verdict_is_that_of_the_plainest_counting(lines):
    text = "\n".join(lines)
    reason = verdict(text).reason
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        assert reason == "empty"
        return
    repeated = sum(len(line) for place, line in enumerate(lines) if line in lines[:place])
    failed = [
        sum(line[-1] in SENTENCE_ENDS | set("”」』") for line in lines) / len(lines) < 0.12 and "min_punctuated_lines",
        sum(len(line) <= 30 for line in lines) / len(lines) > 0.67 and "max_short_lines",
        repeated / len(text.replace("\n", "")) > 0.01 and "max_duplicate_line_characters",
        text.count("\n") / len(split_words(text)) > 0.3 and "max_newlines_per_word",
    ]
    assert reason == next(filter(None, failed), None)


@pytest.mark.parametrize("profile", ["en", "zh", "code", "instruction"])
def test_no_text_makes_it_raise_and_it_survives_pickling(profile):
    rule = pickle.loads(pickle.dumps(FineWebQualityRule(FineWebQuality(profile=profile))))
    odd = ["", "\x00", "🙂" * 99, "a" * 300_000, "\n" * 9999, "مرحبا بك", "\ud800", "\x1c\x85", "\u0e31", "สวัสดี"]
    verdicts = rule.judge([Document("x", (text,)) for text in odd] + [Document("x", ())])
    assert len(verdicts) == len(odd) + 1
    assert verdicts[0].reason == verdicts[-1].reason == "empty"
    assert len({FineWebQualityRule(FineWebQuality(profile=name)).fingerprint for name in ("en", "zh", "code")}) == 3
