"""The words of a source: where its rows are, and what they are: the task, its labels, its templates, what they teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfrecipes.recipe.section_words import words

TaskName = Literal["classification", "instruction", "conversation", "preference", "ranking", "comparison"]
Pairs = Literal["all", "adjacent", "best_worst", "together"]


@dataclass(kw_only=True, slots=True)
class PromptTemplate:
    system: str | None = words("Jinja for a system message.")
    prompt: str | None = words("Jinja for what the model reads, as in '{{ text }}\\nSentiment:'.")
    completion: str | None = words("Jinja for what it learns to write, as in '{{ label }}'.")


@dataclass(kw_only=True, slots=True)
class SourceTask:
    task: TaskName | None = words("What the rows are; left out, their columns say it (text, messages, prompt …).")
    labels: dict[str, str] | list[str] | None = words(
        "Names of a classification's labels, as in {0: negative, 1: positive}; a list counts from 0."
    )
    templates: list[PromptTemplate] | str | None = words(
        "Ways to put a row into words, or the name of a shipped set: classification_en … Each row keeps the one it drew."
    )
    template_seed: int | None = words("Draws the template of each row. Default: 0.")
    conversational: bool | None = words(
        "Whether a task's rows become turns of user and assistant; false makes plain text. Default: true."
    )
    pairs: Pairs | None = words(
        "Which answers of a ranking are compared: all, adjacent or best_worst, each pair in a row of its own; together: all, in "
        "one row (kind: reward). Default: together for reward models, else all."
    )
    family: str | None = words(
        "The family of tasks that the source belongs to, such as translation; columns: {family: …} by row. Read by "
        "data.held_out_families and by the evaluation."
    )
    kind: str | None = words(
        "What the source teaches: refusal, clarification, chain_of_thought or any other; columns: {kind: …} by row."
    )


@dataclass(kw_only=True, slots=True)
class Source(SourceTask):
    name: str | None = words(
        "A Hub data set, or one that needs no network: python_code, python_prose, python_docstrings, python_preferences, "
        "python_rankings, python_flaws, python_instructions."
    )
    path: str | None = words("A local file or folder (jsonl, json, csv, parquet, txt), beside the recipe or from here.")
    subset: str | None = words("The configuration of a Hub data set (`name=` of load_dataset).")
    split: str | None = words("The split: train, validation, test, or a slice that datasets understands.")
    revision: str | None = words("The commit of a Hub data set.")
    domain: Literal["old", "new"] | None = words(
        "In continued pretraining: whether the starting model knows this domain or language (old), or is to learn it."
    )
    license: str | None = words("The licence of local rows, as the Hub spells it; it is named in the card.")
    limit: int | None = words("At most this many rows, taken evenly over the whole.", minimum=1)
    columns: dict[str, str] | None = words(
        "Columns to rename, ours: theirs, as in {prompt: question, completion: answer}."
    )
    format: str | None = words(
        "A function package.module:function, from a row to a row; a file beside the recipe counts."
    )
