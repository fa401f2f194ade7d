"""Whether training data can be cleaned and augmented as a recipe says: told before hours of it, not after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hfrecipes.check.hub import repository_problems
from hfrecipes.data.augment.augment import make_methods
from hfrecipes.data.augment.back_translation import BackTranslationMethod
from hfrecipes.data.clean.classifier import ClassifierRule
from hfrecipes.data.clean.linear_classifier import is_linear_classifier
from hfrecipes.data.clean.model_scores import NamedModel
from hfrecipes.data.clean.perplexity import PerplexityRule
from hfrecipes.data.clean.registry import try_rules
from hfrecipes.data.clean.topics import TopicsRule
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.files import is_folder_name


def columns_of_rules(recipe: Recipe) -> list[str]:
    """The columns that rules under `data.clean` read beside the text."""
    rules, _ = try_rules(recipe)
    return list(dict.fromkeys(column for rule in rules for column in rule.columns))


def refinement_problems(recipe: Recipe) -> list[Problem]:
    """What keeps the rules and methods of a recipe from being made, or from having the models that they name."""
    return [*_rule_problems(recipe), *_method_problems(recipe)]


def _rule_problems(recipe: Recipe) -> Iterator[Problem]:
    rules, problems = try_rules(recipe)
    yield from problems
    for rule in rules:
        if isinstance(rule, ClassifierRule | PerplexityRule | TopicsRule):
            yield from _model_problems(rule.model)
        if isinstance(rule, ClassifierRule | TopicsRule) and is_linear_classifier(rule.model.name_or_path):
            yield from _linear_problems(rule)


def _linear_problems(rule: ClassifierRule | TopicsRule) -> list[Problem]:
    """Whether a classifier of ours, which is small, can be read and has the labels: no documents are enough to tell."""
    try:
        rule.judge([]) if isinstance(rule, ClassifierRule) else rule.sketch([])
    except RecipeError as error:
        return error.problems
    return []


def _method_problems(recipe: Recipe) -> Iterator[Problem]:
    try:
        methods = make_methods(recipe.get("data.augment", []), recipe.find_file, recipe.where)
    except RecipeError as error:
        yield from error.problems
        return
    for method in methods:
        if isinstance(method, BackTranslationMethod):
            yield from _model_problems(method.forward.model)
            yield from _model_problems(method.backward.model)


def _model_problems(named: NamedModel) -> list[Problem]:
    """Whether a model of transformers is there; its weights are not loaded."""
    name, folder = named.name_or_path, Path(named.name_or_path)
    if is_linear_classifier(name):
        return []
    if not is_folder_name(name):
        return repository_problems(name, "model", named.revision, named.where)
    if not folder.is_dir():
        fix = "correct the path, which is looked for beside the recipe and from here"
        return [Problem(named.where, f"there is no folder {name}", fix)]
    if not (folder / "config.json").is_file():
        fix = "name a folder that save_pretrained wrote, or one of `hfrecipes data classifier`"
        return [Problem(named.where, f"{name} holds no model: it has no config.json", fix)]
    return []
