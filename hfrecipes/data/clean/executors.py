"""The tasks of a cleaning under datatrove's executors: on this machine, on a Slurm cluster, or on Ray.

The cache has to lie on a disk that all machines share. The tasks, and so the bytes of the result, are those of our own engine.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hfrecipes.data.clean.bar import Bar
from hfrecipes.data.clean.engine import Executor, clean, plan_work
from hfrecipes.data.clean.work import Work
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

# Name -> datatrove's class.
EXECUTORS = {
    "datatrove": "datatrove.executor.local:LocalPipelineExecutor",
    "slurm": "datatrove.executor.slurm:SlurmPipelineExecutor",
    "ray": "datatrove.executor.ray:RayPipelineExecutor",
}
# What is decided here, so that no option may say it.
_OURS = {"self", "pipeline", "tasks", "workers", "logging_dir", "depends", "skip_completed"}


def make_executor(kind: str, workers: int, options: Mapping[str, Any]) -> Executor:
    """An executor for `clean` that waits until all is done.

    Args:
        kind: `datatrove` for its LocalPipelineExecutor, or `ray`, whose cluster has to be there (`ray.init`).
        workers: Tasks that each pass is shared among, all of which run at once.
        options: Further words of datatrove's class: `{"mem_per_cpu_gb": 4}`.

    Raises:
        RecipeError: datatrove is not installed, or its class knows no such option.
    """
    check_options(kind, options)
    if kind == "ray" and importlib.util.find_spec("ray") is None:
        raise RecipeError(Problem("--executor ray", "Ray is not installed", "pip install ray"))

    def execute(work: Work, bar: Bar) -> None:
        from hfrecipes.data.clean.datatrove_steps import TaskFailedError

        try:
            # One after the other: datatrove's own waiting for a stage looks every two minutes.
            for stage in stages(kind, work, workers, options):
                stage.run()
        except TaskFailedError as error:
            raise RecipeError(error.args[0]) from error
        shutil.rmtree(_logs(work), ignore_errors=True)

    return execute


def submit(recipe: Recipe, role: str, workers: int, tokenizer: Tokenizer | None, options: Mapping[str, Any]) -> Path:
    """Submits a cleaning to Slurm: a chain of jobs, of which each waits for the one before.

    Returns:
        The folder of the logs. `clean` finds the result when the last job has ended.

    Raises:
        RecipeError: datatrove is not installed, its class knows no such option, or there is no Slurm here.
    """
    check_options("slurm", options)
    if shutil.which("sbatch") is None:
        fix = "submit from a login node, or clean here with --executor local"
        raise RecipeError(Problem("--executor slurm", "there is no sbatch here", fix))
    _, work = plan_work(recipe, role, tokenizer)
    stages("slurm", work, workers, options)[-1].run()  # it submits those that it depends on
    return _logs(work)


def stages(kind: str, work: Work, workers: int, options: Mapping[str, Any]) -> list[Any]:
    """Datatrove's executors for a work, in their order: reading, then each pass and its end.

    Slurm's depend on one another, and the last puts the result into its place.

    Args:
        kind: One of `EXECUTORS`.
        work: The cleaning.
        workers: Tasks of a pass.
        options: Further words of datatrove's class.
    """
    from hfrecipes.data.clean.datatrove_steps import WorkStep

    planned: list[tuple[str, Callable[[Work, int, int], Iterator[int]], int]] = [("read", _read, 1)]
    for number in range(1, len(work.passes) + 1):
        planned.append((f"pass-{number}", functools.partial(_run_tasks, number), workers))
        planned.append((f"close-{number}", functools.partial(_close, number), 1))
    if kind == "slurm":
        planned.append(("finish", _finish, 1))
    cls = _class(kind)
    made: list[Any] = []
    for name, do, tasks in planned:
        words: dict[str, Any] = {"tasks": tasks, "logging_dir": str(_logs(work) / name), "skip_completed": False}
        if kind == "slurm":
            words |= {"job_name": f"clean-{name}", "depends": made[-1] if made else None}
        made.append(cls(pipeline=[WorkStep(work, name, do)], **{**words, **options}))
    return made


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Holds options against the class that will be built.

    Raises:
        RecipeError: naming those that it does not know, and those that it needs.
    """
    parameters = inspect.signature(_class(kind).__init__).parameters
    known = parameters.keys() - _OURS
    problems = [
        Problem(f"--executor-option {name}", f"the executor {kind} has no such option", f"it has {_listed(known)}")
        for name in sorted(options.keys() - known)
    ]
    needed = {name for name in known if parameters[name].default is inspect.Parameter.empty}
    if missing := sorted(needed - options.keys()):
        fix = f"say --executor-option {missing[0]}=…"
        problems.append(Problem(f"--executor {kind}", f"it needs to know {_listed(missing)}", fix))
    if problems:
        raise RecipeError(problems)


def _class(kind: str) -> Any:
    module, _, name = EXECUTORS[kind].partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        message = f"the executor {kind} needs datatrove, which is not installed ({error})"
        raise RecipeError(Problem("--executor", message, "pip install 'hfrecipes[clean]'")) from error


def _logs(work: Work) -> Path:
    return work.folders.root.with_suffix(".logs")


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))


# The stages: each is given the work, its rank and the number of tasks, and yields numbers of documents.


def _read(work: Work, rank: int, world_size: int) -> Iterator[int]:
    counts: list[int] = []
    work.read(counts.append)
    yield from counts


def _run_tasks(number: int, work: Work, rank: int, world_size: int) -> Iterator[int]:
    if not work.folders.is_closed(number):
        for part in range(rank, len(work.sources), world_size):
            yield work.run_task(number, part)


def _close(number: int, work: Work, rank: int, world_size: int) -> Iterator[int]:
    work.close(number)
    yield work.documents_before(number + 1)


def _finish(work: Work, rank: int, world_size: int) -> Iterator[int]:
    cleaned = clean(
        work.recipe, work.role, tokenizer=work.tokenizer, progress=False, cache=work.folders.root.parent.parent
    )
    yield cleaned.report["documents"]["after"]
