"""The answers to a task as figures: all together, by family and kind, and whether what should be declined was declined."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hfrecipes.evaluation.intervals import Estimate, bootstrap_interval, outcome_interval, proportion_interval
from hfrecipes.evaluation.metrics import TaskMetric
from hfrecipes.evaluation.refusals import asks_back, refuses
from hfrecipes.evaluation.task import Answer

# Kind -> what its answers do, and the names of the shares of those who rightly and wrongly do it.
DECLINING = {
    "refusal": (refuses, "refused", "wrongly_refused"),
    "clarification": (asks_back, "asked_back", "wrongly_asked_back"),
}
SEEN, UNSEEN = "seen_families", "unseen_families"


def task_entries(
    answers: Sequence[Answer], metric: TaskMetric, held_out: Collection[str] = (), step: int = 0
) -> list[dict[str, Any]]:
    """Entries of run.json's `evaluations` for the answers to one data set, without the keys `model` and `dataset`.

    Rows tagged as refusals or clarifications are not scored by the metric: of them counts whether the answer declines or asks
    back, and of all the others, whether it wrongly does. Where families are held out, the metric stands apart for those that were
    trained on and those that were not.

    Args:
        answers: From `answer_task`; not empty.
        metric: For what is neither refused nor asked back.
        held_out: Families that were not trained on.
        step: Optimizer step at which the model was measured.

    Raises:
        ValueError: a reference cannot be scored by the metric.
    """
    scored = [answer for answer in answers if answer.kind not in DECLINING]
    entries = [_metric_entry(metric, metric.name, scored)] if scored else []
    if held_out:
        parts = {SEEN: [], UNSEEN: []}
        for answer in scored:
            parts[UNSEEN if answer.family in held_out else SEEN].append(answer)
        entries += [_metric_entry(metric, f"{metric.name}_{name}", part) for name, part in parts.items() if part]
    for kind, (does, rightly, wrongly) in DECLINING.items():
        own = [does(answer.text) for answer in answers if answer.kind == kind]
        others = [does(answer.text) for answer in scored]
        if own:
            entries.append(_share(rightly, own, True))
            entries += [_share(wrongly, others, False)] if others else []
    return [{**entry, "step": step} for entry in entries]


def group_entries(
    answers: Sequence[Answer], metric: TaskMetric, held_out: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Entries of run.json's `task_groups`: the metric by family, and by kind, of the rows that have one.

    Args:
        answers: As for `task_entries`.
        metric: As there.
        held_out: As there.

    Returns:
        `by` (family or kind), `group`, `trained_on` (of families, where some are held out), and the figures.
    """
    entries = []
    scored = [answer for answer in answers if answer.kind not in DECLINING]
    for by in ("family", "kind"):
        for group, members in sorted(_grouped(scored, by).items()):
            told = {"trained_on": group not in held_out} if by == "family" and held_out else {}
            entries.append({"by": by, "group": group, **told, **_metric_entry(metric, metric.name, members)})
    return entries


def unlike_their_kind(references: Sequence[tuple[str | None, str]]) -> Iterator[str]:
    """What a rule that counts refusals or clarifications does not see in references that are tagged as such.

    Args:
        references: Kind and text.

    Yields:
        A sentence for each kind of which some are not recognised.
    """
    for kind, (does, rightly, _) in DECLINING.items():
        texts = [text for tagged, text in references if tagged == kind]
        unseen = [text for text in texts if not does(text)]
        if unseen:
            yield (
                f"{len(unseen)} of {len(texts)} references of kind {kind} are not recognised as such by their words, such as "
                f"{unseen[0]!r}: {rightly} cannot reach 1"
            )


def _grouped(answers: Sequence[Answer], by: str) -> Mapping[str, list[Answer]]:
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        if (name := getattr(answer, by)) is not None:
            groups.setdefault(name, []).append(answer)
    return groups


def _metric_entry(metric: TaskMetric, name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    scores = metric.score_rows([answer.text for answer in answers], [answer.reference for answer in answers])
    estimate = (outcome_interval if metric.bounded else bootstrap_interval)(scores)
    return _entry(name, estimate, metric.unit, metric.higher_is_better)


def _share(name: str, does: Sequence[bool], higher_is_better: bool) -> dict[str, Any]:
    return _entry(name, proportion_interval(sum(does), len(does)), "share", higher_is_better)


def _entry(name: str, estimate: Estimate, unit: str, higher_is_better: bool) -> dict[str, Any]:
    figures = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
    return {"metric": name, **figures, "unit": unit, "higher_is_better": higher_is_better}
