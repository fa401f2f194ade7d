"""A model's own answers to a prompt, with their scores, as a ranking and as a pair for those who learn from comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfrecipes.data.messages import check_messages


@dataclass(frozen=True, slots=True)
class Ranked:
    """The different answers to one prompt, best first.

    Args:
        prompt: A text, or messages.
        texts: No two alike.
        scores: Of each, none higher than the one before.
    """

    prompt: Any
    texts: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def spread(self) -> float:
        """How far the best and the worst lie apart."""
        return self.scores[0] - self.scores[-1]

    def row(self) -> dict[str, Any]:
        """A row of a ranking, as `reward` and `dpo` read it."""
        responses = [_as_response(self.prompt, text) for text in self.texts]
        return {"prompt": self.prompt, "responses": responses, "scores": list(self.scores)}

    def pair(self, margin: float) -> dict[str, Any] | None:
        """The best answer against the worst as a row; None where they do not lie so far apart.

        Args:
            margin: 0 asks for any difference.
        """
        if self.spread < margin or self.spread <= 0:
            return None
        chosen, rejected = (_as_response(self.prompt, self.texts[place]) for place in (0, -1))
        scores = {"score_chosen": self.scores[0], "score_rejected": self.scores[-1]}
        return {"prompt": self.prompt, "chosen": chosen, "rejected": rejected, **scores}


def rank(prompt: Any, texts: Sequence[str], scores: Sequence[float]) -> Ranked | None:
    """Puts answers in order; of those that are alike the best scored one stays, of those that tie the first drawn comes first.

    Args:
        prompt: A text, or messages.
        texts: As they were drawn.
        scores: Of each.

    Returns:
        None where no answer is one that could be read as data.
    """
    best: dict[str, float] = {}
    for text, score in zip(texts, scores, strict=True):
        if is_readable(text):
            best[text] = max(score, best.get(text, score))
    if not best:
        return None
    order = sorted(best, key=lambda text: -best[text])
    return Ranked(prompt, tuple(order), tuple(best[text] for text in order))


def is_readable(text: str) -> bool:
    """Whether an answer could be a row's: one that says nothing, or holds what no text may (NUL), is refused by readers."""
    return check_messages([{"role": "assistant", "content": text}]) is None and bool(text.strip())


def _as_response(prompt: Any, text: str) -> Any:
    """A text behind a text; behind a conversation its next message."""
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
