"""Cleaning as steps of a datatrove pipeline: our tasks under its executors, or our rules in a pipeline of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

try:
    from datatrove.data import Document as TroveDocument
    from datatrove.pipeline.base import PipelineStep
except ImportError as error:
    raise ImportError("datatrove is not installed: pip install 'hfrecipes[clean]'") from error

from hfrecipes.data.clean.judging import NOTHING_LEFT, blaming
from hfrecipes.data.clean.passes import is_corpus_rule
from hfrecipes.data.clean.rule import Document, Rule
from hfrecipes.data.clean.work import Work
from hfrecipes.recipe.problem import RecipeError

_BATCH = 256


class RuleStep(PipelineStep):
    """Applies rules to the documents of a datatrove pipeline: drops, changes texts, counts in its statistics.

    A document's `text` is what rules read, its `metadata` the columns that they ask for. Rules about the whole corpus cannot
    stand in a stream.

    Args:
        rules: In the order in which they are applied, such as `[GopherQualityRule(GopherQuality(profile="zh"))]`.

    Raises:
        ValueError: one of them has to see all documents first.
    """

    name = "hfrecipes rules"
    type = "🔻 - FILTER"

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        if wrong := [rule.name for rule in rules if is_corpus_rule(rule)]:
            raise ValueError(
                f"{', '.join(wrong)}: cannot judge a stream; use hfrecipes data clean --executor datatrove"
            )
        self.rules = list(rules)

    def run(self, data: Iterable[TroveDocument] | None, rank: int = 0, world_size: int = 1) -> Iterator[TroveDocument]:
        stream = iter(data or ())
        while batch := list(islice(stream, _BATCH)):
            with self.track_time("batch"):
                for rule in self.rules:
                    batch = self._apply(rule, batch)
            yield from batch

    def _apply(self, rule: Rule, batch: list[TroveDocument]) -> list[TroveDocument]:
        kept = []
        documents = [Document(one.id, (one.text,), one.metadata) for one in batch]
        verdicts = blaming(rule.name, rule.judge)(documents) if batch else []
        for one, verdict in zip(batch, verdicts, strict=True):
            for name, count in verdict.counts.items():
                self.stat_update(f"{rule.name}: {name}", value=count)
            text = one.text if verdict.texts is None else verdict.texts[0]
            if verdict.reason is not None or (one.text.strip() and not text.strip()):
                self.stat_update(f"{rule.name} dropped: {verdict.reason or NOTHING_LEFT}")
                continue
            one.text = text
            kept.append(one)
        return kept


class TaskFailedError(Exception):
    """A `RecipeError` on its way from a worker, as whose pickle it would not survive. Its argument: the problems."""


class WorkStep(PipelineStep):
    """Does a task's share of one stage of a cleaning. What is done already is not done again.

    Args:
        work: The cleaning.
        stage: Its name in the logs.
        do: Is given the work, the rank of the task and their number, and tells of documents as it is done with them.
    """

    type = "🧹 - CLEAN"

    def __init__(self, work: Work, stage: str, do: Callable[[Work, int, int], Iterable[int]]) -> None:
        self.name = stage
        super().__init__()
        self.work, self.do = work, do

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[TroveDocument]:
        with self.track_time("task"):
            try:
                for count in self.do(self.work, rank, world_size):
                    self.stat_update("documents", value=count)
            except RecipeError as error:
                raise TaskFailedError(error.problems) from error
        return iter(())
