"""The texts of a batch while they are written, each as long as its drafts were good; and what the processors and criteria of
`generate`, made for texts of one length, say about them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers.generation import (
    EosTokenCriteria,
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    InfNanRemoveLogitsProcessor,
    LogitNormalization,
    LogitsProcessorList,
    MaxLengthCriteria,
    MinPLogitsWarper,
    StoppingCriteriaList,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

# They read the scores alone: one call serves texts of all lengths.
_BLIND = (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    InfNanRemoveLogitsProcessor,
    LogitNormalization,
    MinPLogitsWarper,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)


class Texts:
    """Prompts and what was written behind them.

    Attributes:
        tokens: `(rows, places)`; behind a row's length stands filling.
        lengths: Of the rows, prompt and padding before it included.
        max_length: Of the longest row there will be.
        ended: By row, its length when a stopping criterion said so; None before.
        drafts_at_once: Processors read no text, so the drafts of several heads may be made before any of them is placed.
        verdicts_at_once: Neither processors nor criteria read text, so many tokens may be written at a time (`write_many`).

    Args:
        prompts: `(rows, tokens)`.
        processors: For the scores of the model.
        criteria: When a row has ended.
        max_length: Of the longest row there will be.
        ahead: Places for drafts.
        pad: What follows the end of a row; None where rows go on until all have ended, as without an end-of-sequence token.
    """

    def __init__(
        self,
        prompts: Tensor,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
        max_length: int,
        ahead: int,
        pad: int | None,
    ) -> None:
        self.prompt = prompts.shape[1]
        filling = prompts.new_full((len(prompts), max_length - self.prompt + ahead), 0 if pad is None else pad)
        self.tokens = torch.cat([prompts, filling], dim=1)
        self.lengths = [self.prompt] * len(prompts)
        self.ended: list[int | None] = [None] * len(prompts)
        self.max_length = max_length
        self._pad = pad
        self._processors, self._criteria = processors, criteria
        # Drafts see the processors of transformers, which hang on their arguments alone. One of the user's may count its calls:
        # it sees accepted text only, each place once, as under `generate`.
        own = [each for each in processors if type(each).__module__.startswith("transformers.")]
        self._draft_processors = LogitsProcessorList(own)
        self._blind = all(type(each) in _BLIND for each in processors)
        self.drafts_at_once = all(type(each) in _BLIND for each in own)
        self.verdicts_at_once = self._blind and all(_looks_at_one(each, max_length) for each in criteria)

    def open_rows(self) -> list[int]:
        """Those that go on."""
        if self._pad is not None:
            return [row for row, end in enumerate(self.ended) if end is None]
        goal = self._goal()
        return [row for row, length in enumerate(self.lengths) if length < goal]

    def common(self) -> int:
        """The length up to which all rows are as they will stay."""
        if self._pad is None:
            return min(*self.lengths, self._goal())
        return min((self.lengths[row] for row in self.open_rows()), default=max(self.lengths))

    def write(self, rows: list[int], tokens: Tensor, scores: Any) -> list[int]:
        """Adds a token to rows, and asks the stopping criteria.

        Args:
            rows: That get one.
            tokens: `(len(rows),)`.
            scores: A function from a length to what `generate` would have kept of all scores by then.

        Returns:
            The rows that ended with it.
        """
        self.place(rows, tokens, 0)
        for row in rows:
            self.lengths[row] += 1
        ending = [row for row in self._stopped(rows, tokens, scores) if self.ended[row] is None]
        for row in ending:
            self.ended[row] = self.lengths[row]
        return ending

    def write_many(self, rows: list[int], tokens: Tensor, numbers: list[int]) -> list[int]:
        """Adds tokens to rows, as many as `write` would have one by one; only where `verdicts_at_once`.

        Args:
            rows: That get some.
            tokens: `(len(rows), width)`.
            numbers: How many of them each row gets, if it does not end before.

        Returns:
            How many each row got.
        """
        starts = torch.tensor([self.lengths[row] for row in rows], device=tokens.device)
        places = starts[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        # Behind a row's length stands filling, so what it does not get may stand there too.
        self.tokens[self._index(rows)[:, None], places] = tokens
        lasts = self._first_ends(tokens)
        written = []
        for row, number, last in zip(rows, numbers, lasts, strict=True):
            got = min(number, last, self.max_length - self.lengths[row])
            self.lengths[row] += got
            if got == last or self.lengths[row] == self.max_length:
                self.ended[row] = self.lengths[row]
            written.append(got)
        return written

    def _first_ends(self, tokens: Tensor) -> list[int]:
        """By row, how many tokens there are up to the first that ends it; more than there are where none does."""
        width = tokens.shape[1]
        ends = [criterion for criterion in self._criteria if type(criterion) is EosTokenCriteria]
        if not ends:
            return [width + 1] * len(tokens)
        found = torch.stack([torch.isin(tokens, each.eos_token_id.to(tokens.device)) for each in ends]).any(0)
        after = torch.arange(1, width + 1, device=tokens.device)
        return torch.where(found, after, width + 1).amin(1).tolist()

    def place(self, rows: list[int], tokens: Tensor, ahead: int) -> None:
        """Puts tokens behind the ends of rows, so many places ahead, without counting them in."""
        places = torch.tensor([self.lengths[row] + ahead for row in rows], device=tokens.device)
        self.tokens[self._index(rows), places] = tokens

    def last_places(self, rows: list[int], width: int) -> Tensor:
        """Where the last tokens of rows stand, `(len(rows), width)`."""
        ends = torch.tensor([self.lengths[row] for row in rows], device=self.tokens.device)
        return ends[:, None] + torch.arange(-width, 0, device=self.tokens.device)

    def scores(self, rows: list[int], logits: Tensor) -> Tensor:
        """What the processors make of logits behind the ends of rows.

        Args:
            rows: Whose they are.
            logits: `(len(rows), vocabulary)`; may be written to.

        Returns:
            Of the shape of the logits.
        """
        return self._process(self._processors, rows, logits, 0)

    def draft_scores(self, rows: list[int], logits: Tensor, ahead: int) -> Tensor:
        """As `scores`, behind drafts that were placed so far ahead."""
        return self._process(self._draft_processors, rows, logits, ahead)

    def scores_at_once(self, logits: Tensor) -> Tensor:
        """As `scores`, of many places of each row; only where `verdicts_at_once`.

        Args:
            logits: `(rows, places, vocabulary)`; may be written to.
        """
        return self._process_blindly(self._processors, logits)

    def settled(self) -> Tensor:
        """All rows up to `common`, `(rows, common)`; what has ended is padded."""
        tokens = self.tokens[:, : self.common()].clone()
        if self._pad is not None:
            places = torch.arange(tokens.shape[1], device=tokens.device)
            tokens[places[None] >= torch.tensor(self.lengths, device=tokens.device)[:, None]] = self._pad
        return tokens

    def _goal(self) -> int:
        """Where rows end that are not padded: with the last of them."""
        ends = [end for end in self.ended if end is not None]
        return max(ends) if len(ends) == len(self.ended) else self.max_length

    def _process(self, processors: LogitsProcessorList, rows: list[int], logits: Tensor, ahead: int) -> Tensor:
        if not processors:
            return logits
        lengths = {self.lengths[row] + ahead for row in rows}
        if self._blind:
            return processors(self.tokens[rows, : min(lengths)], logits)
        if len(rows) < len(self.tokens):
            # They may have been made for all rows.
            logits = logits.new_zeros(len(self.tokens), logits.shape[1]).index_copy_(0, self._index(rows), logits)
        made = {length: processors(self.tokens[:, :length], logits.clone()) for length in lengths}
        return torch.stack([made[self.lengths[row] + ahead][row] for row in rows])

    def _process_blindly(self, processors: LogitsProcessorList, logits: Tensor) -> Tensor:
        if not processors:
            return logits
        return processors(self.tokens[:, : self.prompt], logits.flatten(0, 1)).view_as(logits)

    def _index(self, rows: list[int]) -> Tensor:
        return torch.tensor(rows, device=self.tokens.device)

    def _stopped(self, rows: list[int], tokens: Tensor, scores: Any) -> list[int]:
        stopped: set[int] = set()
        for criterion in self._criteria:
            if type(criterion) is EosTokenCriteria:
                stopped |= _rows_of(criterion(tokens[:, None], None), rows)
            elif type(criterion) is MaxLengthCriteria:
                stopped |= {row for row in rows if self.lengths[row] >= criterion.max_length}
            else:
                for length in {self.lengths[row] for row in rows}:
                    said = criterion(self.tokens[:, :length], scores(length)).tolist()
                    stopped |= {row for row in rows if self.lengths[row] == length and said[row]}
        return sorted(stopped)


def _looks_at_one(criterion: Any, max_length: int) -> bool:
    """Whether it looks at each token alone, or at the length that is known here."""
    if type(criterion) is MaxLengthCriteria:
        return criterion.max_length == max_length
    return type(criterion) is EosTokenCriteria


def _rows_of(flags: Tensor, rows: Iterable[int]) -> set[int]:
    return {row for row, flag in zip(rows, flags.tolist(), strict=True) if flag}
