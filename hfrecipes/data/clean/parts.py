"""Numbered files of records: what one task reads and writes, small enough for many tasks to be held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hfrecipes.data.clean.records import Record

# A part ends at the first of these. Parts are the unit of work that a kill loses and that workers share.
MAX_RECORDS = 1000
MAX_BYTES = 4_000_000


def in_parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records in lists of at most `MAX_RECORDS`, which end where they hold `MAX_BYTES`."""
    part: list[Record] = []
    num_bytes = 0
    for record in records:
        part.append(record)
        num_bytes += len(record.example) + len(record.values)
        if len(part) == MAX_RECORDS or num_bytes >= MAX_BYTES:
            yield part
            part, num_bytes = [], 0
    if part:
        yield part


def write_part(path: Path, records: Sequence[Record]) -> None:
    """Writes records as an Arrow file, compressed by zstd. The same records give the same bytes.

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow as pa

    types = {
        "where": pa.large_binary(),
        "example": pa.large_binary(),
        "values": pa.large_binary(),
        "tokens": pa.int64(),
    }
    columns = {
        "where": [record.where.encode("utf-8", "surrogatepass") for record in records],
        "example": [record.example for record in records],
        "values": [record.values for record in records],
        "tokens": [record.tokens for record in records],
    }
    batch = pa.record_batch({name: pa.array(cells, types[name]) for name, cells in columns.items()})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def read_part(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        OSError: it cannot be read.
    """
    import pyarrow as pa

    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_file(file) as reader:
        columns = reader.read_all().to_pydict()
    return [
        Record(where.decode("utf-8", "surrogatepass"), example, values, tokens)
        for where, example, values, tokens in zip(
            columns["where"], columns["example"], columns["values"], columns["tokens"], strict=True
        )
    ]
