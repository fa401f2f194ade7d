from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from datasets import Dataset

from hfrecipes import Curriculum, Mixture

SOURCES = {
    "en": Dataset.from_dict({"text": [f"en {n}" for n in range(20)]}),
    "zh": [{"text": f"zh {n}"} for n in range(7)],
}
WEIGHTS = {"en": [[0, 0.9], [1, 0.3]], "zh": [[0, 0.1], [1, 0.7]]}


def test_a_sample_is_the_row_that_locate_names() -> None:
    mixture = Mixture(SOURCES, Curriculum(WEIGHTS), total=100, seed=1, block=10)
    assert len(mixture) == 100
    for number in range(100):
        name, row, _ = mixture.locate(number)
        assert mixture[number]["text"] == f"{name} {row}"
    assert mixture[-1] == mixture[99]
    assert mixture.__getitems__([5, 99, 0, 5]) == [mixture[5], mixture[99], mixture[0], mixture[5]]
    assert mixture.__getitems__([]) == []
    with pytest.raises(IndexError):
        mixture[100]


def test_passes_are_counted_and_whole() -> None:
    mixture = Mixture(SOURCES, {"en": 1, "zh": 1}, total=100, block=10)
    rows = [mixture.locate(number) for number in range(100)]
    for epoch in range(100 // 2 // 7):
        assert sorted(row for name, row, of in rows if name == "zh" and of == epoch) == list(range(7))


def test_the_data_set_and_the_sampler_give_the_same_rows() -> None:
    sources = {**SOURCES, "zh": Dataset.from_list(SOURCES["zh"])}
    mixture = Mixture(sources, WEIGHTS, total=60, seed=4, block=8)
    rows = mixture.dataset
    assert [rows[index]["text"] for index in mixture.sampler()] == [mixture[n]["text"] for n in range(60)]
    assert list(mixture.sampler(41)) == list(mixture.sampler())[41:]
    assert len(mixture.sampler(41)) == 19


def test_what_a_sampler_passes_over_is_not_looked_at_and_the_rest_is_as_it_was() -> None:
    mixture = Mixture(SOURCES, WEIGHTS, total=60, seed=4, block=8)
    sampler = mixture.sampler()
    whole = list(sampler)
    sampler.passed_over = 33
    assert list(sampler) == [0] * 33 + whole[33:]


def test_another_seed_is_another_order_of_the_same_shares() -> None:
    one, other = (Mixture(SOURCES, WEIGHTS, total=60, seed=seed, block=20) for seed in (0, 1))
    assert list(one.sampler()) != list(other.sampler())
    assert one.plan.counts.tolist() == other.plan.counts.tolist()


def test_copies_in_other_processes_are_the_same() -> None:
    mixture = Mixture(SOURCES, WEIGHTS, total=60, seed=4, block=8)
    assert list(pickle.loads(pickle.dumps(mixture)).sampler()) == list(mixture.sampler())


def test_a_limit_of_epochs_is_kept_and_the_others_take_over() -> None:
    mixture = Mixture(SOURCES, {"en": 0.1, "zh": 0.9}, total=100, block=10, max_epochs={"zh": 3})
    names = [mixture.locate(number)[0] for number in range(100)]
    assert names.count("zh") == 21
    assert set(names[30:]) == {"en"}


def test_shares_of_a_curriculum() -> None:
    shares = Curriculum({"a": [[0, 1], [1, 3]], "b": 1}, {"a": "step"}).shares([0.0, 0.9, 1.0])
    assert shares["a"].tolist() == [0.5, 0.5, 0.75]
    assert Curriculum({"a": 1, "b": 3}).shares(0.5)["b"].tolist() == [0.75]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"weights": {"en": 1}}, "the sources are en, zh, the weights en"),
        ({"weights": {"en": 1, "zh": -1}}, "the weight of zh: -1 is negative"),
        ({"weights": {"en": 0, "zh": [[0, 1], [0.5, 0]]}}, "all weights are 0 at progress"),
        ({"max_epochs": {"fr": 1}}, "max_epochs names fr"),
        ({"max_epochs": {"en": 1, "zh": 1}}, "allow 27 samples, and 100 are to be drawn"),
        ({"sources": {"en": SOURCES["en"], "zh": []}}, "the source zh has no rows"),
        ({"total": 0}, "total is 0"),
    ],
)
def test_what_cannot_be_mixed_is_refused_when_it_is_made(arguments: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Mixture(**{"sources": SOURCES, "weights": WEIGHTS, "total": 100, **arguments})


class Counting:
    """A source that remembers which rows were asked for."""

    def __init__(self, rows: int) -> None:
        self.rows, self.asked = rows, []

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> int:
        self.asked.append(row)
        return row


def test_going_on_far_behind_reads_no_row_before_and_takes_no_longer() -> None:
    sources = {"a": Counting(10**6), "b": Counting(10**6)}
    mixture = Mixture(sources, {"a": [[0, 1], [1, 0]], "b": 1}, total=3_000_000)
    began = time.process_time()
    first = next(iter(mixture.sampler(2_900_000)))
    # Some 20 ms, or a collection of garbage more; looking up all that lies before takes 20 s.
    assert time.process_time() - began < 1
    name, row, _ = mixture.locate(2_900_000)
    assert first == row + (10**6 if name == "b" else 0)
    assert mixture[2_900_000] == row
    assert len(sources["a"].asked) + len(sources["b"].asked) == 1


def test_loaders_with_any_number_of_workers_read_the_same() -> None:
    from torch.utils.data import DataLoader

    mixture = Mixture(SOURCES, WEIGHTS, total=64, seed=4, block=8)
    orders = []
    for workers, prefetch in ((0, None), (2, 4)):
        loader = DataLoader(mixture, batch_size=8, num_workers=workers, prefetch_factor=prefetch)
        orders.append([text for batch in loader for text in batch["text"]])
    assert orders[0] == orders[1] == [mixture[n]["text"] for n in range(64)]


def test_large_mixtures_have_few_blocks() -> None:
    source = range(10**9)
    mixture = Mixture({"a": source, "b": source}, {"a": 1, "b": 2}, total=3 * 10**9)
    assert mixture.plan.num_blocks <= 65_536
    assert np.abs(mixture.plan.counts[-1] - [10**9, 2 * 10**9]).max() < 2
