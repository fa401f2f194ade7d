from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hfrecipes.check.dotted import UnknownNames, missing_part

SOURCE = """
import json
from os.path import join as joined
LIMIT = 3
try:
    import tomllib as reader
except ImportError:
    reader = None
if LIMIT:
    def inside_if(): ...
else:
    inside_else: int = 1
with open(__file__) as handle:
    first, *rest = handle
class Thing: ...
async def later(): ...
raise RuntimeError("imported")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text(SOURCE)
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "package" / "inner" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner" / "module.py").write_text("def function(): ...")
    (tmp_path / "lazy.py").write_text("def __getattr__(name): return name")
    (tmp_path / "starred.py").write_text("from os import *")
    (tmp_path / "unfinished.py").write_text("def broken(:")
    (tmp_path / "nul.py").write_text("broken = 1\0")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    "json joined LIMIT reader inside_if inside_else handle first rest Thing later".split(),  # noqa: SIM905
)
def test_names_that_a_module_binds_exist(folder: Path, name: str) -> None:
    assert missing_part(f"beside:{name}", folder) is None


def test_modules_in_packages_are_found_without_running_the_packages(folder: Path) -> None:
    assert missing_part("package.inner.module:function", folder) is None
    assert missing_part("json.decoder:JSONDecoder", folder) is None
    assert "beside" not in sys.modules
    assert "package" not in sys.modules


@pytest.mark.parametrize(
    ("dotted", "fault", "mend"),
    [
        ("besides:Thing", "there is no module besides", "did you mean beside?"),
        ("package.outer:function", "there is no module package.outer", "put package/outer.py beside"),
        ("beside.module:function", "there is no module beside.module", ""),
        ("beside:Thong", "beside has no Thong", "did you mean Thing?"),
        ("package.inner.module:zzz", "has no zzz", "it has function"),
        ("package.inner:zzz", "has no zzz", "no names at all"),
        ("unfinished:broken", "unfinished.py:1 is not valid Python", "correct it"),
        ("nul:broken", "nul.py:1 is not valid Python", "correct it"),
        ("beside", "is not module:name", "write it like"),
        ("beside:", "is not module:name", "write it like"),
        ("be side:Thing", "is not module:name", "write it like"),
    ],
)
def test_what_is_missing_is_named(folder: Path, dotted: str, fault: str, mend: str) -> None:
    missing = missing_part(dotted, folder)
    assert missing is not None
    assert fault in missing[0]
    assert mend in missing[1]


@pytest.mark.parametrize("dotted", ["lazy:anything", "starred:anything", "math:sqrt"])
def test_names_that_cannot_be_read_are_said_to_be_so(folder: Path, dotted: str) -> None:
    with pytest.raises(UnknownNames):
        missing_part(dotted, folder)
