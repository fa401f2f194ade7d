"""A plan as one screen of text."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hfrecipes.data.settings import leaves_out_long_rows
from hfrecipes.plan.flops import pf_s_days
from hfrecipes.plan.mixture import mixture_words
from hfrecipes.plan.mixture_table import print_mixture
from hfrecipes.plan.pipeline import PipelinePlan
from hfrecipes.plan.plan import Plan
from hfrecipes.plan.units import count, duration, gib
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.source_list import PROMPTED, SAMPLE

_MARKS = {"error": "[bold red]✗[/]", "warning": "[bold yellow]![/]", "unchecked": "[cyan]?[/]"}


def print_plan(console: Console, plan: Plan, title: str | None = None) -> None:
    """Prints a plan. `≈` stands before figures that rest on a sample of rows or on an assumed rate."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in plan_lines(plan):
        table.add_row(name, escape(words))
    console.print(f"\n[bold]{escape(title or plan.name)}[/] · {plan.kind} · {escape(plan.model)}", highlight=False)
    console.print(table, highlight=False)
    if plan.mixture is not None:
        print_mixture(console, plan.mixture, estimated=plan.estimated)
    print_problems(console, plan.problems)


def print_pipeline(console: Console, plan: PipelinePlan) -> None:
    """Prints the plan of each step, and the totals."""
    for name, step in plan.steps:
        print_plan(console, step, f"{plan.name}/{name}")
    totals = [
        "FLOPs unknown" if plan.flops is None else f"≈ {plan.flops:.2e} FLOPs",
        "hours unknown" if plan.hours is None else f"≈ {duration(plan.hours)}",
        "memory unknown" if plan.memory_bytes is None else f"≈ {gib(plan.memory_bytes)} for the largest step",
    ]
    console.print(f"\n[bold]{escape(plan.name)}[/] · {len(plan.steps)} steps · " + " · ".join(totals), highlight=False)


def print_problems(console: Console, problems: Iterable[Problem]) -> None:
    """Prints warnings and what was not checked, each once."""
    for problem in dict.fromkeys(problems):
        mend = f" ({problem.fix})" if problem.fix else ""
        word = "unchecked: " if problem.severity == "unchecked" else ""
        text = escape(f"{problem.where}: {word}{problem.message}{mend}")
        console.print(f"{_MARKS[problem.severity]} {text}", highlight=False, soft_wrap=True)


def plan_lines(plan: Plan) -> list[tuple[str, str]]:
    """Name and words of each line; a line whose figures are not known says so."""
    lines = [
        ("Model", _model(plan)),
        ("Data", _data(plan)),
        *([("Mixture", mixture_words(plan.mixture))] if plan.mixture else []),
        *_work(plan),
        ("Compute", _compute(plan)),
        ("Time", _time(plan)),
        ("Memory", _memory(plan)),
        *([] if plan.kind == SAMPLE else [("Disk", _disk(plan))]),
    ]
    return [(name, words or "unknown, see below") for name, words in lines]


def _work(plan: Plan) -> list[tuple[str, str]]:
    """What is done with the rows: steps of a training, or answers that are drawn."""
    if plan.kind != SAMPLE:
        return [("Batch", _batch(plan)), ("Training", _training(plan))]
    about = "≈ " if plan.estimated else ""
    tokens = "" if plan.tokens is None else f", at most {about}{count(plan.tokens)} tokens with their prompts"
    return [("Answers", f"{plan.batch.micro_batch_size} at a time{tokens}")]


def _model(plan: Plan) -> str:
    counts = plan.parameters
    if counts is None:
        return ""
    words = [f"{count(counts.total)} parameters"]
    if counts.active < counts.total:
        words.append(f"{count(counts.active)} active")
    if counts.trainable < counts.total and plan.kind != SAMPLE:
        words.append(f"{count(counts.trainable)} trained ({counts.trainable / counts.total:.2%})")
    parts = ", ".join(f"{name} {count(size)}" for name, size in counts.by_part.items())
    return ", ".join(words) + f": {parts}"


def _data(plan: Plan) -> str:
    data = plan.data
    if data is None or data.rows is None or data.tokens is None:
        return ""
    about = "≈ " if data.estimated else ""
    words = [
        f"{about}{data.rows:,} rows, {about}{count(data.tokens)} tokens {'in all' if plan.mixture else 'an epoch'}"
    ]
    if plan.kind not in PROMPTED and data.supervised_tokens is not None and data.supervised_tokens < data.tokens:
        words.append(f"{about}{data.supervised_tokens / data.tokens:.0%} of them carry loss")
    if data.truncated_tokens:
        fate = "left out, being too long" if leaves_out_long_rows(plan.kind) else "cut off"
        words.append(f"{about}{data.truncated_tokens / (data.tokens + data.truncated_tokens):.1%} {fate}")
    if data.kinds and data.supervised_tokens:
        shares = (f"{kind} {tokens / data.supervised_tokens:.0%}" for kind, tokens in data.kinds.items())
        words.append(f"{about}of these {', '.join(shares)}")
    if data.estimated:
        words.append(f"from a sample of {data.sampled} rows")
    return ", ".join(words)


def _batch(plan: Plan) -> str:
    split = plan.batch
    kind = "answers" if plan.kind in PROMPTED else "rows"
    rows = f"{split.global_batch_size} {kind} = {split.micro_batch_size} × {split.accumulation_steps} accumulated"
    devices = f" × {plan.world_size} devices" if plan.world_size > 1 else ""
    return f"{rows}{devices}, of at most {plan.row_tokens:,} tokens each"


def _training(plan: Plan) -> str:
    if plan.steps is None:
        return ""
    about = "≈ " if plan.estimated else ""
    steps = about if plan.steps_estimated else ""
    words = [f"{steps}{plan.steps:,} steps"]
    if plan.epochs is not None:
        epochs = f"{plan.epochs:.3g} {'epoch' if plan.epochs == 1 else 'epochs'}"
        words[0] += f" ({'' if steps else about}{epochs})"
    if plan.tokens is not None:
        words.append(f"{steps if plan.kind == 'pretrain' else about}{count(plan.tokens)} tokens")
        if plan.parameters is not None:
            words.append(f"{plan.tokens / plan.parameters.total:.3g} a parameter")
    return ", ".join(words)


def _compute(plan: Plan) -> str:
    if plan.compute is None:
        return ""
    compute = plan.compute
    words = f"≈ {compute.model_flops:.2e} FLOPs"
    days = pf_s_days(compute.model_flops)
    if days >= 0.01:
        words += f" = {days:.3g} PF/s-days"
    if compute.hardware_flops > compute.model_flops:
        words += f"; {compute.hardware_flops:.2e} with what checkpointing computes again"
    return words


def _time(plan: Plan) -> str:
    if plan.compute is None or plan.compute.hours is None or plan.compute.peak_flops is None:
        return ""
    compute = plan.compute
    rate = f"{compute.utilisation:.0%} of {compute.peak_flops / 1e12:,.3g} TFLOP/s"
    devices = f"{plan.world_size} × {plan.hardware.name}"
    work = "answering" if plan.kind == SAMPLE else "training"
    return f"≈ {duration(compute.hours)} of {work} on {devices}, at {rate} ({compute.peak_source})"


def _memory(plan: Plan) -> str:
    if plan.memory is None:
        return ""
    parts = ", ".join(f"{name} {gib(size)}" for name, size in plan.memory.parts.items() if size)
    room = f" of {gib(plan.hardware.memory_bytes)}" if plan.hardware.memory_bytes else ""
    device = "a device" if plan.world_size > 1 else plan.hardware.device
    words = f"≈ {gib(plan.memory.total)}{room} ({device}): {parts}"
    if plan.world_size > 1:
        words += f"; {gib(plan.memory.sharded(plan.world_size))} sharded (FSDP, ZeRO-3)"
    return words


def _disk(plan: Plan) -> str:
    disk = plan.disk
    if disk is None:
        return ""
    model = f"a model of {gib(disk.model_bytes)}"
    if disk.written == 0:
        return f"≈ {gib(disk.total)}: {model}, no checkpoints (save_strategy: no)"
    each = f"a checkpoint of {gib(disk.checkpoint_bytes)}"
    if disk.kept is None:
        return f"{each} at each save, {model}"
    kept = f"{disk.kept} kept" if disk.kept == disk.checkpoints else f"{disk.kept} kept while the next is written"
    return f"≈ {gib(disk.total)} at most: {each}, {kept}; {model}"
