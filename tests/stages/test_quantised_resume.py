"""An adapter on a quantised base, gone on with: peft puts other parameters in its place as it loads, which nobody would train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hfrecipes import RunOptions, build, run
from hfrecipes.models.mtp.beside import FILE
from hfrecipes.recipe.rundir import RunDir
from tests.stages.test_mtp_bases import FOUR_BITS, LORA, plain, recipe_of
from tests.trainers.test_resume import StopAt

__all__ = ["plain"]
EIGHT_BITS, WITHOUT_HEADS = "quantization={load_in_8bit: true}", "objective=null"


@pytest.mark.parametrize("words", [[FOUR_BITS, WITHOUT_HEADS], [EIGHT_BITS, WITHOUT_HEADS], [EIGHT_BITS]])
def test_a_cut_run_is_the_whole_run(words: list[str], plain: Path, tmp_path: Path) -> None:
    options, words = RunOptions(runs_dir=tmp_path / "runs", quiet=True), [LORA, *words]
    session = build(recipe_of(plain, tmp_path, *words, "name=cut"), options=options)
    session.trainer.add_callback(StopAt(3))
    with pytest.raises(KeyboardInterrupt):
        session.train()
    resumed = RunOptions(runs_dir=options.runs_dir, quiet=True, resume=True)
    cut = RunDir(run(recipe_of(plain, tmp_path, *words, "name=cut"), options=resumed))
    whole = RunDir(run(recipe_of(plain, tmp_path, *words, "name=whole"), options=options))
    assert cut.facts()["warnings"][-1].startswith("resumed from checkpoint-2")
    files = ["adapter_model.safetensors"] + [FILE] * (WITHOUT_HEADS not in words)
    for file in files:
        weights = [load_file(each.model / file) for each in (cut, whole)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
