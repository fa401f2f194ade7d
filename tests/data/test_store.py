"""What the cache holds is whole, or made anew, or refused with the mend; nothing half-made is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data import embedded
from hfrecipes.data.mining import Piece
from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.data.store import make_once
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

Preparer = Callable[[], Prepared]


@pytest.fixture
def prepared(make_recipe: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path) -> Preparer:
    rows = "".join(json.dumps({"text": f"The fox {number}."}) + "\n" for number in range(200))
    (tmp_path / "rows.jsonl").write_text(rows)
    (tmp_path / "held.jsonl").write_text(rows.replace("fox", "crow"))
    recipe = make_recipe("train: [{path: rows.jsonl}], eval: [{path: held.jsonl, limit: 5}]")
    return lambda: prepare(recipe, tokenizer, tmp_path / "cache")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [truncate, empty, flip, Path.unlink])
@pytest.mark.parametrize("file", ["train.arrow", "eval-0.arrow", "facts.json", "manifest.json"])
def test_damaged_rows_are_prepared_anew_and_said(
    file: str, damage: Callable[[Path], None], prepared: Preparer, tmp_path: Path
) -> None:
    first = prepared()
    rows, facts = first.train[:], first.facts
    (folder,) = [path for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir()]
    damage(folder / file)
    again = prepared()
    assert again.train[:] == rows and again.facts == facts
    (warning,) = again.warnings
    assert warning.startswith("the prepared rows in the cache were damaged and have been prepared anew: ")
    assert str(tmp_path) not in warning  # it goes into the card
    # A flipped bit in the manifest can only be seen as one in a file.
    assert file.split(".")[0] in warning or (file == "manifest.json" and damage is flip)
    assert prepared().warnings == []


def test_what_datasets_keeps_beside_the_rows_is_no_damage(prepared: Preparer) -> None:
    first = prepared()
    doubled = first.train.map(lambda row: {"labels": row["labels"] * 2})
    assert doubled.cache_files and not prepared().warnings


def test_mined_pieces_that_were_damaged_are_mined_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFRECIPES_CACHE", str(tmp_path))
    pieces = [Piece("a.py", 1, "train", "def add(a, b):\n    return a + b", "Adds two numbers.")]
    monkeypatch.setitem(embedded._MINERS, "python_docstrings", lambda root: iter(pieces))
    mined = embedded.mined.__wrapped__  # without what this process remembers
    assert mined("python_docstrings") == pieces
    (file,) = (tmp_path / "mined").glob("*/pieces.jsonl")
    flip(file)
    assert mined("python_docstrings") == pieces


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from hfrecipes.data.store import make_once\n"
        "def make(folder):\n    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"make_once(Path({str(tmp_path)!r}) / 'rows', make)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(list(tmp_path.glob(".rows.*.part"))) == 1 and not (tmp_path / "rows").exists()
    assert make_once(tmp_path / "rows", lambda folder: (folder / "whole").touch()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "rows.lock"]
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == ["manifest.json", "whole"]


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyError("x")

    with pytest.raises(KeyError):
        make_once(tmp_path / "rows", make)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.lock"]


def test_many_who_find_it_damaged_make_it_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make(folder: Path) -> None:
        made.append(threading.get_ident())
        (folder / "file").write_text("content")

    make_once(tmp_path / "rows", make)
    flip(tmp_path / "rows" / "file")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: make_once(tmp_path / "rows", make), range(6)))
    assert len(made) == 2
    assert sum(bool(faults) for faults in found) == 1
    assert (tmp_path / "rows" / "file").read_text() == "content"


@contextlib.contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[None]:
    """A file system of its own, where the one who tests may mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount")
def test_a_full_disk_is_said_with_its_mend_and_nothing_half_made_is_left(
    make_recipe: Callable[..., Recipe], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = "".join(json.dumps({"text": f"{number} " * 200}) + "\n" for number in range(500))
    (tmp_path / "rows.jsonl").write_text(rows)
    recipe = make_recipe("train: [{path: rows.jsonl}]")
    with small_disk(tmp_path / "small", 1_000_000):
        with pytest.raises(RecipeError) as caught:
            prepare(recipe, tokenizer, tmp_path / "small")
        (problem,) = caught.value.problems
        assert problem.where == str(tmp_path / "small" / "prepared")
        assert "there is no room left" in problem.message and "HFRECIPES_CACHE" in problem.fix
        assert [path.suffix for path in (tmp_path / "small" / "prepared").iterdir()] == [".lock"]
    assert len(prepare(recipe, tokenizer, tmp_path / "large").train) == 500


def test_a_file_that_may_not_grow_is_said_too(tmp_path: Path) -> None:
    """A quota, as far as it can be had without being root: the system refuses the write in the middle of the file."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from hfrecipes.data.store import make_once, write_rows\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "rows = ({'input_ids': [1] * 500} for _ in range(5000))\n"
        f"try:\n    make_once(Path({str(tmp_path)!r}) / 'rows', lambda f: write_rows(f / 'a.arrow', rows, ['input_ids']))\n"
        "except ValueError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.startswith(f"{tmp_path}: error: there is no room left"), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.lock"]


def test_a_cache_in_the_place_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(RecipeError, match=r"cannot be written: .*HFRECIPES_CACHE"):
        make_once(tmp_path / "cache" / "rows", lambda folder: None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_whole_rows_in_a_cache_that_cannot_be_written_are_used(tmp_path: Path) -> None:
    def make(folder: Path) -> Any:
        (folder / "file").touch()

    make_once(tmp_path / "cache" / "rows", make)
    (tmp_path / "cache").chmod(0o555)
    try:
        assert make_once(tmp_path / "cache" / "rows", make) == []
        with pytest.raises(RecipeError, match="cannot be written"):
            make_once(tmp_path / "cache" / "others", make)
    finally:
        (tmp_path / "cache").chmod(0o755)
