"""One rollout: completions of a batch of prompts, all that was said about them, and the minibatches made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass
class Texts:
    """Prompts and completions as ids, padded at the right: later padding is seen by no token, so no mask is needed.

    Args:
        ids: `(rows, tokens)`, the completion right behind its prompt.
        prompt_lengths: `(rows,)`.
        lengths: `(rows,)` of the completions, at least 1.
        length: Tokens of the longest completion there may be.
    """

    ids: Tensor
    prompt_lengths: Tensor
    lengths: Tensor
    length: int

    @classmethod
    def join(cls, prompts: Sequence[Sequence[int]], tokens: Tensor, lengths: Tensor, pad_id: int) -> Texts:
        """Puts completions behind their prompts.

        Args:
            prompts: Token ids.
            tokens: `(rows, length)`.
            lengths: `(rows,)`.
            pad_id: Fills the rest.
        """
        sizes = torch.tensor([len(prompt) for prompt in prompts], device=tokens.device)
        ids = tokens.new_full((len(prompts), int((sizes + lengths).max())), pad_id)
        for row, prompt in enumerate(prompts):
            end = len(prompt) + int(lengths[row])
            ids[row, : len(prompt)] = tokens.new_tensor(prompt)
            ids[row, len(prompt) : end] = tokens[row, : lengths[row]]
        return cls(ids, sizes, lengths, tokens.shape[1])

    @property
    def mask(self) -> Tensor:
        """`(rows, length)` booleans: the tokens that the policy chose."""
        return torch.arange(self.length, device=self.lengths.device) < self.lengths[:, None]

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some rows without padding that none of them needs.

        Args:
            rows: `(batch,)` their numbers.

        Returns:
            Ids `(batch, tokens)`; and places `(chosen tokens,)` in them, flattened, of the token before each chosen one: row
            by row, as `mask[rows]` picks them.
        """
        prompts, lengths = self.prompt_lengths[rows], self.lengths[rows]
        width = int((prompts + lengths).max())
        steps = torch.arange(int(lengths.max()), device=rows.device)
        starts = torch.arange(len(rows), device=rows.device) * width + prompts - 1
        places = starts[:, None] + steps
        return self.ids[rows, :width], places[steps < lengths[:, None]]

    def by_length(self, rows: Tensor) -> Tensor:
        """The same rows, the longest first."""
        sizes = (self.prompt_lengths + self.lengths)[rows]
        return rows[torch.argsort(sizes, descending=True, stable=True)]


@dataclass
class Rollout:
    """What is known of one rollout of all processes, `(rows, length)` where nothing else is said.

    Args:
        texts: All of them.
        logps: Of the chosen tokens under the policy that chose them.
        entropies: Of the distributions they were drawn from.
        values: Of the states before them.
        ref_logps: Under the reference; those of the policy where there is none.
        finished: `(rows,)`.
        scores: `(rows,)` as rewards gave them.
        token_scores: Zeros where there are none.
        table: `(rows, rewards)` what each gave.
        advantages: What losses read.
        returns: As well.
    """

    texts: Texts
    logps: Tensor
    entropies: Tensor
    values: Tensor
    ref_logps: Tensor
    finished: Tensor
    scores: Tensor
    token_scores: Tensor
    table: Tensor
    advantages: Tensor | None = None
    returns: Tensor | None = None

    def gather(self, accelerator: Any) -> Rollout:
        """That of all processes, on each of them; rows in the order of the processes."""
        if accelerator.num_processes == 1:
            return self

        def whole(values: Tensor) -> Tensor:
            return accelerator.gather(values.contiguous())

        ids = accelerator.pad_across_processes(self.texts.ids, dim=1)
        texts = Texts(whole(ids), whole(self.texts.prompt_lengths), whole(self.texts.lengths), self.texts.length)
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "texts"}
        return Rollout(texts, **{name: value if value is None else whole(value) for name, value in named.items()})


def score_texts(
    texts: Texts, batch_size: int, score: Callable[[Tensor, Tensor], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Scores all chosen tokens, in batches of rows of about the same length.

    Args:
        texts: Of this process.
        batch_size: Rows at a time.
        score: From ids and places, as `Texts.batch` gives them, to tensors `(chosen tokens,)`.

    Returns:
        By name, `(rows, length)`, 0 at padding.
    """
    mask = texts.mask
    made: dict[str, Tensor] = {}
    for rows in texts.by_length(torch.arange(len(mask), device=mask.device)).split(batch_size):
        for name, flat in score(*texts.batch(rows)).items():
            whole = made.setdefault(name, flat.new_zeros(mask.shape))
            part = whole[rows]
            part[mask[rows]] = flat
            whole[rows] = part
    return made


class Minibatches:
    """Which rows of a rollout each micro-batch reads: the same minibatches on any number of processes.

    Args:
        texts: Of all processes.
        seed: Of the training.
        rollout: Its number.
        num_mini_batches: In each pass.
        micro_batch_size: Rows of one process in one go.
        process, processes: Which this is, of how many.
    """

    def __init__(
        self,
        texts: Texts,
        seed: int,
        rollout: int,
        num_mini_batches: int,
        micro_batch_size: int,
        process: int,
        processes: int,
    ) -> None:
        self.texts, self.seed, self.rollout = texts, seed, rollout
        self.num_mini_batches, self.micro_batch_size = num_mini_batches, micro_batch_size
        self.process, self.processes = process, processes

    def rows(self, epoch: int, minibatch: int) -> Tensor:
        """Rows of a minibatch of all processes, the longest first, so that those that go together are alike."""
        count = len(self.texts.lengths)
        keys = np.random.PCG64([self.seed, self.rollout, epoch]).random_raw(count)
        order = np.array_split(np.argsort(keys, kind="stable"), self.num_mini_batches)[minibatch]
        return self.texts.by_length(torch.from_numpy(order).to(self.texts.lengths.device))

    def micro(self, epoch: int, minibatch: int, place: int) -> tuple[Tensor, int]:
        """Rows of one micro-batch of this process; and how many tokens its whole minibatch has, over all processes."""
        rows = self.rows(epoch, minibatch)
        start = (place * self.processes + self.process) * self.micro_batch_size
        return rows[start : start + self.micro_batch_size], int(self.texts.lengths[rows].sum())
