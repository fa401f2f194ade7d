"""Heads of multi-token prediction beside an adapter whose base was given tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from hfrecipes import RunOptions, load_mtp, mtp_generate, run
from hfrecipes.cli.main import main
from hfrecipes.models.new_rows import needed_rows
from hfrecipes.recipe.rundir import RunDir
from tests.stages.test_mtp_bases import LORA, plain, recipe_of

__all__ = ["plain"]
# More than the rows with which the base's matrix of 320 is filled up behind its tokenizer.
NEW = [f"<|new{number}|>" for number in range(40)]
# The second is the base's own number of rows: the first token that the base, as it was published, cannot read.
IDS = torch.tensor([[5, 320, 7, 8, 9, 10, 11, 12]])
WORDS = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


@pytest.fixture(scope="module")
def trained(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Tests do not change it."""
    folder = tmp_path_factory.mktemp("extended")
    words = [LORA, f"model.tokenizer={{extend: {NEW}}}", "objective.heads=chained"]
    return RunDir(run(recipe_of(plain, folder, *words), options=RunOptions(runs_dir=folder / "runs", quiet=True)))


@torch.no_grad()
def test_the_base_gets_rows_for_the_new_tokens_before_adapter_and_heads_are_loaded(
    trained: RunDir, plain: Path
) -> None:
    base = AutoModelForCausalLM.from_pretrained(plain)
    assert needed_rows(trained.model, base) > base.config.vocab_size == 320
    model = load_mtp(trained.model).eval()
    assert model(input_ids=IDS, labels=IDS).head_losses.isfinite().all()
    assert torch.equal(mtp_generate(model, IDS, **WORDS), model.generate(input_ids=IDS, **WORDS))


@torch.no_grad()
def test_such_a_run_is_exported(trained: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-mtp", str(trained.path), str(tmp_path / "out")]) == 0
    assert "2 further layers" in capsys.readouterr().out
    exported, model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval(), load_mtp(trained.model).eval()
    torch.testing.assert_close(exported(IDS).logits, model(input_ids=IDS).logits, rtol=1e-4, atol=1e-4)
