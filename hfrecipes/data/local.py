"""Rows of files on this machine: JSON lines, JSON, CSV, TSV, Parquet, text."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfrecipes.data.messages import kind_of
from hfrecipes.data.row import Row
from hfrecipes.recipe.problem import Problem, RecipeError

_TEXT_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".md")
ENDINGS = (*_TEXT_ENDINGS, ".parquet")
_PARQUET_BATCH = 1024
_GZIP = b"\x1f\x8b"


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
    if data and not data.strip(b"\x00\r\n"):
        fix = "make the file again: a machine that went down while it was written leaves such holes"
        raise _fault(where, "holds nothing but NUL bytes", fix)
    if data.count(0) * 3 > len(data):
        # ASCII in UTF-16 is valid UTF-8 with a NUL after each letter, and would be learned so.
        raise _fault(where, "is not UTF-8: every other byte is a NUL, as in UTF-16", "save the file as UTF-8")
    try:
        # A byte order mark is left by some editors and belongs to no text.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(_GZIP):
            raise _fault(where, "is compressed", "give the file a name that ends in .gz") from error
        message = f"is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}"
        raise _fault(where, message, "save the file as UTF-8") from error


def _json_lines(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                where = f"{shown(path)}:{number}"
                yield Row(where, _object(parse_json(_decode(line, where), where), where))


def parse_json(text: str, where: str) -> Any:
    """What a JSON text holds.

    Raises:
        RecipeError: it is not valid, says a key twice (Python would keep the last and lose the others), nests without end, or
            holds a number of thousands of digits.
    """
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        message = f"is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise _fault(where, message, "correct or remove it") from error
    except RecursionError as error:
        raise _fault(where, "is nested too deeply", "correct or remove it") from error
    except ValueError as error:
        raise _fault(where, f"cannot be read as JSON: {error}", "correct or remove it") from error


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is said twice")
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_object_of)


def _object(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise _fault(where, f"is {kind_of(value)}, not an object with columns", 'write it as {"text": ...}')


def _json_list(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        text = _decode(file.read(), shown(path))
    try:
        values = parse_json(text, shown(path))
    except RecipeError as error:
        if not isinstance(error.__cause__, json.JSONDecodeError) or not error.__cause__.msg.startswith("Extra data"):
            raise
        fix = "a .json file is one list of objects; with an object on each line, name it .jsonl"
        raise RecipeError(replace(error.problems[0], fix=fix)) from error
    if not isinstance(values, list):
        message = f"holds {kind_of(values)} where a list of objects is expected"
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
            _header(file.schema_arrow.names, shown(path))
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for values in _batch_rows(batch, number, shown(path)):
                    number += 1
                    yield Row(f"{shown(path)}: row {number}", values)
    except pa.ArrowException as error:
        raise _fault(shown(path), f"is not a readable Parquet file: {error}", "make the file again") from error


def _batch_rows(batch: Any, before: int, where: str) -> list[dict[str, Any]]:
    """The rows of a batch as Python's own values.

    Args:
        batch: A record batch of Arrow's.
        before: How many rows of the file came before it.
        where: The file.

    Raises:
        RecipeError: naming row and column of a value that Python has none for: a string that is no UTF-8, a date past 9999.
    """
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):  # Arrow does not say where, so each value is asked for
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for position, value in enumerate(column):
                try:
                    value.as_py()
                except (ValueError, OverflowError) as error:
                    message = f"{name} cannot be read: {error}"
                    raise _fault(
                        f"{where}: row {before + position + 1}", message, "correct or remove the row"
                    ) from error
        raise


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
