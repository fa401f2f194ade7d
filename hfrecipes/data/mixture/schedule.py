"""The mixture of one run: shares of tokens turned into a plan of rows, of as many as the recipe asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.data.mixture.plan import VERSION, MixturePlan, row_limits
from hfrecipes.data.mixture.settings import MixtureSettings
from hfrecipes.data.mixture.weights import DIGITS, Weight, shares_at
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
        weights: In shares of tokens; those of the plan are of rows.
        global_batch_size: Samples of one optimizer step.
    """

    plan: MixturePlan
    sizes: tuple[SourceSize, ...]
    weights: Mapping[str, Weight]
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
        return round(float(self.trained_tokens.sum()))

    @property
    def trained_tokens(self) -> np.ndarray:
        """Tokens of the samples of each source, by its mean row: `(sources,)`."""
        return self.plan.counts[-1] * self._means

    def epochs(self) -> dict[str, float]:
        """How often each source's rows are seen."""
        return {
            name: float(count / size.rows)
            for name, count, size in zip(self.names, self.plan.counts[-1], self.sizes, strict=True)
        }

    def token_shares(self) -> np.ndarray:
        """The planned share of tokens of each source in each block, `(num_blocks, sources)`."""
        tokens = self.plan.shares * self._means
        return tokens / tokens.sum(axis=1, keepdims=True)

    def repeated_tokens(self) -> dict[str, int]:
        """Tokens of each source that are seen for a second time or more."""
        drawn = zip(self.names, self.plan.counts[-1], self.sizes, strict=True)
        return {name: round(max(count - size.rows, 0) * size.mean) for name, count, size in drawn}

    def fingerprint(self) -> dict[str, Any]:
        """All that decides the sequence of rows, by key, as plain values that can be compared one by one."""
        words: dict[str, Any] = {}
        for (name, weight), size in zip(self.weights.items(), self.sizes, strict=True):
            key = f"data.mixture.sources.{name}"
            words[f"{key}.weight"] = [*map(list, weight.points), weight.interpolation]
            words[f"{key}.rows"], words[f"{key}.tokens"] = size.rows, size.tokens
            words[f"{key}.most_rows"] = self.plan.limits.get(name)
        plan = self.plan
        own = {"samples": plan.total, "seed": plan.seed, "block": plan.block, "order": VERSION}
        return {**words, **{f"data.mixture.{word}": value for word, value in own.items()}}

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
    named = dict(zip(settings.names, sizes, strict=True))
    for name, size in named.items():
        if not size.rows:
            raise RecipeError(Problem(where, f"nothing is left of the source {name}", "take it out, or clean it less"))
    by_tokens = settings.weights or _weights_by_tokens(named, settings.temperature)
    by_rows = {name: _per_row(by_tokens[name], size) for name, size in named.items()}
    lengths = {name: size.rows for name, size in named.items()}

    def of_steps(number: int) -> MixtureSchedule:
        number = max(number, 1)
        block = settings.block or global_batch_size * -(-number // _MAX_BLOCKS)
        limits = row_limits(settings.max_epochs, lengths)
        plan = MixturePlan(by_rows, lengths, number * global_batch_size, settings.seed, block, limits)
        plan.counts  # noqa: B018 - planned now, so that what is wrong is told now
        return MixtureSchedule(plan, tuple(sizes), by_tokens, global_batch_size)

    try:
        asked = settings.asked_tokens(parameters)
        if asked is not None:
            per_row = _mean_row(by_rows, [size.mean for size in sizes])
            return _of_tokens(of_steps, asked, per_row * global_batch_size)
        return of_steps(steps or math.ceil(sum(lengths.values()) * (epochs or 0) / global_batch_size))
    except ValueError as error:
        fix = "train on fewer tokens, raise max_epochs, or leave it out for one of the sources"
        raise RecipeError(Problem(where, str(error), fix)) from error


def _of_tokens(of_steps: Callable[[int], MixtureSchedule], asked: float, per_step: float) -> MixtureSchedule:
    """As many steps as come nearest to the tokens that are asked for; sources that are used up change the mean row."""
    steps = max(round(asked / per_step), 1)
    for _ in range(_ROUNDS):
        made = of_steps(steps)
        better = max(round(steps * asked / made.tokens), 1)
        if better == steps:
            break
        steps = better
    return made


def _mean_row(by_rows: Mapping[str, Weight], means: Sequence[float]) -> float:
    """Tokens of the mean row of a whole training."""
    return float((shares_at(by_rows, (np.arange(_PLACES) + 0.5) / _PLACES) @ np.array(means)).mean())


def _weights_by_tokens(sizes: Mapping[str, SourceSize], temperature: float) -> Mapping[str, Weight]:
    """Shares that go by size, flattened by a temperature (Arivazhagan et al. 2019, arXiv:1907.05019, section 4.2)."""
    whole = sum(size.tokens for size in sizes.values())
    return {
        name: Weight.of(float(f"{(size.tokens / whole) ** (1 / temperature):.{DIGITS}g}"))
        for name, size in sizes.items()
    }


def _per_row(weight: Weight, size: SourceSize) -> Weight:
    """A weight in tokens as one in rows."""
    points = tuple((place, value / size.mean) for place, value in weight.points)
    return Weight(points, weight.interpolation)
