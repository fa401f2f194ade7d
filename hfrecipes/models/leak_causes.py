"""Why packed documents see each other: what of a batch is wrong, and how it is mended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch

from hfrecipes.models.leak_check import Batch, Check

Cause = Literal["position_ids", "attention_mask", "use_cache", "architecture"]

# Cause -> the fault in words, and the mend.
FAULTS: dict[Cause, tuple[str, str]] = {
    "position_ids": (
        "position_ids do not start at 0 in each document",
        "have the collator restart them: from seq_lengths, or from a column position_ids",
    ),
    "attention_mask": (
        "an attention_mask that covers the whole row hides where documents begin",
        "have the collator leave attention_mask out",
    ),
    "use_cache": (
        "with use_cache=True the mask that keeps documents apart is not built",
        "set use_cache=False in the model's config or in the training arguments",
    ),
    "architecture": (
        "the architecture does not keep documents apart by their positions (state-space models, ALiBi, encoders)",
        "train it without packing several documents into a row",
    ),
}


def find_causes(check: Check) -> list[Cause]:
    """What is at fault: each thing that leaks by itself when all others are mended."""
    suspects = _suspects(check)
    if check.leaks(lambda batch: _mend(check, batch, suspects)):
        return ["architecture"]
    guilty = [
        suspect
        for suspect in suspects
        if check.leaks(
            lambda batch, suspect=suspect: _mend(check, batch, [each for each in suspects if each != suspect])
        )
    ]
    return guilty or suspects


def _suspects(check: Check) -> list[Cause]:
    """In what the batch differs from one in which transformers keeps documents apart."""
    suspects: list[Cause] = []
    batch, positions = check.together, check.together.get("position_ids")
    if positions is None or any(int(positions[row, start]) != 0 for row, start in check.starts):
        suspects.append("position_ids")
    if batch.get("attention_mask") is not None:
        suspects.append("attention_mask")
    cache = batch.get("use_cache")
    if getattr(check.model.config.get_text_config(), "use_cache", False) if cache is None else cache:
        suspects.append("use_cache")
    return suspects


def _mend(check: Check, batch: Batch, causes: Collection[Cause]) -> Batch:
    mended = {name: value for name, value in batch.items() if name != "attention_mask" or name not in causes}
    if "use_cache" in causes:
        mended["use_cache"] = False
    if "position_ids" in causes:
        # What a collator derived from the positions is as wrong as they.
        for name in ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx"):
            mended.pop(name, None)
        mended["position_ids"] = _restarted(batch["input_ids"], check.starts)
        if not check.reads_positions:
            del mended["position_ids"]
    return mended


def _restarted(input_ids: torch.Tensor, starts: Collection[tuple[int, int]]) -> torch.Tensor:
    """Positions that start anew where documents do."""
    begins = torch.zeros_like(input_ids)
    for row, start in starts:
        begins[row, start] = start
    return torch.arange(input_ids.shape[1], device=input_ids.device) - begins.cummax(-1).values
