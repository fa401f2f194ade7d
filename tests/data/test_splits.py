"""What splits promise: nothing that belongs together is parted, rows that are added move none, shares are kept."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.hashing import content_key, split_of
from hfrecipes.data.row import Row
from hfrecipes.data.splits.assign import RowsChangedError, assign
from hfrecipes.data.splits.settings import SplitSettings, share_weights
from hfrecipes.recipe.problem import RecipeError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
ORDER = {"train": 0, "validation": 1, "test": 2}


def make(**words) -> SplitSettings:
    shares, folds = words.pop("shares", SHARES), words.pop("folds", None)
    weights = {f"fold-{fold}": 1 for fold in range(1, folds + 1)} if folds else share_weights(shares)
    return SplitSettings(weights=weights, **words)


def rows_of(texts, **columns) -> list[Row]:
    names = list(columns)
    cells = zip(*columns.values(), strict=True) if columns else [()] * len(texts)
    return [
        Row(f"a.jsonl:{number}", {"text": text, **dict(zip(names, more, strict=True))})
        for number, (text, more) in enumerate(zip(texts, cells, strict=True), start=1)
    ]


def splits(rows: list[Row], **words) -> list[str]:
    return assign(rows, make(**words)).splits.tolist()


@st.composite
def tables(draw, max_size=60):
    size = draw(st.integers(1, max_size))
    column = st.lists(st.integers(0, 12), min_size=size, max_size=size)
    return rows_of(
        [f"text {number}" for number in draw(st.lists(st.integers(0, 40), min_size=size, max_size=size))],
        label=draw(st.lists(st.sampled_from("abc"), min_size=size, max_size=size)),
        author=draw(column),
        day=[f"2024-01-{day + 1:02}" for day in draw(column)],
    )


METHODS = [
    {"method": "hash"},
    {"method": "stratified", "by": "label"},
    {"method": "time", "by": "day"},
    {"method": "order"},
    {"folds": 4, "fold": 2},
    {"folds": 3, "fold": 1, "method": "stratified", "by": "label"},
]


@pytest.mark.parametrize("words", METHODS, ids=str)
@pytest.mark.parametrize("group", [None, "author"])
@given(rows=tables(), seed=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_nothing_that_belongs_together_is_parted(words, group, rows, seed):
    found = splits(rows, **words, group=group, seed=seed)
    assert len(found) == len(rows) and set(found) <= set(SHARES)
    sides = defaultdict(set)
    for row, split in zip(rows, found, strict=True):
        sides[str(row.values)].add(split)
        if group:
            sides[row.values[group]].add(split)
    assert all(len(each) == 1 for each in sides.values())


@pytest.mark.parametrize("words", METHODS, ids=str)
@given(rows=tables())
@settings(max_examples=20, deadline=None)
def test_selecting_every_split_gives_every_row_once(words, rows):
    assignment = assign(iter(rows), make(**words))
    selected = [list(assignment.select(iter(rows), split)) for split in SHARES]
    assert sorted(row.where for part in selected for row in part) == sorted(row.where for row in rows)
    for split, part in zip(SHARES, selected, strict=True):
        assert [row.where for row in part] == [
            row.where for row, found in zip(rows, assignment.splits, strict=True) if found == split
        ]


# Nothing moves.


@given(rows=tables(), added=tables(), data=st.data(), group=st.sampled_from([None, "author"]))
@settings(max_examples=60, deadline=None)
def test_by_hash_rows_inserted_anywhere_move_none(rows, added, data, group):
    """With groups this holds where no text is in two of them."""
    for row in [*rows, *added]:
        row.values["text"] += str(row.values["author"]) * (group is not None)
    where = [data.draw(st.integers(0, len(rows))) for _ in added]
    mixed = list(rows)
    for place, row in sorted(zip(where, added, strict=True), key=lambda pair: -pair[0]):
        mixed.insert(place, row)
    before = dict(zip(map(id, rows), splits(rows, group=group), strict=True))
    after = dict(zip(map(id, mixed), splits(mixed, group=group), strict=True))
    assert all(after[row] == split for row, split in before.items())


@pytest.mark.parametrize("words", [METHODS[1], METHODS[4], METHODS[5]], ids=str)
@pytest.mark.parametrize("group", [None, "author"])
@given(rows=tables(), added=tables())
@settings(max_examples=25, deadline=None)
def test_dealt_rows_stay_where_they_are_when_others_are_appended(words, group, rows, added):
    for row in [*rows, *added]:
        row.values["text"] += str(row.values["author"]) * (group is not None)
    assert splits([*rows, *added], **words, group=group)[: len(rows)] == splits(rows, **words, group=group)


@pytest.mark.parametrize("words", [{}, METHODS[4]], ids=str)
def test_a_row_in_two_files_moves_the_later_file_alone_and_says_so(words):
    rows = [Row(f"{file}.jsonl:{number}", {"text": f"{file} {number}"}) for file in range(20) for number in range(5)]
    before = assign(rows, make(**words, group="file"))
    other = next(file for file in range(1, 20) if before.parts[file * 5] != before.parts[0])
    # The same row at the end of two files that were apart.
    both = [Row(f"{file}.jsonl:6", {"text": "a licence"}) for file in (0, other)]
    after = assign([*rows, *both], make(**words, group="file"))
    expected = before.parts.copy()
    expected[other * 5 : other * 5 + 5] = before.parts[0]
    assert after.parts[:100].tolist() == expected.tolist()
    assert not before.warnings or not any("went to" in warning for warning in before.warnings)
    assert any(warning.startswith("6 of 102 rows went to") for warning in after.warnings)


def test_without_a_seed_and_with_its_shares_hashing_is_what_sources_do_anyway():
    rows = rows_of([f"text {number}" for number in range(500)])
    found = splits(rows, shares={"train": 0.9, "validation": 0.05, "test": 0.05})
    assert found == [split_of(content_key(row.values)) for row in rows]
    assert found != splits(rows, shares={"train": 0.9, "validation": 0.05, "test": 0.05}, seed=1)


# Shares.

fractions = st.sampled_from(
    [
        {"train": 0.8, "validation": 0.1, "test": 0.1},
        {"train": 0.7, "validation": 0.2, "test": 0.1},
        {"train": 0.5, "test": 0.5},
        {"train": 0.9, "validation": 0.05, "test": 0.05},
        {"train": 0.333, "validation": 0.333, "test": 0.334},
        {"train": 0.97, "validation": 0.03},
        {"train": 1.0},
        {"validation": 0.45, "test": 0.55},
        {"train": 0.6, "validation": 0.1, "test": 0.3},
    ]
)


@given(shares=fractions, labels=st.lists(st.sampled_from("aab"), max_size=400), seed=st.integers(0, 9))
@settings(deadline=None)
def test_stratified_shares_are_within_one_row_of_exact_after_any_number_of_rows(shares, labels, seed):
    rows = rows_of([f"text {number}" for number in range(len(labels))], label=labels)
    found = splits(rows, method="stratified", by="label", shares=shares, seed=seed)
    seen, counts = Counter(), Counter()
    for label, split in zip(labels, found, strict=True):
        seen[label] += 1
        counts[label, split] += 1
        for name, share in shares.items():
            assert abs(counts[label, name] - share * seen[label]) < 1 + 1e-9


@given(folds=st.integers(2, 12), rows=tables(), seed=st.integers(0, 5))
@settings(deadline=None)
def test_folds_cover_every_row_once_and_are_within_one_row_of_each_other(folds, rows, seed):
    distinct = list({str(row.values): row for row in rows}.values())
    tests = [
        [split == "validation" for split in splits(distinct, folds=folds, fold=fold, seed=seed)]
        for fold in range(1, folds + 1)
    ]
    assert np.sum(tests, axis=0).tolist() == [1] * len(distinct)
    sizes = np.sum(tests, axis=1)
    assert sizes.max() - sizes.min() <= 1


@given(folds=st.integers(2, 5), rows=tables(max_size=120))
@settings(deadline=None)
def test_stratified_folds_have_each_label_to_within_one_row(folds, rows):
    distinct = list({str(row.values): row for row in rows}.values())
    for label in "abc":
        sizes = [
            sum(
                split == "validation" and row.values["label"] == label
                for row, split in zip(
                    distinct,
                    splits(distinct, folds=folds, fold=fold, method="stratified", by="label"),
                    strict=True,
                )
            )
            for fold in range(1, folds + 1)
        ]
        assert max(sizes) - min(sizes) <= 1


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=80), folds=st.sampled_from([None, 2, 5]))
@settings(deadline=None)
def test_groups_that_come_whole_keep_shares_to_within_the_largest_of_them(sizes, folds):
    author = [number for number, size in enumerate(sizes) for _ in range(size)]
    rows = rows_of([f"text {number}" for number in range(len(author))], author=author, label=["a"] * len(author))
    words = {"folds": folds, "fold": 1} if folds else {"method": "stratified", "by": "label"}
    assignment = assign(rows, make(**words, group="author"))
    counts = np.bincount(assignment.parts, minlength=len(assignment.settings.weights))
    weights = np.array(list(assignment.settings.weights.values()))
    off = counts - len(rows) * weights / weights.sum()
    assert off.max() <= max(sizes)
    assert off.min() >= -max(sizes) * (len(weights) - 1)


def test_every_place_of_a_block_is_as_likely_to_be_tested_on():
    """Data that repeat every ten rows must not have one of the ten always trained on."""
    rows = rows_of([f"text {number}" for number in range(20_000)], label=["a"] * 20_000)
    found = np.array(splits(rows, method="stratified", by="label")).reshape(-1, 10)
    for split, share in SHARES.items():
        by_place = (found == split).mean(axis=0)
        assert np.all(np.abs(by_place - share) < 5 * np.sqrt(share * (1 - share) / 2000)), (split, by_place)


def test_shares_by_hash_are_those_of_coin_tosses():
    rows = rows_of([f"text {number}" for number in range(20_000)])
    for seed in (0, 7):
        counts = Counter(splits(rows, seed=seed))
        assert all(abs(counts[name] - 20_000 * share) < 5 * np.sqrt(20_000 * share) for name, share in SHARES.items())


@pytest.mark.parametrize("words", [METHODS[0], METHODS[1], METHODS[4]], ids=str)
def test_another_seed_deals_anew(words):
    rows = rows_of([f"text {number}" for number in range(300)], label=["a", "b"] * 150)
    assert splits(rows, **words, seed=0) != splits(rows, **words, seed=1)
    assert splits(rows, **words, seed=1) == splits(rows, **words, seed=1)


# Time and order.


@pytest.mark.parametrize("group", [None, "author"])
@given(rows=tables())
@settings(deadline=None)
def test_no_row_is_later_than_one_of_a_later_split(group, rows):
    found = splits(rows, method="time", by="day", group=group)
    last: dict[str, str] = {}
    for row, split in sorted(zip(rows, found, strict=True), key=lambda pair: ORDER[pair[1]]):
        assert all(day <= row.values["day"] for name, day in last.items() if ORDER[name] < ORDER[split])
        last[split] = max(last.get(split, ""), row.values["day"])
    ties = defaultdict(set)
    for row, split in zip(rows, found, strict=True):
        ties[row.values["day"]].add(split)
    assert all(len(each) == 1 for each in ties.values())


def test_time_cuts_at_the_shares_where_nothing_stands_in_the_way():
    days = np.random.default_rng(0).permutation(100)
    rows = rows_of([f"text {number}" for number in range(100)], day=[int(day) * 86400 for day in days])
    found = splits(rows, method="time", by="day")
    assert Counter(found) == {"train": 80, "validation": 10, "test": 10}
    assert {int(day) for day, split in zip(days, found, strict=True) if split == "test"} == set(range(90, 100))


def test_time_cuts_around_a_group_and_warns_when_that_is_far_from_the_shares():
    rows = rows_of(
        [f"text {number}" for number in range(100)],
        day=[number * 86400 for number in range(100)],
        author=["long" if 60 <= number < 95 else f"a{number}" for number in range(100)],
    )
    assignment = assign(rows, make(method="time", by="day", group="author"))
    assert Counter(assignment.splits.tolist()) == {"train": 95, "test": 5} or Counter(assignment.splits.tolist()) == {
        "train": 95,
        "validation": 5,
    }
    assert any("instead of 80.0%" in warning for warning in assignment.warnings)


def test_order_takes_the_last_rows_and_equal_ones_follow_the_first():
    texts = [f"text {number}" for number in range(20)]
    found = splits(rows_of(texts), method="order", shares={"train": 0.75, "validation": 0.05, "test": 0.2})
    assert found == ["train"] * 15 + ["validation"] + ["test"] * 4
    texts[-1] = texts[0]
    found = splits(rows_of(texts), method="order", shares={"train": 0.5, "test": 0.5})
    assert found == ["train"] * 9 + ["test"] * 10 + ["train"]


# Files and near duplicates.


def test_all_rows_of_a_file_are_on_one_side_wherever_the_folder_lies():
    rows = [
        Row(f"{{}}/{file}.jsonl:{number}", {"text": f"{file} {number}"}) for file in range(30) for number in range(5)
    ]
    here, there = (
        [Row(row.where.format(folder), row.values) for row in rows] for folder in ("data", "/elsewhere/of/it")
    )
    first = assign(here, make(group="file"), root="data").splits.tolist()
    assert first == assign(there, make(group="file"), root="/elsewhere/of/it").splits.tolist()
    by_file = np.array(first).reshape(30, 5)
    assert np.all(by_file == by_file[:, :1]) and len(set(first)) > 1


@pytest.mark.parametrize("where", ["d/a.jsonl:7", "d/a.json: item 7", "d/a.parquet: row 7", "d/a.csv:7", "d/a.jsonl"])
def test_the_file_of_a_row_is_told_from_its_place(where):
    from hfrecipes.data.splits.columns import file_of

    assert file_of(where, "d").startswith("a.") and ":" not in file_of(where, "d")


@pytest.mark.parametrize("words", [{}, METHODS[1], METHODS[3], METHODS[4]], ids=str)
def test_near_duplicates_stay_on_one_side_and_those_that_moved_are_counted(words):
    draw = np.random.default_rng(0)
    vocabulary = [f"word{number}" for number in range(500)]
    texts = [" ".join(draw.choice(vocabulary, 80)) for _ in range(120)]
    texts += [text.rsplit(" ", 1)[0] + " changed" for text in texts[:60]]
    rows = rows_of(texts, label=["a", "b"] * 90)
    assignment = assign(rows, make(**words, near_duplicates=True))
    found = assignment.splits.tolist()
    assert found[:60] == found[120:]
    assert splits(rows, **words)[:60] != splits(rows, **words)[120:]
    if words.get("method") != "order":
        assert any("rows went to the split" in warning for warning in assignment.warnings)
    if words.get("method", "hash") != "order":
        assert found[:120] == splits(rows, **words)[:120], "the first of each stays where it was"


def test_the_text_that_near_duplicates_are_found_in_can_be_chosen():
    prose = " ".join(f"word{number}" for number in range(80))
    rows = [
        Row(f"a.jsonl:{number}", {"text": prose, "id": " ".join(f"{number}x{place}" for place in range(300))})
        for number in range(40)
    ]
    assert len(set(splits(rows, near_duplicates=True))) > 1
    chosen = assign(rows, make(near_duplicates=True), text_of=lambda row: row.values["text"])
    assert len(set(chosen.splits.tolist())) == 1


# What a user gets wrong.


def test_cells_that_are_no_time_are_named_with_their_rows():
    rows = rows_of(list("abcd"), day=["2024-03-05", "soon", 1709600000, "03/05/2024"])
    with pytest.raises(
        RecipeError, match=r"a.jsonl:2: error: day is 'soon', which is no time: 2 rows, a.jsonl:2, a.jsonl:4"
    ):
        splits(rows, method="time", by="day")


def test_a_column_that_is_missing_is_named_with_those_there_are():
    rows = [*rows_of(["a", "b"]), Row("a.jsonl:3", {"text": "c", "topic": None})]
    with pytest.raises(RecipeError, match=r"column 'topic' .* missing or empty: 3 rows, .* this row has text"):
        splits(rows, method="stratified", by="topic")
    with pytest.raises(RecipeError, match=r"column 'author'"):
        splits(rows, group="author")


def test_a_split_that_gets_nothing_is_warned_of():
    assignment = assign(rows_of(["a", "b"]), make(method="order"))
    assert any(warning.startswith("validation has 0.0%") for warning in assignment.warnings)
    assert assign([], make()).splits.tolist() == []


@pytest.mark.parametrize("time", [10**30, 1e300, -(10**40), float("inf"), True, [1]])
def test_a_time_beyond_all_reckoning_is_named_like_any_other_that_is_none(time):
    with pytest.raises(RecipeError, match=r"a.jsonl:2: error: day is .*, which is no time"):
        splits(rows_of(["a", "b"], day=["2024-03-05", time]), method="time", by="day")


@pytest.mark.parametrize("nothing", [None, "", "  ", float("nan")])
def test_a_cell_that_holds_nothing_is_no_group_and_no_label(nothing):
    rows = rows_of(["a", "b"], topic=["x", nothing])
    for words in ({"group": "topic"}, {"method": "stratified", "by": "topic"}):
        with pytest.raises(RecipeError, match=r"^a.jsonl:2: error: the column 'topic' .* missing or empty: 1 rows"):
            splits(rows, **words)


def test_a_column_of_measurements_is_no_label_and_that_is_said():
    rows = rows_of(list(map(str, range(60))), size=[number * 1.1 for number in range(60)], topic=["x", "y", "z"] * 20)
    (told,) = [one for one in assign(rows, make(method="stratified", by="size")).warnings if "label" in one]
    assert told.startswith("size has 60 different values in 60 rows")
    assert not any("label" in one for one in assign(rows, make(method="stratified", by="topic")).warnings)


def test_folds_that_would_be_empty_are_known_before_the_first_is_trained_on():
    few = assign(rows_of(list(map(str, range(3)))), make(folds=5, fold=1))
    empty = few.folds_without("validation")
    assert len(empty) == 2 and few.folds_without("train") == []
    # One row alone leaves the training of its own fold without any.
    assert len(assign(rows_of(["a"]), make(folds=5, fold=1)).folds_without("train")) == 1
    assert assign(rows_of(list(map(str, range(50)))), make(folds=5, fold=1)).folds_without("validation") == []
    assert assign(rows_of(["a"]), make()).folds_without("validation") == []


def test_rows_that_came_or_went_since_they_were_dealt_are_not_dealt_wrongly():
    rows = rows_of(list(map(str, range(40))))
    assignment = assign(rows, make())
    assert len(list(assignment.select(rows, "train"))) == splits(rows).count("train")
    for others in (rows[:-1], [*rows, rows[0]]):
        with pytest.raises(RowsChangedError, match="has other rows than when they were dealt"):
            list(assignment.select(others, "train"))
