"""Best-fit-decreasing packing against brute force and TRL's own."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.bfd import cut_documents, pack_best_fit
from hfrecipes.data.bfd_rows import Labelled, pack_examples


def brute_force(lengths: list[int], capacity: int) -> list[int]:
    """Room left in each bin, item by item, as the definition says."""
    rooms: list[int] = []
    for length in sorted(filter(None, lengths), reverse=True):
        fits = [index for index, room in enumerate(rooms) if room >= length]
        if fits:
            rooms[min(fits, key=lambda index: rooms[index])] -= length
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


def make_rows(lengths: list[int]) -> list[dict]:
    """Rows whose tokens are all different, with every third one not supervised."""
    rows, token = [], 0
    for length in lengths:
        ids = list(range(token, token + length))
        labels = [-100 if each % 3 == 0 else each for each in ids]
        rows.append({"input_ids": ids, "labels": labels, "num_bytes": 7 * length + 1})
        token += length
    return rows


@st.composite
def problems(draw):
    capacity = draw(st.integers(1, 70))
    return draw(st.lists(st.integers(0, capacity), max_size=80)), capacity


@given(problems())
@settings(deadline=None)
def test_bins_are_those_of_best_fit_decreasing_by_definition(problem):
    lengths, capacity = problem
    bins = pack_best_fit(lengths, capacity)
    packed = sorted(index for members in bins for index in members.tolist())
    assert packed == [index for index, length in enumerate(lengths) if length]
    rooms = [capacity - sum(lengths[index] for index in members) for members in bins]
    assert sorted(rooms) == brute_force(lengths, capacity)


@given(st.lists(st.integers(1, 5000), max_size=60), st.integers(3000, 5000))
@settings(max_examples=30, deadline=None)
def test_rooms_beyond_one_word_of_bits_are_found(lengths, capacity):
    lengths = [min(length, capacity) for length in lengths]
    bins = pack_best_fit(lengths, capacity)
    assert sorted(capacity - sum(lengths[i] for i in members) for members in bins) == brute_force(lengths, capacity)


def test_bins_repeat_and_do_not_depend_on_the_type_of_the_lengths():
    lengths = np.random.default_rng(0).integers(1, 200, 3000)
    first = pack_best_fit(lengths, 256)
    again = pack_best_fit(lengths.tolist(), 256)
    assert [members.tolist() for members in first] == [members.tolist() for members in again]


@pytest.mark.parametrize("split", [True, False])
def test_as_many_rows_as_trl_packs_them_into(split):
    from datasets import Dataset
    from trl import pack_dataset

    lengths = np.minimum(np.random.default_rng(1).lognormal(4.5, 1.0, 900).astype(int) + 1, 3000).tolist()
    rows = make_rows(lengths)
    theirs = pack_dataset(
        Dataset.from_list(rows).remove_columns("num_bytes"),
        256,
        "bfd_split" if split else "bfd",
        map_kwargs={"batch_size": len(rows)},
    )
    ours = list(pack_examples(Labelled.from_rows(rows), 256, "split" if split else "truncate"))
    assert len(ours) == len(theirs)
    assert sorted(map(len, theirs["input_ids"])) == sorted(len(row["input_ids"]) for row in ours)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 16))
@settings(deadline=None)
def test_splitting_loses_no_token_and_no_byte(lengths, capacity):
    rows = make_rows(lengths)
    packed = list(pack_examples(Labelled.from_rows(rows), capacity))
    assert sorted(token for row in packed for token in row["input_ids"].tolist()) == list(range(sum(lengths)))
    assert all(len(row["input_ids"]) <= capacity for row in packed)
    supervised = [row for row in rows if any(label >= 0 for label in row["labels"])]
    unsplit = [row for row in rows if len(row["input_ids"]) <= capacity and row["input_ids"] and row not in supervised]
    assert sum(row["num_bytes"] for row in packed) == sum(row["num_bytes"] for row in supervised + unsplit)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(2, 16))
@settings(deadline=None)
def test_every_piece_begins_at_position_0_without_a_target_and_keeps_its_labels(lengths, capacity):
    for row in pack_examples(Labelled.from_rows(make_rows(lengths)), capacity):
        ends = np.cumsum(row["seq_lengths"])
        assert ends[-1] == len(row["input_ids"]) == len(row["labels"]) == len(row["position_ids"])
        for begin, end in zip([0, *ends], ends, strict=False):
            ids, labels = row["input_ids"][begin:end], row["labels"][begin:end]
            assert row["position_ids"][begin:end].tolist() == list(range(end - begin))
            assert np.all(np.diff(ids) == 1), "a piece is a stretch of one document"
            assert labels.tolist() == [-100, *(-100 if token % 3 == 0 else token for token in ids[1:].tolist())]


def test_trls_collator_makes_the_same_positions_and_labels():
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    packed = list(pack_examples(Labelled.from_rows(make_rows([3, 9, 5, 2, 7])), 10))
    columns = ("input_ids", "labels", "seq_lengths")
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(
        [{name: row[name].tolist() for name in columns} for row in packed]
    )
    for ours, theirs in (("position_ids", "position_ids"), ("labels", "labels"), ("input_ids", "input_ids")):
        joined = np.concatenate([row[ours] for row in packed])
        assert torch.equal(batch[theirs][0], torch.from_numpy(joined).long())


def test_rows_of_realistic_short_texts_are_more_than_99_percent_full():
    lengths = np.clip(np.random.default_rng(2).lognormal(4.3, 0.7, 20_000).astype(int), 5, 1024)
    bins = pack_best_fit(lengths, 1024)
    assert lengths.sum() / (1024 * len(bins)) > 0.99


def test_long_documents_are_refused_by_place_or_cut_when_told():
    with pytest.raises(ValueError, match=r"a.jsonl:2 has 40 tokens, and a row holds 16; rows like it: 2"):
        cut_documents([3, 40, 17], 16, "refuse", ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"])
    pieces = cut_documents([3, 40, 17], 16, "truncate")
    assert pieces.length.tolist() == [3, 16, 16]
    assert pieces.start.tolist() == [0, 0, 0]
    pieces = cut_documents([3, 0, 40], 16)
    assert pieces.document.tolist() == [0, 2, 2, 2]
    assert pieces.start.tolist() == [0, 0, 16, 32]
    assert pieces.length.tolist() == [3, 16, 16, 8]


def test_a_dataset_shuffled_or_written_in_chunks_packs_like_its_rows():
    from datasets import Dataset, concatenate_datasets

    rows = make_rows([3, 9, 0, 5, 2, 7, 30])
    whole = concatenate_datasets([Dataset.from_list(rows[:4]), Dataset.from_list(rows[4:])])
    for dataset in (whole, whole.shuffle(seed=0), whole.select(range(2, 6))):
        ours = list(pack_examples(Labelled.from_dataset(dataset), 10))
        theirs = list(pack_examples(Labelled.from_rows(dataset), 10))
        assert [{k: np.asarray(v).tolist() for k, v in row.items()} for row in ours] == [
            {k: np.asarray(v).tolist() for k, v in row.items()} for row in theirs
        ]


@pytest.mark.parametrize(("lengths", "capacity"), [([5], 4), ([-1], 4), ([1], 0)])
def test_lengths_that_no_bin_can_hold_are_refused(lengths, capacity):
    with pytest.raises(ValueError, match="bin holds"):
        pack_best_fit(lengths, capacity)
    assert pack_best_fit([], 4) == []


def test_a_shuffle_gives_the_order_of_a_dataset_s_own() -> None:
    rows = make_rows([3, 9, 5, 2, 7, 4, 4, 8])
    dataset = datasets.Dataset.from_list(rows)
    ours = list(pack_examples(Labelled.from_dataset(dataset).shuffled(7), 10))
    theirs = list(pack_examples(Labelled.from_rows(dataset.shuffle(seed=7)), 10))
    assert [{name: np.asarray(value).tolist() for name, value in row.items()} for row in ours] == [
        {name: np.asarray(value).tolist() for name, value in row.items()} for row in theirs
    ]
