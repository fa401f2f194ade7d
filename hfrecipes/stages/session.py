"""One training from recipe to finished run directory: the order in which the rooms are passed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.manifest import newest_valid
from hfrecipes.callbacks.metrics_log import MetricsLogCallback
from hfrecipes.callbacks.progress import ProgressCallback
from hfrecipes.data.formats import is_conversational, to_example
from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.plan.counts import DataCounts
from hfrecipes.plan.plan import make_plan
from hfrecipes.plan.render import plan_lines
from hfrecipes.publish.card import render_card
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import resolve
from hfrecipes.recipe.rundir import RunDir, now, write_atomically
from hfrecipes.stages import pretrain, sft
from hfrecipes.stages.facts import PeakMemory, Stopwatch, model_facts, row_sizes, starting_facts, training_facts
from hfrecipes.stages.measure import Measurer
from hfrecipes.stages.processes import Processes, refuse_other_precision
from hfrecipes.trainers.arguments import build_arguments

STAGES = {"pretrain": pretrain, "sft": sft}


@dataclass
class Session:
    """A recipe on its way through the rooms. `trainer` is built when it is first asked for; `train` runs it to the end.

    Args:
        recipe: A checked recipe of a kind that trains.
        run: Where it is written.
        hardware: The devices.
        processes: This process among all of the run.
        console: Where progress is shown; silent on all but the main process.
        warnings: What the check found and did not refuse.
    """

    recipe: Recipe
    run: RunDir
    hardware: Hardware
    processes: Processes
    console: Console
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recipe = resolve(self.recipe, self.hardware, self.processes.world_size)
        refuse_other_precision(self.recipe)
        self.stage = STAGES[self.recipe.kind]

    @cached_property
    def _tokenizers(self) -> tuple[Any, Any]:
        light, location = obtain_tokenizer(self.recipe)
        tokenizer = load_tokenizer(location, self.recipe)
        # Some transformers classes rebuild what tokenizer.json says; rows made with other ids would train another model.
        light.require_same_ids(tokenizer, ["def name(self):\n    return 'text'  # 1 + 1", "Grüße, 世界! \t x"])
        return light, tokenizer

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer that is saved with the model."""
        return self._tokenizers[1]

    @cached_property
    def prepared(self) -> Prepared:
        """The data: made by one process, read by all."""
        return prepare(self.recipe, self._tokenizers[0])

    @cached_property
    def _measurer(self) -> Measurer:
        return Measurer(self.recipe, self.prepared, self.tokenizer, self.console)

    @cached_property
    def trainer(self) -> Any:
        """The stock trainer with the recipe's model, data, arguments and our callbacks; add your own to it."""
        if self.prepared.train is None:
            raise RecipeError(
                Problem(self.recipe.where("data"), "data.train is missing", "name what the model learns from")
            )
        world_size = self.processes.world_size
        args = build_arguments(self.stage.ARGUMENTS, self.recipe, self.hardware, world_size, self.run.checkpoints)
        model = load_model(self.recipe, self.tokenizer)
        trainer = self.stage.build_trainer(self.recipe, model, args, self.prepared, self.tokenizer)
        for callback in self._callbacks(trainer):
            trainer.add_callback(callback)
        _drop_printer(trainer)
        return trainer

    def train(self, *, resume: bool = False) -> Path:
        """Trains, saves, measures, and writes facts, card and report.

        Returns:
            The run directory.

        Raises:
            RecipeError: where the run directory holds another run, or there is nothing to resume.
        """
        checkpoint = self._checkpoint(resume)
        facts = starting_facts(self.recipe, self.hardware, self.processes.world_size, self.warnings)
        if self.processes.is_main:
            self._open_run(facts)
        try:
            facts |= self._train_and_save(checkpoint, facts)
            if self.processes.is_main:
                self._measure(facts)
                facts |= {"status": "complete", "finished": now()}
        except BaseException as error:
            facts |= {"status": "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", "finished": now()}
            facts["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            if self.processes.is_main:
                self.run.write_facts(facts)
        if self.processes.is_main:
            self._write_pages(facts)
        return self.run.path

    def _train_and_save(self, checkpoint: Path | None, facts: dict[str, Any]) -> dict[str, Any]:
        self._measurer.refuse_unscorable()
        memory = PeakMemory()
        trainer, first_step = self.trainer, _step_of(checkpoint)
        plan = self._plan(trainer)
        facts |= {"data": self.prepared.facts, "plan": plan, "warnings": [*self.warnings, *self.prepared.warnings]}
        facts["model"] = model_facts(
            self.recipe, trainer.model, plan.get("parameters"), chat=self._trains_on_conversations()
        )
        watch = Stopwatch()
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            for callback in trainer.callback_handler.callbacks:
                if isinstance(callback, ProgressCallback):
                    callback.stop()
        seconds, peak = watch.facts(), memory.bytes()
        trainer.save_final(self.run.model)
        per_token = plan["flops"] / plan["tokens"] if plan.get("flops") and plan.get("tokens") else None
        return {"training": training_facts(trainer, first_step, seconds, peak, per_token)}

    def _measure(self, facts: dict[str, Any]) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model, keep_torch_compile=False)
        evaluations, samples = self._measurer.trained_and_base(model, self.trainer.state.global_step)
        facts |= {"evaluations": evaluations, "samples": samples}

    def _plan(self, trainer: Any) -> dict[str, Any]:
        """The plan as `hfrecipes plan` gives it, with the rows counted instead of estimated."""
        counts = DataCounts.from_facts(self.prepared.facts, len(trainer.train_dataset), len(self.tokenizer))
        plan = make_plan(self.recipe, self.hardware, self.processes.world_size, counts, trainer.model.config)
        for label, text in plan_lines(plan):
            self.console.print(f"  {label:12} {text}", highlight=False, markup=False, soft_wrap=True)
        return plan.to_dict()

    def _trains_on_conversations(self) -> bool:
        source, spec = self.prepared.sources("train")[0], self.recipe.get("data.train")[0]
        return any(
            is_conversational(to_example(row.values, spec, row.where, self.recipe.path.parent))
            for row in islice(source.rows(), 1)
        )

    def _callbacks(self, trainer: Any) -> list[Any]:
        lengths, _ = row_sizes(trainer.train_dataset)
        title = f"{self.recipe.kind} {self.recipe.name}"
        return [
            CheckpointCallback(self.recipe.get("training.save_total_limit")),
            MetricsLogCallback(self.run.metrics_file),
            ProgressCallback(title, float(lengths.mean()) * trainer.global_batch_size, self.console),
        ]

    # The run directory

    def _checkpoint(self, resume: bool) -> Path | None:
        """The checkpoint to go on from.

        Raises:
            RecipeError: where the folder holds a run and nothing was said about it, or holds none to resume.
        """
        if not resume:
            # The other processes may come here when the main one has begun to write.
            if self.processes.is_main and self.run.facts_file.is_file():
                fault = f"holds a run already ({self.run.facts().get('status')})"
                fix = f"go on with it by --resume, start anew with --overwrite, or say name={self.recipe.name}-2"
                raise RecipeError(Problem(str(self.run.path), fault, fix))
            return None
        checkpoint, skipped = newest_valid(self.run.checkpoints)
        for name, faults in skipped.items():
            self.warnings.append(f"{name} was passed over: {'; '.join(faults)}")
            self.console.print(f"[yellow]{self.warnings[-1]}")
        if checkpoint is None:
            fault = "holds no checkpoint that can be resumed"
            raise RecipeError(Problem(str(self.run.checkpoints), fault, "run it without --resume"))
        self.console.print(f"going on from {checkpoint.name}")
        return checkpoint

    def _open_run(self, facts: dict[str, Any]) -> None:
        self.run.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.recipe.values, sort_keys=False, allow_unicode=True, width=100)
        write_atomically(self.run.recipe, f"# As it was run; hfrecipes run recipe.yaml runs it again.\n{text}")
        self.run.write_facts(facts)

    def _write_pages(self, facts: dict[str, Any]) -> None:
        if self.recipe.get("publish.card", True):
            write_atomically(self.run.card, render_card(facts, self.run.metrics()))
        write_atomically(self.run.report, render_report([self.run]))


def clear_run(run: RunDir) -> None:
    """Removes a run directory so that it can be written anew; anything that is not a run is left alone.

    Raises:
        RecipeError: where the folder holds something else.
    """
    if run.path.is_dir() and any(run.path.iterdir()):
        if not run.facts_file.is_file():
            raise RecipeError(Problem(str(run.path), "is not a run directory", "choose another name"))
        shutil.rmtree(run.path)


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def _drop_printer(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
