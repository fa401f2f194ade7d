"""The same tasks under datatrove's executors, and our rules in a pipeline of somebody's own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document as TroveDocument
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor

from hfrecipes.data.clean import executors, parts
from hfrecipes.data.clean.datatrove_steps import RuleStep, WorkStep
from hfrecipes.data.clean.engine import clean, plan_work
from hfrecipes.data.clean.executors import check_options, make_executor, stages, submit
from hfrecipes.data.clean.work import Work
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from tests.data.clean.own_rules import ColumnRule, DigitsRule, FailsRule, RepeatsRule, Settings, ShortRule

Cleaning = Callable[..., Recipe]
SLURM = {"partition": "cpu", "time": "01:00:00", "mem_per_cpu_gb": 4}


@pytest.fixture(autouse=True)
def rules(own: None) -> None:
    pass


def make_recipe(cleaning: Cleaning, count: int) -> Recipe:
    rules = [{"rule": "short", "least": 4}, {"rule": "repeats"}, {"rule": "digits"}]
    rows = [{"text": f"{'ab' * (number % 5)}{number % (count // 3)}"} for number in range(count)]
    return cleaning(rules, first=rows, second=[*rows[:15], {"text": "another text"}])


@pytest.fixture
def recipe(cleaning: Cleaning) -> Recipe:
    return make_recipe(cleaning, 95)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.timeout(200)
def test_datatrove_with_two_workers_gives_the_bytes_of_our_own_engine(recipe: Recipe, tmp_path: Path) -> None:
    ours = clean(recipe, cache=tmp_path / "ours")
    theirs = clean(recipe, cache=tmp_path / "theirs", executor=make_executor("datatrove", 2, {}))
    assert digests(ours.folder) == digests(theirs.folder) and len(digests(ours.folder)) > 8
    left = {path.suffix for path in (tmp_path / "theirs" / "cleaned").iterdir()}
    assert left == {"", ".lock"}


def test_a_rule_that_fails_in_a_task_of_datatrove_names_itself_and_the_row(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning([{"rule": "fails"}], first=[{"text": "fine"}] * 14 + [{"text": "poison"}])
    with pytest.raises(RecipeError, match=r"first\.jsonl:15: error: the rule fails fails here: ZeroDivisionError"):
        clean(recipe, cache=tmp_path / "cache", executor=make_executor("datatrove", 1, {}))


def test_slurm_jobs_are_a_chain_with_the_passes_as_arrays(recipe: Recipe, tmp_path: Path) -> None:
    _, work = plan_work(recipe, "train", None, tmp_path)
    chain = stages("slurm", work, 8, SLURM)
    assert all(isinstance(one, SlurmPipelineExecutor) for one in chain)
    names = ["read", "pass-1", "close-1", "pass-2", "close-2", "finish"]
    assert [one.job_name for one in chain] == [f"clean-{name}" for name in names]
    assert [one.tasks for one in chain] == [1, 8, 1, 8, 1, 1]
    assert [one.depends for one in chain] == [None, *chain[:-1]]
    assert {(one.partition, one.time, one.mem_per_cpu_gb) for one in chain} == {("cpu", "01:00:00", 4)}
    arguments = chain[1].get_sbatch_args(8)
    assert arguments["array"] == "0-7" and arguments["mem-per-cpu"] == "4G"


@pytest.mark.timeout(200)
def test_what_slurm_would_submit_does_the_work_when_its_jobs_are_run(
    cleaning: Cleaning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as can be tried without a cluster: sbatch only notes what it was told, and the jobs are run here, in order."""
    programs = tmp_path / "bin"
    programs.mkdir()
    noted = f'echo "$@" >> {tmp_path}/calls; echo "Submitted batch job $(wc -l < {tmp_path}/calls)"'
    for name, does in (("sbatch", noted), ("scontrol", "echo here")):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HFRECIPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parts, "MAX_RECORDS", 1000)  # the jobs are processes that know nothing of fixtures
    recipe = make_recipe(cleaning, 2300)
    logs = submit(recipe, "train", 2, None, SLURM)
    # Every second job sums up datatrove's statistics.
    waits = [line.partition("--dependency=")[2].split(" ")[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert waits[::2] == ["", "afterok:1", "afterok:3", "afterok:5", "afterok:7", "afterok:9"]
    runner = "import sys, dill; dill.load(open(sys.argv[1], 'rb')).run()"
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "SLURM_NODELIST": "here"}
    for name, tasks in (("read", 1), ("pass-1", 2), ("close-1", 1), ("pass-2", 2), ("close-2", 1)):
        for rank in range(tasks):
            line = [sys.executable, "-c", runner, str(logs / name / "executor.pik")]
            done = subprocess.run(
                line, env={**here, "SLURM_ARRAY_TASK_ID": str(rank)}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    assert (logs / "finish" / "executor.pik").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(Work, "run_task", lambda *args: pytest.fail("all tasks are done"))
        (left,) = executors._finish(plan_work(recipe, "train", None)[1], 0, 1)
        assert left > 10
    theirs, ours = clean(recipe), clean(recipe, cache=tmp_path / "ours")
    assert digests(theirs.folder) == digests(ours.folder) and len(digests(ours.folder)) == 7


def test_ray_stages_are_built_by_its_words(recipe: Recipe, tmp_path: Path) -> None:
    _, work = plan_work(recipe, "train", None, tmp_path)
    made = stages("ray", work, 6, {"cpus_per_task": 2})
    assert all(isinstance(one, RayPipelineExecutor) for one in made)
    assert [one.tasks for one in made] == [1, 6, 1, 6, 1] and {one.cpus_per_task for one in made} == {2}
    assert [len(one.pipeline) for one in made] == [1] * 5 and isinstance(made[0].pipeline[0], WorkStep)


def test_options_that_an_executor_does_not_know_or_lacks_are_said() -> None:
    with pytest.raises(RecipeError, match=r"--executor-option partitoin: error: .*no such option .*partition"):
        check_options("slurm", {**SLURM, "partitoin": "cpu"})
    with pytest.raises(RecipeError, match="--executor slurm: error: it needs to know partition, time"):
        check_options("slurm", {})
    with pytest.raises(RecipeError, match="pipeline: error"):
        check_options("datatrove", {"pipeline": []})


def test_an_executor_that_is_not_here_is_said(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RecipeError, match=r"there is no sbatch here .*--executor local"):
        submit(recipe, "train", 3, None, SLURM)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match="Ray is not installed"):
        make_executor("ray", 2, {})
    monkeypatch.setitem(sys.modules, "datatrove.executor.local", None)
    with pytest.raises(RecipeError, match=r"pip install 'hfrecipes\[clean\]'"):
        make_executor("datatrove", 2, {})


def trove(*texts: str, **metadata: Any) -> list[TroveDocument]:
    return [TroveDocument(text=text, id=f"id/{number}", metadata=metadata) for number, text in enumerate(texts)]


def test_rules_can_be_a_step_of_any_datatrove_pipeline() -> None:
    step = RuleStep([ShortRule(Settings(least=3)), DigitsRule(Settings())])
    left = list(step.run(iter(trove("a", "abc1", "1234", *["long text 5"] * 600))))
    assert [one.text for one in left] == ["abc", *["long text "] * 600]
    assert [one.id for one in left[:2]] == ["id/1", "id/3"]
    assert step.stats["short dropped: too_short"].total == 1
    assert step.stats["digits dropped: nothing_left"].total == 1
    assert step.stats["digits: digits"].total == 605


def test_a_step_gives_rules_the_metadata_as_columns() -> None:
    step = RuleStep([ColumnRule(Settings())])
    assert list(step.run(iter(trove("text", url="bad")))) == []
    assert len(list(step.run(iter(trove("text", url="good"))))) == 1


def test_a_step_names_rule_and_document_that_fail() -> None:
    with pytest.raises(RecipeError, match="id/1: error: the rule fails fails here"):
        list(RuleStep([FailsRule(Settings())]).run(iter(trove("fine", "poison"))))


def test_a_rule_about_the_corpus_is_refused_in_a_stream() -> None:
    with pytest.raises(ValueError, match="repeats: cannot judge a stream"):
        RuleStep([RepeatsRule(Settings())])
