"""Whether the tokenizer loads, and has what the data and the losses need of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hfrecipes.check.hub import hub_file, hub_unreachable, malformed_id
from hfrecipes.check.promised import is_promised
from hfrecipes.check.rows import Scan
from hfrecipes.models.recipe_tokenizer import extends, names_tokens, obtain_tokenizer, without_extension
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.extension import extension_problem
from hfrecipes.tokenization.files import TOKENIZER, is_folder_name
from hfrecipes.tokenization.tokenizer import Tokenizer, training_chat_template
from hfrecipes.tokenization.turns import finds_turns

# As in `<|im_start|>`.
_MARK = re.compile(r"<\|\w+\|>")
# What a tokenizer without tokenizer.json is made of; transformers converts it when the run begins.
_SLOW_FILES = ("*.model", "vocab.json", "vocab.txt", "merges.txt", "tekken.json")


def look_at_tokenizer(recipe: Recipe, promised: Iterable[Path]) -> tuple[Tokenizer | None, list[Problem]]:
    """The recipe's tokenizer; None where it cannot be looked at before the run, and why.

    One that is trained on the recipe's data does not exist before the run. It is made to fit, so it needs no check; of one
    that is extended, what it is made from is looked at.
    """
    if extends(recipe):
        return _to_extend(recipe, promised)
    key = tokenizer_key(recipe)
    named = recipe.get(key)
    if problems := list(_template_file_problems(recipe)):
        return None, problems
    if not isinstance(named, str) or is_promised(named, promised):
        return None, []
    folder = recipe.find_file(named)
    if folder.is_dir():
        return _in_folder(recipe, key, folder)
    if is_folder_name(named):
        # A model's folder that does not exist is said of the model.
        fault = [
            Problem(recipe.where(key), f"there is no folder {named}", "give a folder with tokenizer.json, or a Hub id")
        ]
        return None, fault if key == "model.tokenizer" else []
    return _on_hub(recipe, key, named)


def _to_extend(recipe: Recipe, promised: Iterable[Path]) -> tuple[Tokenizer | None, list[Problem]]:
    if recipe.get("model.name_or_path") is None:
        return None, []  # said by the agreement of words
    tokenizer, problems = look_at_tokenizer(without_extension(recipe), promised)
    if tokenizer and names_tokens(recipe):
        extended, faults = _load(recipe, recipe.where("model.tokenizer.extend"))
        return extended or tokenizer, [*problems, *faults]
    fault = tokenizer and extension_problem(tokenizer, recipe.where("model.tokenizer.extend"))
    return tokenizer, [*problems, *([fault] if fault else [])]


def tokenizer_key(recipe: Recipe) -> str:
    """The key that names the tokenizer: its own, else the model's."""
    return "model.name_or_path" if recipe.get("model.tokenizer") is None else "model.tokenizer"


def tokenizer_problems(
    recipe: Recipe, tokenizer: Tokenizer | None, config: dict[str, Any], scans: list[Scan]
) -> list[Problem]:
    """What the tokenizer lacks.

    Args:
        recipe: The recipe.
        tokenizer: Its tokenizer, where it could be looked at.
        config: The starting model's config, as far as it is known.
        scans: What is known of the data.
    """
    problems = list(_vocabulary_problems(recipe, tokenizer, config))
    if tokenizer is not None:
        problems += _special_token_problems(recipe, tokenizer, scans)
        problems += _template_problems(recipe, tokenizer, scans)
    return problems


def _template_file_problems(recipe: Recipe) -> Iterator[Problem]:
    key = "training.chat_template_path"
    path = recipe.get(key)
    if path is None:
        return
    file = recipe.find_file(path)
    if not file.is_file() or file.suffix not in (".jinja", ".j2"):
        fix = "name a .jinja file; to take another model's template, name its tokenizer in model.tokenizer"
        yield Problem(recipe.where(key), f"{key}: {path} is no template file", fix)


def _in_folder(recipe: Recipe, key: str, folder: Path) -> tuple[Tokenizer | None, list[Problem]]:
    where = recipe.where(key)
    if not (folder / TOKENIZER).is_file():
        slow = next((file.name for pattern in _SLOW_FILES for file in folder.glob(pattern)), None)
        if slow:
            fault = f"the tokenizer in {folder} is a slow one ({slow}), which is converted when the run begins"
            return None, [Problem(where, fault, "", "unchecked")]
        fix = "save one there, or name another in model.tokenizer"
        return None, [Problem(where, f"the folder {folder} holds no tokenizer", fix)]
    return _load(recipe, where)


def _on_hub(recipe: Recipe, key: str, name: str) -> tuple[Tokenizer | None, list[Problem]]:
    where = recipe.where(key)
    if malformed := malformed_id(name, where):
        return None, malformed
    revision = recipe.get("model.revision") if key == "model.name_or_path" else None
    file = hub_file(name, TOKENIZER, revision)
    if file is None:
        reason = hub_unreachable() or f"it has no {TOKENIZER} that can be fetched"
        return None, [Problem(where, f"the tokenizer of {name} is on the Hub: {reason}", "", "unchecked")]
    if hub_unreachable():
        # Its folder in the cache, so that nothing waits for an answer.
        return _load(recipe.replace(model={**recipe.get("model"), "tokenizer": str(file.parent)}), where)
    return _load(recipe, where)


def _load(recipe: Recipe, where: str) -> tuple[Tokenizer | None, list[Problem]]:
    try:
        return obtain_tokenizer(recipe)[0], []
    except RecipeError as error:
        return None, [Problem(where, f"{problem.where}: {problem.message}", problem.fix) for problem in error.problems]


def _vocabulary_problems(recipe: Recipe, tokenizer: Tokenizer | None, config: dict[str, Any]) -> Iterator[Problem]:
    entries = tokenizer.vocab_size if tokenizer else recipe.get("model.tokenizer.vocab_size")
    rows = {**config, **(config.get("text_config") or {})}.get("vocab_size")
    if isinstance(entries, int) and isinstance(rows, int) and entries > rows and not extends(recipe):
        fault = f"the tokenizer has {entries:,} entries, the model's vocab_size is {rows:,}"
        if recipe.get("model.config.vocab_size") is None:
            fix = "use the model's own tokenizer, and add tokens to it with model.tokenizer: {extend: ['<|token|>']}"
            yield Problem(recipe.where(tokenizer_key(recipe)), fault, fix)
        else:
            fix = "remove vocab_size: it follows from the tokenizer"
            yield Problem(recipe.where("model.config.vocab_size"), fault, fix)


def _special_token_problems(recipe: Recipe, tokenizer: Tokenizer, scans: list[Scan]) -> Iterator[Problem]:
    where = recipe.where(tokenizer_key(recipe))
    unknown = False
    for name in ("eos_token", "pad_token"):
        token = recipe.get(f"training.{name}")
        if token is not None and tokenizer.token_id(token) is None:
            unknown = True
            fault = f"training.{name} {token!r} is not in the vocabulary of {tokenizer.name}"
            yield Problem(recipe.where(f"training.{name}"), fault, "name one of its special tokens")
    if unknown:
        return
    if tokenizer.eos_token is None:
        plain = recipe.kind == "pretrain" or any(scan.conversational is False for scan in scans)
        fault = f"the tokenizer {tokenizer.name} has no eos_token, so a model cannot learn where a text ends"
        fix = "set training.eos_token, or name another tokenizer"
        yield Problem(where, fault, fix, "error" if plain else "warning")
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        pads = "has no pad_token" if tokenizer.pad_token is None else "pads with its eos_token"
        fault = f"the tokenizer {tokenizer.name} {pads}: where labels come from the pad id, no model learns to stop"
        fix = "nothing to do here: labels come from the text's own spans, so each end keeps its label"
        if recipe.kind == "reward":
            fault = f"the tokenizer {tokenizer.name} {pads}, and a reward is read at the last token that is no padding"
            fix = "nothing to do here: another special token is taken for padding, and saved with the model"
        yield Problem(where, fault, fix, "warning")


def _template_problems(recipe: Recipe, tokenizer: Tokenizer, scans: list[Scan]) -> Iterator[Problem]:
    if recipe.kind == "pretrain":
        return
    assistant_only = recipe.get("training.assistant_only_loss", False)
    talking = next((scan for scan in scans if scan.conversational), None)
    template = tokenizer.chat_template
    if template is None and (talking or assistant_only):
        needs = f"{talking.key} holds messages" if talking else "training.assistant_only_loss needs one"
        fault = f"the tokenizer {tokenizer.name} has no chat template, and {needs}"
        fix = "name a tokenizer that has one in model.tokenizer, or a file in training.chat_template_path"
        yield Problem(recipe.where(tokenizer_key(recipe)), fault, fix)
    elif assistant_only and not _tells_turns_apart(tokenizer):
        fault = f"the chat template of {tokenizer.name} does not mark what the assistant says, nor show where it ends"
        fix = (
            "put {% generation %} and {% endgeneration %} around its turns in a file for training.chat_template_path, "
            "or give prompt and completion"
        )
        yield Problem(recipe.where("training.assistant_only_loss"), fault, fix)
    if talking and template:
        yield from _spelled_marks(recipe, tokenizer, template)


def _spelled_marks(recipe: Recipe, tokenizer: Tokenizer, template: str) -> Iterator[Problem]:
    """Marks that the template writes and the vocabulary does not have, which a model reads as so many pieces."""
    marks = [mark for mark in dict.fromkeys(_MARK.findall(template)) if tokenizer.token_id(mark) is None]
    if marks:
        key = "training.chat_template_path" if recipe.get("training.chat_template_path") else tokenizer_key(recipe)
        fault = f"the chat template writes {', '.join(marks)}, which {tokenizer.name} spells in pieces"
        fix = f"model.tokenizer: {{extend: {marks}}} makes one token of each, whose rows are trained"
        yield Problem(recipe.where(key), fault, fix, "warning")


def _tells_turns_apart(tokenizer: Tokenizer) -> bool:
    marked = tokenizer.has_generation_markers or training_chat_template(tokenizer.chat_template or "") is not None
    return marked or finds_turns(tokenizer)
