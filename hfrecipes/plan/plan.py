"""What a recipe will cost: parameters, tokens, FLOPs, memory, disk and hours, before anything is started.

Every figure is either known, or estimated and marked so, or left out with an *unchecked* problem that says why.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hfrecipes.data.mixture.schedule import MixtureSchedule
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.plan.advice import heads_problems, memory_problems
from hfrecipes.plan.answers import answers_figures
from hfrecipes.plan.compute import Compute, compute_of
from hfrecipes.plan.counts import DataCounts, estimate_counts
from hfrecipes.plan.disk import DiskNeed, disk_need
from hfrecipes.plan.footprint import Footprint, footprint
from hfrecipes.plan.mixture import mixture_facts, plan_schedule
from hfrecipes.plan.model import new_token_ids, planned_config, trained_adapter
from hfrecipes.plan.parameters import ParameterCount, count_parameters
from hfrecipes.plan.policy import rollout_plan
from hfrecipes.plan.run_length import longest_row, mean_row, passes, planned_steps, tokens_read
from hfrecipes.plan.shape import ModelShape, model_shape
from hfrecipes.plan.timetable import timetable_problems
from hfrecipes.recipe.adapter_words import shown_method
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import BatchSplit, resolve, split_batch
from hfrecipes.recipe.source_list import SAMPLE


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan for one recipe on one sort of device; None stands for what could not be known.

    Args:
        name: Name of the run.
        kind: Kind of the recipe.
        model: What is trained, in a few words.
        hardware: The device.
        world_size: Processes, one device each.
        batch: How an optimizer step's rows are divided.
        row_tokens: Tokens of the longest row, for which memory is planned.
        parameters: Counted on the meta device.
        shape: Widths and depths.
        data: Rows and tokens of one epoch.
        steps: Optimizer steps.
        epochs: Passes over the data, as `run.json` counts them.
        tokens: Tokens that are read in training.
        compute: FLOPs and hours.
        memory: Bytes on each device, by part.
        disk: Bytes on disk, as far as the steps are known.
        estimated: Whether the counts of data rest on a sample of rows.
        steps_estimated: Whether the steps follow from such counts.
        mixture: Which row comes when, where sources are mixed.
        problems: Warnings, and what was not checked.
    """

    name: str
    kind: str
    model: str
    hardware: Hardware
    world_size: int
    batch: BatchSplit
    row_tokens: int
    parameters: ParameterCount | None
    shape: ModelShape | None
    data: DataCounts | None
    steps: int | None
    epochs: float | None
    tokens: float | None
    compute: Compute | None
    memory: Footprint | None
    disk: DiskNeed | None
    estimated: bool
    steps_estimated: bool
    mixture: MixtureSchedule | None = None
    problems: tuple[Problem, ...] = field(default=())

    @property
    def memory_bytes(self) -> float | None:
        return None if self.memory is None else self.memory.total

    @property
    def checkpoint_bytes(self) -> float | None:
        return None if self.disk is None else self.disk.checkpoint_bytes

    @property
    def checkpoints(self) -> int | None:
        """Checkpoints that lie on disk at the end of training."""
        return None if self.disk is None else self.disk.kept

    def to_dict(self) -> dict[str, Any]:
        """The `plan` entry of run.json, with the details beside its six figures."""
        counts = self.parameters
        return {
            "parameters": None if counts is None else asdict(counts),
            "steps": self.steps,
            "tokens": _whole(self.tokens),
            "flops": None if self.compute is None else self.compute.model_flops,
            "memory_bytes": _whole(self.memory_bytes),
            "checkpoint_bytes": _whole(self.checkpoint_bytes),
            "name": self.name,
            "kind": self.kind,
            "model": self.model,
            "hardware": {**asdict(self.hardware), "world_size": self.world_size},
            "batch": {**asdict(self.batch), "row_tokens": self.row_tokens},
            "shape": None if self.shape is None else asdict(self.shape),
            "data": None if self.data is None else asdict(self.data),
            "mixture": None if self.mixture is None else mixture_facts(self.mixture),
            "epochs": self.epochs,
            "compute": None if self.compute is None else asdict(self.compute),
            "memory": None if self.memory is None else self.memory.parts,
            "sharded_memory_bytes": None if self.memory is None else _whole(self.memory.sharded(self.world_size)),
            "checkpoints": self.checkpoints,
            "disk_bytes": None if self.disk is None else _whole(self.disk.total),
            "estimated": self.estimated,
            "steps_estimated": self.steps_estimated,
            "problems": [asdict(problem) for problem in self.problems],
        }


def make_plan(
    recipe: Recipe,
    hardware: Hardware,
    world_size: int = 1,
    data_counts: DataCounts | None = None,
    config: Any = None,
) -> Plan:
    """Plans one run. Loads no weights; without `data_counts` it reads a sample of the data.

    Args:
        recipe: A recipe of any kind but `pipeline`, resolved or not.
        hardware: The device that each process has.
        world_size: Processes.
        data_counts: Rows and tokens of prepared data; estimated from a sample of rows where absent.
        config: The model's transformers config, where it is known from elsewhere (an earlier step of a pipeline).

    Raises:
        RecipeError: where the batch cannot be divided, or transformers or peft refuses the model or adapter.
    """
    said, recipe = recipe, resolve(recipe, hardware, world_size)
    if recipe.kind == SAMPLE:
        return _plan_answers(recipe, hardware, data_counts, config)
    if adapter := trained_adapter(recipe):
        recipe = recipe.replace(adapter=adapter)
    batch = split_batch(recipe, hardware, world_size)
    data = data_counts or estimate_counts(recipe)
    config = config or planned_config(recipe, data.vocab_size)
    problems = [*recipe.unchecked, *data.problems]
    counts = shape = memory = compute = None
    if isinstance(config, Problem):
        problems.append(config)
    else:
        counts, shape = _counted(recipe, config, new_token_ids(recipe, data.vocab_size)), model_shape(config)
        problems += heads_problems(recipe, counts)
    row_tokens, rollouts = longest_row(recipe, shape), rollout_plan(recipe, batch)
    if counts and shape:
        memory = footprint(recipe, counts, shape, batch, row_tokens, world_size)
        problems += [*memory.problems, *memory_problems(recipe, memory, hardware, world_size, batch)]
    schedule = plan_schedule(recipe, data, batch.global_batch_size, counts and counts.total)
    steps, epochs = planned_steps(recipe, data, batch, schedule, counts and counts.total)
    tokens = schedule.tokens if schedule else tokens_read(recipe, data, batch, steps)
    if counts and shape and tokens is not None:
        compute = compute_of(recipe, counts, shape, tokens, mean_row(recipe, data), hardware, world_size)
    problems += _unknown(recipe, steps, compute, hardware)
    problems += timetable_problems(said, steps) if steps else []
    return Plan(
        name=recipe.name,
        kind=recipe.kind,
        model=_model_words(recipe),
        hardware=hardware,
        world_size=world_size,
        batch=batch,
        row_tokens=row_tokens,
        parameters=counts,
        shape=shape,
        data=data,
        steps=steps,
        epochs=None if recipe.get("data.mixture") else passes(data, batch, steps, epochs, rollouts),
        tokens=tokens,
        compute=compute,
        memory=memory,
        disk=None if memory is None else disk_need(recipe, memory, steps, epochs),
        estimated=data.estimated,
        steps_estimated=data.estimated and recipe.get("training.max_steps", -1) <= 0,
        mixture=schedule,
        problems=tuple(problems),
    )


def _plan_answers(recipe: Recipe, hardware: Hardware, counts: DataCounts | None, config: Any) -> Plan:
    data = counts or estimate_counts(recipe)
    config, adapter = config or planned_config(recipe, data.vocab_size), trained_adapter(recipe)
    words = _model_words(recipe.replace(adapter=adapter) if adapter else recipe)
    figures = answers_figures(recipe, hardware, data, config, adapter)
    return Plan(name=recipe.name, kind=recipe.kind, model=words, hardware=hardware, world_size=1, **figures)


def _unknown(recipe: Recipe, steps: int | None, compute: Compute | None, hardware: Hardware) -> list[Problem]:
    problems = []
    if steps is None:
        fault = "the number of steps follows from rows that could not be counted"
        problems.append(Problem(recipe.where("training"), fault, "or say training.max_steps", "unchecked"))
    if compute is not None and compute.hours is None:
        fault = f"hours: the peak of {hardware.name} is not known"
        problems.append(Problem("hardware", fault, "name a device with --gpu", "unchecked"))
    return problems


def _counted(recipe: Recipe, config: Any, new_tokens: range | None) -> ParameterCount:
    adapter, quantization = recipe.get("adapter"), recipe.get("quantization")
    heads, frozen = mtp_settings(recipe), recipe.get("model.freeze")
    try:
        return count_parameters(config, adapter, quantization, heads, frozen, new_tokens)
    except Exception as error:  # whatever transformers or peft finds amiss, in whichever type
        section = "adapter" if adapter else "model.freeze" if recipe.get("model.freeze") else "model"
        problem = Problem(recipe.where(section), f"cannot be built: {error}", f"correct the {section} section")
        raise RecipeError(problem) from error


def _model_words(recipe: Recipe) -> str:
    name = recipe.get("model.name_or_path") or f"{recipe.get('model.config.model_type')} from random weights"
    words = [name]
    if adapter := recipe.get("adapter"):
        words.append(shown_method(adapter))
    if last := recipe.get("model.freeze.all_but_last"):
        words.append(f"only the last {last} layers trained")
    elif recipe.get("model.freeze"):
        words.append("partly frozen")
    if quantization := recipe.get("quantization"):
        words.append("4-bit" if quantization.get("load_in_4bit") else "8-bit")
    return " + ".join(words)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
