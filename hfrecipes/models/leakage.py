"""Whether packed documents see each other, found out by running the model on a batch that the trainer's collator made.

transformers keeps documents apart where positions start anew, but only where it is given no attention mask and no cache; where
one of the three is wrong, one document conditions the next and nothing is said.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from hfrecipes.models.leak_causes import FAULTS, Cause, find_causes

Batch = dict[str, Any]

# Tokens of the document that is looked at, and of the one before it: unlike, so that neither passes for the other.
_DOCUMENT, _COMPANY = 7, 5
# How far a document's logits may move, as a share of their own spread (root mean squares): with another company, and when it
# stands alone. Leaks moved them by .002 (BERT) to 1.2 (OLMo 2) in 24 architectures with random weights. Company of the same
# shape moves nothing where documents are apart, but for rounding among experts, which are given other groups of tokens; a
# document alone is rounded differently: by 1e-7 in float32, by .004 in bfloat16. There is room for TF32, whose mantissa is short.
_TOLERANCES, _COARSE_TOLERANCES = (1e-4, 1e-2), (2e-3, 1e-1)

_COLUMNS = ("input_ids", "labels", "position_ids", "seq_lengths")


class LeakageError(ValueError):
    """Packed documents depend on each other. `causes` says by what; `fixes` how to mend each."""

    def __init__(self, model: Any, causes: Collection[Cause], moved: float) -> None:
        self.causes = tuple(causes)
        self.fixes = tuple(FAULTS[cause][1] for cause in causes)
        faults = "; ".join(FAULTS[cause][0] for cause in causes)
        self.fault = f"{type(model).__name__} does not keep packed documents apart: {faults}"
        super().__init__(
            f"{self.fault}; a document's logits move by {moved:.2g} of their spread ({'; '.join(self.fixes)})"
        )


def check_no_leakage(
    model: Any,
    collator: Callable[[list[dict[str, Any]]], Mapping[str, Any]],
    columns: Collection[str] = _COLUMNS,
    *,
    packed: bool = True,
    **added: Any,
) -> None:
    """Refuses a model and collator that let packed documents see each other.

    A batch of two rows, one of which holds two documents, goes through the collator and the model. The second document has to
    come out as it does when the first is another one, and as it does alone; the latter also finds positions that go on from
    one document to the next. Three forward passes of some twenty tokens; where they show a leak, a few more say by what.

    A model whose layers pass nothing on from token to token yet, such as one whose output projections are zero, shows no leak.

    Args:
        model: A causal language model, possibly with adapters, on any device. It runs in evaluation mode, without gradients;
            the mode of every module is put back.
        collator: The trainer's own.
        columns: Those of the training set. Of `input_ids`, `labels`, `position_ids` and `seq_lengths` the collator is given
            what is among them; position_ids only to a model whose `forward` names them, as the stock trainer does.
        packed: Whether a row of the training set holds several documents; where it holds one, the collator may still join rows.
        added: What the trainer gives to the model beside the batch, such as TRL's `use_cache=False`.

    Raises:
        LeakageError: they do, with the causes and what to do about each.
        Exception: whatever the collator or the model's forward raises.
    """
    check = Check.of(model, collator, columns, packed, added)
    with _measuring(model):
        if not check.leaks():
            return
        causes = find_causes(check)
        moved = check.moved()
    raise LeakageError(model, causes, moved)


@dataclass(frozen=True, slots=True)
class Check:
    """What is run and compared.

    Args:
        model: The model.
        document: The one that is looked at.
        together: The batch in which it stands behind another document, and at the beginning of a row.
        changed: The same behind a different document.
        alone: A batch of nothing else.
        starts: Row and column of each document in `together`, and in `changed`.
    """

    model: Any
    document: torch.Tensor
    together: Batch
    changed: Batch
    alone: Batch
    starts: list[tuple[int, int]]

    @classmethod
    def of(cls, model: Any, collator: Any, columns: Collection[str], packed: bool, added: Mapping[str, Any]) -> Check:
        vocabulary = model.get_input_embeddings().num_embeddings
        before, other, document = (
            torch.arange(begin, begin + size) % vocabulary
            for begin, size in (
                (vocabulary // 4, _COMPANY),
                (vocabulary // 2, _COMPANY),
                (3 * vocabulary // 4, _DOCUMENT),
            )
        )
        kept = [name for name in _COLUMNS if name in columns and (name != "position_ids" or _reads_positions(model))]

        def batch(*documents: torch.Tensor) -> Batch:
            rows = [list(documents[:2]), list(documents[2:])] if packed else [[each] for each in documents]
            collated = dict(collator([_row(row, kept) for row in rows if row]))
            collated.pop("labels", None)
            return {**collated, **added}

        together = batch(before, document, document)
        starts = [*_places(together["input_ids"], before), *_places(together["input_ids"], document)]
        return cls(model, document, together, batch(other, document, document), batch(document), starts)

    def leaks(self, mend: Callable[[Batch], Batch] = lambda batch: batch) -> bool:
        """Whether the document depends on its company, when batches are mended so. A document alone is never at fault."""
        company, alone = _TOLERANCES if _is_fine(self.model) else _COARSE_TOLERANCES
        by_company, from_alone = self._distances(mend)
        return not (by_company <= company and from_alone <= alone)

    def moved(self) -> float:
        """By how much of its own spread the document's logits move."""
        return max(self._distances(lambda batch: batch))

    def _distances(self, mend: Callable[[Batch], Batch]) -> tuple[float, float]:
        together, changed = self._logits(mend(self.together)), self._logits(mend(self.changed))
        alone = self._logits({**self.alone, "use_cache": False})[:1]
        return _distance(together, changed, alone), _distance(together, alone.expand_as(together), alone)

    def _logits(self, batch: Batch) -> torch.Tensor:
        """Logits of the document in each place where it stands: `(places, tokens, vocabulary)` float32."""
        device = self.model.get_input_embeddings().weight.device
        inputs = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        logits = self.model(**inputs).logits.float()
        places = _places(batch["input_ids"], self.document)
        return torch.stack([logits[row, start : start + _DOCUMENT] for row, start in places])

    @property
    def reads_positions(self) -> bool:
        return _reads_positions(self.model)


def _reads_positions(model: Any) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "position_ids" in inspect.signature(inner.forward).parameters


def _row(documents: list[torch.Tensor], columns: Collection[str]) -> dict[str, list[int]]:
    ids = torch.cat(documents).tolist()
    sizes = [len(document) for document in documents]
    positions = [position for size in sizes for position in range(size)]
    row = {"input_ids": ids, "labels": ids, "position_ids": positions, "seq_lengths": sizes}
    return {name: row[name] for name in columns}


def _places(input_ids: torch.Tensor, document: torch.Tensor) -> list[tuple[int, int]]:
    """Row and column at which each copy of a document begins; collators pad on either side, or join rows into one.

    Raises:
        ValueError: it is not in the batch.
    """
    ids = input_ids.cpu()
    if ids.shape[-1] >= len(document):
        places = (ids.unfold(1, len(document), 1) == document).all(-1).nonzero().tolist()
        if places:
            return [(row, start) for row, start in places]
    raise ValueError("the collator's input_ids do not hold the documents of the rows it was given")


def _distance(left: torch.Tensor, right: torch.Tensor, scale: torch.Tensor) -> float:
    """Root mean square of the difference, in the worst place, as a share of the spread of `scale` over the vocabulary."""
    spread = (scale - scale.mean(-1, keepdim=True)).square().mean().sqrt()
    worst = (left - right).square().mean((-1, -2)).sqrt().max()
    return float(worst / spread.clamp_min(torch.finfo(torch.float32).tiny))


def _is_fine(model: Any) -> bool:
    """Whether the model computes in float32 or finer."""
    if torch.is_autocast_enabled(model.get_input_embeddings().weight.device.type):
        return False
    return all(parameter.dtype in (torch.float32, torch.float64) for parameter in model.parameters())


@contextmanager
def _measuring(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients, after which every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
