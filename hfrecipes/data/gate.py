"""The last look at rows before a model learns from them: whatever packed or prepared them, each must be able to teach.

Everything works on Arrow's buffers, chunk by chunk, so a data set is read once at about the speed of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.data.encode import IGNORED
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.secrets import redact

# Rows looked at in one go; what is computed about them stays in the processor's caches.
_ROWS_PER_CHUNK = 1000
_NEEDED = ("input_ids", "labels")
# Columns with one number for each token.
_PER_TOKEN = (*_NEEDED, "position_ids", "attention_mask")
_SHOWN_CHARACTERS = 60


def refuse_unusable_rows(dataset: Any, num_embeddings: int, where: str, title: str) -> None:
    """Refuses rows that would crash a training, poison it, or teach nothing.

    A row is usable if its columns are of one length, its ids and labels have a row in the model's embedding, and at least one
    label carries loss. Labels are shifted by one, so the first of a row carries none; nor does the first of a document in a
    packed row, which `position_ids` or `seq_lengths` tell apart. A packed row needs one such label for all of its documents.

    Args:
        dataset: A `datasets.Dataset` with `input_ids` and `labels`, as the trainer gets it; `position_ids`, `attention_mask`
            and `seq_lengths` are looked at where they are there.
        num_embeddings: Rows of the model's embedding: ids go from 0 to one less.
        where: Where the recipe names the data, for problems.
        title: What the data is called: `data.train`, or the name of a set to measure on.

    Raises:
        RecipeError: one problem for each kind of fault, naming the first row that has it (counted from 0), the id, and how
            many rows have it.
    """
    missing = [name for name in _NEEDED if name not in dataset.column_names]
    if missing:
        message = f"{title} has no column {' and '.join(missing)}; it has {', '.join(dataset.column_names)}"
        raise RecipeError(Problem(where, message, "give rows that are tokenised and labelled"))
    if len(dataset) == 0:
        raise RecipeError(Problem(where, f"{title} has no rows", "name data that has some"))
    faults = _find_faults(dataset, num_embeddings)
    problems = [Problem(where, fault.message(title, len(dataset), num_embeddings), fault.mend) for fault in faults]
    if problems:
        raise RecipeError(problems)


def rows_with_loss(dataset: Any) -> np.ndarray:
    """Which rows have a label that carries loss, as `refuse_unusable_rows` sees it.

    Strategies of packing that cut an example in pieces leave some that are all prompt; this finds those to leave out.

    Returns:
        `(len(dataset),)` bool.

    Raises:
        ValueError: the columns of a row are of different lengths.
    """
    found = []
    for chunk in _chunks(dataset):
        if chunk.uneven().any():
            raise ValueError("the columns of a row are of different lengths")
        found.append(chunk.carries_loss())
    return np.concatenate(found) if found else np.zeros(0, dtype=bool)


def describe_rows(dataset: Any, rows: Sequence[int], decode: Callable[[list[int]], str], limit: int = 3) -> list[str]:
    """Rows in the words of their text, without secrets, so that a person can find them: `row 17: 'The quick brown…'`.

    Args:
        dataset: With `input_ids`.
        rows: Numbers of rows in it, counted from 0.
        decode: Ids to text.
        limit: How many to describe; of the others only the number is said.
    """
    told = []
    for row in rows[:limit]:
        # Secrets go before the end does: half a token is still one that should not be shown.
        text = redact(decode(list(dataset[int(row)]["input_ids"])))
        cut = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
        told.append(f"row {int(row)}: {cut!r}")
    rest = len(rows) - limit
    return [*told, f"and {rest:,} more"] if rest > 0 else told


@dataclass
class _Fault:
    """A kind of fault and the rows that have it."""

    says: str
    mend: str
    rows: int = 0
    first: int = -1
    value: int | None = None

    def add(self, start: int, faulty: np.ndarray) -> bool:
        """Notes the faulty rows of a chunk; says whether the first of all is among them."""
        count = int(np.count_nonzero(faulty))
        begins = count > 0 and self.rows == 0
        if begins:
            self.first = start + int(np.argmax(faulty))
        self.rows += count
        return begins

    def message(self, title: str, num_rows: int, num_embeddings: int) -> str:
        says = self.says.format(value=self.value, last=num_embeddings - 1)
        return f"{title}: row {self.first} (counted from 0) {says}; so it is in {self.rows:,} of {num_rows:,} rows"


class _Chunk:
    """Some neighbouring rows, as flat arrays.

    Args:
        batch: An Arrow record batch.
        start: The number of its first row in the data set.
    """

    def __init__(self, batch: Any, start: int) -> None:
        self.start = start
        self.lengths: dict[str, np.ndarray] = {}
        self.values: dict[str, np.ndarray] = {}
        for name in (*_PER_TOKEN, "seq_lengths"):
            if name in batch.schema.names:
                column = batch.column(name)
                self.lengths[name] = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
                values = column.flatten()
                # A token that is missing is an id that no model knows.
                values = values.fill_null(-1) if values.null_count else values
                self.values[name] = values.to_numpy(zero_copy_only=False)

    def rows_with(self, faulty: np.ndarray, name: str) -> np.ndarray:
        """Which rows hold one of the tokens that are marked in the flat array of a column."""
        ends = np.cumsum(self.lengths[name])
        marked = np.zeros(len(ends), dtype=bool)
        marked[np.searchsorted(ends, np.flatnonzero(faulty), side="right")] = True
        return marked

    def uneven(self) -> np.ndarray:
        """Which rows have columns of different lengths."""
        lengths = self.lengths["input_ids"]
        others = [self.lengths[name] for name in _PER_TOKEN[1:] if name in self.lengths]
        if "seq_lengths" in self.lengths:
            sums = np.concatenate([[0], np.cumsum(self.values["seq_lengths"])])
            ends = np.concatenate([[0], np.cumsum(self.lengths["seq_lengths"])])
            others.append(np.diff(sums[ends]))
        return np.logical_or.reduce([lengths != other for other in others])

    def carries_loss(self) -> np.ndarray:
        """Which rows have a label that carries loss; their columns must be of one length."""
        carries = self.values["labels"] != IGNORED
        lengths = self.lengths["labels"]
        filled = lengths > 0
        starts = (np.cumsum(lengths) - lengths)[filled]
        carries[starts] = False
        if "position_ids" in self.values:
            carries &= self.values["position_ids"] != 0
        if "seq_lengths" in self.values:
            documents = self.values["seq_lengths"]
            carries[(np.cumsum(documents) - documents)[documents > 0]] = False
        found = np.zeros(len(lengths), dtype=bool)
        if len(starts):
            found[filled] = np.logical_or.reduceat(carries, starts)
        return found


def _find_faults(dataset: Any, num_embeddings: int) -> list[_Fault]:
    """The kinds of fault that there are, each with its first row."""
    together = "tokenizer and model do not belong together: name the model's own tokenizer, or give the model a larger vocabulary"
    uneven = _Fault("has columns of different lengths", "prepare the data anew; each token has one label")
    ids = _Fault("holds the id {value}, and the model knows ids from 0 to {last}", together)
    labels = _Fault("holds the label {value}, which is neither -100 nor an id from 0 to {last}", together)
    silent = _Fault(
        "has no label that carries loss: nothing is to be learned from it",
        "remove such rows, give them more text, or raise the length they are cut to",
    )
    for chunk in _chunks(dataset):
        faulty = chunk.uneven()
        uneven.add(chunk.start, faulty)
        for fault, name in ((ids, "input_ids"), (labels, "labels")):
            outside = _outside(chunk.values[name], num_embeddings, ignored=name == "labels")
            if outside.any() and fault.add(chunk.start, chunk.rows_with(outside, name)):
                fault.value = int(chunk.values[name][np.argmax(outside)])
        if not faulty.any():
            silent.add(chunk.start, ~chunk.carries_loss())
    return [fault for fault in (uneven, ids, labels, silent) if fault.rows]


def _outside(values: np.ndarray, num_embeddings: int, *, ignored: bool) -> np.ndarray:
    """Which values are no ids of the model's."""
    # Read without its sign, a negative number is larger than any id: one comparison instead of two.
    outside = values.view(f"u{values.itemsize}") >= num_embeddings
    return outside & (values != IGNORED) if ignored else outside


def _chunks(dataset: Any) -> Iterator[_Chunk]:
    start = 0
    columns = [name for name in (*_PER_TOKEN, "seq_lengths") if name in dataset.column_names]
    for table in dataset.select_columns(columns).with_format("arrow").iter(_ROWS_PER_CHUNK):
        for batch in table.to_batches():
            yield _Chunk(batch, start)
            start += batch.num_rows
