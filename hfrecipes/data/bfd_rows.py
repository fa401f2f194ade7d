"""Labelled documents to packed rows: whole documents side by side, each with positions of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.data.bfd import Overflow, Pieces, cut_documents, pack_best_fit

IGNORED = -100

_TOKENS_AT_ONCE = 1 << 18  # as many as stay in the caches of a processor


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled documents where they lie, be it in a file that is mapped into memory.

    Args:
        input_ids: Parts of int32, each with one document or many, end to end.
        labels: Parts of the same sizes, -100 where no loss.
        part: `(documents,)` int64, the part that each document is in.
        begin: `(documents,)` int64, where it begins there.
        lengths: `(documents,)` int64, its tokens.
        num_bytes: `(documents,)` int64, UTF-8 bytes of its text that carries loss; None where nobody counted.
    """

    input_ids: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    part: np.ndarray
    begin: np.ndarray
    lengths: np.ndarray
    num_bytes: np.ndarray | None = None

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Labelled:
        """Takes rows with `input_ids`, `labels` and possibly `num_bytes`; they are read once."""
        ids, labels, num_bytes = [], [], []
        for row in rows:
            ids.append(np.asarray(row["input_ids"], dtype=np.int32))
            labels.append(np.asarray(row["labels"], dtype=np.int32))
            num_bytes.append(row.get("num_bytes"))
        lengths = np.array([len(each) for each in ids], dtype=np.int64)
        counted = bool(num_bytes) and None not in num_bytes
        sizes = np.array(num_bytes, dtype=np.int64) if counted else None
        return cls(ids, labels, np.arange(len(ids)), np.zeros_like(lengths), lengths, sizes)

    @classmethod
    def from_dataset(cls, dataset: Any) -> Labelled:
        """Takes a `datasets.Dataset`, without copying what it has not shuffled or selected."""
        import pyarrow as pa

        if dataset._indices is not None:
            dataset = dataset.flatten_indices()
        table = dataset.data.table
        ids, labels = (table[name].cast(pa.list_(pa.int32())).chunks for name in ("input_ids", "labels"))
        lengths = [np.diff(chunk.offsets.to_numpy()).astype(np.int64) for chunk in ids]
        begins = [np.cumsum(each) - each for each in lengths]
        part = np.repeat(np.arange(len(ids)), [len(each) for each in lengths])
        flat = [[chunk.flatten().to_numpy() for chunk in chunks] for chunks in (ids, labels)]
        sizes = table["num_bytes"].to_numpy() if "num_bytes" in table.column_names else None
        return cls(*flat, part, _joined(begins), _joined(lengths), sizes)

    def shuffled(self, seed: int) -> Labelled:
        """The same documents in another order: that of `datasets.Dataset.shuffle`, which would write a copy of them all."""
        order = np.random.default_rng(seed).permutation(len(self.lengths))
        sizes = None if self.num_bytes is None else self.num_bytes[order]
        return Labelled(self.input_ids, self.labels, self.part[order], self.begin[order], self.lengths[order], sizes)


def pack_examples(
    examples: Labelled, capacity: int, overflow: Overflow = "split", wheres: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Packs labelled documents of one source into rows of at most `capacity` tokens.

    The first token of each piece is no target, since nothing that is in sight comes before it. A piece may hold nothing that
    the loss looks at, such as the prompt of an example that was split; so may, rarely, a whole row, which the caller leaves
    out where its trainer cannot take it.

    Args:
        examples: The documents.
        capacity: Tokens of a packed row.
        overflow: See `cut_documents`.
        wheres: See `cut_documents`.

    Yields:
        `input_ids`, `labels` and `position_ids` (int32, `(length,)`; positions from 0 in each piece), `seq_lengths` (int32, the
        lengths of the pieces in their order, from which TRL's padding-free collator makes the same positions), and `num_bytes`
        where it was counted. The bytes of a document that was split are dealt to its pieces by their tokens with a label.

    Raises:
        ValueError: a document is longer than a row and `overflow` is `refuse`.
    """
    pieces = cut_documents(examples.lengths, capacity, overflow, wheres)
    num_bytes = None if examples.num_bytes is None else _bytes_of_pieces(examples, pieces)
    bins = pack_best_fit(pieces.length, capacity)
    rows_at_once = max(1, _TOKENS_AT_ONCE // capacity)
    for start in range(0, len(bins), rows_at_once):
        some = bins[start : start + rows_at_once]
        for members, row in zip(some, _gather(examples, pieces, some), strict=True):
            yield row if num_bytes is None else {**row, "num_bytes": int(num_bytes[members].sum())}


def _gather(examples: Labelled, pieces: Pieces, bins: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The tokens of a few rows, fetched at once."""
    members = np.concatenate(bins)
    documents, lengths = pieces.document[members], pieces.length[members]
    begins = examples.begin[documents] + pieces.start[members]
    ends = np.cumsum(lengths)
    firsts = ends - lengths
    stretches = list(
        zip(examples.part[documents].tolist(), map(slice, begins.tolist(), (begins + lengths).tolist()), strict=True)
    )
    # Copying stretches costs a third of fetching token by token.
    input_ids, labels = (
        np.concatenate([parts[part][stretch] for part, stretch in stretches])
        for parts in (examples.input_ids, examples.labels)
    )
    labels[firsts] = IGNORED
    positions = np.arange(ends[-1], dtype=np.int32) - np.repeat(firsts.astype(np.int32), lengths)
    sizes = lengths.astype(np.int32)
    piece = 0
    for inside in map(len, bins):
        tokens, piece = slice(firsts[piece], ends[piece + inside - 1]), piece + inside
        yield {
            "input_ids": input_ids[tokens],
            "labels": labels[tokens],
            "position_ids": positions[tokens],
            "seq_lengths": sizes[piece - inside : piece],
        }


def _bytes_of_pieces(examples: Labelled, pieces: Pieces) -> np.ndarray:
    """Bytes of each piece; those of all pieces of a document add up to what the document has."""
    dealt = examples.num_bytes[pieces.document]
    whole = pieces.length == examples.lengths[pieces.document]
    for document in np.unique(pieces.document[~whole]):
        first, last = np.searchsorted(pieces.document, [document, document + 1])
        part, begin = examples.labels[examples.part[document]], examples.begin[document]
        targets = np.cumsum(part[begin : begin + examples.lengths[document]] != IGNORED)
        upto = targets[(pieces.start + pieces.length)[first:last] - 1]
        # Differences of a rounded running sum, so that nothing is lost to rounding.
        dealt[first:last] = np.diff(examples.num_bytes[document] * upto // max(targets[-1], 1), prepend=0)
    return dealt


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
