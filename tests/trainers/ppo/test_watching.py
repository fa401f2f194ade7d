"""Signs that a training goes wrong, the table, and what the layouts of several processes need."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from hfrecipes import compat
from hfrecipes.trainers.ppo.completions_table import print_completions
from hfrecipes.trainers.ppo.watching import Signs, update_figures, update_sums
from tests.trainers.ppo.tiny import policy, trainer

WELL = {
    "policy/token_entropy": 3.0,
    "objective/scores": 0.5,
    "objective/scores_std": 0.1,
    "objective/kl": 1.0,
    "completions/distinct": 1.0,
    "completions/no_eos": 0.1,
    "rewards/mine": 0.5,
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"policy/token_entropy": 0.2}, "entropy fell from 3 to 0.2 nats for each token at step 8"),
        ({"completions/distinct": 0.05}, "of 64 completions only 5% are different at step 8"),
        ({"objective/kl": 30.0, "objective/scores": 0.9}, "30 nats from the reference at step 8, score 0.9"),
        ({"objective/scores_std": 0.0}, "all scores of a rollout are 0.5 at step 8"),
        ({"completions/no_eos": 0.8}, "80% of completions do not end at step 8"),
        ({"rewards/mine": math.nan}, "reward mine gave a score to none of the 64 completions of step 8"),
    ],
)
def test_each_sign_is_told_once(changed: dict[str, float], says: str) -> None:
    told: list[str] = []
    signs = Signs(told.append, stops=True)
    signs.look(WELL, 64, 0)
    assert not told
    for step in (8, 16):
        signs.look({**WELL, **changed}, 64, step)
    assert len(told) == 1
    assert told[0].startswith(says)


def test_signs_that_were_told_are_not_told_again_after_a_resume() -> None:
    told: list[str] = []
    before = Signs(told.append, stops=True)
    before.look({**WELL, "completions/no_eos": 0.8}, 64, 0)
    after = Signs(told.append, stops=True, state=before.state)
    after.look({**WELL, "completions/no_eos": 0.8}, 64, 8)
    assert len(told) == 1


def test_completions_without_an_end_to_reach_may_go_on() -> None:
    told: list[str] = []
    Signs(told.append, stops=False).look({**WELL, "completions/no_eos": 1.0}, 64, 0)
    assert not told


def test_figures_of_updates_are_means_over_tokens_of_all_micro_batches() -> None:
    ones = torch.ones(3)
    logps, old = torch.tensor([0.1, -0.2, 0.0]), torch.zeros(3)
    parts = [
        update_sums(ones[cut], 2 * ones[cut], logps[cut], old[cut], logps[cut] > 0, old[cut] > 0, 3 * ones[cut])
        for cut in (slice(0, 1), slice(1, 3))
    ]
    figures = update_figures(parts[0] + parts[1])
    ratios = logps.double().exp()
    assert figures["loss/policy_avg"] == 1.0
    assert figures["policy/approxkl_avg"] == pytest.approx((0.01 + 0.04) / 6)
    assert figures["policy/clipfrac_avg"] == pytest.approx(1 / 3)
    assert figures["val/ratio"] == pytest.approx(float(ratios.mean()))
    assert figures["val/ratio_var"] == pytest.approx(float(ratios.var(correction=0)), rel=1e-4)
    assert update_figures(torch.zeros(9, dtype=torch.float64)) == {}


def test_the_table_shows_completions_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_completions(["Say [bold]"], ["no [/bold] tag"], [0.25], 8)
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("Say [bold]", "no [/bold] tag", "0.25", "step 8"))


def test_completions_are_shown_every_so_many_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, log_completions=2, max_steps=12).train()
    shown = capsys.readouterr().out
    assert shown.count("Completions at step 0") == shown.count("Completions at step 8") == 1
    assert "Completions at step 4" not in shown


def test_what_we_borrow_from_trl_takes_what_we_give() -> None:
    model = policy()
    with compat.trl_unwrap_for_generation(model, Accelerator(cpu=True)) as unwrapped:
        assert unwrapped is model
    from trl.models import utils

    for borrowed in (utils.prepare_deepspeed, utils.prepare_fsdp):
        assert list(inspect.signature(borrowed).parameters)[:2] == ["model", "accelerator"]
