"""Whether the data is there and fits what the recipe wants of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from hfrecipes.check.agreement import named_sources
from hfrecipes.check.dotted import UnknownNames, missing_part
from hfrecipes.check.hub import repository_problems
from hfrecipes.check.promised import is_promised
from hfrecipes.check.refinement import columns_of_rules, refinement_problems
from hfrecipes.check.repeats import of_role, overlap_problems, repeat_problems
from hfrecipes.check.rows import Scan, answerless, named_places, scan_rows
from hfrecipes.data import embedded
from hfrecipes.data.families import refuse_unmeasured
from hfrecipes.data.labelled import refuse_one_sided
from hfrecipes.data.mixture.settings import mixture_settings
from hfrecipes.data.sources import open_source
from hfrecipes.data.splits.settings import split_settings
from hfrecipes.data.tasks import task_problems
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.source_list import LABELLED, PROMPTED

# What the embedded sources give; they are read by the tests of `data/`, not by every check.
_EMBEDDED_COLUMNS: dict[str, tuple[str, ...]] = {
    "python_code": ("text",),
    "python_prose": ("text",),
    "python_docstrings": ("prompt", "completion"),
    "python_preferences": ("prompt", "chosen", "rejected"),
    "python_rankings": ("prompt", "answers", "ranks"),
    "python_flaws": ("prompt", "chosen", "rejected"),
    "python_instructions": ("prompt", "completion", "family", "kind"),
}


def scan_sources(recipe: Recipe, promised: Iterable[Path]) -> list[Scan]:
    """Looks at every source: local ones are read in full, Hub ones are asked for, embedded ones are known."""
    scans = []
    trained, read_by_rules = {key for key, _ in recipe.sources("train")}, columns_of_rules(recipe)
    for key, spec in named_sources(recipe):
        name, path = spec.get("name"), spec.get("path")
        if bool(name) == bool(path):
            continue  # said by the agreement of words
        scan = Scan(key)
        if path and not is_promised(path, promised):
            scan = scan_rows(recipe, key, spec, read_by_rules if key in trained else ())
        elif name in embedded.NAMES:
            scan = _known(recipe, key, spec, read_by_rules if key in trained else ())
        elif name:
            where = recipe.where(f"{key}.name")
            scan.problems += repository_problems(name, "dataset", spec.get("revision"), where)
        if spec.get("format"):
            scan.problems += dotted_problems(recipe, f"{key}.format")
        scan.problems += task_problems(spec, recipe.where(key))
        scans.append(scan)
    return scans


def data_problems(recipe: Recipe, scans: list[Scan], promised: Iterable[Path]) -> list[Problem]:
    """What the scans found, and where it does not fit the rest of the recipe."""
    found = [
        *_mixture_problems(recipe),
        *_split_problems(recipe),
        *chain.from_iterable(scan.problems for scan in scans),
    ]
    found += repeat_problems(recipe, scans)
    found += overlap_problems(recipe, scans)
    found += _family_problems(recipe, scans)
    found += _one_sided_problems(recipe, scans)
    return [*found, *_task_problems(recipe, scans), *_refinement_problems(recipe, promised)]


def _family_problems(recipe: Recipe, scans: list[Scan]) -> list[Problem]:
    """Held-out families of which there is nothing to measure, where all held-out rows were looked at."""
    measured = [scan for scan in scans if not scan.key.startswith("data.train")]
    whole = all(0 < scan.num_rows == len(scan.sample) for scan in measured)
    if not whole or len(measured) < len(recipe.sources("eval")) + len(recipe.sources("test")):
        return []
    families = {example["family"] for scan in measured for _, example in scan.sample if example.get("family")}
    try:
        refuse_unmeasured(recipe, families)
    except RecipeError as error:
        return error.problems
    return []


def _one_sided_problems(recipe: Recipe, scans: list[Scan]) -> list[Problem]:
    """Labels of which all are the same, where all training rows were read."""
    trained = of_role(recipe, scans, "train")
    if not all(scan.num_rows for scan in trained):
        return []
    try:
        refuse_one_sided(recipe, {label for scan in trained for label in scan.labels})
    except RecipeError as error:
        return error.problems
    return []


def _mixture_problems(recipe: Recipe) -> list[Problem]:
    try:
        mixture_settings(recipe)
    except RecipeError as error:
        return error.problems
    return []


def _split_problems(recipe: Recipe) -> list[Problem]:
    try:
        split_settings(recipe)
    except RecipeError as error:
        return error.problems
    said = {spec.get("split") for _, spec in named_sources(recipe)} - {None}
    fix = "say split: train under data.train, and split: validation under data.eval"
    if recipe.get("data.splits") and not said:
        return [Problem(recipe.where("data.splits"), "data.splits deals nothing: no source says split:", fix)]
    if recipe.get("data.splits.folds") and "validation" not in said:
        fault = "no fold is measured: no source says split: validation"
        return [Problem(recipe.where("data.splits.folds"), fault, fix)]
    return []


def _refinement_problems(recipe: Recipe, promised: Iterable[Path]) -> list[Problem]:
    """What keeps the rows from being cleaned or augmented."""
    problems = refinement_problems(recipe, promised)
    for index, rule in enumerate(recipe.get("data.clean", [])):
        problems += dotted_problems(recipe, f"data.clean.{index}.classifier") if rule.get("classifier") else []
    return problems


def shape_problems(recipe: Recipe, scans: list[Scan]) -> list[Problem]:
    """Where the columns are not what the kind, or the loss, of the recipe is made for."""
    of_kind = {
        "sft": _loss_problems,
        "pretrain": _text_problems,
        **dict.fromkeys(PROMPTED, _prompt_problems),
        **dict.fromkeys(LABELLED, _label_problems),
    }
    look = of_kind.get(recipe.kind, _comparison_problems)
    return list(chain.from_iterable(look(recipe, scan) for scan in scans))


def dotted_problems(recipe: Recipe, key: str) -> list[Problem]:
    """Whether the `module:name` at a key of the recipe exists."""
    dotted = recipe.get(key)
    try:
        missing = missing_part(dotted, recipe.path.parent)
    except UnknownNames as error:
        return [Problem(recipe.where(key), f"{key} {dotted}: {error}", "", "unchecked")]
    return [Problem(recipe.where(key), f"{key}: {missing[0]}", missing[1])] if missing else []


def _known(recipe: Recipe, key: str, spec: dict[str, Any], read_by_rules: Iterable[str]) -> Scan:
    """An embedded source: its rows are correct by construction, so only what the recipe says of it can be wrong."""
    scan = Scan(key)
    columns, splits = _EMBEDDED_COLUMNS[spec["name"]], recipe.get("data.splits", {}) if spec.get("split") else {}
    readers = [("data.clean", column) for column in read_by_rules]
    readers += [(f"data.splits.{word}", splits[word]) for word in ("by", "group") if splits.get(word, "file") != "file"]
    for reader, column in readers:
        if column not in columns:
            fault = f"{reader} reads the column {column!r}, and {spec['name']} has {' and '.join(columns)}"
            scan.problems.append(Problem(recipe.where(reader), fault, "take another source, or leave it out"))
    try:
        open_source(spec, recipe, recipe.where(key))
    except RecipeError as error:
        scan.problems += error.problems
    if not spec.get("columns") and not spec.get("format"):
        scan.columns = _EMBEDDED_COLUMNS[spec["name"]]
        scan.conversational = "prompt" in scan.columns
        scan.others = frozenset(scan.columns) - {"prompt"}
    return scan


def _loss_problems(recipe: Recipe, scan: Scan) -> Iterator[Problem]:
    if "chosen" in scan.columns or recipe.get(f"{scan.key}.task") in ("preference", "ranking"):
        fault = f"{scan.key} compares answers, and kind: sft learns from one"
        fix = "give rows of prompt and completion; with columns: {prompt: prompt, completion: chosen} they learn the better one"
        yield Problem(recipe.where(scan.key), fault, fix)
        return
    if not scan.columns:
        return
    has = " and ".join(scan.columns)
    assistant_only = recipe.get("training.assistant_only_loss", False)
    if assistant_only and not scan.conversational:
        fault = f"training.assistant_only_loss needs messages, and {scan.key} has {has} as plain text"
        yield Problem(recipe.where("training.assistant_only_loss"), fault, "remove it, or give messages")
    if recipe.get("training.completion_only_loss") and "completion" not in scan.columns:
        fault = f"training.completion_only_loss needs prompt and completion, and {scan.key} has {has}"
        fix = "set assistant_only_loss: true" if scan.conversational else "remove it, or give prompt and completion"
        yield Problem(recipe.where("training.completion_only_loss"), fault, fix)
    if places := answerless(scan.sample):
        fault = f"no assistant speaks in {len(places):,} of {len(scan.sample):,} conversations: {named_places(places)}"
        severity = "error" if assistant_only else "warning"
        yield Problem(places[0], fault, "give them an answer, or remove them", severity)


def _text_problems(recipe: Recipe, scan: Scan) -> Iterator[Problem]:
    if scan.columns and scan.columns != ("text",):
        fault = f"pretraining reads text, and {scan.key} has {' and '.join(scan.columns)}"
        yield Problem(recipe.where(scan.key), fault, "choose a column with columns: {text: …}, or use kind: sft")


def _prompt_problems(recipe: Recipe, scan: Scan) -> Iterator[Problem]:
    if scan.columns == ("text",) and not recipe.get(f"{scan.key}.format"):
        fault = (
            f"kind: {recipe.kind} answers prompts, and {scan.key} has text, of which nothing says where a prompt ends"
        )
        fix = "cut it with format: module:function, which returns {'prompt': …}"
        yield Problem(recipe.where(scan.key), fault, fix)


def _label_problems(recipe: Recipe, scan: Scan) -> Iterator[Problem]:
    embedded = recipe.get(f"{scan.key}.name") in _EMBEDDED_COLUMNS
    known = {"chosen", "answers"} if embedded else {"chosen", "answers", "completion"}
    if scan.columns and not known & set(scan.columns):
        fault = f"kind: {recipe.kind} learns from answers that are good or not, and {scan.key} has {' and '.join(scan.columns)}"
        fix = "give prompt, completion and label, or prompt, chosen and rejected; or use kind: sft"
        yield Problem(recipe.where(scan.key), fault, fix)


def _comparison_problems(recipe: Recipe, scan: Scan) -> Iterator[Problem]:
    if scan.columns and not {"chosen", "answers"} & set(scan.columns):
        fault = f"kind: {recipe.kind} compares answers, and {scan.key} has {' and '.join(scan.columns)}"
        fix = "give prompt, chosen and rejected, or prompt and answers from best to worst; or use kind: sft"
        yield Problem(recipe.where(scan.key), fault, fix)
    if scan.num_rows and scan.num_tied == scan.num_rows:
        fault = f"in all {scan.num_rows:,} rows of {scan.key} no answer is better than another"
        fix = "give answers of which some are better, by ranks or scores that differ"
        yield Problem(recipe.where(scan.key), fault, fix)
    if recipe.kind != "reward" and recipe.get(f"{scan.key}.pairs") == "together":
        fault = (
            f"{scan.key}.pairs: together is for reward models; {recipe.kind.upper()} learns from two answers at a time"
        )
        yield Problem(recipe.where(f"{scan.key}.pairs"), fault, "say all, adjacent or best_worst")


def _task_problems(recipe: Recipe, scans: list[Scan]) -> Iterator[Problem]:
    if recipe.get("evaluation.task") is None:
        return
    for scan in of_role(recipe, scans, "test") or of_role(recipe, scans, "eval"):
        if scan.columns == ("text",):
            fault = f"evaluation.task asks and compares answers, and {scan.key} has text only"
            fix = "give prompt and completion, or messages, in data.test; or remove evaluation.task"
            yield Problem(recipe.where("evaluation.task"), fault, fix)
