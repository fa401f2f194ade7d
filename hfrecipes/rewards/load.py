"""Rewards that a recipe names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from hfrecipes.data.functions import load_function
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.validate import nearest

# The key that names the function or class; all others are its words.
NAME = "function"
# What every reward is given.
_COMPLETIONS = "completions"

Reward = Callable[..., list[float | None]]


def load_reward(spec: str | dict[str, Any], where: str, folder: Path | None = None) -> Reward:
    """The reward that a recipe names, ready to be called as `reward(prompts=…, completions=…, **columns)`.

    Args:
        spec: `module:function`; or `{function: module:Class, …}`, whose other keys are the words that it is built with. A
            function that returns a reward can stand there too. A class without words is built without any.
        where: The place in the recipe, for problems.
        folder: The recipe's folder, whose files are found before installed modules.

    Raises:
        RecipeError: there is no such function, it has no such word or lacks one, or refuses a value.
    """
    words = {} if isinstance(spec, str) else {key: value for key, value in spec.items() if key != NAME}
    dotted = spec if isinstance(spec, str) else spec.get(NAME)
    if not isinstance(dotted, str):
        raise RecipeError(Problem(where, f"a reward needs {NAME}", f"write {NAME}: module:name"))
    named = load_function(dotted, folder, where)
    if not words and not isinstance(named, type):
        return named
    _check_words(named, dotted, words, where)
    try:
        reward = named(**words)
    except (TypeError, ValueError) as error:
        raise RecipeError(Problem(where, f"{dotted} cannot be built: {error}", "correct its words")) from error
    except (Exception, SystemExit) as error:  # a user's class can fail in any way
        fault = f"{dotted} cannot be built: {type(error).__name__}: {error}"
        raise RecipeError(Problem(where, fault, "correct its words, or the class")) from error
    if not callable(reward):
        fix = "return a function of prompts and completions, or write words only beside a class"
        raise RecipeError(Problem(where, f"{dotted} builds {type(reward).__name__}, which is no reward", fix))
    return reward


def _check_words(named: Callable[..., Any], dotted: str, words: dict[str, Any], where: str) -> None:
    try:
        signature = inspect.signature(named)
    except ValueError:  # of some that are written in C it is not known
        return
    if problems := word_problems(signature, isinstance(named, type), dotted, words, where):
        raise RecipeError(problems)


def word_problems(
    signature: inspect.Signature, is_class: bool, dotted: str, words: Collection[str], where: str
) -> list[Problem]:
    """What is wrong with the words beside a function or class that a recipe names as a reward.

    Args:
        signature: Of the function, or of what builds the class.
        is_class: Which of the two it is.
        dotted: Its name.
        words: What stands beside it.
        where: The place in the recipe.
    """
    parameters = signature.parameters.values()
    known = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if not is_class and not words:
        return []  # a reward itself
    if words and not is_class and _COMPLETIONS in known:
        fault = f"{dotted} is a reward itself, which takes no words, and {', '.join(words)} stands beside it"
        return [Problem(where, fault, "remove it, or name a class or a function that makes a reward")]
    problems = []
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        for word in (word for word in words if word not in known):
            guess = nearest(word, known)
            fix = f"did you mean {guess}?" if guess else f"it has {', '.join(known) or 'no words'}"
            problems.append(Problem(where, f"{dotted} has no word {word!r}", fix))
    for each in parameters:
        if each.name in known and each.default is each.empty and each.name not in words:
            problems.append(Problem(where, f"{dotted} needs {each.name}", f"write {each.name} beside {NAME}"))
    return problems
