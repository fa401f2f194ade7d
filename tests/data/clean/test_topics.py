"""The rule `topics`: shares of what remains, chosen by hash, whatever parts and processes there are."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean.linear_classifier import train_linear_classifier
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.shares import kept_counts
from hfrecipes.data.clean.topics import TopicsRule
from hfrecipes.recipe.cleaning import Topics
from hfrecipes.recipe.problem import RecipeError

COUNTS = {"sport": 60, "law": 30, "food": 10}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("topics")
    train_linear_classifier({topic: [text_of(topic, 1000 + n) for n in range(60)] for topic in COUNTS}, folder)
    return folder


def text_of(topic: str, number: int) -> str:
    words = {
        "sport": "the team won match {} in the stadium",
        "law": "paragraph {} of the court's verdict",
        "food": "boil {} eggs with salt and butter",
    }
    return words[topic].format(number)


def corpus() -> list[Document]:
    texts = [text_of(topic, number) for topic, count in COUNTS.items() for number in range(count)]
    random.Random(0).shuffle(texts)
    return [Document(f"a.jsonl:{row}", (text,)) for row, text in enumerate(texts)]


def run(rule: TopicsRule, parts: list[list[Document]], folder: Path) -> list[Verdict]:
    """As the engine does it, by files."""
    folder.mkdir()
    sketches = [folder / f"{number}.sketch.npz" for number in range(len(parts))]
    decisions = [folder / f"{number}.decisions.npz" for number in range(len(parts))]
    for path, part in zip(sketches, parts, strict=True):
        np.savez(path, **rule.sketch(part))
    rule.resolve(sketches, decisions)
    verdicts = []
    for path, part in zip(decisions, parts, strict=True):
        with np.load(path, allow_pickle=False) as arrays:
            verdicts += rule.judge(part, arrays)
    return verdicts


def rule(classifier: Path, **words: object) -> TopicsRule:
    return TopicsRule(Topics(name_or_path=str(classifier), **words), "my.yaml:5")


def kept_by_topic(verdicts: list[Verdict]) -> dict[str, int]:
    return {topic: sum(one.reason is None and topic in one.counts for one in verdicts) for topic in COUNTS}


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({}, {"sport": 60, "law": 30, "food": 10}),
        ({"sport": 0.5}, {"sport": 40, "law": 30, "food": 10}),
        ({"sport": 0.5, "law": 0.25, "food": 0.25}, {"sport": 20, "law": 10, "food": 10}),
        ({"sport": 0.0}, {"sport": 0, "law": 30, "food": 10}),
        ({"food": 0.9}, {"sport": 60, "law": 30, "food": 10}),
    ],
)
def test_no_topic_is_above_its_share(
    classifier: Path, tmp_path: Path, shares: dict[str, float], expected: dict[str, int]
) -> None:
    verdicts = run(rule(classifier, shares=shares), [corpus()], tmp_path / "x")
    assert kept_by_topic(verdicts) == expected
    assert all(sum(one.counts.values()) == 1 for one in verdicts)
    assert {one.reason for one in verdicts} <= {None, "share"}


def test_parts_do_not_matter_and_the_seed_does(classifier: Path, tmp_path: Path) -> None:
    documents = corpus()
    made = rule(classifier, shares={"sport": 0.3})
    whole = run(made, [documents], tmp_path / "one")
    parts = run(made, [documents[:13], [], documents[13:50], documents[50:]], tmp_path / "four")
    assert whole == parts
    other = run(rule(classifier, shares={"sport": 0.3}, seed=1), [documents], tmp_path / "seed")
    assert kept_by_topic(other) == kept_by_topic(whole) and other != whole


def test_shares_that_make_no_rule_are_refused(classifier: Path, tmp_path: Path) -> None:
    for shares in ({"sport": 1.5}, {"sport": -0.1}, {"sport": 0.7, "law": 0.7}):
        with pytest.raises(RecipeError, match=r"my\.yaml:5: error: .*no parts of a whole"):
            rule(classifier, shares=shares)
    with pytest.raises(RecipeError, match=r"no topic 'sports' \(its topics are sport, law, food\)"):
        rule(classifier, shares={"sports": 0.5}).sketch(corpus())
    alone = [one for one in corpus() if "team" in one.text]
    with pytest.raises(RecipeError, match="no document could stay with these shares: there are 60 of sport"):
        run(rule(classifier, shares={"sport": 0.5, "law": 0.5}), [alone], tmp_path / "x")


def largest_by_bisection(counts: dict[str, int], shares: dict[str, float]) -> float:
    """The largest K with K <= sum of min(count, share * K), unlisted kinds whole: the difference is concave in K."""

    def room(total: float) -> float:
        return sum(min(n, shares[kind] * total) if kind in shares else n for kind, n in counts.items()) - total

    low, high = 0.0, float(sum(counts.values())) + 1
    # room(0) >= 0, and beyond the largest root it is negative; slack for roots along a stretch.
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if room(middle) >= -1e-9 * max(1.0, middle) else (low, middle)
    return low


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 1000), min_size=1),
    st.lists(st.integers(0, 20), min_size=5, max_size=5),
    st.integers(0, 30),
    st.sets(st.sampled_from("abcde")),
)
def test_as_many_stay_as_can(counts: dict[str, int], weights: list[int], rest: int, unlisted: set[str]) -> None:
    total = sum(weights) + rest
    listed = {kind: w / total for kind, w in zip("abcde", weights, strict=True) if total and kind not in unlisted}
    kept = kept_counts(counts, listed)
    exact = largest_by_bisection(counts, listed)
    for kind, count in counts.items():
        expected = min(count, listed[kind] * exact) if kind in listed else count
        assert abs(kept[kind] - expected) <= 0.5 + 1e-4 * max(1.0, expected)
