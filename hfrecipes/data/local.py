"""Rows of files on this machine: JSON lines, JSON, CSV, TSV, Parquet, text."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hfrecipes.data.row import Row
from hfrecipes.recipe.problem import Problem, RecipeError

_TEXT_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".md")
ENDINGS = (*_TEXT_ENDINGS, ".parquet")
_PARQUET_BATCH = 1024


def ending(path: Path) -> str | None:
    """The format of a file by its name, `.gz` set aside; None for formats that are not read."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        return suffixes[-2] if len(suffixes) > 1 and suffixes[-2] in _TEXT_ENDINGS else None
    return suffixes[-1] if suffixes and suffixes[-1] in ENDINGS else None


def read_file(path: Path) -> Iterator[Row]:
    """The rows of one file, lazily.

    Raises:
        RecipeError: naming file and row, where a row is malformed or the file is damaged.
    """
    reader = _READERS[ending(path) or ""]
    try:
        yield from reader(path)
    except (OSError, EOFError, zlib.error) as error:
        raise _fault(shown(path), f"cannot be read: {error}", "make the file again, or point to another") from error


def is_document(path: Path) -> bool:
    """Whether a file is one document rather than a table of rows."""
    return ending(path) in (".txt", ".md")


def shown(path: Path) -> str:
    """A path as short as an editor started here can open."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _open(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _decode(data: bytes, where: str) -> str:
    if data.count(0) * 3 > len(data):
        # ASCII in UTF-16 is valid UTF-8 with a NUL after each letter, and would be learned so.
        raise _fault(where, "is not UTF-8: every other byte is a NUL, as in UTF-16", "save the file as UTF-8")
    try:
        # A byte order mark is left by some editors and belongs to no text.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}"
        raise _fault(where, message, "save the file as UTF-8") from error


def _json_lines(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                where = f"{shown(path)}:{number}"
                yield Row(where, _object(_parse(_decode(line, where), where), where))


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        message = f"is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise _fault(where, message, "correct or remove it") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nesting without end
        raise _fault(where, f"cannot be read as JSON: {error}", "correct or remove it") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise _fault(where, f"is a {type(value).__name__}, not an object with columns", 'write it as {"text": ...}')


def _json_list(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        values = _parse(_decode(file.read(), shown(path)), shown(path))
    if not isinstance(values, list):
        message = f"holds a {type(values).__name__} where a list of objects is expected"
        raise _fault(shown(path), message, "write a list, or one object per line in a .jsonl file")
    for number, value in enumerate(values, start=1):
        where = f"{shown(path)}: item {number}"
        yield Row(where, _object(value, where))


def _table(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses cells above 128 kB
    with _open(path) as file:
        text = _decode(file.read(), shown(path))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in lines:
            where, start = f"{shown(path)}:{start}", lines.line_num + 1
            if not cells:
                continue
            if header is None:
                header = _header(cells, where)
            elif len(cells) != len(header):
                message = f"has {len(cells)} cells where the header has {len(header)}"
                raise _fault(where, message, "quote cells that hold the delimiter or a line break")
            else:
                yield Row(where, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise _fault(f"{shown(path)}:{start}", f"is malformed: {error}", "check its quotes") from error


def _header(cells: list[str], where: str) -> list[str]:
    repeated = sorted({cell for cell in cells if cells.count(cell) > 1})
    if repeated:
        raise _fault(where, f"the header names {', '.join(map(repr, repeated))} more than once", "rename one of them")
    return cells


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{shown(path)}: row {number}", values)
    except pa.ArrowException as error:
        raise _fault(shown(path), f"is not a readable Parquet file: {error}", "make the file again") from error


def _document(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        yield Row(shown(path), {"text": _decode(file.read(), shown(path))})


def _fault(where: str, message: str, fix: str) -> RecipeError:
    return RecipeError(Problem(where, message, fix))


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": lambda path: _table(path, ","),
    ".tsv": lambda path: _table(path, "\t"),
    ".parquet": _parquet,
    ".txt": _document,
    ".md": _document,
}
