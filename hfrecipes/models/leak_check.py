"""The batches by which packed documents are caught seeing each other, and how far the model's logits move between them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hfrecipes.models.extended_embeddings import input_rows

Batch = dict[str, Any]

COLUMNS = ("input_ids", "labels", "position_ids", "seq_lengths")
# Tokens of the document that is looked at, and of the one before it: unlike, so that neither passes for the other.
_DOCUMENT, _COMPANY = 7, 5
# How far a document's logits may move, as a share of their own spread (root mean squares): with another company, and when it
# stands alone. Leaks moved them by .002 (BERT) to 1.2 (OLMo 2) in 24 architectures with random weights. Company of the same
# shape moves nothing where documents are apart, but for rounding among experts, which are given other groups of tokens; a
# document alone is rounded differently: by 1e-7 in float32, by .004 in bfloat16. There is room for TF32, whose mantissa is short.
_TOLERANCES, _COARSE_TOLERANCES = (1e-4, 1e-2), (2e-3, 1e-1)


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
        vocabulary = input_rows(model)
        before, other, document = (
            torch.arange(begin, begin + size) % vocabulary
            for begin, size in (
                (vocabulary // 4, _COMPANY),
                (vocabulary // 2, _COMPANY),
                (3 * vocabulary // 4, _DOCUMENT),
            )
        )
        kept = [name for name in COLUMNS if name in columns and (name != "position_ids" or _reads_positions(model))]

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
