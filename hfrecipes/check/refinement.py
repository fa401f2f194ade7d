"""Whether training data can be cleaned and augmented as a recipe says: told before hours of it, not after."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hfrecipes.check.hub import repository_problems
from hfrecipes.check.promised import is_promised
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


def refinement_problems(recipe: Recipe, promised: Iterable[Path] = ()) -> list[Problem]:
    """What keeps the rules and methods of a recipe from being made, or from having the models that they name.

    Args:
        recipe: With `data.clean` or `data.augment`.
        promised: Folders that earlier steps of a pipeline fill.
    """
    rules, problems = try_rules(recipe)
    models = [rule.model for rule in rules if isinstance(rule, ClassifierRule | PerplexityRule | TopicsRule)]
    for rule in rules:
        if isinstance(rule, ClassifierRule | TopicsRule) and is_linear_classifier(rule.model.name_or_path):
            problems += _linear_problems(rule)
    try:
        methods = make_methods(recipe.get("data.augment", []), recipe.find_file, recipe.where)
    except RecipeError as error:
        methods, problems = [], [*problems, *error.problems]
    translators = [method for method in methods if isinstance(method, BackTranslationMethod)]
    models += [one.model for method in translators for one in (method.forward, method.backward)]
    for model in models:
        if not is_promised(model.name_or_path, promised):
            problems += _model_problems(model)
    return problems


def _linear_problems(rule: ClassifierRule | TopicsRule) -> list[Problem]:
    """Whether a classifier of ours, which is small, can be read and has the labels: no documents are enough to tell."""
    try:
        rule.judge([]) if isinstance(rule, ClassifierRule) else rule.sketch([])
    except RecipeError as error:
        return error.problems
    return []


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
