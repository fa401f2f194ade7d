"""Text that every Python brings along, read out of the standard library with `ast`.

`code` is the source files, `prose` the language reference that `help()` shows and longer docstrings, `docstrings` pairs
of a function and the sentence that says what it does.
"""

from __future__ import annotations

import ast
import inspect
import re
import sysconfig
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hfrecipes.data.hashing import split_of, stable_key

INSTRUCTION = "Summarize what this Python function does in one sentence."

# Tests are repetitive, lib2to3 and idlelib are going away, and what is installed is not the standard library.
_SKIPPED = {
    "test",
    "tests",
    "idle_test",
    "idlelib",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "_bundled",
    "__pycache__",
}
_TOPICS = "pydoc_data/topics.py"
# Tables such as the character maps under encodings/ say near their top that a script wrote them.
_GENERATED = re.compile(r"\bgenerated (by|from|automatically|and used)|automatically generated", re.IGNORECASE)
_HEAD = 600

_PROSE_CHARACTERS = 200  # shorter docstrings are labels rather than prose
_FUNCTION_LINES = range(3, 31)
_SUMMARY_WORDS = range(3, 26)


@dataclass(frozen=True, slots=True)
class Piece:
    """One mined text and where it stands.

    Args:
        file: Path inside the standard library, with forward slashes: the same on every machine.
        line: Its line there.
        split: `train`, `validation` or `test`, by a hash of `file`.
        text: The document, or the function without its docstring.
        summary: What the function does; empty for documents.
        same_as: Equal for pieces that count as the same in another split; a piece may have several.
    """

    file: str
    line: int
    split: str
    text: str
    summary: str = ""
    same_as: tuple[str, ...] = ()


def library_folder() -> Path:
    """The standard library of the running Python."""
    return Path(sysconfig.get_paths()["stdlib"])


def library_files(root: Path) -> list[tuple[str, Path]]:
    """The source files to read, as path inside the library and path, in the order of the former."""
    found = ((path.relative_to(root).as_posix(), path) for path in root.rglob("*.py"))
    return sorted((name, path) for name, path in found if not _SKIPPED & set(name.split("/")) and name != _TOPICS)


def split_of_file(name: str) -> str:
    """The split of a library file, which all that is mined from it shares."""
    return split_of(stable_key(name))


def mine_code(root: Path) -> Iterator[Piece]:
    """Source files as documents."""
    for name, text in _sources(root):
        yield Piece(name, 1, split_of_file(name), text)


def mine_prose(root: Path) -> Iterator[Piece]:
    """The topics of `help()`, which have no file of their own and are split by name, and longer docstrings."""
    topics = root / _TOPICS
    if topics.is_file():
        for topic, text in _read_topics(topics).items():
            yield Piece(f"{_TOPICS}#{topic}", 1, split_of_file(f"{_TOPICS}#{topic}"), text, same_as=(_flat(text),))
    for name, tree, _ in _trees(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= _PROSE_CHARACTERS:
                    line = node.body[0].lineno
                    yield Piece(name, line, split_of_file(name), text + "\n", same_as=(_flat(text),))


def mine_docstrings(root: Path) -> Iterator[Piece]:
    """Functions without their docstring, and its first paragraph."""
    for name, tree, source in _trees(root):
        lines = source.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                summary, text = _summary(node), _without_docstring(node, lines)
                if summary and text:
                    keys = (f"body {_normalised(node)}", f"summary {_flat(summary)}")
                    yield Piece(name, node.lineno, split_of_file(name), text, summary, keys)


def without_repeats(pieces: list[Piece]) -> list[Piece]:
    """Drops pieces that are there twice, and keeps evaluation free of what was trained on.

    A piece of validation or test goes where train holds one that counts as the same; one of test also where validation
    does. Within a split only exact repeats go, the first one staying.
    """
    kept: set[int] = set()
    seen_before: set[str] = set()
    for split in ("train", "validation", "test"):
        members = [(index, piece) for index, piece in enumerate(pieces) if piece.split == split]
        exact: set[tuple[str, ...]] = set()
        for index, piece in members:
            if piece.same_as not in exact and seen_before.isdisjoint(piece.same_as):
                kept.add(index)
            exact.add(piece.same_as)
        seen_before.update(key for _, piece in members for key in piece.same_as)
    return [piece for index, piece in enumerate(pieces) if index in kept]


def _sources(root: Path) -> Iterator[tuple[str, str]]:
    for name, path in library_files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a few files declare another encoding
        if text.strip() and not _GENERATED.search(text[:_HEAD]):
            yield name, text


def _trees(root: Path) -> Iterator[tuple[str, ast.Module, str]]:
    for name, text in _sources(root):
        try:
            yield name, ast.parse(text), text
        except SyntaxError:
            continue  # templates that only look like Python


def _read_topics(path: Path) -> dict[str, str]:
    """The dictionary in `pydoc_data/topics.py`, read without running the file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return ast.literal_eval(node.value)
    return {}


def _flat(text: str) -> str:
    return " ".join(text.split()).lower()


def _summary(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """The first paragraph of a docstring on one line; None where it is no sentence of usable length."""
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    summary = " ".join(text.split("\n\n")[0].split())
    signature = re.match(rf"{re.escape(node.name)}\s*\(", summary) or "->" in summary
    if len(summary.split()) not in _SUMMARY_WORDS or signature or not summary[0].isalpha() or summary.endswith(":"):
        return None
    return summary


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str | None:
    """A function's source, unindented, its docstring cut out; None where it is too short, too long or does not parse."""
    docstring, *rest = node.body
    if not rest or docstring.end_lineno is None or node.end_lineno is None:
        return None
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    if docstring.lineno - 1 < node.lineno or rest[0].lineno <= docstring.end_lineno:
        return None  # shares a line with the header or with code
    kept = lines[start : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    text = textwrap.dedent("\n".join(kept)).strip("\n")
    if len(text.splitlines()) not in _FUNCTION_LINES:
        return None
    try:
        ast.parse(text)
    except SyntaxError:
        return None  # a string in it begins left of the function
    return text


def _normalised(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """What a function does, whatever its name, comments and layout."""
    return f"{ast.unparse(node.args)}: {ast.unparse(ast.Module(node.body[1:], []))}"
