"""Which rows get a copy, what of a row may change, and which copies stay."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.augment.augment import augment, make_methods
from hfrecipes.data.augment.checks import Bounds, fault_of, similarity
from hfrecipes.data.augment.method import Task
from hfrecipes.data.augment.report import AugmentationReport
from hfrecipes.data.augment.slots import changeable_places, put, skeleton, take
from hfrecipes.data.row import Row
from hfrecipes.recipe.augmentation import METHODS, Noise
from hfrecipes.recipe.field_schema import chosen_schema
from hfrecipes.recipe.problem import RecipeError

SENTENCE = "Perhaps the committee immediately found an important error in the report number {} of this year."


def examples(number: int = 300) -> list[tuple[Row, dict[str, Any]]]:
    texts = [SENTENCE.format(row) for row in range(number)]
    return [(Row(f"train.jsonl:{row + 1}", {"text": text}), {"text": text}) for row, text in enumerate(texts)]


def run(rows: Any, said: Sequence[dict[str, Any]], seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    report = AugmentationReport()
    return list(augment(rows, make_methods(said), seed, report)), report.facts()


def copies(rows: Any, said: Sequence[dict[str, Any]], seed: int = 0) -> dict[str, str]:
    return {row.where: example["text"] for row, example in run(rows, said, seed)[0] if row.where.endswith(")")}


def test_originals_stay_in_order_and_copies_follow_them() -> None:
    rows = examples()
    out, facts = run(rows, [{"method": "noise", "share": 0.3}, {"method": "synonyms", "share": 0.2}])
    assert [pair for pair in out if not pair[0].where.endswith(")")] == rows
    for (before, _), (row, _) in pairwise(out):
        if row.where.endswith(")"):
            assert row.where.split(" (")[0] == before.where.split(" (")[0]
    assert facts["rows"] == 300 and facts["copies"] == len(out) - 300
    assert 60 < facts["methods"]["noise"]["chosen"] < 120 and 35 < facts["methods"]["synonyms"]["chosen"] < 90


def test_copies_do_not_depend_on_other_rows_nor_on_the_order() -> None:
    said = [{"method": name, "share": 0.5} for name in ("synonyms", "restructure", "noise")]
    whole = copies(examples(600), said)
    assert len(whole) > 200
    half = copies(examples(600)[::-2], said)
    assert half == {where: text for where, text in whole.items() if where in half}
    assert {where for where in whole if int(where.split(":")[1].split()[0]) % 2 == 0} == set(half)


def test_the_seed_chooses_and_the_same_seed_chooses_the_same() -> None:
    said = [{"method": "noise", "share": 0.3}]
    assert copies(examples(), said, 1) == copies(examples(), said, 1)
    assert set(copies(examples(), said, 1)) != set(copies(examples(), said, 2))


def test_a_method_that_is_listed_twice_has_rows_of_its_own() -> None:
    out = copies(examples(), [{"method": "noise", "share": 0.3}, {"method": "noise", "share": 0.3}])
    first = {where.split(" ")[0] for where in out if where.endswith("(noise)")}
    second = {where.split(" ")[0] for where in out if where.endswith("(noise 2)")}
    assert first and second and first != second


def test_rows_stream() -> None:
    taken = 0

    def endless() -> Iterator[tuple[Row, dict[str, Any]]]:
        nonlocal taken
        while True:
            taken += 1
            yield Row(f"a:{taken}", {}), {"text": SENTENCE.format(taken)}

    stream = augment(endless(), make_methods([{"method": "noise", "share": 1.0}]), 0, AugmentationReport())
    for _ in range(100):
        next(stream)
    assert taken <= 256


CONVERSATION = {
    "messages": [
        {"role": "system", "content": "Perhaps answer immediately."},
        {"role": "user", "content": "Perhaps the error is huge, however it is important."},
        {"role": "assistant", "content": "Perhaps it is."},
        {"role": "tool", "content": "Perhaps an error"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Perhaps the huge error?"}]},
    ],
    "tools": [{"name": "perhaps"}],
}


@pytest.mark.parametrize(
    ("example", "free"),
    [
        ({"text": "a"}, [("text",)]),
        ({"prompt": "a", "completion": "b"}, [("prompt",)]),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, [("prompt",)]),
        ({"text": "a", "label": "b"}, [("text",)]),
        (CONVERSATION, [("messages", 1, "content"), ("messages", 4, "content", 1, "text")]),
        (
            {"prompt": CONVERSATION["messages"][:2], "completion": [{"role": "assistant", "content": "b"}]},
            [("prompt", 1, "content")],
        ),
        ({"messages": [{"role": "assistant", "content": "b", "tool_calls": []}]}, []),
    ],
)
def test_only_the_input_may_change(example: dict[str, Any], free: list[Any]) -> None:
    before = copy.deepcopy(example)
    places = changeable_places(example)
    assert places == free
    changed = put(example, places, ["new"] * len(places))
    assert example == before and take(changed, places) == ("new",) * len(free)
    assert skeleton(changed, places) == skeleton(example, places)


@pytest.mark.parametrize("name", ["synonyms", "restructure", "noise"])
def test_all_but_the_input_of_a_conversation_stays(name: str) -> None:
    words = {"noise": {"rate": 0.1}, "synonyms": {"max_words": 0.3}}.get(name, {})
    rows = [(Row(f"a:{row}", {}), {**CONVERSATION, "number": row}) for row in range(40)]
    out, facts = run(rows, [{"method": name, "share": 1.0, **words}])
    assert facts["copies"] > 20 or name == "restructure"
    for _, example in out:
        for place in (0, 2, 3):
            assert example["messages"][place] == CONVERSATION["messages"][place]
        assert example["tools"] == CONVERSATION["tools"]


def test_answers_that_the_prompt_quotes_stay() -> None:
    prompt = "Perhaps the review was huge and important. Is it good or bad? Number {}"
    rows = [(Row(f"a:{n}", {}), {"prompt": prompt.format(n), "completion": " important"}) for n in range(60)]
    out, facts = run(rows, [{"method": "noise", "share": 1.0, "rate": 0.2, "min_similarity": 0.0}])
    assert facts["copies"] > 50
    assert all("important" in example["prompt"] and example["completion"] == " important" for _, example in out)


ENGLISH = "The committee read the whole report before lunch, and nobody found anything wrong with it."
GERMAN = "Der Ausschuss las den ganzen Bericht vor dem Mittagessen, und niemand fand etwas daran auszusetzen."


@pytest.mark.parametrize(
    ("source", "changed", "words", "reason"),
    [
        (ENGLISH, ENGLISH.replace("whole", "entire"), {}, None),
        (ENGLISH, ENGLISH.replace(" ", "  "), {}, "unchanged"),
        (ENGLISH, "", {}, "length"),
        (ENGLISH, ENGLISH * 3, {}, "length"),
        (
            ENGLISH,
            "Quickly jump over foxes again, my lovely dog, while we all sing songs of summer rain.",
            {},
            "too_different",
        ),
        (ENGLISH, ENGLISH.replace("whole", "entire"), {"max_similarity": 0.9}, "too_similar"),
        (ENGLISH, GERMAN, {"min_similarity": 0.0}, "language"),
        ("It costs 12.50 in all of the shops.", "It costs 12 in all of the shops.", {}, "numbers"),
        ("Is it good or bad today?", "Is it goods or bad today?", {"fixed": ("good",)}, "answer"),
        ("这部电影是好的，我很喜欢。", "这部影片是好的，我很喜欢。", {"fixed": ("好",)}, None),
        ("这部电影是好的，我很喜欢。", "这部影片是棒的，我很喜欢。", {"fixed": ("好",)}, "answer"),
    ],
)
def test_copies_are_thrown_away_for_a_reason(
    source: str, changed: str, words: dict[str, Any], reason: str | None
) -> None:
    words = {"min_similarity": 0.3, **words}
    fixed = words.pop("fixed", ())
    assert fault_of([source], [changed], fixed, Bounds(**words)) == reason


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_similarity_is_the_cosine_of_trigram_counts(first: str, second: str) -> None:
    def counts(text: str) -> Counter[str]:
        text = " " + " ".join(text.lower().split()) + " "
        return Counter([text[i : i + 3] for i in range(len(text) - 2)] or [text])

    one, two = counts(first), counts(second)
    dot = sum(one[gram] * two[gram] for gram in {*one, *two})
    expected = dot / (sum(n * n for n in one.values()) * sum(n * n for n in two.values())) ** 0.5
    assert similarity(first, second) == pytest.approx(expected)
    assert similarity(first, first) == pytest.approx(1.0)


class Broken:
    """A method that breaks what it is given."""

    name, fingerprint, min_similarity, settings = "broken", "", 0.5, Noise(share=1.0)

    def change(self, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
        wrong = ("", "x", "one number 5")
        return [(task.texts[0] if n % 4 == 3 else wrong[n % 4],) for n, task in enumerate(tasks)]


def test_the_report_counts_reasons_and_shows_examples() -> None:
    report = AugmentationReport()
    out = list(augment(examples(40), [Broken()], 0, report))
    assert len(out) == 40
    facts = report.facts()["methods"]["broken"]
    assert facts["thrown_away"] == {"length": 30, "unchanged": 10}
    assert facts["chosen"] == 40 and facts["made"] == 30 and facts["kept"] == 0 and facts["share_kept"] == 0.0
    assert [one["reason"] for one in facts["examples"]] == ["length"] * 3
    assert facts["examples"][0]["where"] == "train.jsonl:1" and "committee" in facts["examples"][0]["before"]
    json.dumps(report.facts())


def test_every_word_of_a_method_is_explained() -> None:
    for branch in chosen_schema("method", METHODS)["oneOf"]:
        assert branch["properties"]["method"]["description"]
        assert {"share", "min_similarity"} <= set(branch["properties"])


def test_models_and_files_that_are_not_named_are_refused_at_their_place() -> None:
    with pytest.raises(RecipeError, match=r"data\.augment\.1\.forward: error: no model is named"):
        make_methods([{"method": "noise"}, {"method": "back_translation"}])
    with pytest.raises(RecipeError, match="the synonyms cannot be read"):
        make_methods([{"method": "synonyms", "file": "absent.tsv"}], lambda name: Path("/nowhere") / name)
