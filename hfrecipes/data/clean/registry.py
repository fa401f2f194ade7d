"""From the words under `data.clean` to rules."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from hfrecipes.data.clean.rule import CorpusRule, Rule
from hfrecipes.data.examples import read_examples
from hfrecipes.data.formats import example_texts
from hfrecipes.data.sources import open_sources
from hfrecipes.recipe.cleaning import RULES
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

# The class of each rule, imported when a recipe names it.
CLASSES = {
    "language": "hfrecipes.data.clean.language:LanguageRule",
    "gopher_quality": "hfrecipes.data.clean.gopher:GopherQualityRule",
    "gopher_repetition": "hfrecipes.data.clean.repetition:GopherRepetitionRule",
    "c4_quality": "hfrecipes.data.clean.c4:C4QualityRule",
    "fineweb_quality": "hfrecipes.data.clean.fineweb:FineWebQualityRule",
    "dedup_exact": "hfrecipes.data.clean.duplicates_exact:ExactDuplicateRule",
    "dedup_minhash": "hfrecipes.data.clean.duplicates_near:NearDuplicateRule",
    "pii": "hfrecipes.data.clean.personal_data:PersonalDataRule",
    "harmful": "hfrecipes.data.clean.harmful:HarmfulContentRule",
    "domains": "hfrecipes.data.clean.domains:DomainsRule",
    "decontaminate": "hfrecipes.data.clean.decontaminate:Decontaminator",
    "perplexity": "hfrecipes.data.clean.perplexity:PerplexityRule",
    "classifier": "hfrecipes.data.clean.classifier:ClassifierRule",
    "topics": "hfrecipes.data.clean.topics:TopicsRule",
}
# Words that name a file or folder, which is looked for beside the recipe.
_FILES = ("word_list", "block", "allow", "name_or_path")
_MEASURED = ("eval", "test")


def rule_settings(recipe: Recipe, role: str) -> list[tuple[str, dict[str, Any]]]:
    """The rules that a recipe asks for, each with its place in the recipe; decontamination comes by itself.

    Training data is decontaminated against the recipe's own evaluation data wherever it is cleaned at all, at the end unless
    the recipe says where, unless it says `{rule: decontaminate, enabled: false}`.
    """
    said = [(recipe.where(f"data.clean.{index}"), rule) for index, rule in enumerate(recipe.get("data.clean", []))]
    if not any(rule["rule"] == "decontaminate" for _, rule in said):
        said.append((recipe.where("data.clean"), {"rule": "decontaminate"}))
    wanted = role == "train" and any(recipe.get(f"data.{measured}") for measured in _MEASURED)
    return [
        (where, rule)
        for where, rule in said
        if rule["rule"] != "decontaminate" or (wanted and rule.get("enabled") is not False)
    ]


def make_rules(recipe: Recipe, role: str) -> list[Rule | CorpusRule]:
    """The rules of a recipe, in their order.

    Raises:
        RecipeError: a rule cannot be made of its words.
    """
    return [_make(recipe, where, rule) for where, rule in rule_settings(recipe, role)]


def try_rules(recipe: Recipe) -> tuple[list[Rule | CorpusRule], list[Problem]]:
    """The rules for training data that can be made, and what keeps the others from it: files that are missing, words that
    contradict each other. Decontamination is not among them: it reads the evaluation sets, which are checked by themselves.
    """
    rules, problems = [], []
    for where, said in rule_settings(recipe, "train") if recipe.get("data.clean") else []:
        if said["rule"] != "decontaminate":
            try:
                rules.append(_make(recipe, where, said))
            except RecipeError as error:
                problems += error.problems
    return rules, problems


def rule_fingerprints(recipe: Recipe) -> list[str]:
    """What the rules for training data depend on beside their words and the recipe's own sources: lists, models, code."""
    rules = [(where, rule) for where, rule in rule_settings(recipe, "train") if rule["rule"] != "decontaminate"]
    return [_make(recipe, where, rule).fingerprint for where, rule in rules]


def _make(recipe: Recipe, where: str, said: dict[str, Any]) -> Rule | CorpusRule:
    name = said["rule"]
    words = {word: _found(recipe, word, value) for word, value in said.items() if word != "rule"}
    module, _, class_name = CLASSES[name].partition(":")
    cls = getattr(importlib.import_module(module), class_name)
    # What a rule may want to know beside its settings, by the name of its parameter; the texts are read when they are asked for.
    offered = {"where": where, "folder": recipe.path.parent, "evaluation_texts": evaluation_texts(recipe)}
    asked = inspect.signature(cls).parameters
    given = {key: value for key, value in offered.items() if key in asked}
    return cls(settings=RULES[name](**words), **given)


def _found(recipe: Recipe, word: str, value: Any) -> Any:
    """A word's value; the path of a file that lies beside the recipe made one that leads there."""
    if word in _FILES and isinstance(value, str) and (path := recipe.find_file(value)).exists():
        return str(path)
    return value


def evaluation_texts(recipe: Recipe) -> Iterator[tuple[str, str, list[str]]]:
    """Data set, place and texts of each row that the recipe measures on."""
    for role in _MEASURED:
        for index, source in enumerate(open_sources(recipe, role)):
            for row, example in read_examples(recipe, role, index, source):
                yield source.title, row.where, example_texts(example)
