"""Runs a recipe's cleaning rules over its data, once: what was cleaned stays in the cache, what was begun is gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hfrecipes.data.clean import parts
from hfrecipes.data.clean.bar import Bar
from hfrecipes.data.clean.parts import read_part
from hfrecipes.data.clean.registry import make_rules, rule_settings
from hfrecipes.data.clean.report import make_report, nothing_left
from hfrecipes.data.clean.work import Work
from hfrecipes.data.clean.workers import Workers
from hfrecipes.data.examples import examples_fingerprint
from hfrecipes.data.formats import Example
from hfrecipes.data.row import Row, Source
from hfrecipes.data.sources import open_sources
from hfrecipes.data.store import make_cache_folder, make_once
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import cache_folder
from hfrecipes.tokenization.tokenizer import Tokenizer

# Counted up when the same rules begin to give other documents, so that no old result is taken for a new one.
CODE_VERSION = 1

_INDEX = "index.json"
_REPORT = "report.json"

# Does the tasks of a work, up to the last of them; the engine then finds everything done.
Executor = Callable[[Work, Bar], None]


@dataclass(frozen=True)
class Cleaned:
    """What a recipe's rules left of its data.

    Args:
        folder: In the cache.
        report: What each rule did, as plain JSON.
        warnings: What was damaged in the cache and has been cleaned anew.
    """

    folder: Path
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        """The report without texts of documents, for run.json and the card."""
        rules = [{key: value for key, value in rule.items() if key != "examples"} for rule in self.report["rules"]]
        return {**self.report, "rules": rules}

    def examples(self, index: int) -> Iterator[tuple[Row, Example]]:
        """What is left of the source at this place in the recipe, lazily, as `read_examples` gives it.

        The rows hold those columns only that rules asked for.
        """
        for part in json.loads((self.folder / _INDEX).read_text(encoding="utf-8")):
            if part["source"] == index:
                for record in read_part(self.folder / part["file"]):
                    yield record.found


def clean(
    recipe: Recipe,
    role: str = "train",
    workers: int = 1,
    tokenizer: Tokenizer | None = None,
    progress: bool = True,
    cache: Path | None = None,
    executor: Executor | None = None,
) -> Cleaned:
    """Applies the rules under `data.clean`, or finds them applied.

    Any number of processes may call this at once: one does the work and the others wait. Killed at any moment and called
    again, it goes on where it was, and gives the same bytes; so it does with any number of workers.

    Args:
        recipe: With `data.clean`.
        role: Whose sources: `train`.
        workers: Processes. More than one need the `if __name__ == "__main__":` that Python's multiprocessing asks of scripts.
        tokenizer: Counts tokens for the report; None counts none, and takes a result in which some were counted.
        progress: Whether a bar is shown, where stderr is a terminal.
        cache: Folder for results; `cache_folder()` by default.
        executor: Does the tasks elsewhere; `workers` is then not used.

    Raises:
        RecipeError: naming rule and row where a rule fails, the reasons where no document is left, and a cache that cannot be
            written.
    """
    if not isinstance(recipe.get("data.clean"), list):
        fix = "add rules, as in data: {clean: [{rule: gopher_quality}, {rule: dedup_exact}]}"
        raise RecipeError(Problem(recipe.where("data"), "data.clean names no rules", fix))
    if not recipe.sources(role):
        where = recipe.where("data")
        raise RecipeError(
            Problem(where, f"data.{role} names no sources to clean", "name one, as in {path: rows.jsonl}")
        )
    folder, work = plan_work(recipe, role, tokenizer, cache)
    tell_if_waiting(folder, progress)
    damage = make_once(folder, lambda draft: _make(draft, work, workers, progress, executor))
    shutil.rmtree(work.folders.root, ignore_errors=True)
    report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    told = [f"cleaned data in the cache was damaged and has been cleaned anew: {'; '.join(damage)}"] if damage else []
    return Cleaned(folder, report, told)


def plan_work(recipe: Recipe, role: str, tokenizer: Tokenizer | None, cache: Path | None = None) -> tuple[Path, Work]:
    """Where the result of a cleaning lies, or will lie, and the tasks that make it."""
    rules, opened = make_rules(recipe, role), open_sources(recipe, role)
    fingerprint = _fingerprint(recipe, role, rules, opened)
    cleaned = make_cache_folder((cache or cache_folder()) / "cleaned")
    counted = sorted(path for path in cleaned.glob(f"{fingerprint}-*") if path.is_dir() and not path.suffix)
    if tokenizer is not None:
        folder = cleaned / f"{fingerprint}-{tokenizer.fingerprint[:8]}"
    else:
        folder = counted[0] if counted else cleaned / fingerprint
    settings = [said for _, said in rule_settings(recipe, role)]
    revisions = [source.revision for source in opened]
    draft = folder.with_name(f"{folder.name}.work")
    return folder, Work(recipe, role, rules, settings, draft, tokenizer, revisions)


def tell_if_waiting(folder: Path, progress: bool) -> None:
    """Says that another process cleans the same, which can take hours."""
    try:
        with FileLock(f"{folder}.lock", timeout=0):
            pass
    except Timeout:
        if progress:
            print("another process is cleaning the same data: waiting for it", file=sys.stderr)
    except OSError:
        pass  # it is told by who has to write there


def _make(draft: Path, work: Work, workers: int, progress: bool, executor: Executor | None) -> None:
    try:
        with Bar(work, shown=progress) as bar:
            if executor is None:
                run_here(work, workers, bar)
            else:
                executor(work, bar)
    except KeyboardInterrupt as interruption:
        interruption.add_note(work.progress())
        raise
    report = make_report(work)
    if problem := nothing_left(work, report):
        shutil.rmtree(work.folders.root, ignore_errors=True)
        raise RecipeError(problem)
    index = []
    for number, (source, count, file) in enumerate(work.results()):
        name = f"part-{number:05d}.arrow"
        _link(file, draft / name)
        index.append({"file": name, "source": source, "documents": count})
    (draft / _INDEX).write_text(json.dumps(index, indent=0) + "\n", encoding="utf-8")
    (draft / _REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run_here(work: Work, workers: int, bar: Bar) -> None:
    """Does all tasks on this machine."""
    work.read(bar.read)
    with Workers(work, workers) as pool:
        for number in range(1, len(work.passes) + 1):
            if not work.folders.is_closed(number):
                bar.begin(number)
                for count in pool.run(number, range(len(work.sources))):
                    bar.advance(count)
            work.close(number)


def _link(file: Path, name: Path) -> None:
    """The same file under another name, so that a kill in between loses nothing; a copy where the disk knows no links."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)


def _fingerprint(recipe: Recipe, role: str, rules: list[Any], opened: list[Source]) -> str:
    """Changes with all that decides the cleaned documents."""
    said: list[Any] = [CODE_VERSION, role, parts.MAX_RECORDS, parts.MAX_BYTES, recipe.get("data.clean")]
    said += [[rule.name, list(rule.columns), rule.fingerprint] for rule in rules]
    for source, (key, spec) in zip(opened, recipe.sources(role), strict=True):
        said.append(examples_fingerprint(recipe, spec, source, recipe.where(key)))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
