"""What heads are worth when a model writes: the same prompts with them and without, token for token and second for second."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from hfrecipes.evaluation.generation import generation_config, max_prompt_tokens
from hfrecipes.models.mode import eval_mode
from hfrecipes.models.mtp.decode import mtp_generate

PLAIN, HEADS = "generate", "mtp_generate"


@dataclass
class Decoding:
    """Greedy decoding of some prompts, one at a time, with the heads and without.

    Args:
        prompts: That were continued.
        max_new_tokens: At most so many for each.
        tokens: That were written with the heads.
        identical: Prompts that both ways continued with the same tokens.
        seconds: By way: `generate` and `mtp_generate`, taking turns.
        forwards: Passes through the model with the heads; without them there is one for each token.
        drafted: By head: drafts that were verified.
        reached: By head: those before which none was rejected.
        accepted: By head: those that stayed.
    """

    prompts: int = 0
    max_new_tokens: int = 0
    tokens: int = 0
    identical: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {PLAIN: 0.0, HEADS: 0.0})
    forwards: int = 0
    drafted: list[int] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)

    def to_facts(self) -> dict[str, Any]:
        """The counts, and what they come to: tokens a pass, speed against `generate`, and acceptance by head."""
        return {
            **asdict(self),
            "tokens_per_pass": self.tokens / max(self.forwards, 1),
            "times_generate": self.seconds[PLAIN] / self.seconds[HEADS],
            "accepted_by_head": [
                part / whole if whole else None for part, whole in zip(self.accepted, self.reached, strict=True)
            ],
            "written_by_place": [
                part / whole if whole else None for part, whole in zip(self.accepted, self.drafted, strict=True)
            ],
        }


def measure_decoding(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], max_new_tokens: int, conversation: bool = False
) -> Decoding | None:
    """Continues prompts greedily with the heads and without.

    Args:
        model: With heads (`add_mtp_heads`), in an adapter or not.
        tokenizer: Its transformers tokenizer.
        prompts: Tokens of each; those that leave no room for `max_new_tokens` are passed over.
        max_new_tokens: Length at which a continuation is cut.
        conversation: Whether the end of a turn ends a continuation.

    Returns:
        None where no prompt leaves room, or where the model's decoding has to be left to `generate`.
    """
    room = max_prompt_tokens(model, max_new_tokens)
    fitting = [prompt for prompt in prompts if prompt and (room is None or len(prompt) <= room)]
    config = generation_config(model, tokenizer, conversation, max_new_tokens, do_sample=False, temperature=1.0)
    found = Decoding(len(fitting), max_new_tokens)
    device = next(model.parameters()).device
    with eval_mode(model):
        for number, prompt in enumerate(fitting):
            ids = torch.tensor([prompt], device=device)
            if number == 0:
                # The first calls of both pay for what is only built once.
                _decode(model, ids, config)
            plain, ours = _decode(model, ids, config)
            if (acceptance := getattr(ours.output, "acceptance", None)) is None:
                return None
            found.seconds[PLAIN] += plain.seconds
            found.seconds[HEADS] += ours.seconds
            found.identical += torch.equal(plain.output, ours.output.sequences)
            found.tokens += ours.output.sequences.shape[1] - len(prompt)
            found.forwards += acceptance.forwards
            for name in ("drafted", "reached", "accepted"):
                _add(getattr(found, name), getattr(acceptance, name))
    return found if fitting else None


@dataclass(frozen=True, slots=True)
class _Timed:
    output: Any
    seconds: float


def _decode(model: Any, ids: Tensor, config: Any) -> tuple[_Timed, _Timed]:
    given = {"inputs": ids, "attention_mask": torch.ones_like(ids)}
    plain = _timed(lambda: model.generate(generation_config=config, **given), ids.device)
    told = copy.deepcopy(config)
    told.return_dict_in_generate = True
    return plain, _timed(lambda: mtp_generate(model, generation_config=told, **given), ids.device)


def _timed(call: Callable[[], Any], device: torch.device) -> _Timed:
    _wait_for(device)
    began = time.perf_counter()
    output = call()
    _wait_for(device)
    return _Timed(output, time.perf_counter() - began)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _add(sums: list[int], parts: list[int]) -> None:
    sums.extend([0] * (len(parts) - len(sums)))
    for place, part in enumerate(parts):
        sums[place] += part
