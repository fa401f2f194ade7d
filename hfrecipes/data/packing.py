"""Documents to rows of one length, for pretraining. No target is lost: the rows, joined, are the documents, joined.

Only a row in which there is nothing to predict is left out, such as a last one that holds no more than the stream's last EOS:
its mean loss would be that of no tokens, which is not a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

IGNORED = -100


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One row of packed documents.

    Args:
        input_ids: `(length,)` int32; `length` is `context_length` but for the last row.
        labels: `(length,)` int32; the ids, but -100 where the target would be another document's.
        position_ids: `(length,)` int32, from 0 in each document; None without a document mask.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray | None


def pack_documents(
    documents: Iterable[Sequence[int]], context_length: int, eos_id: int, document_mask: bool = False
) -> Iterator[PackedRow]:
    """Joins documents, each ended by EOS, and cuts the stream into rows.

    With a document mask, the positions of a document that continues in the next row begin there at 0 again, as its
    earlier part is out of sight. The first token of a document is then not a target: nothing before it tells of it.
    The first token of a row never is one, since the loss is shifted by one; its label is kept for simplicity.

    Args:
        documents: Token ids of each document, without EOS at the end.
        context_length: Tokens in a row.
        eos_id: Put after each document.
        document_mask: Whether documents are kept apart.

    Yields:
        Rows of `context_length` tokens; the last one is as long as what is left. Each has something to predict.

    Raises:
        ValueError: `context_length` is below 2, which leaves nothing to predict.
    """
    if context_length < 2:
        raise ValueError(f"context_length is {context_length}; a row needs at least 2 tokens")
    ends = np.array([eos_id], dtype=np.int32)
    pieces = (np.append(np.asarray(ids, dtype=np.int32), ends) for ids in documents)
    for row in _cut(pieces, context_length, document_mask):
        input_ids = np.concatenate([piece for piece, _ in row])
        if not document_mask:
            yield PackedRow(input_ids, input_ids, None)
            continue
        labels = input_ids.copy()
        begins = np.cumsum([0, *(len(piece) for piece, _ in row[:-1])])
        labels[[begin for begin, (_, first) in zip(begins, row, strict=True) if first and begin > 0]] = IGNORED
        positions = np.concatenate([np.arange(len(piece), dtype=np.int32) for piece, _ in row])
        yield PackedRow(input_ids, labels, positions)


def packed_bytes(
    byte_lengths: Iterable[Sequence[int]], context_length: int, document_mask: bool = False
) -> Iterator[int]:
    """UTF-8 bytes of text in each row that `pack_documents` makes.

    EOS counts none, so the sum over rows is the length of the documents. The first token of a row, and with a document
    mask of a document, is in the count without being predicted: bits per byte so comes out low by about one part in
    `context_length`, equally for all models that share a tokenizer.

    Args:
        byte_lengths: Bytes under each token of each document, without EOS.
        context_length: As given to `pack_documents`.
        document_mask: As given to `pack_documents`.
    """
    pieces = (np.append(np.asarray(lengths, dtype=np.int64), 0) for lengths in byte_lengths)
    for row in _cut(pieces, context_length, document_mask):
        yield int(sum(piece.sum() for piece, _ in row))


def token_bytes(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """UTF-8 bytes that each token of a text stands for; their sum is the length of the text.

    Characters between two tokens, which some tokenizers drop, count for the second; a character that is spread over
    several tokens counts for the first; what follows the last token counts for it.

    Args:
        text: The text.
        offsets: `(start, end)` in characters of each token; `(0, 0)` for those that stand for no text.

    Returns:
        `(len(offsets),)` int64.
    """
    if not offsets:
        return np.zeros(0, dtype=np.int64)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    before = np.concatenate([[0], np.cumsum(sizes)])
    ends = np.maximum.accumulate(np.asarray(offsets, dtype=np.int64)[:, 1])
    last = int(np.searchsorted(ends, ends[-1]))  # the last token that reaches further than those before it
    ends[last:] = len(text)
    return np.diff(before[ends], prepend=0)


_Pieces = list[tuple[np.ndarray, bool]]


def _cut(documents: Iterable[np.ndarray], length: int, apart: bool) -> Iterator[_Pieces]:
    """The rows of `length` that the stream of documents is cut into, but for those in which there is nothing to predict.

    Args:
        documents: Tokens of each.
        length: Tokens in a row.
        apart: Whether a token is predicted from its own document only.

    Yields:
        The pieces of documents in a row, and of each whether a document begins with it.
    """
    for row in _cut_stream(documents, length):
        lengths = [len(piece) for piece, _ in row]
        if (max(lengths) if apart else sum(lengths)) > 1:
            yield row


def _cut_stream(pieces: Iterable[np.ndarray], length: int) -> Iterator[_Pieces]:
    row: _Pieces = []
    room = length
    for piece in pieces:
        start = 0
        while start < len(piece):
            part = piece[start : start + room]
            row.append((part, start == 0))
            start += len(part)
            room -= len(part)
            if room == 0:
                yield row
                row, room = [], length
    if row:
        yield row
