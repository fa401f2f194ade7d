"""What a model must not be trusted with, as far as the facts of its run can say it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hfrecipes.publish.comparisons import varies_over_seeds
from hfrecipes.publish.escaping import code_span, inline_text
from hfrecipes.publish.evaluations import EvaluationRow, evaluation_rows
from hfrecipes.publish.figures import count, dig, is_number, short
from hfrecipes.publish.tables import base_name, data_name
from hfrecipes.publish.terms import metric_title

# Below these many parameters a model is, in turn, a demonstration and a model with little world knowledge. GPT-2's
# largest size, 1.5e9, is the common reference for text that is fluent and seldom factual.
_DEMONSTRATION = 1e8
_LITTLE_KNOWLEDGE = 1.5e9

# Hoffmann et al. 2022 (arXiv:2203.15556): loss-optimal training sees about 20 tokens per parameter.
_TOKENS_PER_PARAMETER = 20

# Under 100 rows a 95 % interval of a proportion near one half is wider than 0.2.
_FEW_ROWS = 100


_UNTESTED = (
    "{} not trained to be safe, and not tested for bias, toxicity or memorised text: "
    "filter what {} before showing it to anyone."
)


def limitations(facts: dict[str, Any], languages: list[str]) -> list[str]:
    """Sentences of Markdown, each true of this run by its facts.

    Args:
        facts: The contents of run.json.
        languages: The languages declared under `publish.language`; empty where none were.
    """
    found = [
        _by_status(facts),
        _by_size(facts),
        _by_amount_of_text(facts),
        _by_language(languages),
        _by_truncation(facts),
        _by_context(facts),
        _by_quantization(facts),
        *_by_evaluation(facts),
        _by_seed(facts),
        _by_fold(facts),
        _UNTESTED.format("It was", "it writes"),
    ]
    return [sentence for sentence in found if sentence]


def limitations_of_folds() -> list[str]:
    """The same of a cross-validation, whose figures are those of several models."""
    return [
        "The figures say how models made by this recipe do on rows of these data; nothing is known about how they do elsewhere.",
        "The trainings share most of their rows, so the standard deviation over folds is no standard error of the mean: no "
        "unbiased estimate of that exists (Bengio and Grandvalet, 2004).",
        _UNTESTED.format("The models were", "they write"),
    ]


def _by_status(facts: dict[str, Any]) -> str:
    status = facts.get("status")
    if status in (None, "complete"):
        return ""
    steps = dig(facts, "training.steps")
    at = f" after {count(steps)} steps" if is_number(steps) and steps > 0 else ""
    return f"The run did not finish: its status is {code_span(status)}{at}. Treat the weights as an intermediate state."


def _by_size(facts: dict[str, Any]) -> str:
    total = dig(facts, "model.parameters.total")
    if not is_number(total) or total <= 0:
        return ""
    if total < _DEMONSTRATION:
        return (
            f"With {short(total)} parameters it is a demonstration of a training method: it holds next to no "
            "knowledge of the world, and what it states as fact is as a rule wrong."
        )
    if total < _LITTLE_KNOWLEDGE:
        return f"With {short(total)} parameters it holds little knowledge of the world; check every fact it states."
    return "It states wrong things with confidence, as language models do; check every fact it states."


def _by_amount_of_text(facts: dict[str, Any]) -> str:
    total, tokens = dig(facts, "model.parameters.total"), dig(facts, "training.tokens")
    from_scratch = base_name(facts) is None
    if not (from_scratch and is_number(total) and is_number(tokens) and total > 0 and tokens > 0):
        return ""
    ratio = tokens / total
    if ratio >= _TOKENS_PER_PARAMETER:
        return ""
    return (
        f"It saw {ratio:.2g} tokens per parameter; about {_TOKENS_PER_PARAMETER} are compute-optimal "
        "(Hoffmann et al., 2022), so more text would still make it better."
    )


def _by_language(languages: list[str]) -> str:
    if languages:
        return f"Declared languages: {inline_text(', '.join(languages))}. Expect little of it in any other."
    return "The languages of its data were not declared; expect nothing of it in a language that its data do not hold."


def _by_truncation(facts: dict[str, Any]) -> str:
    train = [entry for entry in facts.get("data") or [] if entry.get("role") == "train"]
    cut = sum(entry.get("truncated_rows") or 0 for entry in train)
    # Rows that the cut left nothing to learn from are counted as cut, so they belong to the whole as well.
    whole = sum((entry.get("rows") or 0) + (entry.get("dropped_rows") or 0) for entry in train)
    if not (cut and whole):
        return ""
    left_out = cut == sum(entry.get("dropped_rows") or 0 for entry in train)
    fate = "are longer than the context length and were left out" if left_out else "were cut at the context length"
    return f"{count(cut)} of {count(whole)} training rows {fate}."


def _by_context(facts: dict[str, Any]) -> str:
    length = dig(facts, "model.context_length")
    if not is_number(length) or length <= 0:
        return ""
    return f"It was trained on at most {count(length)} tokens at a time; longer inputs are outside of what it has seen."


def _by_quantization(facts: dict[str, Any]) -> str:
    if not dig(facts, "model.quantization"):
        return ""
    return (
        "It was trained on top of quantized weights: on the same base in full precision its outputs differ slightly "
        "from those that were measured."
    )


def _by_evaluation(facts: dict[str, Any]) -> list[str]:
    rows = evaluation_rows(facts)
    if not rows:
        return ["Nothing was measured on held-out data: how well it generalises is unknown."]
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    found = [
        f"It was measured on {_join(map(code_span, datasets))} only; nothing is known about how it does elsewhere."
    ]
    trained_on = {data_name(entry) for entry in facts.get("data") or [] if entry.get("role") == "train"}
    same = [name for name in datasets if name.rpartition("/")[0] in trained_on or name in trained_on]
    if same:
        found.append(
            f"{_join(map(code_span, same))} {'comes' if len(same) == 1 else 'come'} from a source that it was also trained on: "
            "the figures say little about text from elsewhere."
        )
    small = [row for row in rows if any((m.n or _FEW_ROWS) < _FEW_ROWS for m in row.by_model.values())]
    if small:
        behind = _join([part for name in datasets for part in _by_dataset(name, small, rows)])
        found.append(f"Fewer than {_FEW_ROWS} rows stand behind {behind}: read the intervals, not the values.")
    for baseline in dict.fromkeys(name for row in rows for name in row.better):
        worse = _join([_measured(row) for row in rows if baseline in row.better])
        other = "what it started from" if baseline == "base" else code_span(baseline)
        found.append(f"It is worse than {other} in {worse}, beyond the intervals.")
    return found


def _by_seed(facts: dict[str, Any]) -> str:
    seed = dig(facts, "recipe.training.seed")
    which = f" (seed {seed})" if is_number(seed) else ""
    if varies_over_seeds(facts):
        return f"All figures but those of the comparison over seeds come from one run{which}; other seeds give others."
    return f"All figures come from one run{which}; their variation between seeds was not measured."


def _by_fold(facts: dict[str, Any]) -> str:
    fold, folds = (dig(facts, f"recipe.data.splits.{word}") for word in ("fold", "folds"))
    if not (is_number(fold) and is_number(folds)):
        return ""
    return (
        f"It was trained without fold {fold} of the {folds} folds of its data, and measured on that one: the figures of one "
        "fold alone say little about how much they depend on which rows it is."
    )


def _by_dataset(dataset: str, some: list[EvaluationRow], rows: list[EvaluationRow]) -> list[str]:
    """Those of the figures on one data set, in one phrase where they are several and no others were measured on it."""
    found = [row for row in some if row.dataset == dataset]
    if len(found) > 1 and len(found) == sum(row.dataset == dataset for row in rows):
        return [f"all figures on {code_span(dataset)}"]
    return [_measured(row) for row in found]


def _measured(row: EvaluationRow) -> str:
    return f"{inline_text(metric_title(row.metric))} on {code_span(row.dataset)}"


def _join(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
