"""Batches of answers: nothing is lost on the way from a row to tensors, and pairs are those of TRL's own collator."""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference

from hfrecipes.data.encode_comparisons import EncodedComparison
from hfrecipes.objectives.answers import PairCollator, RankingCollator, split_row

PAIRS = [
    EncodedComparison([1, 2, 3], [[4, 5], [6]], [0, 1]),
    EncodedComparison([7, 8], [[9], [10, 11, 12]], [0, 1], margin=0.5),
]
RANKING = EncodedComparison([7], [[1, 2], [3], [4, 5, 6]], [0, 1, 1])


def theirs(pairs: list[EncodedComparison]) -> list[dict[str, Any]]:
    return [
        {"prompt_ids": each.prompt_ids, "chosen_ids": each.answers[0], "rejected_ids": each.answers[1]}
        for each in pairs
    ]


def test_pairs_become_the_batch_of_trls_collator() -> None:
    expected = DataCollatorForPreference(pad_token_id=0)(theirs(PAIRS))
    found = PairCollator(0)([each.row() for each in PAIRS])
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_precomputed_references_come_along() -> None:
    rows = [{**each.row(), "ref_chosen_logps": -1.5, "ref_rejected_logps": -2.5} for each in PAIRS]
    found = PairCollator(0)(rows)
    assert found["ref_chosen_logps"].tolist() == [-1.5, -1.5] and found["ref_rejected_logps"].tolist() == [-2.5, -2.5]


def test_rankings_of_different_sizes_share_a_batch() -> None:
    rows = [RANKING.row(), PAIRS[1].row()]
    found = RankingCollator(0)(rows)
    assert found["ranks"].tolist() == [[0, 1, 1], [0, 1, -1]] and found["margin"].tolist() == [0.0, 0.5]
    sequences = [
        ids[mask.bool()].tolist() for ids, mask in zip(found["input_ids"], found["attention_mask"], strict=True)
    ]
    assert sequences == [*RANKING.sequences, *PAIRS[1].sequences]
    assert next(iter(found)) == "ranks", "the Trainer takes the first tensor's size for that of the batch"


def test_a_row_is_split_where_its_sequences_end() -> None:
    assert split_row(RANKING.row()) == RANKING.sequences
    assert split_row(RANKING.row(), "labels") == [[-100, 1, 2], [-100, 3], [-100, 4, 5, 6]]
