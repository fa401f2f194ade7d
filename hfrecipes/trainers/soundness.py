"""Whether a model can be gone on with: one training row goes through it as it is now."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from hfrecipes.evaluation.language_modeling import IGNORED
from hfrecipes.models.mode import eval_mode

# Tokens of the row that are read, and how many of them come before the first that carries loss.
WINDOW, LEAD = 128, 32


def unsound_forward(
    model: torch.nn.Module, row: dict[str, Any], bound: float, device: torch.device | str
) -> str | None:
    """Reads a piece of a row in evaluation mode, without leaving a trace in random generators, modes or gradients.

    A few dozen tokens tell: weights that one step has thrown away cost more than `bound` on any text. And where they are so
    large that the squares of activations overflow, norms make zeros of them: every token then scores the same, which costs
    no more than guessing, and no gradient comes back from there.

    Args:
        model: A causal language model, as it is trained; of one that is sharded, every process has to come here.
        row: Its `input_ids` and `labels`.
        bound: The loss in nats beyond which the weights are thrown away.
        device: Where the model takes its inputs.

    Returns:
        What is wrong, as in "costs 1e+05, more than 41.6"; None where nothing is.
    """
    ids, labels = _window(row["input_ids"], row["labels"])
    inputs, wanted = (torch.tensor([values], device=device) for values in (ids, labels))
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices), eval_mode(model):
        # Without labels: a loss of the model's own may be one over several heads, made without logits.
        logits = model(input_ids=inputs).logits
    loss = float(cross_entropy(logits[0, :-1].float(), wanted[0, 1:], ignore_index=IGNORED))
    if any(label != IGNORED for label in labels[1:]) and not loss <= bound:
        return f"costs {loss:.4g}, more than {bound:.3g}"
    if _scores_all_alike(logits) and not _has_empty_head(model):
        return "gives every token the same score: activations overflow"
    return None


def _window(ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    """A piece of the row with tokens that carry loss, where there are any; one document may follow another in it."""
    # The label of the first token is never predicted.
    first = next((place for place, label in enumerate(labels) if place and label != IGNORED), 0)
    start = max(0, first - LEAD)
    return ids[start : start + WINDOW], labels[start : start + WINDOW]


def _scores_all_alike(logits: torch.Tensor) -> bool:
    lowest, highest = torch.aminmax(logits, dim=-1)
    return bool((lowest == highest).all())


def _has_empty_head(model: torch.nn.Module) -> bool:
    """Whether the output embedding is still the zeros that some models begin with."""
    head = getattr(model, "module", model).get_output_embeddings()
    weight = getattr(head, "weight", None)
    if weight is None:
        return False
    weight = weight.to_local() if hasattr(weight, "to_local") else weight
    return not bool(weight.any())
