"""Harmful content: lists of words, classifiers, and what either says when it is not in order."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.clean.harmful import HarmfulContentRule
from hfrecipes.data.clean.rule import Document
from hfrecipes.data.clean.word_lists import WordList
from hfrecipes.recipe.cleaning import HarmfulContent
from hfrecipes.recipe.problem import RecipeError

PROSE = "The committee met in the old town hall and talked about the budget of the coming year. " * 20


def rule(where="r.yaml:9", folder=None, classifier=None, **words) -> HarmfulContentRule:
    return HarmfulContentRule(HarmfulContent(**words), where, folder, classifier)


def judge(harmful: HarmfulContentRule, *texts: str):
    return harmful.judge([Document(f"web.jsonl:{number}", (text,)) for number, text in enumerate(texts, start=1)])


def test_words_of_the_list_are_found_as_whole_words_whatever_their_case():
    words = WordList(["Porno", "sex cam", "裸聊"])
    assert words.find("PORNO porno Porno.").entries == ["porno"] * 3
    assert words.find("pornography, Adelporno, porno1").entries == []
    assert words.find("Sex-Cam, sex  cam\nsex\ncam; sex. Cam, sexcam, sex and cam").entries == ["sex cam"] * 3
    assert words.find("我们裸聊吧，裸聊 ok裸聊").entries == ["裸聊"] * 3
    assert words.find("ＰＯＲＮＯ").entries == ["porno"]
    assert words.find("我们porno视频").entries == ["porno"]


def test_the_longer_of_two_entries_that_begin_together_counts_once():
    found = WordList(["sex", "sex cam", "约炮", "约炮网站"]).find("sex cam sex, 约炮网站约炮")
    assert found.entries == ["sex cam", "sex", "约炮网站", "约炮"] and found.words == 3 + 6


@given(st.lists(st.sampled_from(["ab", "b", "c", " ", "-", ".", "AB", "裸", "聊", "x"]), max_size=14))
def test_a_plain_search_of_the_text_finds_the_same(pieces):
    text = "".join(pieces)
    expected = len(re.findall(r"(?<![a-z])ab(?![a-z])", text.lower())) + text.count("裸聊")
    assert len(WordList(["ab", "裸聊"]).find(text).entries) == expected


def test_our_own_list_finds_spam_in_english_and_chinese_and_leaves_medicine_law_and_news_alone():
    spam = [
        "Watch FREE PORN videos, live sex cams and xxx movies now! blowjob",
        "成人视频在线看片网站，同城约炮，美女裸聊，黄色网站",
    ]
    plain = [
        "Sex differences in anal and breast cancer: a review of 12 trials with penis and vagina as reported sites.",
        "The court heard that the defendant was charged with rape and the killing of two people, and possession of drugs.",
        "Essex, Sussex and Scunthorpe; the cocktail hour; a cumulative escort of the navy; Dick Cheney. " * 3,
        "警方通报一起强奸案，嫌疑人已被刑事拘留。性教育课程应包括避孕与性病预防。黄色小车停在路边。",
        PROSE,
    ]
    verdicts = judge(rule(), *spam, *plain)
    assert [verdict.reason for verdict in verdicts] == ["listed_words", "listed_words"] + [None] * 5
    assert not any(verdict.counts for verdict in verdicts[2:])


def test_a_few_words_in_a_long_text_stay_and_a_few_in_a_short_one_do_not():
    long, short = judge(rule(max_words=3, max_words_share=0.05), PROSE + "porno", "porno " + PROSE[:60])
    assert long.reason is None and long.counts == {"listed_words": 1}
    assert short.reason == "listed_words_share" and short.counts == {"listed_words": 1}


def test_a_limit_of_zero_means_not_one():
    assert judge(rule(max_words=0), PROSE + "porno")[0].reason == "listed_words"


def test_the_share_counts_characters_where_words_have_no_spaces_between_them():
    text = "今天天气很好我们去公园散步看到很多花" * 2 + "裸聊"
    [verdict] = judge(rule(max_words_share=0.05), text)
    assert verdict.reason == "listed_words_share" and f"{2 / len(text):.1%}" in verdict.detail


def test_the_detail_names_entries_of_the_list_and_not_the_text():
    [verdict] = judge(rule(), "secret diary of Jane Roe: porno porno porno porno")
    assert verdict.detail.endswith(": porno") and "Jane" not in verdict.detail


def test_a_list_of_ones_own_replaces_ours(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# ours\n\n  Foo Bar \nbaz\n", encoding="utf-8")
    own = rule(word_list=str(path), max_words=0)
    assert [verdict.reason for verdict in judge(own, "foo bar", "BAZ", "porno", "# ours")] == ["listed_words"] * 2 + [
        None
    ] * 2
    before = own.fingerprint
    path.write_text("baz\nfoo   bar\nbaz\n", encoding="utf-8")
    assert rule(word_list=str(path)).words.size == 2
    path.write_text("baz\n", encoding="utf-8")
    assert rule(word_list=str(path)).fingerprint != before


@pytest.mark.parametrize(
    "content, says", [(None, "cannot be read"), (b"\xff\xfe\x00", "no UTF-8"), (b"# only\n", "lists nothing")]
)
def test_a_list_that_cannot_be_used_is_a_problem_that_names_it(tmp_path, content, says):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=says) as caught:
        rule(word_list=str(path))
    assert "words.txt" in str(caught.value)


def test_a_classifier_decides_alone_unless_the_recipe_says_words_too():
    alone = rule(classifier=lambda texts: [0.9 if "bad" in text else 0.1 for text in texts])
    alone.words = None
    with_words = rule(classifier=lambda texts: [0.9 if "bad" in text else 0.1 for text in texts], max_words=0)
    assert [verdict.reason for verdict in judge(alone, "bad", "porno")] == ["classifier", None]
    assert [verdict.reason for verdict in judge(with_words, "bad", "porno", "fine")] == [
        "classifier",
        "listed_words",
        None,
    ]


def test_a_classifier_beside_the_recipe_is_loaded_at_the_first_document(tmp_path):
    (tmp_path / "judges.py").write_text(
        "def harm(texts):\n    return [len(text) / 10 for text in texts]\n", encoding="utf-8"
    )
    words = HarmfulContent(classifier="judges:harm", max_probability=0.5)
    harmful = pickle.loads(pickle.dumps(HarmfulContentRule(words, "r.yaml:9", tmp_path)))
    assert [verdict.reason for verdict in judge(harmful, "12345", "123456")] == [None, "classifier"]
    assert judge(harmful, "123456")[0].detail == "probability 0.600, at most 0.5 allowed"
    before = harmful.fingerprint
    (tmp_path / "judges.py").write_text("def harm(texts):\n    return [0.0 for text in texts]\n", encoding="utf-8")
    assert harmful.fingerprint != before


@pytest.mark.parametrize("returned", [[0.2, 0.7], np.array([0.2, 0.7], dtype=np.float32), (0, 1), iter([0.0, 1.0])])
def test_lists_arrays_and_tuples_of_probabilities_are_taken(returned):
    assert [v.reason for v in judge(rule(classifier=lambda texts: returned), "a", "b")] == [None, "classifier"]


@pytest.mark.parametrize(
    "returned, says",
    [
        ([0.5], "returns 1 values for 2 texts"),
        ([0.1, 1.5], r"returns '1.5' \(float\) for web.jsonl:2"),
        ([-0.1, 0.5], "web.jsonl:1"),
        ([math.nan, 0.5], "web.jsonl:1"),
        (["0.1", 0.5], r"\(str\) for web.jsonl:1"),
        ([True, False], r"\(bool\)"),
        ([{"label": "toxic", "score": 0.2}] * 2, r"\(dict\)"),
        (None, "returns NoneType, not a list"),
        (0.5, "returns float, not a list"),
    ],
)
def test_what_is_no_list_of_probabilities_is_a_problem_that_says_what_came(returned, says):
    with pytest.raises(RecipeError, match=says) as caught:
        judge(rule(classifier=lambda texts: returned), "a", "b")
    assert str(caught.value).startswith("r.yaml:9") and "one number from 0 to 1 for each text" in str(caught.value)


def test_a_classifier_that_fails_is_a_problem_that_names_the_rows():
    def broken(texts):
        raise ZeroDivisionError("division by zero")

    with pytest.raises(RecipeError, match=r"fails on web.jsonl:1 to web.jsonl:2: ZeroDivisionError"):
        judge(rule(classifier=broken), "a", "b")
