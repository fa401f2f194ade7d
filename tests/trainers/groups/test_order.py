"""Which prompt is answered when, and where answers end."""

from __future__ import annotations

import math

import pytest

from hfrecipes.trainers.groups.order import GroupSampler
from hfrecipes.trainers.groups.signs import GroupSigns


@pytest.mark.parametrize(("prompts", "answers", "repeats", "generations"), [(4, 3, 2, 1), (2, 2, 5, 3)])
def test_each_prompt_comes_once_a_pass_and_as_often_as_it_is_answered(
    prompts: int, answers: int, repeats: int, generations: int
) -> None:
    sampler = GroupSampler(10, prompts, answers, repeats, generations, seed=3)
    flow: list[int] = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == len(sampler) and len(found) % (prompts * answers * repeats * generations) == 0
        flow += found
    size = prompts * answers
    blocks = [flow[start : start + size] for start in range(0, len(flow), size)]
    asked = []
    for number in range(0, len(blocks), repeats):
        block = blocks[number]
        assert all(other == block for other in blocks[number : number + repeats])
        assert block == [row for row in block[::answers] for _ in range(answers)]
        asked += block[::answers]
    assert asked == sampler.order(0, len(asked)).tolist()
    for start in range(0, len(asked) - 9, 10):
        assert sorted(asked[start : start + 10]) == list(range(10))


def test_each_sign_is_told_once() -> None:
    told: list[str] = []
    signs = GroupSigns(told.append)
    well = {"reward": 0.5, "frac_reward_zero_std": 0.9, "completions/clipped_ratio": 0.5}
    signs.look(well, 0.5, 8, 1)
    assert told == []
    for step in (2, 3):
        figures = {"reward": 0.5, "frac_reward_zero_std": 1.0, "completions/clipped_ratio": 0.6}
        signs.look({**figures, "rewards/mine": math.nan, "rewards/other": 0.5}, 0.05, 20, step)
    assert len(told) == 4 and all("step 2" in each for each in told)
    assert signs.told == ["alike", "alike scores", "silent mine", "endless"]
