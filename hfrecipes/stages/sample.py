"""`kind: sample`: a model's own answers to prompts, scored by rewards, as pairs and rankings that others learn from.

The run directory has `answers.jsonl`, all that was drawn, a line for each prompt in the order of the data; and made of it
`pairs.jsonl` (the best answer against the worst) and `rankings.jsonl` (all different answers, best first).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.console import Console

from hfrecipes.data.ranked import rank
from hfrecipes.recipe.drawing_words import margin_of
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import resolve
from hfrecipes.recipe.rundir import RunDir, now, refuse_links, write_atomically
from hfrecipes.recipe.secrets import redact
from hfrecipes.recipe.stops import InterruptedRunError
from hfrecipes.recipe.yaml_writer import dump_yaml
from hfrecipes.stages.answer_figures import answer_facts, samples_of, silent_rewards
from hfrecipes.stages.drawing import Answerer, Asked, read_prompts
from hfrecipes.stages.facts import starting_facts
from hfrecipes.stages.fingerprints import DECIDE_ANSWERS, answers_fingerprint
from hfrecipes.stages.keys import change_words, flatten
from hfrecipes.stages.occupied import refuse_occupied
from hfrecipes.stages.opening import claimed, earlier_facts
from hfrecipes.stages.options import RunOptions, make_console
from hfrecipes.stages.pages import remove_drafts, write_missing_pages, write_pages
from hfrecipes.stages.processes import Processes

# Prompts between two writes: what a kill costs at most. Batches are made within them, so a resumed run makes the same ones.
CHUNK = 32


def run_sample(recipe: Recipe, options: RunOptions, hardware: Hardware, warnings: list[str]) -> Path:
    """Draws the answers that are not drawn yet, and writes pairs, rankings, facts, card and report.

    Args:
        recipe: Checked, of `kind: sample`.
        options: Where and how.
        hardware: The devices; the first is used.
        warnings: What the check found and did not refuse.

    Returns:
        The run directory.

    Raises:
        RecipeError: where the folder holds another run, or answers that were drawn otherwise.
    """
    processes, run = Processes.here(), RunDir(options.runs_dir / recipe.name)
    if processes.world_size > 1:
        fault = f"kind: sample runs in one process, and there are {processes.world_size}"
        raise RecipeError(Problem(str(recipe.path), fault, "start it without a launcher"))
    recipe, console = resolve(recipe, hardware), make_console(options, processes)
    with claimed(run):
        refuse_links(run)
        earlier = earlier_facts(run) if options.resume else {}
        refuse_occupied(run, options.overwrite or bool(earlier))
        asked, data = read_prompts(recipe)
        mark = answers_fingerprint(recipe, [entry["revision"] for entry in data])
        _refuse_other(run, earlier, recipe, mark)
        written = all(file.is_file() for file in (run.answers, run.pairs, run.rankings))
        if earlier.get("status") == "complete" and earlier.get("recipe") == recipe.values and written:
            write_missing_pages(run)
            return run.path
        facts = {**starting_facts(recipe, hardware, 1, warnings, run), "data": data, "fingerprint": {"answers": mark}}
        facts["model"] = _model_facts(recipe)
        _open(run, recipe, facts, goes_on=bool(earlier))
        with _recorded(run, facts):
            facts |= _draw_missing(recipe, run, asked, hardware.device, console, earlier)
            facts |= _write_results(recipe, run)
            _warn_of_silence(run, facts, console)
            facts |= {"status": "complete", "finished": now()}
        write_pages(run)
    return run.path


def _model_facts(recipe: Recipe) -> dict[str, Any]:
    """Who answers; an absolute path cannot be taken for a Hub id."""
    name = recipe.get("model.name_or_path")
    local = recipe.find_file(name) if name else None
    base = str(local.resolve()) if local is not None and local.exists() else name
    return {"name_or_path": name, "revision": recipe.get("model.revision"), "base": base}


def _refuse_other(run: RunDir, earlier: dict[str, Any], recipe: Recipe, mark: str) -> None:
    """Raises where answers lie there that were drawn otherwise, naming what differs."""
    before = (earlier.get("fingerprint") or {}).get("answers")
    if earlier and before != mark:
        old, new = (
            flatten({word: values.get(word) for word in DECIDE_ANSWERS})
            for values in (earlier.get("recipe") or {}, recipe.values)
        )
        changed = [
            change_words(key, old, new) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
        ]
        # Under the same words there may be other files, or other versions.
        why = "; ".join(changed) or "the model, the data, a reward or the version of hfrecipes has changed"
        fault = f"its answers were drawn by another recipe: {why}"
        raise RecipeError(Problem(str(run.path), fault, "begin anew with --overwrite, or under another name"))


def _open(run: RunDir, recipe: Recipe, facts: dict[str, Any], *, goes_on: bool) -> None:
    """Makes the run directory ready to be written; what it held of an earlier run is removed where it begins."""
    run.path.mkdir(parents=True, exist_ok=True)
    # First of all: a folder with files and no facts is taken for somebody else's.
    run.write_facts(facts)
    if not goes_on:
        for file in (run.answers, run.pairs, run.rankings, run.card, run.report):
            file.unlink(missing_ok=True)
    remove_drafts(run)
    text = dump_yaml(recipe.values)
    write_atomically(run.recipe, f"# As it was run; hfrecipes run recipe.yaml runs it again.\n{text}")


@contextlib.contextmanager
def _recorded(run: RunDir, facts: dict[str, Any]) -> Iterator[None]:
    """Writes the facts when all is done, and why a run ended before."""
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | InterruptedRunError)
        facts |= {"status": "interrupted" if interrupted else "failed", "finished": now()}
        facts["error"] = redact(f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            run.write_facts(facts)
        raise
    run.write_facts(facts)


def _draw_missing(
    recipe: Recipe, run: RunDir, asked: list[Asked], device: str, console: Console, earlier: dict[str, Any]
) -> dict[str, Any]:
    """Draws the answers to all prompts that have none yet, chunk by chunk; gives seconds, those of earlier sessions included."""
    done = _keep_whole_chunks(run.answers, len(asked))
    began, used = time.monotonic(), time.process_time()
    if done < len(asked):
        answerer = Answerer(recipe, device)
        with run.answers.open("a", encoding="utf-8") as log:
            for start in range(done, len(asked), CHUNK):
                chunk = asked[start : start + CHUNK]
                log.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in answerer.answer(chunk))
                log.flush()
                os.fsync(log.fileno())
                console.print(f"{start + len(chunk):,} of {len(asked):,} prompts answered", highlight=False)
    before = earlier.get("drawing") or {}
    seconds = {"wall_seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - used}
    return {"drawing": {name: round(value + before.get(name, 0.0), 3) for name, value in seconds.items()}}


def _keep_whole_chunks(file: Path, prompts: int) -> int:
    """How many of the prompts an earlier session answered, in whole chunks; what it left half written is cut off."""
    if not file.is_file():
        return 0
    lines = file.read_bytes().splitlines(keepends=True)
    whole = list(takewhile(lambda numbered: _is_record(numbered[1], numbered[0]), enumerate(lines)))
    kept = prompts if len(whole) >= prompts else len(whole) // CHUNK * CHUNK
    if (size := sum(len(line) for _, line in whole[:kept])) != file.stat().st_size:
        os.truncate(file, size)
    return kept


def _is_record(line: bytes, number: int) -> bool:
    """Whether a line holds the answers to the prompt of its place; one that is damaged or missing is drawn anew."""
    with contextlib.suppress(ValueError):
        record = json.loads(line)
        whole = isinstance(record, dict) and record.keys() >= {
            "prompt",
            "answers",
            "scores",
            "rewards",
            "tokens",
            "ended",
        }
        return line.endswith(b"\n") and whole and record.get("number") == number
    return False


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of `answers.jsonl`."""
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _write_results(recipe: Recipe, run: RunDir) -> dict[str, Any]:
    """Pairs and rankings out of what was drawn, and what the facts say of them."""
    records = list(read_records(run.answers))
    ranked = [rank(each["prompt"], each["answers"], each["scores"]) for each in records]
    pairs = [None if each is None else each.pair(margin_of(recipe)) for each in ranked]
    _write_rows(run.pairs, (pair for pair in pairs if pair is not None))
    # Answers of which none is better than another teach nobody.
    _write_rows(run.rankings, (each.row() for each in ranked if each is not None and each.spread > 0))
    return {"answers": answer_facts(records, ranked, pairs), "samples": samples_of(pairs)}


def _warn_of_silence(run: RunDir, facts: dict[str, Any], console: Console) -> None:
    """Says which rewards had nothing to say."""
    for text in silent_rewards(list(read_records(run.answers))):
        facts["warnings"] = [*facts["warnings"], text]
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_atomically(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
