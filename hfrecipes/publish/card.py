"""A model card made of the facts of a run and of nothing else, so that it cannot claim what the run did not do."""

from __future__ import annotations

import json
import re
from typing import Any

from hfrecipes.publish import cleaning_tables, continued, decoding, rewards, tables
from hfrecipes.publish.answers import is_answers, render_answers_card
from hfrecipes.publish.citation import citation
from hfrecipes.publish.comparisons import COMPARISONS_FIGURES, comparisons_table, seeds_headlines
from hfrecipes.publish.escaping import Bold, code_span, inline_text
from hfrecipes.publish.evaluations import TUNED, EvaluationRow, evaluation_models, evaluation_rows
from hfrecipes.publish.figures import count, dig, duration, is_number, short
from hfrecipes.publish.folds import is_folds, render_folds_card
from hfrecipes.publish.header import base_on_hub, is_adapter, is_bottleneck, languages_of, license_of, render_header
from hfrecipes.publish.headlines import headline_rows
from hfrecipes.publish.heads import has_heads, heads_phrase, loss_sentence
from hfrecipes.publish.limitations import limitations
from hfrecipes.publish.mixture import MIXTURE_FIGURES, mixture_table
from hfrecipes.publish.needles import needle_rows
from hfrecipes.publish.origin import command_text, local_model_id, name_of, recipe_text
from hfrecipes.publish.policy import policy_sentences, score_sentence
from hfrecipes.publish.task_groups import groups_figures, groups_table
from hfrecipes.publish.templates import render_template
from hfrecipes.publish.terms import explanations
from hfrecipes.publish.win_rates import win_rate_sentences

EVALUATION_HEADING = "Evaluation"

_SAMPLE_CHARACTERS = 1200
_PROMPT_CHARACTERS = 300
# Data sets that are named under one licence; the table of data has all.
_NAMES = 8

# A conversation of several turns, as samples show it.
_TURNS = re.compile(r"(system|user|assistant): ")

_TRAINED = {
    "pretrain": "trained on next-token prediction",
    "sft": "instruction-tuned (supervised fine-tuning)",
    "reward": "trained to reward better answers more",
    "dpo": "trained on preferences (direct preference optimization)",
    "kto": "trained on answers that are good or not (Kahneman-Tversky optimization)",
    "orpo": "trained on preferences, without a reference (odds ratio preference optimization)",
    "ppo": "trained on its own answers, which rewards score (proximal policy optimization)",
    "grpo": "trained on its own answers, each compared with others to the same prompt (group relative policy optimization)",
    "rloo": "trained on its own answers, each compared with others to the same prompt (REINFORCE, leave one out)",
}


def render_card(
    facts: dict[str, Any], metrics: list[dict[str, Any]], repo_id: str | None = None, base_model: str | None = None
) -> str:
    """The README.md of a model repository.

    Args:
        facts: The contents of run.json. Any part but `name` may be missing; its section then is too.
        metrics: The lines of metrics.jsonl.
        repo_id: Where the card will stand; the snippets load from there, else from the run directory.
        base_model: Hub id of the base, for a run whose base was a folder that has been published since.
    """
    if is_folds(facts):
        return render_folds_card(facts)
    if is_answers(facts):
        return render_answers_card(facts)
    name = name_of(facts)
    return render_template(
        "model_card.md.jinja",
        header=render_header(facts, base_model),
        name=name,
        model_id=json.dumps(repo_id or local_model_id(facts)),
        lead=_lead(facts, base_model),
        results=_headlines(facts),
        intended=_intended(facts),
        snippet=_snippet(facts, base_model),
        on_hub=repo_id is not None,
        data=[tables.DATA_COLUMNS, *tables.data_rows(facts)],
        kinds=[tables.KINDS_COLUMNS, *tables.kinds_rows(facts)],
        mixture=mixture_table(facts),
        mixture_figures=MIXTURE_FIGURES,
        cleaning=cleaning_tables.cleaning_sentence(facts),
        cleaning_rules=cleaning_tables.cleaning_table(facts),
        cleaning_figures=cleaning_tables.CLEANING_FIGURES,
        augmentation=[cleaning_tables.AUGMENTATION_COLUMNS, *cleaning_tables.augmentation_rows(facts)],
        hyperparameters=tables.hyperparameter_rows(facts),
        compute=tables.compute_rows(facts),
        curve=score_sentence(metrics) or loss_sentence(metrics),
        plan=[tables.PLAN_COLUMNS, *tables.plan_rows(facts)],
        evaluation=evaluation_table(facts),
        terms=explanations([row.metric for row in evaluation_rows(facts)], str(facts.get("kind"))),
        with_heads=has_heads(facts),
        comparisons=comparisons_table(facts),
        comparisons_figures=COMPARISONS_FIGURES,
        needles=needle_rows(facts),
        margins=rewards.margin_table(facts),
        margin_figures=rewards.MARGIN_FIGURES,
        reward_sentences=[*rewards.reward_sentences(facts), *policy_sentences(facts), *win_rate_sentences(facts)],
        decoding=decoding.decoding_sentence(facts),
        decoding_rows=decoding.decoding_table(facts),
        decoding_figures=decoding.DECODING_FIGURES,
        task_groups=groups_table(facts),
        task_groups_figures=groups_figures(groups_table(facts)),
        changes=continued.changes_table(facts),
        changes_figures=continued.CHANGES_FIGURES,
        new_pieces=continued.tokenizer_sentence(facts, code_span),
        compression=continued.compression_table(facts),
        compression_figures=continued.COMPRESSION_FIGURES,
        samples=_samples(facts),
        limitations=limitations(facts, languages_of(facts)),
        warnings=tables.warnings_of(facts),
        license=license_of(facts),
        data_licenses=[(license, _named(names)) for license, names in tables.training_licenses(facts)],
        versions=tables.version_rows(facts),
        command=command_text(facts),
        recipe=recipe_text(facts),
        citation=citation(facts, name, repo_id, base_model),
    )


def evaluation_table(facts: dict[str, Any]) -> list[list[str]]:
    """Heading and rows of the card's evaluation table; empty where nothing was measured.

    The tuned model's cell is bold where its whole interval is better than every baseline's.
    """
    rows, models = evaluation_rows(facts), evaluation_models(facts)
    if not rows:
        return []
    return [["Data set", "Metric", *models, "n"], *(_evaluation_row(row, models) for row in rows)]


def _evaluation_row(row: EvaluationRow, models: list[str]) -> list[str]:
    cells = {model: row.cell(model) for model in models}
    if row.is_clear_win:
        cells[TUNED] = Bold(cells[TUNED])
    return [row.dataset, row.title, *cells.values(), row.n]


def _lead(facts: dict[str, Any], base_model: str | None) -> str:
    """What the model is, in a sentence of Markdown."""
    architecture = inline_text(dig(facts, "model.model_type") or "causal")
    what = f"{tables.parameters_text(facts)}{architecture} {'reward' if rewards.is_reward(facts) else 'language'} model"
    sources = dict.fromkeys(code_span(tables.data_name(entry)) for entry in tables.training_data(facts))
    on = f" on {', '.join(sources)}" if sources else ""
    trained = _TRAINED.get(str(facts.get("kind")), "trained") + heads_phrase(facts)
    base = base_on_hub(facts, base_model)
    linked = f"[{inline_text(base)}](https://huggingface.co/{base})" if base else None
    started = tables.adapter_base_name(facts) if is_adapter(facts) else tables.base_name(facts)
    origin = linked or (f"the run {code_span(started)}" if started else None)
    if is_adapter(facts) and origin:
        trainable = dig(facts, "model.parameters.trainable")
        size = f" with {short(trainable)} trainable parameters" if is_number(trainable) else ""
        is_further = dig(facts, "model.adapter_base") and tables.base_name(facts)
        earlier = f", starting from the adapter of {code_span(tables.base_name(facts))}" if is_further else ""
        return f"An adapter{size} for {origin}, a {what}, {trained}{on}{earlier}."
    start = f"starting from {origin}" if origin else "starting from random weights"
    return f"A {what}, {trained}{on}, {start}."


def _headlines(facts: dict[str, Any]) -> list[str]:
    """One line per result, the most telling first, and one on what the training took; bold is what is clearly better."""
    lines = []
    for row in headline_rows(facts):
        against = [f"{inline_text(model)} {measured.text}" for model, measured in row.baselines.items()]
        value = f"**{row.cell(TUNED)}**" if row.is_clear_win else row.cell(TUNED)
        beside = "; ".join([*([", ".join(against)] if against else []), f"n = {row.n}"])
        lines.append(f"{inline_text(row.title)} on {code_span(row.dataset)}: {value} ({beside})")
    lines += seeds_headlines(facts)
    tokens, seconds = dig(facts, "training.tokens"), dig(facts, "training.wall_seconds")
    if is_number(tokens) and is_number(seconds) and tables.hardware_name(facts):
        hardware = inline_text(tables.hardware_name(facts))
        lines.append(f"{count(tokens)} tokens {_in_time(facts, seconds)} on {hardware}")
    return lines


def _in_time(facts: dict[str, Any], seconds: float) -> str:
    """A resumed run's clock is that of its last session."""
    sessions = facts.get("sessions") or []
    if sessions and sessions[-1].get("first_step"):
        return f"in {len(sessions)} sessions, the last of {duration(seconds)},"
    return f"in {duration(seconds)}"


def _intended(facts: dict[str, Any]) -> str:
    if facts.get("kind") == "pretrain":
        return (
            "Continuing text of the kind it was trained on, as a starting point for fine-tuning, and for studying how "
            "such a model is trained. It follows no instructions: it continues text."
        )
    if rewards.is_reward(facts):
        return (
            "Telling better answers from worse ones to prompts of the form it was trained on. Rewards of different prompts "
            "cannot be compared, and a model that is trained to be rewarded will find what this one mistakes for good."
        )
    shown = " (see the samples below)" if facts.get("samples") else ""
    return f"Answering prompts of the form it was trained on{shown}, and studying how such a model is trained."


def _snippet(facts: dict[str, Any], base_model: str | None) -> dict[str, Any]:
    """What the template needs for code that runs: how to load, and what to ask.

    The prompt is one that the run itself generated from, where a short one in one turn is among its samples. What was
    fine-tuned is asked through the chat template unless `model.chat_template` says that it was trained on bare text.
    """
    pretrained = facts.get("kind") == "pretrain"
    template = dig(facts, "model.chat_template")
    revision = dig(facts, "model.revision")
    return {
        "adapter": is_adapter(facts),
        "bottleneck": is_bottleneck(facts),
        "reward": rewards.is_reward(facts),
        "chat": not pretrained if template is None else bool(template),
        "prompt": repr(_short_prompt(facts) or ("Once upon a time" if pretrained else "What is a language model?")),
        "base": base_on_hub(facts, base_model),
        "base_revision": revision if is_adapter(facts) and not base_model else None,
        "embedding_rows": _embedding_rows(facts) if is_adapter(facts) else None,
    }


def _embedding_rows(facts: dict[str, Any]) -> Any:
    """How many the base needs for an adapter with new tokens, of this training or of one before."""
    return dig(facts, "tokenizer.embedding_rows") or dig(facts, "model.embedding_rows")


def _short_prompt(facts: dict[str, Any]) -> str | None:
    """The shortest prompt among the trained model's samples that fits into a snippet."""
    samples = [sample for sample in facts.get("samples") or [] if sample.get("model") == TUNED]
    prompts = [sample["prompt"] for sample in samples if isinstance(sample.get("prompt"), str)]
    fitting = [p for p in prompts if p.strip() and len(p) <= _PROMPT_CHARACTERS and not _TURNS.match(p)]
    return min(fitting, key=len, default=None)


def _samples(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Prompt, completion and reference of each sample, cut to a readable length."""
    found = []
    for sample in facts.get("samples") or []:
        parts = {key: _cut(str(sample[key])) for key in ("prompt", "completion", "reference") if sample.get(key)}
        if sample.get("completion") == "":
            # Left out, the others would be a choice.
            parts["completion"] = "(empty)"
        found.append({"model": str(sample.get("model") or TUNED), **parts})
    return [sample for sample in found if "completion" in sample]


def _named(names: list[str]) -> str:
    shown = [code_span(name) for name in names[:_NAMES]]
    return ", ".join(shown) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")


def _cut(text: str) -> str:
    text = text.strip("\n")
    if len(text) <= _SAMPLE_CHARACTERS:
        return text
    return f"{text[:_SAMPLE_CHARACTERS]} […{len(text) - _SAMPLE_CHARACTERS} more characters]"
