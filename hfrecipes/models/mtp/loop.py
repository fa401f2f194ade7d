"""Self-speculative decoding of a batch: one pass through the trunk verifies a draft and gives what the next is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import LogitsProcessorList, StoppingCriteriaList

from hfrecipes.models.mtp.acceptance import Acceptance, DraftLength, MTPGenerateOutput
from hfrecipes.models.mtp.drafting import Asked, Pass, make_drafter, watched
from hfrecipes.models.mtp.proposing import Proposer
from hfrecipes.models.mtp.results import Records, Stream
from hfrecipes.models.mtp.slots import Slots
from hfrecipes.models.mtp.texts import Texts
from hfrecipes.models.mtp.verify import Verdict, verify_greedy, verify_sampling


class Loop:
    """One call of `mtp_generate`, prepared by `generate`.

    Args:
        model: With heads.
        prompts: `(rows, tokens)`.
        processors: Of logits.
        criteria: Of stopping; one of them is a maximum length.
        config: What `generate` made of its arguments.
        inputs: Of the model's forward pass: mask, positions, cache.
        streamer: Of transformers, or None.
    """

    def __init__(
        self,
        model: Any,
        prompts: Tensor,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
        config: GenerationConfig,
        inputs: dict[str, Any],
        streamer: Any,
    ) -> None:
        self.model, self.config, self.inputs = model, config, inputs
        heads = len(model.mtp_heads)
        self.max_length = int(criteria.max_length)
        padded = any(hasattr(criterion, "eos_token_id") for criterion in criteria)
        self.texts = Texts(prompts, processors, criteria, self.max_length, heads + 1, _pad(config) if padded else None)
        self.drafter = make_drafter(model, len(prompts))
        self.cache = inputs.pop("past_key_values")
        mask, positions = inputs.pop("attention_mask", None), inputs.pop("position_ids", None)
        if len(prompts) > 1:
            mask = torch.ones_like(prompts) if mask is None else mask
        elif mask is not None and mask.all():
            # It says nothing, and costs each layer of the trunk and each head.
            mask = None
        further = self.texts.tokens.shape[1] - self.texts.prompt
        self.mask = None if mask is None else torch.cat([mask, mask.new_ones(len(mask), further)], dim=1)
        self.positions = None if positions is None else _count_on(positions, len(prompts), further)
        self.slots = Slots([self.cache, *self.drafter.caches], mask)
        self.stream = Stream(streamer, self.texts)
        kept = config.return_dict_in_generate
        self.scores = Records(len(prompts)) if kept and config.output_scores else None
        self.logits = Records(len(prompts)) if kept and config.output_logits else None
        self.length, self.acceptance = DraftLength(heads, self.drafter.cost), Acceptance.of(heads)
        # Rows that go on. Of each: tokens that the heads drafted, and the probabilities they drew them with, by place.
        self.rows = list(range(len(prompts)))
        self.drafts = prompts[:, :0]
        self.proposed: list[Tensor] = []

    def run(self) -> Tensor | MTPGenerateOutput:
        """Writes until all rows have ended; returns as `generate` does."""
        places = torch.arange(self.texts.prompt, device=self.texts.tokens.device).expand(len(self.rows), -1)
        with watched(self.model) as seen:
            while True:
                window, held = self._window(places)
                self._verify(self._forward(window, held, places))
                self.stream.feed()
                going_on = self.texts.open_rows()
                if not going_on:
                    break
                self._draft(seen, window, places, going_on)
                self._settle(held, places)
                self._tidy()
                self._select(going_on)
                places = self.texts.last_places(self.rows, 1)
        self.stream.end()
        if len(self.texts.lengths) == 1:
            self._leave_cache(held, places)
        self.acceptance.tokens = sum(length - self.texts.prompt for length in self.texts.lengths)
        if not self.config.return_dict_in_generate:
            return self.texts.settled()
        return self._result()

    def _window(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens that the trunk has not seen, drafts last: and which of them are text, `(rows, width)` each."""
        known = self.texts.tokens[self.rows].gather(1, places)
        window = torch.cat([known, self.drafts], dim=1)
        if self.mask is None:
            return window, torch.ones_like(window)
        return window, torch.cat([self.mask[self.rows].gather(1, places), torch.ones_like(self.drafts)], dim=1)

    def _forward(self, window: Tensor, held: Tensor, places: Tensor) -> Tensor:
        """Logits behind the last known token and behind each draft, `(rows, drafts + 1, vocabulary)`."""
        inputs = dict(self.inputs)
        if self.positions is not None:
            ahead = torch.arange(1, self.drafts.shape[1] + 1, device=places.device)
            # Drafts may run past the end, where a model may have no position left; nothing of them stays.
            at = torch.cat([places, places[:, -1:] + ahead], dim=1).clamp_max(self.max_length - 1)
            inputs["position_ids"] = self.positions[self.rows].gather(1, at)
        needed = self.drafts.shape[1] + 1
        if "logits_to_keep" in inputs:
            inputs["logits_to_keep"] = needed
        # Without the book-keeping for gradients that no_grad, under which generate runs, leaves on. What others get to see is
        # made outside: of what is made inside, autograd takes nothing.
        with torch.inference_mode():
            inputs = self.model.prepare_inputs_for_generation(
                window,
                past_key_values=self.cache,
                attention_mask=self.slots.with_window(held),
                is_first_iteration=self.slots.length == 0,
                **inputs,
            )
            logits = self.model(**inputs, return_dict=True).logits[:, -needed:]
        # As generate does: processors get no half precision, and may write to what they get.
        return logits.to(torch.float32, copy=True)

    def _verify(self, logits: Tensor) -> None:
        """Writes accepted drafts, and behind them a token of the model's own."""
        if self.texts.verdicts_at_once and not self.config.do_sample and self.scores is self.logits is None:
            judged, accepted = self._judge_at_once(logits)
        else:
            judged, accepted = self._judge_in_order(logits)
        self.acceptance.add(self.drafts.shape[1], judged, accepted)
        self.length.learn(self.drafts.shape[1], judged, accepted)

    def _judge_at_once(self, logits: Tensor) -> tuple[list[int], list[int]]:
        """By row, how many drafts were looked at and how many stayed; where no token's score hangs on the one before."""
        tokens = self.texts.scores_at_once(logits).argmax(-1)
        right = (tokens[:, :-1] == self.drafts).cumprod(1).sum(1).tolist()
        written = self.texts.write_many(self.rows, tokens, [number + 1 for number in right])
        judged = [min(number, self.drafts.shape[1]) for number in written]
        return judged, [min(pair) for pair in zip(right, written, strict=True)]

    def _judge_in_order(self, logits: Tensor) -> tuple[list[int], list[int]]:
        """As `_judge_at_once`, token by token."""
        drafts = self.drafts.shape[1]
        judged, accepted = [0] * len(self.rows), [0] * len(self.rows)
        slots = list(range(len(self.rows)))
        for place in range(drafts + 1):
            verdict = self._judge(slots, place, logits[slots, place])
            self.texts.write([self.rows[slot] for slot in slots], verdict.tokens, self._scores_until)
            goes_on, flags = set(self.texts.open_rows()), verdict.accepted.tolist()
            for slot, flag in zip(slots, flags, strict=True):
                judged[slot] += place < drafts
                accepted[slot] += flag
            slots = [slot for slot, flag in zip(slots, flags, strict=True) if flag and self.rows[slot] in goes_on]
            if not slots:
                break
        return judged, accepted

    def _judge(self, slots: list[int], place: int, logits: Tensor) -> Verdict:
        rows = [self.rows[slot] for slot in slots]
        if self.logits is not None:
            self.logits.add(rows, logits)
        scores = self.texts.scores(rows, logits)
        if self.scores is not None:
            self.scores.add(rows, scores)
        drafted = self.drafts[slots, place] if place < self.drafts.shape[1] else None
        if not self.config.do_sample:
            return verify_greedy(scores, drafted)
        return verify_sampling(scores, drafted, None if drafted is None else self.proposed[place][slots])

    def _scores_until(self, length: int) -> tuple[Tensor, ...] | None:
        return None if self.scores is None else self.scores.steps(length - self.texts.prompt)

    def _draft(self, seen: Pass, window: Tensor, places: Tensor, rows: list[int]) -> None:
        """Has the heads read the window, and draft what follows the rows that go on."""
        room = self.max_length - min(self.texts.lengths[row] for row in rows) - 1
        last = self.texts.last_places(self.rows, 1)
        # The last written token has not been through the trunk yet; the one before it is the last that has.
        ends = (last - 1 - places[:, :1]).clamp_min(0)[:, 0]
        following = self.texts.tokens[self.rows].gather(1, last)[:, 0]
        proposer = Proposer(self.texts, rows, self._slots_of(rows), self.config.do_sample)
        self.drafter.caches = self.drafter.caches[: self.length.awake]
        self.slots.caches = [self.cache, *self.drafter.caches]
        with torch.inference_mode():
            asked = Asked(proposer, self.length, min(self.length.awake, room))
            self.drafter.draft(seen, self.slots.length, window, ends, following, asked)
        self.drafts, self.proposed = proposer.drafts, proposer.chances

    def _settle(self, held: Tensor, places: Tensor) -> None:
        """Leaves in the caches what was accepted, but for the last token, which is new to them."""
        starts = places[:, 0].tolist()
        lengths = [self.texts.lengths[row] for row in self.rows]
        self.slots.settle(held, [length - 1 - start for length, start in zip(lengths, starts, strict=True)])

    def _tidy(self) -> None:
        """Drops what the heads have all read, and closes gaps once they are many."""
        self.drafter.settle(self.slots.length)
        if self.slots.has_many_gaps():
            with torch.inference_mode():
                self.drafter.read_all(self.slots.length)
            self.drafter.settle(self.slots.length)
            self.slots.close_gaps()

    def _select(self, rows: list[int]) -> None:
        """Goes on with some rows."""
        if len(rows) < len(self.rows):
            slots = self._slots_of(rows)
            self.slots.select(slots)
            self.drafter.select(slots)
            # A draft for few rows is cheap: those that come last get longer ones.
            self.length.cost = self.drafter.cost
            self.rows = rows

    def _slots_of(self, rows: list[int]) -> Tensor:
        wanted = set(rows)
        return torch.tensor([slot for slot, row in enumerate(self.rows) if row in wanted], device=self.drafts.device)

    def _leave_cache(self, held: Tensor, places: Tensor) -> None:
        """Leaves of a single text what `generate` would have: the cache may be the caller's."""
        # The heads have not read the last window: their caches are done with.
        self.slots.caches = [self.cache]
        self._settle(held, places)
        self.slots.own()

    def _result(self) -> MTPGenerateOutput:
        sequences = self.texts.settled()
        steps = sequences.shape[1] - self.texts.prompt
        return MTPGenerateOutput(
            sequences=sequences,
            scores=None if self.scores is None else self.scores.steps(steps),
            logits=None if self.logits is None else self.logits.steps(steps),
            past_key_values=self.cache if len(sequences) == 1 else None,
            acceptance=self.acceptance,
        )


def _count_on(positions: Tensor, rows: int, further: int) -> Tensor:
    """Positions of the prompts, and those behind them."""
    ahead = torch.arange(1, further + 1, device=positions.device)
    return torch.cat([positions, positions[:, -1:] + ahead], dim=1).expand(rows, -1)


def _pad(config: GenerationConfig) -> int:
    """What follows the end of a row: as for `generate`, the first end-of-sequence token where there is none for padding."""
    if config.pad_token_id is not None:
        return int(config.pad_token_id)
    ends = config.eos_token_id
    return int(ends[0] if isinstance(ends, list) else ends)
