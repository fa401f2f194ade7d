"""One short forward pass of a model that is about to be trained: does it run at all?"""

from __future__ import annotations

from typing import Any

import torch

from hfrecipes.models.cpu_packing import keep_unpacked
from hfrecipes.models.extended_embeddings import input_rows

_TOKENS = 4


@torch.no_grad()
def try_forward(model: Any) -> None:
    """Runs a few tokens through a model, since a config that its class accepts can still fail in its first forward.

    Raises:
        Exception: whatever the model's forward raises.
    """
    keep_unpacked(model)
    device = next(model.get_input_embeddings().parameters()).device
    model(input_ids=torch.arange(_TOKENS, device=device)[None] % input_rows(model))
