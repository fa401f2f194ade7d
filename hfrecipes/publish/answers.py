"""The card of answers that a model drew and rewards scored: what they are, how far apart, and how to read them."""

from __future__ import annotations

import json
from typing import Any

import yaml

from hfrecipes.publish.citation import citation
from hfrecipes.publish.escaping import code_span
from hfrecipes.publish.figures import count, dig, is_number, number
from hfrecipes.publish.header import languages_of, license_of
from hfrecipes.publish.origin import local_folder, name_of, recipe_text
from hfrecipes.publish.tables import DATA_COLUMNS, Rows, base_name, data_name, data_rows, training_data, warnings_of
from hfrecipes.publish.templates import render_template
from hfrecipes.recipe.rundir import ANSWER_FILES
from hfrecipes.recipe.source_list import SAMPLE

FIGURE_COLUMNS = (1, 2)
_TITLES = {
    "score": "Score of an answer",
    "best_score": "Score of the best answer to a prompt",
    "worst_score": "Score of the worst answer to a prompt",
    "margin": "Best above worst, in pairs",
    "words_of_chosen": "Words of the chosen answer",
    "words_of_rejected": "Words of the rejected answer",
    "longer_chosen": "Share of pairs whose chosen answer is the longer one",
    "different": "Share of answers that no other one to the prompt is like",
    "cut": "Share of answers that were cut at max_new_tokens",
}
_SAMPLE_CHARACTERS = 1200


def is_answers(facts: dict[str, Any]) -> bool:
    """Whether facts are those of a run that drew answers and trained nothing."""
    return facts.get("kind") == SAMPLE


def answers_lead(facts: dict[str, Any]) -> str:
    """Whose answers these are, in a few words."""
    return f"answers of {base_name(facts) or 'a model with random weights'}"


def counts_sentence(facts: dict[str, Any]) -> str:
    """How many prompts, answers and pairs there are, and what became of the other prompts; empty without answers."""
    found = facts.get("answers") or {}
    if not is_number(found.get("answers")):
        return ""
    parts = [
        f"{count(found['answers'])} answers to {count(found.get('prompts'))} prompts make {count(found.get('pairs'))} pairs"
    ]
    why = {
        "tied": "whose answers are all scored alike (or say nothing)",
        "too_close": "whose best and worst lie closer than pairs.margin",
        "without_room": "that leave no room for an answer",
    }
    parts += [f"{count(found[key])} prompts {words}" for key, words in why.items() if found.get(key)]
    return f"{parts[0]}{'; without a pair are ' if len(parts) > 1 else ''}{', '.join(parts[1:])}."


def figures_table(facts: dict[str, Any]) -> Rows:
    """Heading and a row for each figure with its interval; empty without answers."""
    figures = dig(facts, "answers.figures") or {}
    rows = [
        [
            title,
            f"{number(figures[key]['value'])} [{number(figures[key]['low'])}, {number(figures[key]['high'])}]",
            count(figures[key]["n"]),
        ]
        for key, title in _TITLES.items()
        if key in figures
    ]
    return [["Figure", "Mean", "n"], *rows] if rows else []


def render_answers_card(facts: dict[str, Any]) -> str:
    """The README.md of a run of `kind: sample`, as a data set of the Hub has it."""
    name = name_of(facts)
    sources = dict.fromkeys(code_span(data_name(entry)) for entry in training_data(facts))
    base = base_name(facts)
    pairs = f"{local_folder(facts)}/{ANSWER_FILES['pairs']}"
    return render_template(
        "answers_card.md.jinja",
        header=_header(facts),
        name=name,
        model=code_span(base) if base else "a model with random weights",
        prompts=count(dig(facts, "answers.prompts")),
        sources=list(sources),
        rewards=_rewards(facts),
        pairs_file=json.dumps(pairs),
        pairs_path=pairs,
        data=[DATA_COLUMNS, *data_rows(facts)],
        counts=counts_sentence(facts),
        figures=figures_table(facts),
        figure_columns=FIGURE_COLUMNS,
        samples=[
            {key: value[:_SAMPLE_CHARACTERS] for key, value in sample.items()} for sample in facts.get("samples") or []
        ],
        limitations=_limitations(facts),
        license=license_of(facts),
        warnings=warnings_of(facts),
        recipe=recipe_text(facts),
        citation=citation(facts, name, None, None),
    )


def _header(facts: dict[str, Any]) -> str:
    """What the Hub reads of a data set: its files as two configurations."""
    configs = [{"config_name": name, "data_files": file} for name, file in ANSWER_FILES.items()]
    header: dict[str, Any] = {"license": license_of(facts)} if license_of(facts) else {}
    if languages_of(facts):
        header["language"] = languages_of(facts)
    header |= {"tags": ["hfrecipes", "preference"], "configs": configs}
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip()


def _rewards(facts: dict[str, Any]) -> list[str]:
    found = []
    for spec in dig(facts, "recipe.rewards") or []:
        weight = spec.get("weight", 1.0)
        times = "" if weight == 1 else f" (weight {number(weight)})"
        found.append(code_span(str(spec.get("function") or spec.get("model"))) + times)
    return found


def _limitations(facts: dict[str, Any]) -> list[str]:
    longer = dig(facts, "answers.figures.longer_chosen.value")
    found = [
        "Scores are those of the rewards above. Where these are wrong, the better answer is the worse one.",
        "The answers are the model's own, unread by anyone: filter them for bias, toxicity and memorised text before use.",
    ]
    if is_number(longer) and not 0.4 <= longer <= 0.6:
        side = "longer" if longer > 0.5 else "shorter"
        found.append(
            f"Chosen answers are {side} than rejected ones in most pairs, and length is learnt from that, too."
        )
    return found
