"""What the standard library gives, and that no test text was trained on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfrecipes.data.embedded import NAMES, mined
from hfrecipes.data.hashing import SPLITS
from hfrecipes.data.mining import Piece, mine_docstrings, mine_prose, without_repeats
from hfrecipes.data.sources import open_source
from hfrecipes.recipe.loader import Recipe

MODULE = '''"""Module."""
class Box:
    def get(self, key):
        """Return the value that belongs
        to the key.

        More here.
        """
        # comment
        value = self.values[key]
        return value

    def short(self):
        """Return the one thing."""
        return 1

@decorated
async def fetch(url):
    """fetch(url) -> bytes, as the C code says"""
    a = 1
    return a

@decorated
async def load(url):
    """Load what stands at the address."""
    a = 1
    return a

def inline(): """Do nothing at all."""; return 1

def heading(x):
    """The following options:"""
    y = x
    return y
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "box.py").write_text(MODULE)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_box.py").write_text(MODULE)
    (tmp_path / "table.py").write_text("# generated from 'x.txt' with a script\n" + MODULE)
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    (tmp_path / "template.py").write_text("class {name}: pass\n")
    return tmp_path


def test_pairs_of_a_small_library(library: Path) -> None:
    pieces = list(mine_docstrings(library))
    assert {piece.file for piece in pieces} == {"box.py"}
    assert {piece.summary: piece.text for piece in pieces} == {
        "Return the value that belongs to the key.": (
            "def get(self, key):\n    # comment\n    value = self.values[key]\n    return value"
        ),
        "Load what stands at the address.": "@decorated\nasync def load(url):\n    a = 1\n    return a",
    }
    assert next(piece.line for piece in pieces if "value" in piece.summary) == 3


def test_prose_of_a_small_library(tmp_path: Path) -> None:
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text("topics = {'if': 'The if statement.', 'for': 'The for one.'}\n")
    (tmp_path / "a.py").write_text(f'"""{"Long words of explanation. " * 12}"""\ndef f():\n    """Short."""\n')
    pieces = list(mine_prose(tmp_path))
    files = ["pydoc_data/topics.py#if", "pydoc_data/topics.py#for", "a.py"]
    assert [piece.file for piece in pieces] == files


def test_what_train_holds_leaves_test() -> None:
    def piece(split: str, body: str, summary: str) -> Piece:
        return Piece("f.py", 1, split, body, summary, (body, summary))

    kept = [piece("train", "a", "x"), piece("validation", "b", "y"), piece("test", "c", "z"), piece("train", "a", "w")]
    dropped = [
        piece("test", "a", "new"),
        piece("test", "new", "y"),
        piece("validation", "q", "x"),
        piece("train", "a", "x"),
    ]
    assert without_repeats(kept + dropped) == kept
    order = [*dropped[:3], *kept[::-1]]
    assert set(without_repeats(order)) == set(kept)


MINED = ("python_code", "python_prose", "python_docstrings")
COLUMNS = {
    "python_docstrings": ("prompt", "completion"),
    "python_preferences": ("prompt", "chosen", "rejected"),
    "python_rankings": ("prompt", "answers", "ranks"),
    "python_flaws": ("prompt", "chosen", "rejected"),
    "python_instructions": ("prompt", "completion", "family", "kind"),
}


@pytest.mark.parametrize("name", NAMES)
def test_splits_cover_the_source_and_share_no_file(name: str, make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe("train: [{name: python_code}]")
    files: dict[str, set[str]] = {}
    total = 0
    for split in SPLITS:
        source = open_source({"name": name, "split": split}, recipe, "w")
        rows = list(source.rows())
        total += len(rows)
        files[split] = {row.where.split(": ")[1].rpartition(":")[0] for row in rows}
        assert source.embedded and source.license == "PSF-2.0" and rows
        assert source.columns == COLUMNS.get(name, ("text",))
    assert name not in MINED or total == len(mined(name))
    assert not files["train"] & files["test"] and not files["train"] & files["validation"]


def test_a_file_is_in_the_same_split_for_all_sources() -> None:
    splits: dict[str, set[str]] = {}
    for name in MINED:
        for piece in mined(name):
            splits.setdefault(piece.file, set()).add(piece.split)
    assert all(len(found) == 1 for found in splits.values())


def test_no_test_pair_was_trained_on() -> None:
    pieces = mined("python_docstrings")
    for key in (lambda piece: piece.text, lambda piece: piece.summary.lower(), lambda piece: piece.same_as[0]):
        by_split = {split: {key(piece) for piece in pieces if piece.split == split} for split in SPLITS}
        assert not by_split["train"] & (by_split["validation"] | by_split["test"])
        assert not by_split["validation"] & by_split["test"]


def test_pairs_are_functions_without_their_docstring() -> None:
    pieces = mined("python_docstrings")
    assert len(pieces) > 1000
    for piece in pieces[::7]:
        (function,) = ast.parse(piece.text).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert 3 <= len(piece.text.splitlines()) <= 30 and 3 <= len(piece.summary.split()) <= 25
        docstring = " ".join((ast.get_docstring(function) or "").split())
        assert not docstring.startswith(piece.summary)


def test_a_second_process_finds_the_cache_and_the_same_rows() -> None:
    code = (
        "import hfrecipes.data.mining as m; m.mine_docstrings = None\n"
        "from hfrecipes.data import embedded; embedded._MINERS.clear()\n"
        "print(len(embedded.mined('python_docstrings')))"
    )
    # What this process knows may lie in the cache of another test.
    mined.cache_clear()
    expected = len(mined("python_docstrings"))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) == expected
