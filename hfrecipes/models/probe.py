"""One short forward pass of a model that is about to be trained: does it run at all?"""

from __future__ import annotations

from typing import Any

import torch

from hfrecipes.models.cpu_packing import keep_unpacked

_TOKENS = 4


@torch.no_grad()
def try_forward(model: Any) -> None:
    """Runs a few tokens through a model, since a config that its class accepts can still fail in its first forward.

    Raises:
        Exception: whatever the model's forward raises.
    """
    keep_unpacked(model)
    embeddings = model.get_input_embeddings()
    model(input_ids=torch.arange(_TOKENS, device=embeddings.weight.device)[None] % embeddings.num_embeddings)
