"""The mixture of one run: shares of tokens turned into a plan of rows, of as many as the recipe asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.data.mixture.plan import MixturePlan
from hfrecipes.data.mixture.settings import MixtureSettings
from hfrecipes.data.mixture.weights import Weight, shares_at
from hfrecipes.recipe.problem import Problem, RecipeError

# Blocks of a plan, beyond which they are made longer: looking all of them up takes a second.
_MAX_BLOCKS = 65_536
# Of how the tokens of a mean row change with the shares, this many places tell.
_PLACES = 4096
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class SourceSize:
    """Rows of one source, as they are trained on.

    Args:
        rows: How many.
        tokens: In all of them.
    """

    rows: int
    tokens: int

    @property
    def mean(self) -> float:
        return self.tokens / self.rows


@dataclass(frozen=True)
class MixtureSchedule:
    """The plan of a run's rows, and what it means in tokens.

    Args:
        plan: Which row of which source is sample n.
        sizes: Of the sources, in the plan's order.
        global_batch_size: Samples of one optimizer step.
    """

    plan: MixturePlan
    sizes: tuple[SourceSize, ...]
    global_batch_size: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.plan.lengths)

    @property
    def steps(self) -> int:
        return self.plan.total // self.global_batch_size

    @property
    def tokens(self) -> int:
        """Tokens of all samples, by the mean row of each source."""
        return round(float(self.plan.counts[-1] @ self._means))

    def epochs(self, step: int | None = None) -> dict[str, float]:
        """How often each source's rows have been seen after a step; None is the last one."""
        drawn = self.plan.counts[-1] if step is None else self.plan.drawn(step * self.global_batch_size)
        return {name: float(count / self.plan.lengths[name]) for name, count in zip(self.names, drawn, strict=True)}

    def token_shares(self) -> np.ndarray:
        """The planned share of tokens of each source in each block, `(num_blocks, sources)`."""
        tokens = self.plan.shares * self._means
        return tokens / tokens.sum(axis=1, keepdims=True)

    def planned(self, start: int, stop: int) -> np.ndarray:
        """The planned share of tokens in the steps from `start` up to `stop`, `(sources,)`."""
        first, last = (step * self.global_batch_size for step in (start, stop))
        blocks = np.arange(first // self.plan.block, -(-last // self.plan.block))
        ends = np.minimum((blocks + 1) * self.plan.block, last)
        inside = ends - np.maximum(blocks * self.plan.block, first)
        tokens = (inside[:, None] * self.plan.shares[blocks]).sum(axis=0) * self._means
        return tokens / tokens.sum()

    def repeated_tokens(self) -> dict[str, int]:
        """Tokens of each source that are seen for a second time or more."""
        drawn = zip(self.names, self.plan.counts[-1], self.sizes, strict=True)
        return {name: round(max(count - size.rows, 0) * size.mean) for name, count, size in drawn}

    def fingerprint(self) -> dict[str, Any]:
        """All that decides the sequence of rows, by key, as plain values that can be compared one by one.

        Weights are those of rows: they change with the mean length of a source's rows, too.
        """
        plan, words = self.plan, {}
        for name, weight in plan.weights.items():
            key = f"data.mixture.sources.{name}"
            words[f"{key}.weight"] = [*map(list, weight.points), weight.interpolation]
            words[f"{key}.rows"] = plan.lengths[name]
            words[f"{key}.most_rows"] = plan.limits.get(name)
        return {**words, **{f"data.mixture.{word}": getattr(plan, word) for word in ("total", "seed", "block")}}

    @property
    def _means(self) -> np.ndarray:
        return np.array([size.mean for size in self.sizes])


def schedule_mixture(
    settings: MixtureSettings,
    sizes: Sequence[SourceSize],
    global_batch_size: int,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    parameters: int | None = None,
    where: str = "data.mixture",
) -> MixtureSchedule:
    """Plans the rows of a run.

    Shares are of tokens: a source whose rows are twice as long is drawn half as often. The number of rows follows from
    `total_tokens`; else from `steps`; else from `epochs` times the rows of all sources.

    Args:
        settings: Of the recipe.
        sizes: Of its sources, in their order.
        global_batch_size: Rows of one optimizer step; the total is a multiple of it.
        steps: Optimizer steps that the recipe asks for.
        epochs: Epochs that it asks for.
        parameters: Of the model, where tokens are counted by them.
        where: The place of the mixture in the recipe, for problems.

    Raises:
        RecipeError: a source without rows, or sources that are used up before the end.
    """
    for name, size in zip(settings.names, sizes, strict=True):
        if not size.rows:
            raise RecipeError(Problem(where, f"nothing is left of the source {name}", "take it out, or clean it less"))
    by_tokens = settings.weights or _weights_by_tokens(settings, sizes)
    weights = {name: _per_row(by_tokens[name], size) for name, size in zip(settings.names, sizes, strict=True)}
    asked = _asked_tokens(settings, parameters)

    def plan(total_steps: int) -> MixtureSchedule:
        total = max(total_steps, 1) * global_batch_size
        block = settings.block or global_batch_size * -(-max(total_steps, 1) // _MAX_BLOCKS)
        lengths = {name: size.rows for name, size in zip(settings.names, sizes, strict=True)}
        limits = {name: int(settings.max_epochs[name] * lengths[name]) for name in settings.max_epochs}
        rows = MixturePlan(weights, lengths, total, settings.seed, block, limits)
        return MixtureSchedule(rows, tuple(sizes), global_batch_size)

    try:
        if asked is None:
            rows = sum(size.rows for size in sizes) * (epochs or 0)
            made = plan(steps or math.ceil(rows / global_batch_size))
            made.plan.counts  # noqa: B018 - planned now, so that what is wrong is told now
            return made
        return _of_tokens(plan, asked, weights, sizes, global_batch_size)
    except ValueError as error:
        fix = "train on fewer tokens, raise max_epochs, or leave it out for one of the sources"
        raise RecipeError(Problem(where, str(error), fix)) from error


def _of_tokens(plan: Any, asked: float, weights: Any, sizes: Sequence[SourceSize], batch: int) -> MixtureSchedule:
    """The plan with as many tokens as are asked for, to within half a step; sources that are used up change the mean row."""
    per_row = float((shares_at(weights, (np.arange(_PLACES) + 0.5) / _PLACES) @ [size.mean for size in sizes]).mean())
    steps = max(round(asked / per_row / batch), 1)
    for _ in range(_ROUNDS):
        made = plan(steps)
        better = max(round(steps * asked / made.tokens), 1)
        if better == steps:
            break
        steps = better
    return made


def _asked_tokens(settings: MixtureSettings, parameters: int | None) -> float | None:
    if settings.tokens_per_parameter is not None and parameters is not None:
        return settings.tokens_per_parameter * parameters
    return settings.total_tokens


def _weights_by_tokens(settings: MixtureSettings, sizes: Sequence[SourceSize]) -> Mapping[str, Weight]:
    """Shares that go by size, flattened by a temperature (Arivazhagan et al. 2019, arXiv:1907.05019, section 4.2)."""
    whole = sum(size.tokens for size in sizes)
    return {
        name: Weight.of((size.tokens / whole) ** (1 / settings.temperature))
        for name, size in zip(settings.names, sizes, strict=True)
    }


def _per_row(weight: Weight, size: SourceSize) -> Weight:
    """A weight in tokens as one in rows."""
    points = tuple((place, value / size.mean) for place, value in weight.points)
    return Weight(points, weight.interpolation)
