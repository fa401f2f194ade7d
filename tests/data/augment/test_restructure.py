"""The method `restructure`: another order, the same words."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.augment import clauses
from hfrecipes.data.augment.method import Task
from hfrecipes.data.augment.restructure import RestructureMethod
from hfrecipes.recipe.augmentation import Restructure

FACTS = "Bees live in hives. Ants build hills. Birds make nests. Foxes dig dens. Where do fish live?"


def outcomes(text: str, seeds: int = 40, **words: object) -> set[str]:
    method = RestructureMethod(Restructure(**words))
    return {method.change([Task((text,), (), seed)])[0][0] for seed in range(seeds)}


def test_sentences_change_places_but_for_the_first_and_questions() -> None:
    found = outcomes(FACTS, join_and_split=False)
    assert len(found) > 3
    for text in found:
        assert text.startswith("Bees live in hives. ") and text.endswith(" Where do fish live?")
        assert sorted(text.split(". ")) == sorted(FACTS.split(". "))


def test_a_sentence_that_leans_on_another_goes_with_it() -> None:
    text = "Rome is old. Paris is large. It has a tower. Berlin is flat. However, London has hills. Oslo is cold."
    found = outcomes(text, join_and_split=False)
    assert len(found) > 3
    assert all("Paris is large. It has a tower." in one and "Berlin is flat. However" in one for one in found)


def test_chinese_sentences_change_places_and_join() -> None:
    text = "蜜蜂住在蜂房里。蚂蚁住在蚁穴里。鸟儿在树上做巢。狐狸挖洞。"
    assert any(one.count("。") == 4 and one != text for one in outcomes(text, join_and_split=False))
    assert any("；" in one for one in outcomes(text, reorder=False))


def test_quotations_stay_whole_and_in_their_order() -> None:
    text = "子贡问曰：“赐也何如？”子曰：“女器也。不错。”曰：“何器也？”曰：“瑚琏也。”"
    assert outcomes(text, join_and_split=False) == {text}
    quoted = "Cats purr. Dogs bark (often. Loudly). Cows moo. Hens cluck."
    assert all("Dogs bark (often. Loudly)." in one for one in outcomes(quoted, join_and_split=False))


def test_bullets_change_places_with_what_belongs_to_them() -> None:
    text = "Buy:\n- apples\n  - red ones\n- pears\n- plums"
    found = outcomes(text)
    assert len(found) == 6
    assert all("- apples\n  - red ones" in one and one.startswith("Buy:\n") for one in found)


@pytest.mark.parametrize(
    "text",
    [
        "1. Open the box. Take the cup.\n2. Close the box.\n3. Go home.",
        "Which is right? Choose.\nA. Bees fly.\nB. Ants fly.\nC. Cows fly.",
        "ROMEO:\nShe speaks. O speak again.\nJULIET:\nO Romeo. Deny thy father.",
        "| a | b |\n|---|---|\n| x. y. | z. |",
        "import os\n\ndef f(x):\n    return x\n\nprint(f(1))\n",
    ],
)
def test_forms_and_code_stay_as_they_are(text: str) -> None:
    assert outcomes(text) == {text}


def test_code_blocks_stay_between_paragraphs_that_change() -> None:
    code = "```python\n# Bees live. Ants live.\nx = 1\n```"
    found = outcomes(f"{FACTS}\n\n{code}\n\n{FACTS}")
    assert len(found) > 3
    assert all(f"\n{code}\n" in one for one in found)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("If it rains, the match stops.", "The match stops if it rains."),
        ("The match stops if it rains.", "If it rains, the match stops."),
        ("Because Ann was late, I left.", "I left because Ann was late."),
        ("因为下雨，所以比赛取消了。", "之所以比赛取消了，是因为下雨。"),
        ("之所以比赛取消了，是因为下雨。", "因为下雨，所以比赛取消了。"),
        ("虽然下雨，但是比赛继续。", "比赛继续，虽然下雨。"),
        ("Ann left because Bob was late.", None),  # Ann would lose her capital
        ("If not, then stop.", None),
        ("Bees live in hives.", None),
    ],
)
def test_clauses_change_places(sentence: str, expected: str | None) -> None:
    assert clauses.reordered(sentence) == expected


def test_sentences_are_split_and_joined() -> None:
    assert clauses.split("Ann left the house early, and she took the bus.") == (
        "Ann left the house early. She took the bus."
    )
    assert clauses.split("Ann left the house early, but she missed the bus.") == (
        "Ann left the house early. But she missed the bus."
    )
    assert clauses.split("风停了；雨也停了。") == "风停了。雨也停了。"
    assert clauses.split("We like tea, and milk.") is None
    assert clauses.joined("Ann left.", "She took the bus.") == "Ann left, and she took the bus."
    assert clauses.joined("Ann left.", "Bob stayed.") is None  # Bob would be bob
    assert clauses.joined("风停了。", "雨停了。") == "风停了；雨停了。"
    assert clauses.joined("Did Ann leave?", "She did.") is None


SENTENCES = st.sampled_from(
    [
        "Bees fly.",
        "Who knows?",
        "He said “go. Now.”",
        "\n\n",
        "\n",
        "- item one\n",
        "鸟飞。",
        "  ",
        "```\na. b.\n```\n",
        "1. x\n",
        "Ants dig, and they eat.",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(SENTENCES, max_size=12).map(" ".join), st.integers(0, 2**64 - 1))
def test_reordering_keeps_every_word_of_any_text(text: str, seed: int) -> None:
    (changed,) = RestructureMethod(Restructure(join_and_split=False)).change([Task((text,), (), seed)])[0]
    assert Counter(re.findall(r"\w+", changed.lower())) == Counter(re.findall(r"\w+", text.lower()))
    assert len(changed) == len(text)
