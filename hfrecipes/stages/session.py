"""One training from recipe to finished run directory: the order in which the rooms are passed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.manifest import newest_valid
from hfrecipes.callbacks.metrics_log import MetricsLogCallback
from hfrecipes.callbacks.progress import ProgressCallback
from hfrecipes.data.formats import is_conversational, to_example
from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.probe import documents_leak
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
from hfrecipes.recipe.yaml_reader import read_yaml
from hfrecipes.recipe.yaml_writer import dump_yaml
from hfrecipes.stages import pretrain, sft
from hfrecipes.stages.facts import PeakMemory, Stopwatch, model_facts, row_sizes, starting_facts, training_facts
from hfrecipes.stages.measure import Measurer
from hfrecipes.stages.occupied import refuse_occupied
from hfrecipes.stages.processes import Processes, refuse_other_precision
from hfrecipes.trainers.arguments import build_arguments

MICRO_BATCH = "training.per_device_train_batch_size"
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
        self._memory = PeakMemory()
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
        """The stock trainer with the recipe's model, data, arguments and our callbacks; add your own to it.

        Raises:
            RecipeError: where the libraries refuse what the recipe says, naming the section.
        """
        if self.prepared.train is None:
            raise RecipeError(
                Problem(self.recipe.where("data"), "data.train is missing", "name what the model learns from")
            )
        with self._refusing("training"):
            args = build_arguments(
                self.stage.ARGUMENTS,
                self.recipe,
                self.hardware,
                self.processes.world_size,
                self.run.checkpoints,
                tuple(self.prepared.eval),
            )
        with self._refusing("model"):
            model = load_model(self.recipe, self.tokenizer)
            self._try_forward(model)
        with self._refusing("adapter" if self.recipe.get("adapter") else "training"):
            trainer = self.stage.build_trainer(self.recipe, model, args, self.prepared, self.tokenizer)
        for callback in self._callbacks(trainer):
            trainer.add_callback(callback)
        _drop_printer(trainer)
        return trainer

    def _try_forward(self, model: Any) -> None:
        """A config that its class accepts can still fail in its first forward; documents that leak are found here, too."""
        packed = self.recipe.get("data.document_mask") or self.recipe.get("training.packing")
        if documents_leak(model) and packed:
            word = "data.document_mask" if self.recipe.kind == "pretrain" else "training.packing"
            fault = f"{type(model).__name__} does not keep packed documents apart"
            raise RecipeError(Problem(self.recipe.where(word), fault, f"say {word}: false"))

    @contextlib.contextmanager
    def _refusing(self, section: str) -> Iterator[None]:
        """Turns what a library raises while it is given the recipe's words into an error about that section."""
        try:
            yield
        except RecipeError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            fault = f"the libraries refuse this section: {type(error).__name__}: {reason[:400]}"
            raise RecipeError(
                Problem(self.recipe.where(section), fault, "correct it; their words are in their docs")
            ) from error

    def train(self, *, resume: bool = False, overwrite: bool = False) -> Path:
        """Trains, saves, measures, and writes facts, card and report.

        Nothing is written, and nothing of an earlier run removed, before data, model and trainer stand.

        Returns:
            The run directory.

        Raises:
            RecipeError: where the run directory holds another run, or there is nothing to resume.
        """
        if resume and self._is_complete():
            self.console.print(f"{self.run.path} is complete", highlight=False)
            return self.run.path
        checkpoint = self._checkpoint(resume, overwrite)
        trainer = self.trainer
        self._measurer.refuse_unscorable(trainer.model)
        facts = starting_facts(self.recipe, self.hardware, self.processes.world_size, self.warnings)
        if self.processes.is_main:
            self._open_run(facts, anew=not resume)
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
        trainer, first_step = self.trainer, _step_of(checkpoint)
        plan = self._plan(trainer)
        facts |= {"data": self.prepared.facts, "plan": plan, "warnings": [*self.warnings, *self.prepared.warnings]}
        facts["model"] = model_facts(
            self.recipe, trainer.model, plan.get("parameters"), chat=self._trains_on_conversations()
        )
        watch = Stopwatch()
        try:
            trainer.train_or_restore(checkpoint)
        finally:
            for callback in trainer.callback_handler.callbacks:
                if isinstance(callback, ProgressCallback):
                    callback.stop()
        seconds, peak = watch.facts(trainer.evaluation_seconds), self._memory.bytes()
        trainer.save_final(self.run.model)
        per_token = plan["flops"] / plan["tokens"] if plan.get("flops") and plan.get("tokens") else None
        return {"training": training_facts(trainer, first_step, seconds, peak, per_token)}

    def _measure(self, facts: dict[str, Any]) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model, keep_torch_compile=False)
        evaluations, samples = self._measurer.trained_and_base(model, self.trainer.state.global_step)
        facts |= {
            "evaluations": evaluations,
            "samples": samples,
            "warnings": [*facts["warnings"], *self._measurer.warnings],
        }

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

    def _is_complete(self) -> bool:
        """Whether this very recipe has been run to its end here."""
        if not self.run.facts_file.is_file() or self.run.facts().get("status") != "complete":
            return False
        self._refuse_changes()
        return True

    def _checkpoint(self, resume: bool, overwrite: bool) -> Path | None:
        """The checkpoint to go on from; None for a run that begins.

        Raises:
            RecipeError: where the folder holds something that was not said to be replaced or gone on with.
        """
        if not resume:
            # The other processes may come here when the main one has begun to write.
            if self.processes.is_main:
                refuse_occupied(self.run, overwrite)
            return None
        self._refuse_changes()
        checkpoint, skipped = newest_valid(self.run.checkpoints)
        for name, faults in skipped.items():
            self.warnings.append(f"{name} was passed over: {'; '.join(faults)}")
            self.console.print(f"[yellow]{self.warnings[-1]}")
        if checkpoint is None:
            fault = "holds no checkpoint that can be resumed"
            raise RecipeError(Problem(str(self.run.checkpoints), fault, "run it without --resume"))
        self.console.print(f"going on from {checkpoint.name}")
        self.warnings.append(f"resumed from {checkpoint.name}: times and speed are those of the last session")
        return checkpoint

    def _refuse_changes(self) -> None:
        """A resumed run goes on with the recipe it began with.

        Raises:
            RecipeError: naming the keys that differ.
        """
        if not self.run.recipe.is_file():
            return
        began, _ = read_yaml(self.run.recipe)
        before, after = flatten(began), flatten(self.recipe.values)
        # How the processes of today share the batch is theirs.
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} - {MICRO_BATCH}
        if changed:
            shown = "; ".join(f"{key} was {before.get(key)}, is {after.get(key)}" for key in sorted(changed)[:5])
            fix = "resume the recipe as it was, or begin a run of another name"
            raise RecipeError(Problem(str(self.run.path), f"the recipe has changed since this run began: {shown}", fix))

    def _open_run(self, facts: dict[str, Any], *, anew: bool) -> None:
        if anew:
            shutil.rmtree(self.run.path, ignore_errors=True)
        self.run.checkpoints.mkdir(parents=True, exist_ok=True)
        text = dump_yaml(self.recipe.values)
        write_atomically(self.run.recipe, f"# As it was run; hfrecipes run recipe.yaml runs it again.\n{text}")
        self.run.write_facts(facts)

    def _write_pages(self, facts: dict[str, Any]) -> None:
        if self.recipe.get("publish.card", True):
            write_atomically(self.run.card, render_card(facts, self.run.metrics()))
        write_atomically(self.run.report, render_report([self.run]))


def flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict by dotted key."""
    if not isinstance(value, dict | list) or not value:
        return {key: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    parts = [flatten(item, f"{key}.{inner}" if key else str(inner)) for inner, item in items]
    return {name: leaf for part in parts for name, leaf in part.items()}


def _step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def _drop_printer(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
