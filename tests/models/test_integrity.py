"""Every way in which a saved folder can lose its worth is found before the folder is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hfrecipes.models import integrity
from hfrecipes.models.integrity import refuse_damaged_model, refuse_damaged_tokenizer
from hfrecipes.recipe.manifest import MANIFEST, write_manifest
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def remove(file: Path) -> None:
    file.unlink()


def shards(folder: Path) -> Path:
    """Splits the weights of a folder over two files with an index, which is returned."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for place in set(places.values()):
        part = {name: tensors[name] for name in names if places[name] == place}
        save_file(part, folder / place, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("damage", [cut, empty, flip, remove])
@pytest.mark.parametrize("name", FILES)
def test_each_file_of_a_run_is_vouched_for(run: RunDir, name: str, damage: Callable[[Path], None]) -> None:
    refuse_damaged_model(run.model, "my.yaml:2")
    damage(run.model / name)
    with pytest.raises(RecipeError) as caught:
        refuse_damaged_model(run.model, "my.yaml:2")
    (problem,) = caught.value.problems
    assert problem.where == "my.yaml:2"
    assert name in problem.message and str(run.model) in problem.message and problem.fix


@pytest.mark.parametrize("damage", [cut, empty, flip, remove])
def test_a_runs_manifest_itself_may_be_damaged(run: RunDir, damage: Callable[[Path], None]) -> None:
    damage(run.model / MANIFEST)
    with pytest.raises(RecipeError):
        refuse_damaged_model(run.model)


def test_a_save_that_was_not_finished_is_to_be_resumed(run: RunDir) -> None:
    (run.model / MANIFEST).unlink()
    with pytest.raises(RecipeError, match=r"the save was not finished.*hfrecipes run RECIPE --resume"):
        refuse_damaged_model(run.model)


def test_a_checkpoint_of_a_run_needs_its_manifest_too(run: RunDir) -> None:
    checkpoint = Path(shutil.copytree(run.model, run.checkpoints / "checkpoint-3"))
    refuse_damaged_model(checkpoint)
    (checkpoint / MANIFEST).unlink()
    with pytest.raises(RecipeError, match="not finished"):
        refuse_damaged_model(checkpoint)


def test_sizes_alone_find_what_was_cut_and_not_what_was_flipped(run: RunDir) -> None:
    flip(run.model / "model.safetensors")
    refuse_damaged_model(run.model, hashes=False)
    cut(run.model / "model.safetensors")
    with pytest.raises(RecipeError, match=r"model\.safetensors has \d+ bytes, not \d+"):
        refuse_damaged_model(run.model, hashes=False)


def test_a_folder_is_hashed_once_and_again_when_it_changes(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    real = integrity.faults_of
    monkeypatch.setattr(
        integrity, "faults_of", lambda *a, hashes, **k: hashed.append(hashes) or real(*a, hashes=hashes, **k)
    )
    refuse_damaged_model(run.model)
    refuse_damaged_tokenizer(run.model)
    assert hashed == [True, False]
    content = (run.model / "config.json").read_bytes()
    (run.model / "config.json").write_bytes(content)
    refuse_damaged_model(run.model)
    assert hashed == [True, False, True]
    flip(run.model / "config.json")
    for _ in range(2):
        with pytest.raises(RecipeError, match="hash differs"):
            refuse_damaged_model(run.model)


def test_what_is_added_later_is_no_damage(run: RunDir) -> None:
    (run.model / "notes.txt").write_text("mine")
    refuse_damaged_model(run.model)


def test_many_faults_are_named_by_the_first(run: RunDir) -> None:
    for file in run.model.iterdir():
        if file.name != MANIFEST:
            file.unlink()
    with pytest.raises(RecipeError, match=r"and \d+ more") as caught:
        refuse_damaged_model(run.model)
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize("name", ["model.safetensors", "extra.json"])
def test_links_out_of_a_runs_model_are_refused(run: RunDir, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((run.model / name).read_bytes() if (run.model / name).exists() else b"{}")
    (run.model / name).unlink(missing_ok=True)
    (run.model / name).symlink_to(outside)
    with pytest.raises(RecipeError, match=f"{name} is a link that leads out of the folder"):
        refuse_damaged_model(run.model)


def test_a_run_behind_a_link_is_a_run(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.path)
    refuse_damaged_model(tmp_path / "link" / "model")
    (run.model / MANIFEST).unlink()
    with pytest.raises(RecipeError, match="not finished"):
        refuse_damaged_model(tmp_path / "link" / "model")


def test_a_snapshot_of_the_hub_is_made_of_links(folder: Callable[..., Path], tmp_path: Path) -> None:
    source, snapshot = folder(), tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in source.iterdir():
        (snapshot / file.name).symlink_to(file)
    refuse_damaged_model(snapshot)
    cut(source / "model.safetensors")
    with pytest.raises(RecipeError, match=r"model\.safetensors.*is cut short or damaged"):
        refuse_damaged_model(snapshot)
    (source / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"model\.safetensors"):
        refuse_damaged_model(snapshot)


@pytest.mark.parametrize("damage", [cut, empty])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_foreign_folder_is_held_against_itself(
    folder: Callable[..., Path], name: str, damage: Callable[[Path], None]
) -> None:
    model = folder()
    refuse_damaged_model(model)
    damage(model / name)
    with pytest.raises(RecipeError, match=name.replace(".", r"\.")):
        refuse_damaged_model(model, hashes=False)


def test_weights_that_were_lengthened_or_have_a_false_header_are_refused(folder: Callable[..., Path]) -> None:
    file = folder() / "model.safetensors"
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    for damaged in (
        whole + b"x",
        (2**60).to_bytes(8, "little") + whole[8:],
        whole[:8] + b"[" + whole[9:],
        whole[:8] + whole[8 : 8 + length].replace(b"[0,", b"[4,", 1) + whole[8 + length :],
    ):
        file.write_bytes(damaged)
        with pytest.raises(RecipeError, match="is cut short or damaged"):
            refuse_damaged_model(file.parent)


def test_settings_that_are_no_settings_are_refused(folder: Callable[..., Path]) -> None:
    model = folder()
    for text, said in (
        ("[1]", "holds a list"),
        ("[" * 100_000, "cannot be read"),
        ('{"a":\n]', r"config\.json:2: .*is not valid JSON"),
    ):
        (model / "config.json").write_text(text)
        with pytest.raises(RecipeError, match=said):
            refuse_damaged_model(model)
    (model / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(RecipeError, match="cannot be read"):
        refuse_damaged_model(model)


def test_an_index_is_held_against_its_shards(folder: Callable[..., Path]) -> None:
    index = shards(folder())
    refuse_damaged_model(index.parent)
    whole = json.loads(index.read_text())
    first, second = sorted(set(whole["weight_map"].values()))
    for change, said in (
        ({"invented.weight": first}, "lacks invented.weight, which model.safetensors.index.json promises"),
        ({"a": "model-00003-of-00003.safetensors"}, "names model-00003-of-00003.safetensors, which is missing"),
        ({"a": f"../llama/{first}"}, "which lies elsewhere"),
        ({"a": 3}, "has no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": {**whole["weight_map"], **change}}))
        with pytest.raises(RecipeError, match=said):
            refuse_damaged_model(index.parent)
    index.write_text(json.dumps(whole))
    cut(index.with_name(second))
    with pytest.raises(RecipeError, match=second):
        refuse_damaged_model(index.parent)


def test_pickled_weights_are_refused_with_a_way_out(folder: Callable[..., Path], adapter: Path) -> None:
    model = folder()
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    (model / "training_args.bin").write_bytes(b"")
    with pytest.raises(RecipeError, match="no weights"):
        refuse_damaged_model(model)
    torch.save(weights, model / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"pickled \(pytorch_model.bin\).*use_safetensors=False.*save_pretrained"):
        refuse_damaged_model(model)
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    refuse_damaged_model(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"pickled \(adapter_model.bin\).*weights_only=True"):
        refuse_damaged_model(adapter)


def test_the_way_out_of_pickles_works(folder: Callable[..., Path], tmp_path: Path) -> None:
    model = folder("gpt2")
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(RecipeError) as caught:
        refuse_damaged_model(model)
    call = caught.value.problems[0].fix.partition("you trust them: ")[2].replace('"NEW"', repr(str(tmp_path / "new")))
    exec(f"from transformers import AutoModelForCausalLM\n{call}")
    refuse_damaged_model(tmp_path / "new")


def test_a_tokenizers_folder_needs_no_weights(folder: Callable[..., Path], saved: Path) -> None:
    refuse_damaged_tokenizer(saved / "tokenizer")
    model = folder()
    empty(model / "model.safetensors")
    refuse_damaged_tokenizer(model)
    cut(model / "tokenizer_config.json")
    with pytest.raises(RecipeError, match="tokenizer_config"):
        refuse_damaged_tokenizer(model)


def test_manifests_of_other_programs_are_not_ours(folder: Callable[..., Path]) -> None:
    model = folder()
    (model / MANIFEST).write_text(json.dumps({"name": "a web page", "files": ["index.html"]}))
    refuse_damaged_model(model)
    write_manifest(model)
    cut(model / MANIFEST)
    with pytest.raises(RecipeError, match="manifest is damaged"):
        refuse_damaged_model(model)


def test_what_cannot_be_read_is_said(folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds no model"):
        refuse_damaged_model(tmp_path / "nowhere")
    model = folder()
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").mkdir()
    with pytest.raises(RecipeError, match=r"model\.safetensors"):
        refuse_damaged_model(model)
    (model / "model.safetensors").rmdir()
    (model / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(RecipeError, match=r"model\.safetensors"):
        refuse_damaged_model(model)
