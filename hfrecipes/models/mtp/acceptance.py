"""How many drafts were accepted, by head; and how many it pays to ask for."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers.generation import GenerateDecoderOnlyOutput

# A draft has to be right more often than this to be worth verifying: what one more token costs a forward pass, in passes.
WORTH = 0.1
# Of what is seen in one pass, in the running mean of a head's acceptance.
_NEWS = 0.1
# A head that is not asked is thought better of with every pass, so that it is tried again.
_HOPE = 0.002


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


@dataclass
class DraftLength:
    """Asks for as many drafts as are likely enough to be accepted, by what was accepted so far.

    It looks at no draft, only at the past: a length that hung on a drafted token would bend the distribution of samples.

    Args:
        heads: The longest draft.
    """

    heads: int
    rates: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.rates = [1.0] * self.heads

    def __call__(self) -> int:
        chance = 1.0
        for head, rate in enumerate(self.rates):
            chance *= rate
            if chance < WORTH:
                return head
        return self.heads

    def learn(self, drafts: int, judged: list[int], accepted: list[int]) -> None:
        """One pass, as in `Acceptance.add`."""
        for head in range(self.heads):
            looked = sum(count > head for count in judged)
            if head >= drafts:
                self.rates[head] += _HOPE * (1 - self.rates[head])
            elif looked:
                seen = sum(count > head for count in accepted) / looked
                self.rates[head] += _NEWS * (seen - self.rates[head])
