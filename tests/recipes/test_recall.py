"""The practice of `long/tiny`: the same for the same text, worded as the needles are, and told again as it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hfrecipes.data.functions import load_function
from hfrecipes.evaluation.needle_text import WORDINGS
from hfrecipes.recipe.shipped import shipped_recipes

BESIDE = Path(shipped_recipes()["long/tiny-base"]).parent
TEXTS = [f"Text {number} begins. It goes on! Does it end? Yes." for number in range(60)]
CITIES = [city for wording in WORDINGS.values() for city in wording.cities]


@pytest.fixture(params=["near", "far"])
def practice(request: pytest.FixtureRequest) -> Callable[[dict], str]:
    return load_function(f"recall:{request.param}", BESIDE)


def told(text: str) -> list[tuple[str, str]]:
    """City and number, in their order."""
    return re.findall(rf"({'|'.join(CITIES)}) ?(\d{{5}})", text)


def test_a_text_becomes_the_same_practice_each_time(practice: Callable[[dict], str]) -> None:
    made = [practice({"text": text}) for text in TEXTS]
    assert made == [practice({"text": text, "more": 1}) for text in TEXTS]
    assert len(set(made)) == len(TEXTS)


def test_more_than_half_of_the_numbers_were_told_before(practice: Callable[[dict], str]) -> None:
    shares = []
    for text in TEXTS:
        pairs = told(practice({"text": text}))
        again = sum(pair in told_before for told_before, pair in zip(prefixes(pairs), pairs, strict=True))
        shares.append(again / len(pairs))
    assert 0.5 < sum(shares) / len(shares) < 0.75


def prefixes(pairs: list) -> list[set]:
    seen, found = set(), []
    for pair in pairs:
        found.append(set(seen))
        seen.add(pair)
    return found


def test_the_wording_is_that_of_the_needles() -> None:
    made = "".join(load_function("recall:far", BESIDE)({"text": text}) for text in TEXTS)
    for language, wording in WORDINGS.items():
        city, number = next(pair for pair in told(made) if pair[0] in wording.cities)
        assert wording.before + wording.cue.format(city=city) + wording.gap + number + wording.end in made, language


def test_far_is_farther_than_near() -> None:
    def gaps(name: str) -> list[int]:
        found = []
        for text in TEXTS:
            last: dict[tuple[str, str], int] = {}
            for place, pair in enumerate(told(load_function(f"recall:{name}", BESIDE)({"text": text}))):
                found += [place - last[pair]] if pair in last else []
                last[pair] = place
        return sorted(found)

    near, far = gaps("near"), gaps("far")
    assert near[int(0.95 * len(near))] < far[int(0.95 * len(far))] / 2


def test_an_office_has_one_number_at_a_time_in_far_practice() -> None:
    for text in TEXTS:
        current: dict[str, str] = {}
        retired: set[tuple[str, str]] = set()
        for city, number in told(load_function("recall:far", BESIDE)({"text": text})):
            if current.get(city, number) != number:
                retired.add((city, current[city]))
            current[city] = number
            assert (city, number) not in retired
