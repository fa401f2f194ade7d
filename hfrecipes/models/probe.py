"""One short forward pass of a model that is about to be trained: does it run at all, and do packed documents stay apart?"""

from __future__ import annotations

from typing import Any

import torch

# Two documents of this many tokens each.
DOCUMENT = 4
# Logits of a document may move by rounding, not by what another document says.
TOLERANCE = 1e-3


@torch.no_grad()
def documents_leak(model: Any) -> bool:
    """Whether the second document of a packed row depends on the first, in the form in which rows are trained on.

    Positions that start anew tell transformers' attention where a document begins. Architectures that read no positions
    (state-space models, ALiBi) do not notice.

    Args:
        model: A causal language model, on any device; its mode is restored.

    Returns:
        True where the documents see each other.

    Raises:
        Exception: whatever the model's forward raises.
    """
    training = model.training
    model.eval()
    try:
        vocabulary = model.get_input_embeddings().num_embeddings
        first = torch.arange(DOCUMENT) % vocabulary
        other = (first + vocabulary // 2) % vocabulary
        second = torch.arange(DOCUMENT, 2 * DOCUMENT) % vocabulary
        logits = [_logits(model, torch.cat([document, second]))[DOCUMENT:] for document in (first, other)]
    finally:
        model.train(training)
    return not torch.allclose(logits[0], logits[1], atol=TOLERANCE, rtol=TOLERANCE)


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(DOCUMENT).repeat(2)
    inputs = {"input_ids": ids[None].to(model.device), "position_ids": positions[None].to(model.device)}
    return model(**inputs, use_cache=False).logits[0].float()
