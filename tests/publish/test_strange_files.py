"""What somebody put beside the model: pushed is only what the run wrote, and nothing of it that holds a secret."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import pytest

from hfrecipes.publish.upload import left_out, plan_upload
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .client import main

TOKEN = "hf_" + "aB3" * 11 + "x"
BY_NAME = {
    "can run code": "evil.PKL d.PT a.dill b.npy c.h5 g.sav i.pt2 e.pth pytorch_model.BIN x.joblib",
    "packed": "e.pth.tar f.pkl.gz z.ZIP w.7z",
    "state of the training": "optimizer_0 Optimizer.safetensors scheduler h.distcp rng_state_0 Random_States.x",
    "can hold a token in clear": "training_args trainer_args.json Training_Args.json",
    "card takes its place": "readme.md ReadMe.MD",
}


def staying(run: RunDir) -> dict[str, str]:
    return {path.relative_to(run.model).as_posix(): reason for path, reason in left_out(run)}


def pushed(run: RunDir) -> set[str]:
    return {file.path_in_repo for file in plan_upload(run)}


@pytest.mark.parametrize(("name", "why"), [(name, why) for why, names in BY_NAME.items() for name in names.split()])
def test_what_goes_by_its_name_is_left_even_where_a_manifest_vouches_for_it(run: RunDir, name: str, why: str) -> None:
    before = pushed(run)
    (run.model / name).write_bytes(b"harmless")
    write_manifest(run.model)
    assert why in staying(run)[name]
    assert pushed(run) == before


def test_what_the_run_did_not_write_stays(run: RunDir) -> None:
    before = pushed(run)
    outside = run.path.parent / "private.txt"
    outside.write_text("private")
    os.link(outside, run.model / "passwd.txt")
    (run.model / "env").write_text(f"A={TOKEN}")
    (run.model / "notes.safetensors").write_bytes(b"\0" * 8 + TOKEN.encode())
    assert pushed(run) == before
    for name in ("passwd.txt", "env", "notes.safetensors"):
        assert "the run did not write it" in staying(run)[name]


def test_a_model_without_a_manifest_is_not_published(run: RunDir) -> None:
    (run.model / "manifest.json").unlink()
    with pytest.raises(RecipeError, match=r"there is no manifest\.json"):
        plan_upload(run)


def test_pickles_and_archives_are_known_by_their_content(run: RunDir) -> None:
    before = pushed(run)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", TOKEN)
    contents = {f"protocol-{n}": pickle.dumps([1], protocol=n) for n in (2, 3, 4, 5)} | {"zip": archive.getvalue()}
    for name, content in contents.items():
        (run.model / f"{name}.txt").write_bytes(content)
    write_manifest(run.model)
    assert pushed(run) == before
    assert all("run code" in staying(run)[f"protocol-{n}.txt"] for n in (2, 3, 4, 5))
    assert "packed" in staying(run)["zip.txt"]


def test_our_records_are_not_taken_from_the_model(run: RunDir) -> None:
    (run.model / "hfrecipes").mkdir()
    (run.model / "hfrecipes" / "run.json").write_text('{"fake": 1}')
    write_manifest(run.model)
    file = next(file for file in plan_upload(run) if file.path_in_repo == "hfrecipes/run.json")
    assert b"fake" not in file.content and len(pushed(run)) == len(plan_upload(run))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
def test_a_secret_is_found_in_any_of_unicodes_encodings(run: RunDir, encoding: str) -> None:
    (run.model / "notes.txt").write_bytes(f"one\n{TOKEN}\n".encode(encoding))
    write_manifest(run.model)
    with pytest.raises(RecipeError, match=r"notes\.txt:2: error: holds a Hugging Face token"):
        plan_upload(run)


def test_a_secret_in_the_name_of_a_file_is_refused_and_not_repeated(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.model / f"{TOKEN}.txt").write_text("x")
    write_manifest(run.model)
    with pytest.raises(RecipeError, match="its name holds a Hugging Face token") as refused:
        plan_upload(run)
    assert TOKEN not in str(refused.value)
    # In a file that stays it is not repeated either.
    (run.model / f"{TOKEN}.txt").rename(run.model / f"{TOKEN}.pkl")
    write_manifest(run.model)
    assert main(["publish", str(run.path), "--repo", "a/b", "--dry-run"]) == 0
    assert TOKEN not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"\0" * 8 + TOKEN.encode(), TOKEN.encode(), b"\xff" * 8 + TOKEN.encode(), b""])
def test_what_only_calls_itself_safetensors_is_refused(run: RunDir, content: bytes) -> None:
    (run.model / "notes.safetensors").write_bytes(content)
    write_manifest(run.model)
    with pytest.raises(RecipeError, match=r"notes\.safetensors"):
        plan_upload(run)


@pytest.mark.parametrize("word", ["--message", "--revision", "--repo", "--base-model"])
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_secret_on_the_command_line_is_refused_before_anything_is_asked_of_the_hub(
    run: RunDir, capsys: pytest.CaptureFixture[str], word: str, dry: list[str]
) -> None:
    repo = [] if word == "--repo" else ["--repo", "ada/x"]
    assert main(["publish", str(run.path), *repo, word, f"pushed-with-{TOKEN}", *dry]) == 2
    told = capsys.readouterr()
    assert f"{word}: error: holds a Hugging Face token" in told.err
    assert TOKEN not in told.out + told.err


def test_markup_and_controls_in_names_are_shown_as_they_are(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    (run.model / "[").mkdir()
    for name in ("[red]a.txt", "[/b].txt", "\x1b[2Jc.txt"):
        (run.model / name).write_text("x")
    write_manifest(run.model)
    (run.model / "[bold]\x1b]0;d\x07").write_text("x")
    assert main(["publish", str(run.path), "--repo", "a/b", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "[red]a.txt" in shown and "[/b].txt" in shown and "[bold]" in shown
    assert not {"\x1b", "\x07"} & set(shown)
