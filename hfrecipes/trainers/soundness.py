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
        row: Its `input_ids` and `labels`, or the columns of TRL's own preferences, of which the chosen answer is read.
        bound: The loss in nats beyond which the weights are thrown away.
        device: Where the model takes its inputs.

    Returns:
        What is wrong, as in "costs 1e+05, more than 41.6"; None where nothing is.
    """
    ids, labels = _window(*_tokens(row))
    inputs, wanted = (torch.tensor([values], device=device) for values in (ids, labels))
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices), eval_mode(model):
        # Without labels: a loss of the model's own may be one over several heads, made without logits.
        # Prompts put logits of their own in front of the row's.
        logits = model(input_ids=inputs).logits[:, -inputs.shape[1] :]
    loss = float(cross_entropy(logits[0, :-1].float(), wanted[0, 1:], ignore_index=IGNORED))
    if any(label != IGNORED for label in labels[1:]) and not loss <= bound:
        return f"costs {loss:.4g}, more than {bound:.3g}"
    if _scores_all_alike(logits) and not _has_empty_head(model):
        return "gives every token the same score: activations overflow"
    return None


def unsound_reward(
    model: torch.nn.Module, sequences: list[list[int]], largest: float, device: torch.device | str
) -> str | None:
    """As `unsound_forward`, for a model that gives each sequence one number.

    Args:
        model: A sequence classifier of one label, as it is trained.
        sequences: At least two that differ.
        largest: No reward is larger in size.
        device: Where the model takes its inputs.
    """
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices), eval_mode(model):
        # One by one: nothing is padded, so nothing depends on where padding is taken to begin.
        found = [model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits for ids in sequences]
    rewards = torch.stack([logits.float().reshape(()) for logits in found])
    unfit = rewards[~(rewards.abs() <= largest)]
    if len(unfit):
        return f"is rewarded with {float(unfit[0]):.4g}, more than {largest:.3g} in size"
    if bool((rewards == 0).all()) and not _is_zero(_reward_weight(model)):
        return "is rewarded with 0, whatever the answer: activations overflow"
    return None


def _tokens(row: dict[str, Any]) -> tuple[list[int], list[int]]:
    if "input_ids" in row:
        return row["input_ids"], row["labels"]
    prompt, answer = row.get("prompt_ids", []), row["chosen_ids"]
    return [*prompt, *answer], [IGNORED] * len(prompt) + list(answer)


def _reward_weight(model: torch.nn.Module) -> torch.Tensor | None:
    heads = [weight for name, weight in model.named_parameters() if name.endswith("score.weight")]
    return heads[-1] if heads else None


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
    return _is_zero(getattr(head, "weight", None))


def _is_zero(weight: torch.Tensor | None) -> bool:
    if weight is None:
        return False
    weight = weight.to_local() if hasattr(weight, "to_local") else weight
    return not bool(weight.any())
