"""One HTML file about a run, or about several side by side: no script, no request, everything inside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from markupsafe import Markup

from hfrecipes.publish import cleaning_tables, continued, curves, decoding, tables
from hfrecipes.publish.answers import FIGURE_COLUMNS, answers_lead, counts_sentence, figures_table, is_answers
from hfrecipes.publish.compare import evaluation_groups, figure_rows, recipe_differences
from hfrecipes.publish.comparisons import COMPARISONS_FIGURES, comparisons_table
from hfrecipes.publish.evaluations import TUNED, evaluation_rows
from hfrecipes.publish.figures import count, dig, duration, is_number, number, scientific, short, size
from hfrecipes.publish.folds import figure_columns, fold_runs, fold_table, is_folds
from hfrecipes.publish.headlines import telling_rows
from hfrecipes.publish.heads import figure_title
from hfrecipes.publish.mixture import MIXTURE_FIGURES, mixture_table, share_series
from hfrecipes.publish.needles import needle_maps
from hfrecipes.publish.origin import name_of, recipe_text
from hfrecipes.publish.overfitting import OVERFITTING_FIGURES, overfitting_table
from hfrecipes.publish.policy import CHARTS as POLICY_CHARTS
from hfrecipes.publish.policy import policy_series
from hfrecipes.publish.reading import facts_of
from hfrecipes.publish.rewards import MARGIN_FIGURES, calibration_series, is_reward, margin_table
from hfrecipes.publish.svg import Bar, Series, interval_bars, line_chart
from hfrecipes.publish.task_groups import groups_figures, groups_table
from hfrecipes.publish.templates import render_template
from hfrecipes.publish.terms import explanations
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

_SAMPLE_CHARACTERS = 4000


def render_report(runs: list[RunDir]) -> str:
    """The report as HTML text.

    Args:
        runs: One run, or several to lay over one another. They may be unfinished; what they lack is left out. The folder of
            a cross-validation stands for its trainings.

    Raises:
        RecipeError: where a folder holds no run, or its facts or log are damaged.
    """
    if not runs:
        raise RecipeError(Problem("report", "no run was named", "give at least one folder under runs/"))
    facts = [facts_of(run) for run in runs]
    if len(runs) == 1 and is_folds(facts[0]) and (trainings := fold_runs(runs[0], facts[0])):
        heading, figures = f"{name_of(facts[0])}, fold by fold", fold_table(facts[0])
        return _render(trainings, [facts_of(run) for run in trainings], heading, figures)
    return _render(runs, facts, f"{len(runs)} runs side by side", [])


def _render(runs: list[RunDir], facts: list[dict[str, Any]], heading: str, folds: tables.Rows) -> str:
    """The page of some runs under a heading, which that of a single run has no need of; `folds` as `fold_table` gives it."""
    logs = [run.metrics() for run in runs]
    names = _distinct_names(runs, facts)
    return render_template(
        "report.html.jinja",
        heading=names[0] if len(names) == 1 else heading,
        folds=folds,
        fold_figures=figure_columns(folds),
        runs=[_run_view(*one) for one in zip(names, facts, logs, strict=True)],
        tiles=_tiles(facts[0]) if len(facts) == 1 else [],
        charts=_charts(names, facts, logs),
        evaluations=[_evaluation_view(*group) for group in evaluation_groups(names, facts)],
        terms=_terms(facts),
        figures=figure_rows(facts) if len(facts) > 1 else [],
        differences=recipe_differences(facts) if len(facts) > 1 else [],
        data_columns=tables.DATA_COLUMNS,
        plan_columns=tables.PLAN_COLUMNS,
        cleaning_figures=cleaning_tables.CLEANING_FIGURES,
        answers_figures=FIGURE_COLUMNS,
        changes_figures=continued.CHANGES_FIGURES,
        comparisons_figures=COMPARISONS_FIGURES,
        overfitting_figures=OVERFITTING_FIGURES,
        decoding_figures=decoding.DECODING_FIGURES,
        compression_figures=continued.COMPRESSION_FIGURES,
        kinds_columns=tables.KINDS_COLUMNS,
        mixture_figures=MIXTURE_FIGURES,
        margin_figures=MARGIN_FIGURES,
        augmentation_columns=cleaning_tables.AUGMENTATION_COLUMNS,
    )


def _evaluation_view(title: str, n: str, bars: list[Bar]) -> dict[str, Any]:
    pictures, axis = interval_bars(bars)
    rows = [
        {"label": bar.label, "svg": Markup(picture), "text": bar.measured.text}
        for bar, picture in zip(bars, pictures, strict=True)
    ]
    return {"title": title, "n": n, "rows": rows, "axis": Markup(axis)}


def _terms(facts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What those metrics mean whose names do not say it; of each kind of run, since kinds score answers differently."""
    found = {(str(each.get("kind")), row.metric): None for each in facts for row in evaluation_rows(each)}
    return list(dict.fromkeys(term for kind, metric in found for term in explanations([metric], kind)))


def _distinct_names(runs: list[RunDir], facts: list[dict[str, Any]]) -> list[str]:
    """The runs' names; where two share one, the folder tells them apart."""
    names = [str(entry.get("name") or run.path.name) for run, entry in zip(runs, facts, strict=True)]
    twice = {name for name in names if names.count(name) > 1}
    folders = [
        f"{name} ({run.path.resolve().parent.name}/{run.path.name})" for name, run in zip(names, runs, strict=True)
    ]
    return [folder if name in twice else name for name, folder in zip(names, folders, strict=True)]


def _run_view(name: str, facts: dict[str, Any], log: curves.Log) -> dict[str, Any]:
    """What the template shows of one run."""
    base = tables.base_name(facts)
    architecture = dig(facts, "model.model_type") or "causal"
    origin = f"from {base}" if base else "from random weights"
    return {
        "name": name,
        "status": str(facts.get("status") or "unknown"),
        "kind": str(facts.get("kind") or ""),
        "lead": answers_lead(facts)
        if is_answers(facts)
        else f"{tables.parameters_text(facts)}{architecture} {'reward' if is_reward(facts) else 'language'} model, {origin}",
        "counts": counts_sentence(facts),
        "answers": figures_table(facts),
        "when": _when(facts),
        "data": tables.data_rows(facts),
        "kinds": tables.kinds_rows(facts),
        "mixture": mixture_table(facts),
        "cleaning": cleaning_tables.cleaning_sentence(facts),
        "cleaning_rules": cleaning_tables.cleaning_table(facts),
        "augmentation": cleaning_tables.augmentation_rows(facts),
        "task_groups": groups_table(facts),
        "task_groups_figures": groups_figures(groups_table(facts)),
        "comparisons": comparisons_table(facts),
        "changes": continued.changes_table(facts),
        "new_pieces": continued.tokenizer_sentence(facts),
        "compression": continued.compression_table(facts),
        "overfitting": overfitting_table(log, facts),
        "compute": tables.compute_rows(facts),
        "plan": tables.plan_rows(facts),
        "decoding": decoding.decoding_sentence(facts),
        "decoding_rows": decoding.decoding_table(facts),
        "margins": margin_table(facts),
        "needles": [{"language": language, "svg": Markup(svg)} for language, svg in needle_maps(facts)],
        "samples": [_sample(sample) for sample in facts.get("samples") or []],
        "warnings": tables.warnings_of(facts),
        "recipe": recipe_text(facts),
        "versions": tables.version_rows(facts),
    }


def _when(facts: dict[str, Any]) -> str:
    started, finished = facts.get("started"), facts.get("finished")
    moments = [str(moment).replace("T", " ").removesuffix("Z")[:16] for moment in (started, finished) if moment]
    return f"{' to '.join(moments)} UTC" if moments else ""


def _sample(sample: dict[str, Any]) -> dict[str, str]:
    parts = {key: str(sample.get(key) or "") for key in ("prompt", "completion", "reference")}
    cut = {
        key: text if len(text) <= _SAMPLE_CHARACTERS else f"{text[:_SAMPLE_CHARACTERS]} […]"
        for key, text in parts.items()
    }
    return {"model": str(sample.get("model") or TUNED), **cut}


def _tiles(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Title, value and remark of the key figures, most telling first."""
    tiles = []
    for row in telling_rows(facts, 2):
        beside = [f"{model} {number(measured.value)}" for model, measured in row.baselines.items()]
        remark = "; ".join([f"on {row.dataset}", *beside])
        tiles.append({"title": row.title, "value": number(row.by_model[TUNED].value), "remark": remark})
    training = facts.get("training") or {}
    losses = f"from {number(training.get('first_loss'))}" if is_number(training.get("first_loss")) else ""
    began = f"from {number(training['first_score'])}" if is_number(training.get("first_score")) else ""
    entries = [
        ("Final score of rollouts", training.get("final_score"), number, began),
        (figure_title(facts, "training.final_loss", "Final loss"), training.get("final_loss"), number, losses),
        ("Parameters", dig(facts, "model.parameters.total"), short, _trainable(facts)),
        ("Tokens", training.get("tokens"), short, f"{count(training.get('steps'))} steps"),
        ("Wall time", training.get("wall_seconds"), duration, tables.hardware_name(facts)),
        ("Throughput", training.get("tokens_per_second"), short, "tokens per second"),
        ("Peak memory", training.get("peak_memory_bytes"), size, ""),
        ("FLOPs", training.get("flops"), scientific, ""),
    ]
    return tiles + [{"title": t, "value": form(v), "remark": remark} for t, v, form, remark in entries if is_number(v)]


def _trainable(facts: dict[str, Any]) -> str:
    total, trainable = dig(facts, "model.parameters.total"), dig(facts, "model.parameters.trainable")
    if not (is_number(total) and is_number(trainable)) or not total:
        return ""
    return "all trainable" if total == trainable else f"{short(trainable)} trainable ({trainable / total:.2%})"


def _charts(names: list[str], facts: list[dict[str, Any]], logs: list[curves.Log]) -> list[dict[str, Any]]:
    """Title, picture and legend of every chart that has something to show."""
    speeds = [curves.throughput(log, entry) for log, entry in zip(logs, facts, strict=True)]
    units = {unit for points, unit in speeds if points}
    charts = [
        ("Loss", _loss_series(names, logs)),
        *((title, policy_series(names, logs, key)) for title, key in POLICY_CHARTS),
        ("Shares of the tokens by source", _share_series(names, logs)),
        ("Old and new domain, bits per byte", _domain_series(names, facts, logs)),
        ("Bits per byte, held-out", _eval_series(names, [curves.bits_curves(log) for log in logs])),
        ("Learning rate", _one_per_run(names, [curves.curve(log, "learning_rate") for log in logs])),
        ("Gradient norm", _one_per_run(names, [curves.curve(log, "grad_norm") for log in logs])),
    ]
    if len(units) == 1:
        charts.append((f"Throughput, {units.pop()}", _one_per_run(names, [points for points, _ in speeds])))
    drawn = [(title, [one for one in series if len(one.points) > 1]) for title, series in charts]
    found = [
        {"title": title, "svg": Markup(line_chart(series, title)), "legend": series}
        for title, series in drawn
        if series
    ]
    if len(facts) == 1 and (series := calibration_series(facts[0])):
        title = "Calibration: share of pairs in which the reward is right"
        found.append({"title": title, "svg": Markup(line_chart(series, title, "confidence")), "legend": series})
    return found


def _loss_series(names: list[str], logs: list[curves.Log]) -> list[Series]:
    """The training loss as a line, evaluation losses dashed; a colour per run where there are several."""
    series = []
    for index, (name, log) in enumerate(zip(names, logs, strict=True)):
        prefix = f"{name}: " if len(names) > 1 else ""
        series.append(Series(f"{prefix}train", curves.curve(log, "loss"), index))
        for place, (dataset, points) in enumerate(curves.loss_curves(log).items(), start=1):
            label = f"{prefix}eval {dataset}".rstrip()
            series.append(Series(label, points, index if len(names) > 1 else place, dashed=True))
    return series


def _eval_series(names: list[str], by_run: list[dict[str, list[tuple[float, float]]]]) -> list[Series]:
    series = []
    for index, (name, by_dataset) in enumerate(zip(names, by_run, strict=True)):
        for place, (dataset, points) in enumerate(by_dataset.items(), start=1):
            label = f"{name}: {dataset or 'eval'}" if len(names) > 1 else dataset or "eval"
            series.append(Series(label, points, index if len(names) > 1 else place, dashed=True))
    return series


def _domain_series(names: list[str], facts: list[dict[str, Any]], logs: list[curves.Log]) -> list[Series]:
    """Of several runs in one colour each; the old domain is dashed."""
    by_run = [continued.domain_series(entry, log) for entry, log in zip(facts, logs, strict=True)]
    if len(names) == 1:
        return by_run[0]
    return [
        replace(one, label=f"{name}: {one.label}", colour=index)
        for index, (name, series) in enumerate(zip(names, by_run, strict=True))
        for one in series
    ]


def _share_series(names: list[str], logs: list[curves.Log]) -> list[Series]:
    """Of several runs a colour for each; what was planned is dashed."""
    if len(names) == 1:
        return share_series(logs[0])
    return [
        replace(one, label=f"{name}: {one.label}", colour=index)
        for index, (name, log) in enumerate(zip(names, logs, strict=True))
        for one in share_series(log)
    ]


def _one_per_run(names: list[str], by_run: list[list[tuple[float, float]]]) -> list[Series]:
    return [Series(name, points, index) for index, (name, points) in enumerate(zip(names, by_run, strict=True))]
