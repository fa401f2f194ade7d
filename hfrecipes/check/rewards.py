"""Whether what scores the answers of a policy is there, has the words it is given, and finds the columns it reads."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hfrecipes.check.data import dotted_problems
from hfrecipes.check.hub import repository_problems
from hfrecipes.check.missing_runs import maker_of
from hfrecipes.check.promised import is_promised
from hfrecipes.check.rows import Scan
from hfrecipes.check.signatures import signature_of
from hfrecipes.models.adapters import is_adapter, refuse_damaged_adapter
from hfrecipes.models.integrity import ADAPTER_CONFIG, CONFIG, read_settings, refuse_damaged_model
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.reward_words import FUNCTION, MODEL, own_words, reward_specs
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.source_list import PROMPTED
from hfrecipes.rewards.load import Reward, load_reward, word_problems
from hfrecipes.tokenization.files import is_folder_name

# What a trainer gives each reward, whatever the data.
_GIVEN = ("self", "prompts", "completions", "completion_ids", "trainer_state")
# Where a reward of ours keeps the name of a column that it reads.
_COLUMN = "column"
_CLASSIFIER = "ForSequenceClassification"
# Labels of a classifier whose config names none: transformers' default.
_UNSAID = range(2)
_OURS = "hfrecipes.rewards:"


def reward_problems(recipe: Recipe, scans: list[Scan], promised: Iterable[Path]) -> list[Problem]:
    """What is wrong with `rewards`, alone and beside the data.

    Rewards of this package are built, to try their words. Of others it is read whether they exist: importing them runs them.

    Args:
        recipe: The recipe.
        scans: Of its data.
        promised: Models that earlier steps of a pipeline will make.
    """
    if recipe.kind not in PROMPTED:
        return []
    try:
        specs = reward_specs(recipe)
    except RecipeError as error:
        return error.problems
    problems = list(_training_problems(recipe))
    for place, spec in enumerate(specs):
        key = f"rewards.{place}"
        problems += (
            model_problems(recipe, key, spec, promised) if MODEL in spec else _function(recipe, key, spec, scans)
        )
    return problems


def _training_problems(recipe: Recipe) -> Iterator[Problem]:
    training = recipe.get("training", {})
    if training.get("total_episodes") is not None and training.get("max_steps", -1) > 0:
        fault = "training.total_episodes stands beside training.max_steps, and each says how long to train"
        yield Problem(recipe.where("training.total_episodes"), fault, "keep one of them")
    if training.get("value") == "adapter" and not recipe.get("adapter"):
        fault = "training.value: adapter needs a policy with an adapter"
        yield Problem(recipe.where("training.value"), fault, "add adapter: {method: lora, …}, or say head or model")
    if training.get("missing_eos_score") is not None and training.get("missing_eos_penalty", 1.0):
        fault = "training.missing_eos_score stands beside training.missing_eos_penalty, which is 1.0 unless it is said"
        fix = "say missing_eos_penalty: null, or remove missing_eos_score"
        yield Problem(recipe.where("training.missing_eos_score"), fault, fix)
    if recipe.get("data.augment"):
        fault = f"data.augment makes answers that nobody learns from in kind: {recipe.kind}"
        yield Problem(recipe.where("data.augment"), fault, "remove it")


def _function(recipe: Recipe, key: str, spec: dict[str, Any], scans: list[Scan]) -> list[Problem]:
    reward, problems = open_ours(recipe, key, spec)
    if reward is not None:
        return list(_column_problems(recipe, key, needed_columns(reward), scans))
    read = None if problems else signature_of(spec[FUNCTION], recipe.path.parent)
    if read is None or read[1] or set(own_words(spec)) != {FUNCTION}:
        return problems  # what a class builds is not known before
    return list(_column_problems(recipe, key, _columns_of(read[0]), scans))


def open_ours(recipe: Recipe, key: str, spec: dict[str, Any]) -> tuple[Reward | None, list[Problem]]:
    """A function of this package, built to try its words; of others it is read whether they exist.

    Returns:
        The function, None where it is not of this package or cannot be had; and what is wrong with it.
    """
    if problems := dotted_problems(recipe, f"{key}.{FUNCTION}"):
        return None, problems
    if not spec[FUNCTION].startswith(_OURS):
        read = signature_of(spec[FUNCTION], recipe.path.parent)
        words = set(own_words(spec)) - {FUNCTION}
        return None, word_problems(*read, spec[FUNCTION], words, recipe.where(key)) if read else []
    try:
        return load_reward(own_words(spec), recipe.where(key), recipe.path.parent), []
    except RecipeError as error:
        return None, error.problems


def needed_columns(reward: Reward) -> set[str]:
    """What a reward reads of a row besides its prompt and what the model said."""
    column = getattr(reward, _COLUMN, None)
    return _columns_of(inspect.signature(reward)) | ({column} if isinstance(column, str) else set())


def _columns_of(signature: inspect.Signature) -> set[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = (each for each in signature.parameters.values() if each.kind in kinds and each.default is each.empty)
    return {each.name for each in needed} - set(_GIVEN)


def _column_problems(recipe: Recipe, key: str, needed: set[str], scans: list[Scan]) -> Iterator[Problem]:
    for scan in scans:
        for name in sorted(needed):
            # A format function may make any column; of rows that were not read, none is known.
            if scan.others is None or name in scan.others or recipe.get(f"{scan.key}.format"):
                continue
            fault = (
                f"{key} reads the column {name}, and {scan.key} has {', '.join(sorted(scan.others)) or 'no other one'}"
            )
            fix = f"name yours with columns: {{{name}: theirs}}, or say the reward's column:"
            yield Problem(recipe.where(key), fault, fix)


def model_problems(recipe: Recipe, key: str, spec: dict[str, Any], promised: Iterable[Path]) -> list[Problem]:
    """Whether a reward model is there and whole, as far as reading tells."""
    name, where = spec[MODEL], recipe.where(f"{key}.{MODEL}")
    if is_promised(name, promised):
        return []
    folder = recipe.find_file(name)
    if not folder.is_dir():
        if is_folder_name(name) or folder.exists():
            fix = "give the folder of a reward model (a run's is runs/NAME/model), or a Hub id"
            made = None if folder.exists() else maker_of(folder, recipe)
            return [Problem(where, f"there is no folder {name}", made or fix)]
        return repository_problems(name, "model", spec.get("revision"), where)
    run = RunDir(folder)
    folder = run.model if run.facts_file.is_file() else folder
    try:
        (refuse_damaged_adapter if is_adapter(folder) else refuse_damaged_model)(folder, where, hashes=False)
        return list(_head_problems(folder, name, where))
    except RecipeError as error:
        return error.problems


def _head_problems(folder: Path, name: str, where: str) -> Iterator[Problem]:
    """A model that writes, or that gives several numbers, where one that gives a reward is expected."""
    if is_adapter(folder):
        kind = read_settings(folder / ADAPTER_CONFIG).get("task_type")
        scores, what = kind in (None, "SEQ_CLS"), "an adapter of a language model"
        config: dict[str, Any] = {}
    else:
        config = read_settings(folder / CONFIG)
        classes = [str(each) for each in config.get("architectures") or []]
        scores, what = not classes or any(each.endswith(_CLASSIFIER) for each in classes), f"a {' and '.join(classes)}"
    if not scores:
        fix = "give a reward model: `kind: reward` trains one from it"
        yield Problem(where, f"{name} is {what}, which has no head that scores", fix)
    elif config.get("architectures") and (labels := len(config.get("id2label") or _UNSAID)) != 1:
        fault = f"{name} gives {labels} numbers, and a reward is one"
        yield Problem(where, fault, "name a sequence classifier of one label")
