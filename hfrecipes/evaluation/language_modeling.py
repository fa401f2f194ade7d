"""Loss of a causal language model on tokenised rows, and the figures that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from hfrecipes.evaluation.intervals import bootstrap_interval
from hfrecipes.models.mode import eval_mode

IGNORED = -100
# Enough tokens to tell whether a model's logits are its head over its decoder.
PROBE_TOKENS = 32
# exp() of a larger loss is beyond float64.
LARGEST_LOSS = 700.0


@dataclass(frozen=True, slots=True)
class RowLosses:
    """What each row of a dataset cost a model, in the dataset's order.

    Args:
        nll: Negative log-likelihood of the row's supervised tokens, summed, in nats; float64, shape (rows,).
        num_tokens: Supervised tokens that were predicted; int64, shape (rows,).
        num_bytes: UTF-8 bytes of the text that carries loss; int64, shape (rows,).
    """

    nll: np.ndarray
    num_tokens: np.ndarray
    num_bytes: np.ndarray


def measure_loss(
    model: torch.nn.Module,
    dataset: Sequence[dict[str, Any]],
    pad_token_id: int = 0,
    batch_size: int = 8,
    device: torch.device | str | None = None,
    max_logit_bytes: int = 2**27,
) -> RowLosses:
    """Sums the loss of every row of a tokenised dataset, in float32 whatever the model's dtype.

    Position t predicts label t + 1; labels of -100 are left out. Rows with `position_ids` hold several documents that
    must not see each other: they go in without an attention mask, from which the attention takes the documents' bounds
    from the positions; all others are padded on the right under a mask.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        dataset: Rows of `input_ids`, `labels`, `num_bytes` and, where documents are packed, `position_ids`.
        pad_token_id: Fills short rows; any token of the vocabulary does, since nothing looks at it.
        batch_size: Rows per forward pass. Rows are sorted by length, so little of a batch is padding.
        device: Where batches go; where the model is, by default.
        max_logit_bytes: Bound on one block of float32 logits. Only a model whose logits are not its output embedding
            over its decoder (scaled logits, say) exceeds it, on a single row that is too long for it.

    Raises:
        ValueError: naming the row, where a column is missing, lengths differ or the loss is not finite.
    """
    lengths, num_bytes = _checked_sizes(dataset)
    losses = RowLosses(np.zeros(len(lengths)), np.zeros(len(lengths), dtype=np.int64), num_bytes)
    # A row of one token predicts nothing.
    order = [row for row in np.argsort(lengths, kind="stable").tolist() if lengths[row] > 1]
    if not order:
        return losses
    device = device or next(model.parameters()).device
    with eval_mode(model):
        scorer = _Scorer(model, _collate([_head_of(dataset[order[0]])], pad_token_id, device), max_logit_bytes)
        for rows in _batches(order, lengths, scorer.rows_per_batch(batch_size, model, dataset)):
            batch = _collate([dataset[row] for row in rows], pad_token_id, device)
            _add_batch(losses, rows, batch, scorer)
    return losses


def language_modeling_estimates(rows: RowLosses, step: int = 0) -> list[dict[str, Any]]:
    """Bits per byte, perplexity and loss per token, each with its 95 % interval over rows.

    Bits per byte does not depend on the tokenizer, so it alone compares models of different vocabularies; it is left out
    where only special tokens carry loss, which are no text and have no bytes. Rows without a supervised token say nothing
    and are not counted. A perplexity that no float can hold is left out.

    Args:
        rows: From `measure_loss`.
        step: Optimizer step at which the model was measured.

    Returns:
        Entries of run.json's `evaluations`, for the caller to add `model` and `dataset` to.

    Raises:
        ValueError: where no row has a supervised token.
    """
    counted = rows.num_tokens > 0
    if not counted.any():
        raise ValueError("no row has a supervised token: the labels of all rows are -100, or rows are one token long")
    nll = rows.nll[counted]
    num_bytes = rows.num_bytes[counted]
    loss = bootstrap_interval(nll, rows.num_tokens[counted])

    def entry(metric: str, unit: str, value: float, low: float, high: float) -> dict[str, Any]:
        figures = {"metric": metric, "value": value, "low": low, "high": high, "n": loss.n}
        return {**figures, "unit": unit, "higher_is_better": False, "step": step}

    entries = []
    if num_bytes.any():
        bits = bootstrap_interval(nll / math.log(2), num_bytes)
        entries.append(entry("bits_per_byte", "bits/byte", bits.value, bits.low, bits.high))
    if loss.high < LARGEST_LOSS:
        ends = (math.exp(loss.value), math.exp(loss.low), math.exp(loss.high))
        entries.append(entry("perplexity", "per token", *ends))
    entries.append(entry("token_loss", "nats/token", loss.value, loss.low, loss.high))
    return entries


class _Scorer:
    """Losses of the supervised tokens of a batch, by blocks of logits that stay within a bound.

    Blocks need the hidden states apart from the logits. Models differ in what they do to their logits, so the shortcut
    (output embedding over decoder, then the config's soft cap) is taken only where it gives the model's own logits, bit
    by bit, on a probe; else the whole forward pass is used.
    """

    def __init__(self, model: torch.nn.Module, probe: dict[str, torch.Tensor], max_logit_bytes: int) -> None:
        self.model = model
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.decoder = inner.base_model
        self.softcap = getattr(inner.config.get_text_config(), "final_logit_softcapping", None)
        head = inner.get_output_embeddings()
        self.vocab_size = inner.config.get_text_config().vocab_size
        self.max_logit_bytes = max_logit_bytes
        self.head = head if head is not None and self._head_gives_logits(inner, head, probe) else None

    def _head_gives_logits(
        self, inner: torch.nn.Module, head: Callable[[torch.Tensor], torch.Tensor], probe: dict[str, torch.Tensor]
    ) -> bool:
        if self.decoder is inner:
            return False
        inputs = _inputs(probe)
        expected = self.model(**inputs).logits
        found = self._cap(head(self.decoder(**inputs).last_hidden_state))
        return torch.equal(found, expected)

    def _cap(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap

    def rows_per_batch(
        self, batch_size: int, model: torch.nn.Module, dataset: Sequence[dict[str, Any]]
    ) -> Callable[[int], int]:
        """How many rows of a given length go into one forward pass."""
        # Flash attention finds the bounds of packed documents in batches of one row only.
        attention = getattr(model.config, "_attn_implementation", None) or ""
        if "flash" in attention and "position_ids" in dataset[0]:
            return lambda length: 1
        if self.head is not None:
            return lambda length: batch_size
        row_bytes = 4 * self.vocab_size
        return lambda length: max(1, min(batch_size, self.max_logit_bytes // (row_bytes * length)))

    def token_losses(self, batch: dict[str, torch.Tensor], supervised: torch.Tensor) -> torch.Tensor:
        """Loss of each supervised token in nats, float32 on the CPU.

        Args:
            batch: From `_collate`.
            supervised: Positions whose next token carries loss, bool, shape (batch, length - 1).
        """
        inputs = _inputs(batch)
        targets = batch["labels"][:, 1:][supervised]
        if self.head is not None:
            states = self.decoder(**inputs).last_hidden_state
        else:
            states = self.model(**inputs).logits
        # Prompt tuning puts its virtual tokens in front of the row's own.
        states = states[:, -batch["labels"].shape[1] :][:, :-1][supervised]
        size = max(1, self.max_logit_bytes // (4 * self.vocab_size))
        blocks = []
        for block, target in zip(states.split(size), targets.split(size), strict=True):
            logits = block if self.head is None else self._cap(self.head(block))
            blocks.append(cross_entropy(logits.float(), target, reduction="none").cpu())
        return torch.cat(blocks)


def _checked_sizes(dataset: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and bytes of each row."""
    sizes = []
    for number, row in enumerate(dataset):
        for column in ("input_ids", "labels", "num_bytes"):
            if column not in row:
                raise ValueError(f"row {number}: has no column {column!r} (its columns: {', '.join(row)})")
        for column in ("labels", "position_ids"):
            if column in row and len(row[column]) != len(row["input_ids"]):
                counts = f"{len(row['input_ids'])} input_ids and {len(row[column])} {column}"
                raise ValueError(f"row {number}: holds {counts}; each token has one of both")
        sizes.append((len(row["input_ids"]), row["num_bytes"]))
    lengths, num_bytes = np.array(sizes, dtype=np.int64).reshape(-1, 2).T
    return lengths, num_bytes


def _head_of(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value[:PROBE_TOKENS] for key, value in row.items() if key in ("input_ids", "labels", "position_ids")}


def _batches(order: list[int], lengths: np.ndarray, rows_per_batch: Callable[[int], int]) -> Iterator[list[int]]:
    """Cuts rows, sorted from short to long, into batches; the last row of each is its longest."""
    batch: list[int] = []
    for row in order:
        if batch and len(batch) >= rows_per_batch(int(lengths[row])):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _collate(rows: list[dict[str, Any]], pad_token_id: int, device: torch.device | str) -> dict[str, torch.Tensor]:
    """Rows padded on the right to one length: int64 tensors of shape (batch, length)."""
    length = max(len(row["input_ids"]) for row in rows)

    def padded(column: str, fill: int) -> torch.Tensor:
        values = [list(row[column]) + [fill] * (length - len(row[column])) for row in rows]
        return torch.tensor(values, dtype=torch.int64, device=device)

    batch = {"input_ids": padded("input_ids", pad_token_id), "labels": padded("labels", IGNORED)}
    if "position_ids" in rows[0]:
        # Padding at position 0 throughout is a document of its own, so it changes no other.
        return batch | {"position_ids": padded("position_ids", 0)}
    mask = [[1] * len(row["input_ids"]) + [0] * (length - len(row["input_ids"])) for row in rows]
    return batch | {"attention_mask": torch.tensor(mask, dtype=torch.int64, device=device)}


def _inputs(batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    # With a cache, transformers does not look for packed documents.
    return {key: value for key, value in batch.items() if key != "labels"} | {"use_cache": False}


def _add_batch(losses: RowLosses, rows: list[int], batch: dict[str, torch.Tensor], scorer: _Scorer) -> None:
    supervised = batch["labels"][:, 1:] != IGNORED
    counts = supervised.sum(dim=1).cpu().numpy()
    if not counts.any():
        return
    token_losses = scorer.token_losses(batch, supervised).double().numpy()
    sums = np.array([part.sum() for part in np.split(token_losses, np.cumsum(counts)[:-1])])
    for row, total in zip(rows, sums, strict=True):
        if not math.isfinite(total):
            raise ValueError(f"row {row}: its loss is {total}; the model's weights or its logits are not finite")
    losses.nll[rows] = sums
    losses.num_tokens[rows] = counts
