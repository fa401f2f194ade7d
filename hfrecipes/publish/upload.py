"""Exactly what a publication would push: paths, sizes and hashes, worked out without the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfrecipes.models.integrity import refuse_damaged_model, tensor_names
from hfrecipes.publish.answers import is_answers
from hfrecipes.publish.card import render_card
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.modelfiles import RECORDS, WEIGHTS, choose_model_files, model_file_content
from hfrecipes.publish.naming import is_repo_id, portable_value
from hfrecipes.publish.origin import local_model_id, recipe_text
from hfrecipes.publish.reading import facts_of, read_card
from hfrecipes.publish.report import render_report
from hfrecipes.publish.secrets import find_secrets, refuse_secret_words
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

# Weights hold numbers; the only text in them is the header, whose length comes first.
_HEADER_LENGTH_BYTES = 8
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class UploadFile:
    """One file of a publication.

    Args:
        path_in_repo: Where it will stand in the repository.
        path: The file of the run directory that it is, or is made of.
        content: What is pushed where that differs from the file; None to push the file.
        size: Bytes.
        sha256: Hash of what is pushed, in hexadecimal.
        git_oid: The name git gives the same content, by which the Hub knows small files.
    """

    path_in_repo: str
    path: Path
    content: bytes | None
    size: int
    sha256: str
    git_oid: str


def plan_upload(run: RunDir, repo_id: str | None = None, base_model: str | None = None) -> list[UploadFile]:
    """Every file that a publication of the run would push, in the order of their paths.

    The model's files stand at the root beside the card; recipe, facts, log and report under `hfrecipes/`, without
    paths of this machine.

    Args:
        run: A complete run.
        repo_id: Where it will go; the card's snippets load from there.
        base_model: Hub id of the base, for a run that started from a folder.

    Raises:
        RecipeError: for a run that is not complete, a damaged model, a card with faults, a file that holds a secret, an
            adapter whose base is not on the Hub. Names every such file.
    """
    facts = facts_of(run)
    _refuse_answers(run, facts)
    _refuse_unfinished(run, facts)
    _refuse_bad_names(repo_id, base_model)
    if run.model.is_dir():
        refuse_damaged_model(run.model)
    chosen, _ = choose_model_files(run)
    for path in chosen:
        if path.suffix == WEIGHTS:
            # A file that is none could hold anything, and where its header ends decides how much of it is read.
            tensor_names(path)
    files = [_upload_file(p.relative_to(run.model).as_posix(), p, model_file_content(p, base_model)) for p in chosen]
    card = _card(run, facts, repo_id, base_model)
    files.append(_upload_file("README.md", run.card, card.encode()))
    files += [_upload_file(f"{RECORDS}/{path.name}", path, content) for path, content in _records(run, facts)]
    problems = [*_secret_problems(files), *_card_problems(run, card, facts)]
    if problems:
        raise RecipeError(problems)
    return sorted(files, key=lambda file: file.path_in_repo)


def left_out(run: RunDir) -> list[tuple[Path, str]]:
    """The files of `model/` that a publication leaves where they are, with the reason."""
    return choose_model_files(run)[1]


def _refuse_answers(run: RunDir, facts: dict[str, Any]) -> None:
    if is_answers(facts):
        fix = f"push it as a data set: hf upload USER/NAME {run.path} --repo-type dataset"
        raise RecipeError(Problem(str(run.path), "holds answers, and no model", fix))


def _refuse_unfinished(run: RunDir, facts: dict[str, Any]) -> None:
    status = facts.get("status")
    if steps := [step["run"] for step in facts.get("steps") or [] if step.get("run")]:
        fix = f"publish one of them: hfrecipes publish {run.path / steps[-1]}"
        raise RecipeError(Problem(str(run.path), f"holds {len(steps)} runs and no model of its own", fix))
    if status != "complete":
        fix = "finish it: hfrecipes run RECIPE --resume"
        raise RecipeError(Problem(str(run.facts_file), f"the run's status is {status}, not complete", fix))


def _refuse_bad_names(repo_id: str | None, base_model: str | None) -> None:
    refuse_secret_words(repo=repo_id, base_model=base_model)
    for flag, name in (("--repo", repo_id), ("--base-model", base_model)):
        if name is not None and not is_repo_id(name):
            raise RecipeError(Problem(flag, f"{name!r} is not a Hub repository", "write OWNER/NAME"))


def _card(run: RunDir, facts: dict[str, Any], repo_id: str | None, base_model: str | None) -> str:
    """The run's own card where someone has edited it, else a fresh one; its snippets load from the repository."""
    rendered = render_card(facts, run.metrics(), repo_id, base_model)
    if not run.card.is_file():
        return rendered
    kept = read_card(run.card)
    if kept == render_card(facts, run.metrics()):
        return rendered
    return kept.replace(json.dumps(local_model_id(facts)), json.dumps(repo_id)) if repo_id else kept


def public_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts without paths of this machine and without where they were published, which no upload can know.

    Samples stay as they are: a path in them came out of the model.
    """
    kept = {key: value for key, value in facts.items() if key not in ("published", "samples")}
    samples = {"samples": facts["samples"]} if "samples" in facts else {}
    return portable_value(kept) | samples


def _records(run: RunDir, facts: dict[str, Any]) -> Iterator[tuple[Path, bytes | None]]:
    """What stands under `hfrecipes/`: facts, recipe, log, report."""
    # JSON writes half of a character in the same way as this does.
    said = json.dumps(public_facts(facts), indent=2, ensure_ascii=False) + "\n"
    yield run.facts_file, said.encode(errors="backslashreplace")
    if facts.get("recipe"):
        yield run.recipe, (recipe_text(facts) + "\n").encode()
    if run.metrics_file.is_file():
        yield run.metrics_file, None
    yield run.report, render_report([run]).encode()


def _upload_file(path_in_repo: str, path: Path, content: bytes | None) -> UploadFile:
    size = path.stat().st_size if content is None else len(content)
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for chunk in [content] if content is not None else _chunks(path):
        sha256.update(chunk)
        git.update(chunk)
    return UploadFile(path_in_repo, path, content, size, sha256.hexdigest(), git.hexdigest())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _secret_problems(files: list[UploadFile]) -> Iterator[Problem]:
    for file in files:
        for _, kind in find_secrets(file.path_in_repo.encode(errors="replace")):
            yield Problem(str(file.path), f"its name holds {kind}", "give it another name; nothing was pushed")
        for line, kind in find_secrets(_text_of(file)):
            fix = "take it out of the file and revoke it; nothing was pushed"
            yield Problem(f"{file.path}:{line}", f"holds {kind}, which would be published as {file.path_in_repo}", fix)


def _text_of(file: UploadFile) -> bytes:
    """What a secret could stand in: the whole file; of weights, their header."""
    if file.content is not None:
        return file.content
    if file.path.suffix != WEIGHTS:
        return file.path.read_bytes()
    with file.path.open("rb") as weights:
        length = int.from_bytes(weights.read(_HEADER_LENGTH_BYTES), "little")
        return weights.read(min(length, file.size))


def _card_problems(run: RunDir, card: str, facts: dict[str, Any]) -> Iterator[Problem]:
    """The linter's errors, at the place of the run's own card. Secrets were reported with the other files'."""
    for problem in lint_card(card, facts):
        if problem.severity == "error" and not problem.message.startswith("the card holds"):
            yield Problem(f"{run.path}/{problem.where}", problem.message, problem.fix)
