"""How many drafts were accepted, by head; and how many it pays to ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from transformers.generation import GenerateDecoderOnlyOutput

# Passes over which a head's acceptance is averaged, and with how many good ones it begins.
_MEMORY, _CREDIT = 10, 2
# A draft stays more often than its probability says: heads are asked for the model's choice, not for a sample. The root of it
# keeps step with what stays, measured on a Llama of 1 million parameters over bytes.
_TRUST = 0.5
# A head that is not asked is thought better of with every pass, so that it is tried again; after some, it is left out for good.
_HOPE, _PATIENCE = 0.002, 8


@dataclass
class Acceptance:
    """What became of the drafts of one call.

    Args:
        drafted: By head, from the one for the second next token on: drafts that were verified. A head's place in the draft is
            its number.
        reached: Those of them that were looked at: all before were accepted, and ended nothing.
        accepted: Those that were accepted.
        tokens: Written, of all rows.
        forwards: Passes through the model for each row that was still open, the one over the prompt included; without drafts
            it is the number of tokens.
    """

    drafted: list[int]
    reached: list[int]
    accepted: list[int]
    tokens: int = 0
    forwards: int = 0

    @classmethod
    def of(cls, heads: int) -> Acceptance:
        return cls([0] * heads, [0] * heads, [0] * heads)

    def add(self, drafts: int, judged: list[int], accepted: list[int]) -> None:
        """One pass.

        Args:
            drafts: That each row had.
            judged: By row, how many of them were looked at: to the first that was rejected or that ended the row.
            accepted: By row, how many stayed.
        """
        self.forwards += len(judged)
        for head in range(drafts):
            self.drafted[head] += len(judged)
            self.reached[head] += sum(count > head for count in judged)
            self.accepted[head] += sum(count > head for count in accepted)

    @property
    def by_head(self) -> list[float | None]:
        """Of the drafts that came to be judged, the share that was accepted; None for a head that never was."""
        return [part / whole if whole else None for part, whole in zip(self.accepted, self.reached, strict=True)]

    @property
    def by_position(self) -> list[float | None]:
        """Of all drafts at this place behind the next token, the share that was written."""
        return [part / whole if whole else None for part, whole in zip(self.accepted, self.drafted, strict=True)]

    @property
    def tokens_per_forward(self) -> float:
        return self.tokens / max(self.forwards, 1)

    def __str__(self) -> str:
        shares = ", ".join("-" if share is None else f"{share:.2f}" for share in self.by_head)
        return f"{self.tokens} tokens in {self.forwards} passes ({self.tokens_per_forward:.2f} each); accepted by head: {shares}"


@dataclass
class MTPGenerateOutput(GenerateDecoderOnlyOutput):
    """As `generate` returns it, with what became of the drafts; `scores` and `logits` of a row that has ended are 0."""

    acceptance: Acceptance | None = None


class DraftLength:
    """Asks for the draft that gives most tokens for its cost, by what was accepted so far and how sure the heads are.

    Whether a draft is made hangs on the text and on the drafts before it, never on itself: so samples keep their distribution.

    Attributes:
        awake: Heads that may be asked again. The others need not be run, and cannot come back: their caches have gaps.
        rates: By head, the share of its drafts that stays.

    Args:
        heads: The longest draft.
        cost: What a head and its draft add to the cost of a pass, as a share of it.
    """

    def __init__(self, heads: int, cost: float) -> None:
        self.cost, self.awake = cost, heads
        self.rates, self._seen, self._idle = [1.0] * heads, [_CREDIT] * heads, [0] * heads
        # How sure heads were where they were looked at, and in the draft that is to be judged next, by row.
        self._mean_sureness, self._sureness = [1.0] * heads, list[list[float]]()

    def __call__(self) -> int:
        return self._best()[0]

    def begin(self) -> None:
        """With a draft."""
        self._sureness = []

    def goes_on(self) -> bool:
        """Whether a next head is to be asked, after those of which `add` told."""
        head = len(self._sureness)
        chance, gain, worth = self._chance(), 0.0, self._best()[1]
        for later in range(head, self.awake):
            chance *= self.rates[later]
            gain += chance
            if gain >= worth * self.cost * (later + 1 - head):
                return True
        return False

    def add(self, probabilities: list[float]) -> None:
        """A head was asked.

        Args:
            probabilities: By row, of its most probable token.
        """
        self._sureness.append([probability**_TRUST for probability in probabilities])

    def learn(self, drafts: int, judged: list[int], accepted: list[int]) -> None:
        """One pass, as in `Acceptance.add`."""
        for head in range(self.awake):
            looked = [row for row, count in enumerate(judged) if count > head]
            if head >= drafts:
                self.rates[head] += _HOPE * (1 - self.rates[head])
            elif looked:
                self._seen[head] = min(self._seen[head] + 1, _MEMORY)
                stayed = sum(accepted[row] > head for row in looked) / len(looked)
                self.rates[head] += (stayed - self.rates[head]) / self._seen[head]
                if head < len(self._sureness):
                    sure = sum(self._sureness[head][row] for row in looked) / len(looked)
                    self._mean_sureness[head] += (sure - self._mean_sureness[head]) / self._seen[head]
        wanted = self()
        self._idle = [0 if head < wanted else passes + 1 for head, passes in enumerate(self._idle)]
        tired = [head for head in range(self.awake) if self._idle[head] >= _PATIENCE]
        self.awake = min(tired, default=self.awake)

    def _best(self) -> tuple[int, float]:
        """The length that is best on average, and the tokens that it gives for the cost of a pass without drafts."""
        best, best_worth, tokens, chance = 0, 1.0, 1.0, 1.0
        for head in range(self.awake):
            chance *= self.rates[head]
            tokens += chance
            if (worth := tokens / (1 + self.cost * (head + 1))) >= best_worth:
                best, best_worth = head + 1, worth
        return best, best_worth

    def _chance(self) -> float:
        """That what was drafted so far stays, averaged over rows."""
        if not self._sureness:
            return 1.0
        scales = [rate / sure for rate, sure in zip(self.rates, self._mean_sureness, strict=True)]
        rows = [
            math.prod(min(sure * scale, 1.0) for sure, scale in zip(row, scales, strict=False))
            for row in zip(*self._sureness, strict=True)
        ]
        return sum(rows) / len(rows)
