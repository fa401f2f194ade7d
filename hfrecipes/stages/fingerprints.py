"""What decides the steps of a run: whether a checkpoint is of this run, and whether this run is still the one that began."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hfrecipes.data.functions import function_fingerprint
from hfrecipes.data.settings import PREPARED
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.manifest import MANIFEST
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.reward_words import FUNCTION, MODEL
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.changes import Changes
from hfrecipes.stages.keys import begins, change_words, flatten, is_allowed

# What these say decides the size of the steps, not the data.
_SCHEDULE = (
    "training.max_steps",
    "training.num_train_epochs",
    "training.learning_rate",
    "training.lr_scheduler_",
    "training.warmup_steps",
    "training.optim",
    "training.optim_",
    "training.weight_decay",
    "training.adam_",
    "training.max_grad_norm",
)
# What these say decides which rows are made of the same text.
_ROWS = (
    "data",
    "model.name_or_path",
    "model.revision",
    "model.tokenizer",
    "training.max_length",
    "training.packing",
    "training.packing_strategy",
    *(f"training.{word}" for word in sorted(PREPARED)),
)
_MIXTURE = "data.mixture"
_REWARDS = "rewards"
# Functions of this package change with its version, which is told apart from the recipe.
_OURS = "hfrecipes."
# What decides the answers that `kind: sample` draws, and their scores.
DECIDE_ANSWERS = ("model", "quantization", _REWARDS, "data", "generation")
_DIFFERENCES = {
    "data": "the data has changed (rows, tokenizer or packing are others than the run began with)",
    "model": "the model that the adapter stands on has changed",
    _REWARDS: "what scores answers has changed (the file of a function, or a reward model)",
}


def fingerprint(recipe: Recipe, data: str, mixture: dict[str, Any] | None = None) -> dict[str, Any]:
    """What decides the steps of a run, whatever the number of processes; written into every checkpoint's manifest.

    Args:
        recipe: Resolved.
        data: Fingerprint of the prepared rows.
        mixture: What decides their order, where sources are mixed.
    """
    values = flatten(recipe.values)
    parts = {
        "data": data,
        "training.global_batch_size": recipe.get("training.global_batch_size"),
        "training.seed": recipe.get("training.seed"),
        "schedule": {key: value for key, value in values.items() if begins(key, _SCHEDULE)},
        "model": starting_weights(recipe),
    }
    if recipe.get(_REWARDS):
        parts[_REWARDS] = _scorings(recipe)
    return parts if mixture is None else {**parts, _MIXTURE: mixture}


def compare_fingerprints(
    before: dict[str, Any], now: dict[str, Any], changes: Changes, allowed: Sequence[str], where: Path
) -> list[str]:
    """Compares the fingerprint a run had with today's; finds what changed under the same words of the recipe.

    Args:
        before: That of the session before, or of the checkpoint where the session's is lost.
        now: Today's.
        changes: From `compare_recipes`.
        allowed: Keys that were changed on purpose.
        where: The checkpoint.

    Returns:
        What differs and was allowed to, in words.

    Raises:
        RecipeError: naming what differs and was not allowed to.
    """
    # Where the recipe of the session before is lost, there is only the user's word.
    keys = [change.split(" was ")[0] for change in changes.accepted] if changes.known else list(allowed)
    refused, accepted = [], []
    for part in now:
        if part not in before or before[part] == now[part]:
            continue
        found = _differences(part, before[part], now[part])
        if not _is_excused(part, keys, allowed):
            refused += found
        elif part in _DIFFERENCES or not changes.known:
            # What the recipe says has been told by its keys.
            accepted += [words for _, words in found]
    if refused:
        shown = "; ".join(words for _, words in refused)
        flags = " ".join(f"--allow-change {key}" for key in dict.fromkeys(key for key, _ in refused))
        fix = f"put back what was there, begin a run of another name, or where it is meant: {flags}"
        raise RecipeError(Problem(str(where), f"this checkpoint belongs to another run: {shown}", fix))
    return accepted


def is_scheduled_anew(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether the learning rates of the rest follow another plan: other words, or another number of steps of a mixture.

    Args:
        before: The fingerprint of the checkpoint; empty for those without one.
        now: Today's.
    """
    samples = [part.get(_MIXTURE, {}).get(f"{_MIXTURE}.samples") for part in (before, now)]
    return ("schedule" in before and before["schedule"] != now["schedule"]) or (
        _MIXTURE in before and samples[0] != samples[1]
    )


def mixed_anew(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Says so where the rest of a mixture is another than the checkpoint's would have been."""
    old, new = before.get(_MIXTURE), now.get(_MIXTURE)
    batches = [part.get("training.global_batch_size") for part in (before, now)]
    if not before or (old == new and (new is None or batches[0] == batches[1])):
        return []
    if old is None or new is None:
        return ["the order of the rows is planned anew: rows that were read may come again before others do"]
    rest = "its sources go on by the new plan, so rows that were read may come again before others do"
    return [f"the rest of the mixture is planned anew: {rest}"]


def faults_of_another_run(of_checkpoint: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    """Why a checkpoint is not of this run: no session of it had that fingerprint. Empty where it is, or nobody knows.

    Args:
        of_checkpoint: The fingerprint in its manifest.
        earlier: Facts of the run; each session's fingerprint has been agreed to, or it would not have begun.
    """
    known = [session.get("fingerprint") for session in earlier.get("sessions") or []]
    known = [each for each in (*known, earlier.get("fingerprint")) if isinstance(each, dict)]
    differing = [
        [key for part in each if part in of_checkpoint for key in _differing(part, of_checkpoint[part], each[part])]
        for each in known
    ]
    return [f"it is of another run: its {', '.join(differing[-1])} differs"] if all(differing) and known else []


def _differing(part: str, before: Any, now: Any) -> list[str]:
    return [] if before == now else [key for key, _ in _differences(part, before, now)]


def _differences(part: str, before: Any, now: Any) -> list[tuple[str, str]]:
    """The keys of a part that differ, each with the difference in words."""
    if part in _DIFFERENCES:
        return [(part, _DIFFERENCES[part])]
    if part == _MIXTURE:
        # Under the same words of the recipe, its order changes with the data alone.
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        return [("data", change_words(key, before, now)) for key in keys]
    old, new = (value if isinstance(value, dict) else {part: value} for value in (before, now))
    return [
        (key, change_words(key, old, new)) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
    ]


def _is_excused(part: str, keys: Sequence[str], allowed: Sequence[str]) -> bool:
    if part in allowed or any(is_allowed(key, [part]) for key in keys):
        return True
    if part == "schedule":
        return any(begins(key, _SCHEDULE) for key in keys)
    if part == _MIXTURE:
        # Its length follows the steps, its rows the data.
        words = (*_ROWS, *_SCHEDULE, "training.global_batch_size")
        return "data" in allowed or any(begins(key, words) for key in keys)
    return part == "data" and any(begins(key, _ROWS) for key in keys)


def answers_fingerprint(recipe: Recipe, prompts: Sequence[str]) -> str:
    """What decides the answers that a recipe of `kind: sample` draws, and their scores.

    Args:
        recipe: Resolved.
        prompts: Revisions of the sources that they come from.
    """
    words = {key: recipe.get(key) for key in DECIDE_ANSWERS}
    parts = [words, _weights_of(recipe), _scorings(recipe), list(prompts), version("hfrecipes")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def starting_weights(recipe: Recipe) -> str | None:
    """What an adapter stands on; a model that is trained whole lies in the checkpoint itself."""
    return None if recipe.get("adapter") is None else _weights_of(recipe)


def _weights_of(recipe: Recipe) -> str | None:
    """Which files, or which revision on the Hub, the weights come from; None for random ones."""
    name = recipe.get("model.name_or_path")
    if name is None:
        return None
    folder = recipe.find_file(name)
    if not folder.is_dir():
        return f"{name}@{recipe.get('model.revision')}"
    return _hashed(folder)


def _scorings(recipe: Recipe) -> list[str]:
    return [_scoring(recipe, place, spec) for place, spec in enumerate(recipe.get(_REWARDS))]


def _scoring(recipe: Recipe, place: int, spec: dict[str, Any]) -> str:
    """What a reward is, beyond the words of the recipe: the contents of a function's file, or a model's weights."""
    if name := spec.get(FUNCTION):
        where = recipe.where(f"{_REWARDS}.{place}")
        return name if name.startswith(_OURS) else function_fingerprint(name, recipe.path.parent, where)
    folder = recipe.find_file(spec[MODEL])
    if not folder.is_dir():
        return spec[MODEL]
    run = RunDir(folder)
    return _hashed(run.model if run.facts_file.is_file() and run.model.is_dir() else folder)


def _hashed(folder: Path) -> str:
    return hashlib.sha256("".join(sorted(_identity(folder))).encode()).hexdigest()[:32]


def _identity(folder: Path) -> Iterable[str]:
    if (folder / MANIFEST).is_file():
        # It holds the hashes of all the others.
        return [(folder / MANIFEST).read_text(encoding="utf-8")]
    files = [*folder.glob("*.safetensors"), *folder.glob("*config.json")]
    return [f"{path.name} {path.stat().st_size} {_small_hash(path)}" for path in files]


def _small_hash(path: Path) -> str:
    """Of the header alone where it is weights: reading all of a large model at each start would take its time."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(2**20)).hexdigest()


def other_conditions(earlier: dict[str, Any], manifest: dict[str, Any], world_size: int) -> list[str]:
    """What may make the rest of the run differ in its last bits, or in what is drawn at random.

    Args:
        earlier: Facts of the session before.
        manifest: Of the checkpoint.
        world_size: Processes of today.
    """
    lines = []
    processes = manifest.get("world_size", world_size)
    if processes != world_size:
        drawn = "what the model draws at random (dropout) is drawn anew from here"
        lines.append(f"saved by {processes} process(es), resumed by {world_size}: {drawn}")
    before = earlier.get("versions") or {}
    for name in ("torch", "transformers", "trl", "peft", "accelerate"):
        if name in before and before[name] != version(name):
            lines.append(
                f"{name} was {before[name]}, is {version(name)}: the rest of the run may differ in its last bits"
            )
    return lines
