"""An adapter on a quantised base, gone on with: peft puts other parameters in its place as it loads, which nobody would train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hfrecipes import RunOptions, build, run
from hfrecipes.recipe.rundir import RunDir
from tests.stages.test_mtp_bases import FOUR_BITS, LORA, plain, recipe_of
from tests.trainers.test_resume import StopAt

__all__ = ["plain"]
WITHOUT_HEADS = "objective=null"


@pytest.mark.parametrize("bits", [FOUR_BITS, "quantization={load_in_8bit: true}"])
def test_a_cut_run_is_the_whole_run(bits: str, plain: Path, tmp_path: Path) -> None:
    options, words = RunOptions(runs_dir=tmp_path / "runs", quiet=True), [LORA, bits, WITHOUT_HEADS]
    session = build(recipe_of(plain, tmp_path, *words, "name=cut"), options=options)
    session.trainer.add_callback(StopAt(3))
    with pytest.raises(KeyboardInterrupt):
        session.train()
    resumed = RunOptions(runs_dir=options.runs_dir, quiet=True, resume=True)
    cut = RunDir(run(recipe_of(plain, tmp_path, *words, "name=cut"), options=resumed))
    whole = RunDir(run(recipe_of(plain, tmp_path, *words, "name=whole"), options=options))
    assert cut.facts()["warnings"][-1].startswith("resumed from checkpoint-2")
    weights = [load_file(each.model / "adapter_model.safetensors") for each in (cut, whole)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
