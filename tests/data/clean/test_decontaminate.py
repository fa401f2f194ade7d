"""Evaluation rows are found in training text, and what only looks like them is not."""

from __future__ import annotations

import json
import pickle
import random
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean.decontaminate import Decontaminator
from hfrecipes.data.clean.rule import Document
from hfrecipes.recipe.cleaning import Decontaminate
from tests.data.clean.near_duplicate_corpora import DATA, chinese, code

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:"
)
# 12 words: one less than an n-gram, so that 13-grams of it and one word of the row are all different.
TWELVE_WORDS = "Solve this grade school math problem step by step for the student: {}"


def gsm8k(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def decontaminator(rows: Iterable[str | tuple[str, ...]], title: str = "the test set", **words: int) -> Decontaminator:
    texts = [(row,) if isinstance(row, str) else row for row in rows]
    return Decontaminator([(title, f"test.jsonl:{n + 1}", row) for n, row in enumerate(texts)], Decontaminate(**words))


def found(rule: Decontaminator, *rows: str | tuple[str, ...]) -> list[int]:
    documents = [Document(f"train.jsonl:{n + 1}", (r,) if isinstance(r, str) else r) for n, r in enumerate(rows)]
    overlaps = [overlap.index for overlap in rule.overlaps(documents)]
    assert overlaps == [n for n, verdict in enumerate(rule.judge(documents)) if verdict.reason == "evaluation_overlap"]
    return overlaps


def mangled(question: str, chance: random.Random) -> str:
    """The same words in other case, with other spaces and other punctuation."""
    words = [chance.choice([str.upper, str.lower, str.title])(word) for word in question.replace("'", "’").split()]
    spaced = "".join(word + chance.choice([" ", "  ", "\n", "\u3000", "\t"]) for word in words)
    return re.sub(r"(?<!\d)[.,;?!]|[.,;?!](?!\d)", lambda _: chance.choice([" - ", "...", ";", "", " "]), spaced)


@needs_data
def test_every_test_question_planted_in_training_text_is_found() -> None:
    rows = gsm8k("gsm8k_test.jsonl")
    rule = decontaminator((row["question"], row["answer"]) for row in rows)
    chance = random.Random(0)
    planted = [f"Some text before it. {mangled(row['question'], chance)} And after it." for row in rows]
    documents = [Document(str(n), (text,)) for n, text in enumerate(planted)]
    overlaps = rule.overlaps(documents)
    assert len(overlaps) == len(rows)
    named = [overlap.evaluation_where == f"test.jsonl:{overlap.index + 1}" for overlap in overlaps]
    assert sum(named) > 0.99 * len(rows)  # some questions come in two versions that share most of their words


@needs_data
@pytest.mark.parametrize("template", ["{}", ALPACA, TWELVE_WORDS])
@pytest.mark.parametrize("num_rows", [8, 1319])
def test_a_template_that_training_and_test_share_is_no_overlap(template: str, num_rows: int) -> None:
    test, train = gsm8k("gsm8k_test.jsonl")[:num_rows], gsm8k("gsm8k_train_2500.jsonl")
    rule = decontaminator((template.format(row["question"]), row["answer"]) for row in test)
    rows = [(template.format(row["question"]), row["answer"]) for row in train]
    assert len(found(rule, *rows)) <= 5  # of 2500; these share a phrase without any template too
    assert found(rule, *[(template.format(row["question"]), "?") for row in test[:50]]) == list(
        range(min(50, num_rows))
    )


@needs_data
def test_chinese_is_compared_by_characters() -> None:
    texts = chinese(100)
    rule = decontaminator(texts[:50])
    planted = [f"引言。{text[20:60]}。结语" for text in texts[:50]]
    assert len(found(rule, *planted)) == 50
    unspaced = [" ".join(text[20:60]).replace("，", ",") for text in texts[:50]]
    assert len(found(rule, *unspaced)) == 50
    assert len(found(rule, *texts[50:])) <= 5  # the classics quote each other


def words(first: int, count: int) -> str:
    return " ".join(f"word{number}" for number in range(first, first + count))


@pytest.mark.parametrize(("shared", "expected"), [(12, []), (13, [0]), (20, [0])])
def test_thirteen_words_in_a_row_are_an_overlap_and_twelve_are_not(shared: int, expected: list[int]) -> None:
    rule = decontaminator([words(0, 40)])
    assert found(rule, f"before {words(5, shared)} behind") == expected


def test_the_length_and_the_number_of_matches_can_be_told() -> None:
    assert found(decontaminator([words(0, 40)], ngram=8), f"before {words(5, 8)} behind") == [0]
    rule = decontaminator([words(0, 40)], min_matches=5)
    assert found(rule, words(0, 16) + " x", words(0, 17) + " x") == [1]


def test_the_verdict_names_the_set_the_row_and_the_words() -> None:
    rule = decontaminator([words(100, 30), words(0, 30)], title="data.eval.0")
    [verdict] = rule.judge([Document("train.jsonl:1", (f"Before, {words(3, 14).upper()}!",))])
    assert verdict.detail == f'shares "{words(3, 14)}!" with test.jsonl:2 of data.eval.0'
    [overlap] = rule.overlaps([Document("train.jsonl:1", ("nothing", words(3, 14)))])
    assert (overlap.where, overlap.num_matches) == ("train.jsonl:1", 2)


def test_the_longest_shared_run_is_the_one_that_is_named() -> None:
    rule = decontaminator([words(100, 30), words(0, 30)])
    [overlap] = rule.overlaps([Document("d", (f"{words(100, 14)} and {words(0, 18)} end {words(110, 13)}",))])
    assert overlap.evaluation_where == "test.jsonl:2"
    assert overlap.words == words(0, 18)
    assert overlap.num_matches == 2 + 6 + 1


def test_runs_across_two_texts_do_not_count() -> None:
    rule = decontaminator([words(0, 40), (words(50, 7), words(57, 30))])
    assert found(rule, (words(0, 7), words(7, 12)), f"in one text {words(50, 12)} end") == []


def test_a_phrase_of_many_rows_is_no_content_but_that_of_few_is() -> None:
    def rule(copies: int) -> Decontaminator:
        return decontaminator(
            [
                f"{words(0, 20)} {words(1000 * (row + 1), 20)}" if row < copies else words(1000 * (row + 1), 40)
                for row in range(60)
            ]
        )

    assert found(rule(10), words(0, 20)) == [0]
    assert found(rule(11), words(0, 20)) == []
    assert found(rule(11), words(5000, 14)) == [0]
    assert found(decontaminator([f"{words(0, 20)} {words(1000 * (n + 1), 20)}" for n in range(5)]), words(0, 20)) == []


def test_labels_and_answers_alone_never_match() -> None:
    rows = [
        ("Is this film review positive or negative?", "positive"),
        ("Which city never sleeps?", "New York City, of course"),
    ]
    rule = decontaminator([*rows, "yes", "42", "不是"])
    training = [
        ("Something else?", "positive"),
        ("Where is Broadway?", "New York City, of course"),
        "yes",
        "42",
        "不是",
        "positive",
    ]
    assert found(rule, *training) == []


def test_short_rows_match_as_a_whole() -> None:
    rule = decontaminator([("What is the capital of France?", "Paris"), "Roses are red today", "今天天气怎么样"])
    assert found(rule, ("what is the CAPITAL of France", "It is Lyon.")) == [0]  # the prompt is known
    assert found(rule, "What is the capital of France? Paris.", "roses are red, today!", "今天 天气怎么样？") == [
        0,
        1,
        2,
    ]
    assert found(rule, "What is the capital of France or Spain?", "Roses are red", "天气怎么样") == []


def test_short_sums_are_told_apart_by_their_signs() -> None:
    rule = decontaminator([("What is 12 + 34?", "46")])
    assert found(rule, ("What is 12 * 34?", "408"), ("What is 12 + 34 ?", "46")) == [1]


def test_a_short_prompt_of_many_rows_is_a_template() -> None:
    rule = decontaminator([("Write a short poem please", words(100 * n, 5)) for n in range(40)])
    assert found(rule, ("Write a short poem please", "Roses are red")) == []


def test_runs_of_few_different_words_are_no_content() -> None:
    rule = decontaminator(["ha " * 30 + words(0, 3), "0 1 " * 20 + words(5, 3)])
    assert found(rule, "he laughed " + "ha " * 40, "0 1 " * 30) == []


def test_code_is_found() -> None:
    functions = code(80)
    rule = decontaminator(functions[:10])
    hits = found(rule, *(f"import os\n\n{text}\n\nprint(1)" for text in functions[:10]))
    assert hits == list(range(10))


def test_no_evaluation_rows_and_empty_ones_find_nothing() -> None:
    for rule in (decontaminator([]), decontaminator(["", ("", ""), "?!", ()])):
        assert found(rule, "", "?!", words(0, 50), ("", ""), ()) == []
    assert decontaminator([words(0, 30)]).overlaps([]) == []


def test_the_fingerprint_changes_with_the_evaluation_rows_and_not_else() -> None:
    one = decontaminator([words(0, 30)])
    assert one.fingerprint == decontaminator([words(0, 30)]).fingerprint
    others = [
        decontaminator([words(0, 31)]),
        decontaminator([words(0, 30), "x"]),
        decontaminator([words(0, 30)], title="b"),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_a_pickled_rule_judges_the_same() -> None:
    rule = decontaminator([words(0, 30), "Roses are red today"])
    copy = pickle.loads(pickle.dumps(rule))
    documents = [Document("a", (words(3, 20),)), Document("b", ("roses are red today",)), Document("c", ("else",))]
    assert rule.judge(documents) == copy.judge(documents)
    assert rule.fingerprint == copy.fingerprint


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 6), max_size=25), max_size=4),
    st.lists(st.lists(st.integers(0, 6), max_size=30), max_size=5),
)
def test_ngrams_are_those_of_sets_of_tuples(evaluation: list[list[int]], training: list[list[int]]) -> None:
    length = 4
    grams = [{tuple(row[i : i + length]) for i in range(len(row) - length + 1)} for row in evaluation]
    pairs = [{tuple(row[i : i + 2]) for i in range(len(row) - 1)} for row in evaluation]
    limit = max(1, len(evaluation) // 2)
    counted = {gram: sum(gram in row for row in grams) for row in grams for gram in row}
    phrases = {pair for row in pairs for pair in row if sum(pair in other for other in pairs) > limit}
    content = set()
    for row in evaluation:
        covered = {p for i in range(len(row) - 1) if tuple(row[i : i + 2]) in phrases for p in (i, i + 1)}
        for i in range(len(row) - length + 1):
            outside = sum(place not in covered for place in range(i, i + length))
            if counted[tuple(row[i : i + length])] <= limit and outside >= 3 and len(set(row[i : i + length])) >= 2:
                content.add(tuple(row[i : i + length]))
    rule = decontaminator([" ".join(f"w{word}" for word in row) for row in evaluation], ngram=length)
    documents = [Document(str(n), (" ".join(f"w{word}" for word in row),)) for n, row in enumerate(training)]
    matches = {overlap.index: overlap.num_matches for overlap in rule.overlaps(documents) if overlap.num_matches}
    expected = [sum(tuple(row[i : i + length]) in content for i in range(len(row) - length + 1)) for row in training]
    assert matches == {n: count for n, count in enumerate(expected) if count}
