"""An adapter that was trained beside heads of multi-token prediction, merged: the heads go with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hfrecipes import RunOptions, load_mtp, mtp_generate, run
from hfrecipes.cli.main import main
from hfrecipes.models.mtp.beside import FILE
from hfrecipes.recipe.manifest import faults_of
from hfrecipes.recipe.rundir import RunDir
from tests.stages.test_mtp_bases import LORA, plain, recipe_of

__all__ = ["plain"]
IDS = torch.arange(4, 36)[None]


@pytest.fixture(scope="module")
def adapted(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Tests do not change it."""
    folder = tmp_path_factory.mktemp("adapted")
    return RunDir(run(recipe_of(plain, folder, LORA), options=RunOptions(runs_dir=folder / "runs", quiet=True)))


@torch.no_grad()
def test_the_merged_model_and_its_heads_are_the_trained_ones(
    adapted: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(adapted.path), "--out", str(tmp_path / "merged")]) == 0
    assert "with its parallel heads for 3 tokens beside it" in capsys.readouterr().out
    assert (tmp_path / "merged" / FILE).read_bytes() == (adapted.model / FILE).read_bytes()
    assert not faults_of(tmp_path / "merged")
    before, after = load_mtp(adapted.model).eval(), load_mtp(tmp_path / "merged").eval()
    losses = [model(input_ids=IDS, labels=IDS).head_losses for model in (before, after)]
    assert len(losses[0]) == 3
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-4)
    words = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    assert torch.equal(mtp_generate(after, IDS, **words), after.generate(IDS, **words))


@pytest.mark.parametrize(
    ("said", "message"), [(None, "does not say what its heads are"), ("cut", "is cut short or damaged")]
)
def test_heads_of_which_nothing_is_known_are_refused_before_anything_is_written(
    said: str | None, message: str, adapted: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = RunDir(shutil.copytree(adapted.path, tmp_path / "copy"))
    file = copy.model / FILE
    if said is None:
        save_file(load_file(file), file)
    else:
        file.write_bytes(file.read_bytes()[:200])
    assert main(["merge", str(copy.path), "--out", str(tmp_path / "merged")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
