"""One training from recipe to finished run directory: the order in which the rooms are passed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.curriculum import CurriculumCallback
from hfrecipes.callbacks.folders import list_checkpoints, step_of
from hfrecipes.callbacks.health import HealthCallback
from hfrecipes.callbacks.metrics_log import MetricsLogCallback
from hfrecipes.callbacks.progress import ProgressCallback
from hfrecipes.callbacks.signals import StopRequest, catch_signals, name_of
from hfrecipes.callbacks.stopping import StopCallback
from hfrecipes.data.formats import is_conversational, to_example
from hfrecipes.data.gate import refuse_unusable_rows
from hfrecipes.data.mixture.schedule import MixtureSchedule, SourceSize
from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.data.settings import packing_word
from hfrecipes.models.leakage import LeakageError, check_no_leakage
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.probe import try_forward
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.plan.counts import DataCounts
from hfrecipes.plan.disk import disk_problems, free_bytes
from hfrecipes.plan.mixture import plan_schedule
from hfrecipes.plan.parameters import count_parameters
from hfrecipes.plan.plan import Plan, make_plan
from hfrecipes.plan.render import plan_lines
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.manifest import faults_of
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import resolve, split_batch
from hfrecipes.recipe.rundir import RunDir, now
from hfrecipes.recipe.secrets import redact
from hfrecipes.recipe.stops import InterruptedRunError, RunStoppedError
from hfrecipes.stages import pretrain, sft
from hfrecipes.stages.changes import compare_fingerprints, fingerprint
from hfrecipes.stages.continued import tokenizer_facts
from hfrecipes.stages.facts import (
    PeakMemory,
    Stopwatch,
    model_facts,
    resumed_facts,
    row_sizes,
    starting_facts,
    training_facts,
)
from hfrecipes.stages.long_context import LongContext
from hfrecipes.stages.measure import Measurer
from hfrecipes.stages.opening import Start, agree, begin, claimed, go_on, open_run
from hfrecipes.stages.pages import remove_drafts, write_missing_pages, write_pages
from hfrecipes.stages.processes import Processes, refuse_other_precision
from hfrecipes.stages.tracking import restarted_trackers, tracked
from hfrecipes.tokenization.compression import compression_words
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
            model = self._load_model()
            try_forward(model)
        self._schedule = self._schedule_mixture(model)
        if self._schedule is not None:
            args.max_steps = self._schedule.steps
        with self._refusing("adapter" if self.recipe.get("adapter") else "training"):
            trainer = self.stage.build_trainer(self.recipe, model, args, self.prepared, self.tokenizer)
            self._refuse_leakage(trainer)
        if self._schedule is not None:
            trainer.mixture_plan = self._schedule.plan
            # It adds to what is logged, so it comes before those that write it.
            mixed = CurriculumCallback(self._schedule.plan, row_sizes(trainer.train_dataset)[0])
            trainer.callback_handler.callbacks.insert(0, mixed)
        for callback in self._callbacks(trainer):
            trainer.add_callback(callback)
        _drop_printer(trainer)
        return trainer

    def _load_model(self) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            model = load_model(self.recipe, self.tokenizer)
        for warning in caught:
            if warning.category is UserWarning:
                self._warn(f"{self.recipe.where('model')}: {warning.message}")
        return model

    def _schedule_mixture(self, model: Any) -> MixtureSchedule | None:
        """Which row comes when, where the recipe mixes its sources."""
        if self.recipe.get("data.mixture") is None:
            return None
        batch = split_batch(self.recipe, self.hardware, self.processes.world_size).global_batch_size
        sections = (self.recipe.get("adapter"), self.recipe.get("quantization"), mtp_settings(self.recipe))
        parameters = count_parameters(model.config, *sections)
        return plan_schedule(self.recipe, self._counts(len(self.prepared.train)), batch, parameters.total)

    def _refuse_leakage(self, trainer: Any) -> None:
        """Packed documents that an architecture, or a collator, mixes stop the run before it begins."""
        word = packing_word(self.recipe)
        if word is None:
            return
        # TRL's trainer asks for no cache; the stock one lets a collator of ours say so.
        added = {"use_cache": False} if self.recipe.kind == "sft" else {}
        try:
            with trainer.compute_loss_context_manager():
                check_no_leakage(trainer.model, trainer.data_collator, trainer.train_dataset.column_names, **added)
        except LeakageError as error:
            problem = Problem(self.recipe.where(word), error.fault, "; ".join([*error.fixes, f"or say {word}: false"]))
            raise RecipeError(problem) from error

    @contextlib.contextmanager
    def _refusing(self, section: str) -> Iterator[None]:
        """Turns what a library raises while it is given the recipe's words into an error about that section."""
        try:
            yield
        except RecipeError:
            raise
        except Exception as error:
            reason = redact(" ".join(str(error).split())) or type(error).__name__
            fault = f"the libraries refuse this section: {type(error).__name__}: {reason[:400]}"
            raise RecipeError(
                Problem(self.recipe.where(section), fault, "correct it; their words are in their docs")
            ) from error

    def train(self, *, resume: bool = False, overwrite: bool = False, allow_change: Sequence[str] = ()) -> Path:
        """Trains, saves, measures, and writes facts, card and report.

        Nothing is written, and nothing of an earlier run removed, before data, model and trainer stand.

        Args:
            resume: Go on from the newest valid checkpoint; begins where there is none yet.
            overwrite: Replace an earlier run of that name.
            allow_change: Dotted keys of the recipe that were changed on purpose since the run began.

        Returns:
            The run directory.

        Raises:
            RecipeError: where the run directory holds another run, or one that cannot be gone on with.
            RunStoppedError: where the run had to end: poisoned, without room on the disk, or asked to by a signal.
        """
        with contextlib.ExitStack() as stack:
            if self.processes.is_main:
                stack.enter_context(claimed(self.run))
            stop = stack.enter_context(catch_signals())
            if resume:
                start = go_on(self.run, self.recipe, allow_change)
                self._tell(start)
            else:
                # The other processes may come here when the main one has begun to write.
                start = begin(self.run, overwrite) if self.processes.is_main else Start()
            if start.complete:
                if self.processes.is_main:
                    write_missing_pages(self.run)
            elif start.trained and not (self._is_sharded and start.checkpoint):
                self._finish(start, allow_change)
            else:
                self._train_from(start, stop, allow_change)
        return self.run.path

    def _train_from(self, start: Start, stop: StopRequest, allow_change: Sequence[str]) -> None:
        trainer = self.trainer
        trainer.add_callback(StopCallback(stop))
        self._refuse_unfit()
        plan = self._plan(trainer)
        today, world_size = self._fingerprint, self.processes.world_size
        trainer.replan, changed, conditions = agree(start, today, plan.steps, world_size, allow_change)
        for line in [*(f"changed on purpose after step {start.step}: {change}" for change in changed), *conditions]:
            self._warn(line)
        self._refuse_small_disk(plan, start)
        self._try_out(plan)
        if start.checkpoint is not None:
            for line in restarted_trackers(trainer.args.report_to, self.run):
                self._warn(line)
        facts = starting_facts(self.recipe, self.hardware, self.processes.world_size, self.warnings)
        facts |= resumed_facts(start.earlier, start.step, changed)
        facts["fingerprint"] = facts["sessions"][-1]["fingerprint"] = today
        # Until here every process has read what the main one is about to write.
        trainer.accelerator.wait_for_everyone()
        if self.processes.is_main:
            open_run(self.run, self.recipe, facts, start)
        with self._recorded(facts, stop):
            facts |= self._train_and_save(start, facts, plan.to_dict(), stop)
            if self.processes.is_main:
                # From here on only the measuring is left to go on with.
                self.run.write_facts(facts)
            self._complete(facts)

    def _try_out(self, plan: Plan) -> None:
        """What training begins with, tried before anything of an earlier run is removed."""
        if plan.steps == 0:
            fault, fix = "no step would be made", "raise training.num_train_epochs, or set training.max_steps"
            raise RecipeError(Problem(self.recipe.where("training.num_train_epochs"), fault, fix))
        with self._refusing("training"):
            self.trainer.try_out()

    def _finish(self, start: Start, allow_change: Sequence[str]) -> None:
        """What comes after the training of a run that was cut off there: its model is as it was saved."""
        trainer, facts = self.trainer, start.earlier
        before = facts.get("fingerprint") or {}
        for change in compare_fingerprints(before, self._fingerprint, start.changes, allow_change, self.run.path):
            self._warn(change)
        self._measurer.refuse_unscorable(trainer.model)
        trainer.load_trained(self.run.model, facts["training"]["steps"])
        trainer.accelerator.wait_for_everyone()
        if self.processes.is_main:
            remove_drafts(self.run)
        with self._recorded(facts, StopRequest()):
            self._complete(facts)

    def _complete(self, facts: dict[str, Any]) -> None:
        if self.processes.is_main:
            self._measure(facts)
            if faults := faults_of(self.run.model, hashes=False, others=False):
                fix = "--resume saves it again from the last checkpoint"
                raise RunStoppedError(f"{self.run.model} was changed while it was measured: {'; '.join(faults)}; {fix}")
            facts.pop("error", None)
            facts |= {"status": "complete", "finished": now()}
            self.run.write_facts(facts)
            write_pages(self.run)

    @contextlib.contextmanager
    def _recorded(self, facts: dict[str, Any], stop: StopRequest) -> Iterator[None]:
        """Writes into the facts why a run ended before its end."""
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | InterruptedRunError)
            if facts.get("status") != "complete":
                facts |= {"status": "interrupted" if interrupted else "failed", "finished": now()}
                facts["error"] = f"{type(error).__name__}: {error}"
                if self.processes.is_main:
                    self._write_last_facts(facts)
            if stop.step is not None:
                # All processes come here together. One that ended first would have the launcher signal the others.
                self.trainer.accelerator.wait_for_everyone()
            raise

    @property
    def _is_sharded(self) -> bool:
        """Whether a whole model cannot simply be loaded into this process's part."""
        return self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled

    def _write_last_facts(self, facts: dict[str, Any]) -> None:
        """Of a run that ends in an error, which a full disk must not hide."""
        try:
            self.run.write_facts(facts)
        except OSError as error:
            text = f"{self.run.facts_file} could not be written: {error.strerror}"
            self.console.print(text, style="yellow", highlight=False, markup=False)

    def _train_and_save(
        self, start: Start, facts: dict[str, Any], plan: dict[str, Any], stop: StopRequest
    ) -> dict[str, Any]:
        trainer, checkpoint = self.trainer, start.checkpoint
        facts |= {"data": self.prepared.facts, **self.prepared.refinement, "plan": plan}
        facts |= self._tokenizer_facts()
        facts["warnings"] = [*self.warnings, *self.prepared.warnings]
        facts["model"] = model_facts(
            self.recipe, trainer.model, plan.get("parameters"), chat=self._trains_on_conversations()
        )
        watch = Stopwatch()
        with tracked(trainer, self.run, checkpoint):
            try:
                trainer.train(resume_from_checkpoint=checkpoint)
            finally:
                self._end_callbacks(facts)
            if stop.step is not None:
                saved = f"{name_of(stop.signal)}: stopped after step {stop.step}, saved in checkpoint-{stop.step}"
                raise InterruptedRunError(f"{saved}; go on with --resume")
        seconds, peak = watch.facts(trainer.evaluation_seconds), self._memory.bytes()
        trainer.save_final(self.run.model)
        if start.earlier.get("training") and trainer.state.global_step == start.step:
            # Nothing was trained: the figures are those of the session that did.
            return {"training": start.earlier["training"]}
        per_token = plan["flops"] / plan["tokens"] if plan.get("flops") and plan.get("tokens") else None
        return {"training": training_facts(trainer, step_of(checkpoint), seconds, peak, per_token)}

    def _tokenizer_facts(self) -> dict[str, Any]:
        """What pieces that were added save, also told to the user."""
        facts = tokenizer_facts(self.recipe, self.prepared, self.trainer.model.get_input_embeddings().num_embeddings)
        for figures in facts.get("tokenizer", {}).get("compression", ()):
            line = f"  {'Tokenizer':12} {figures['dataset']}: {compression_words(figures)}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        return facts

    def _end_callbacks(self, facts: dict[str, Any]) -> None:
        """Takes the progress bar away and keeps what was warned of meanwhile, also after an error."""
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, ProgressCallback):
                callback.stop()
        facts["warnings"] = [*self.warnings, *self.prepared.warnings]

    def _measure(self, facts: dict[str, Any]) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model, keep_torch_compile=False)
        evaluations, samples = self._measurer.trained_and_base(model, self.trainer.state.global_step)
        facts |= {
            "evaluations": evaluations,
            "samples": samples,
            **self._measurer.continued,
            "warnings": [*(facts.get("warnings") or []), *self._measurer.warnings],
        }
        long_context = LongContext(self.recipe, *self._tokenizers, self.console)
        if long_context.is_asked_for:
            found = long_context.measure(self.run, model.device, self.trainer.state.global_step)
            facts |= {"evaluations": evaluations + found["evaluations"], "needles": found["needles"]}

    def _plan(self, trainer: Any) -> Plan:
        """The plan as `hfrecipes plan` gives it, with the rows counted instead of estimated."""
        counts = self._counts(len(trainer.train_dataset))
        plan = make_plan(self.recipe, self.hardware, self.processes.world_size, counts, trainer.model.config)
        for label, text in plan_lines(plan):
            self.console.print(f"  {label:12} {text}", highlight=False, markup=False, soft_wrap=True)
        return plan

    def _counts(self, rows: int) -> DataCounts:
        sizes = tuple(SourceSize(part.rows, part.tokens) for part in self.prepared.parts)
        return DataCounts.from_facts(self.prepared.facts, rows, len(self.tokenizer), sizes)

    def _trains_on_conversations(self) -> bool:
        source, spec = self.prepared.sources("train")[0], self.recipe.sources("train")[0][1]
        return any(
            is_conversational(to_example(row.values, spec, row.where, self.recipe.path.parent))
            for row in islice(source.rows(), 1)
        )

    def _callbacks(self, trainer: Any) -> list[Any]:
        title = f"{self.recipe.kind} {self.recipe.name}"
        return [
            CheckpointCallback(
                trainer,
                self.recipe.get("training.save_total_limit"),
                {"fingerprint": self._fingerprint},
                self._warn,
            ),
            MetricsLogCallback(self.run.metrics_file),
            HealthCallback(self._warn),
            ProgressCallback(title, self._tokens_of_a_step(trainer), self.console),
        ]

    def _tokens_of_a_step(self, trainer: Any) -> float:
        if self._schedule is not None:
            return self._schedule.tokens / self._schedule.steps
        return float(row_sizes(trainer.train_dataset)[0].mean()) * trainer.global_batch_size

    def _refuse_unfit(self) -> None:
        """What can be known about model and rows before a step is made.

        Raises:
            RecipeError: for rows that the model cannot read or learn from, and a model that cannot do the task.
            PoisonedRunError: for weights that are not finite.
        """
        trainer = self.trainer
        self._measurer.refuse_unscorable(trainer.model)
        embeddings = trainer.model.get_input_embeddings().num_embeddings
        refuse_unusable_rows(trainer.train_dataset, embeddings, self.recipe.where("data.train"), "the training rows")
        for name, rows in self.prepared.eval.items():
            refuse_unusable_rows(rows, embeddings, self.recipe.where("data.eval"), name)
        trainer.refuse_poisoned_weights(f"{self.recipe.where('model')}: before the first step,")

    def _refuse_small_disk(self, plan: Plan, start: Start) -> None:
        """Raises where the run cannot fit on its disk; only the main process writes, so it alone looks."""
        if plan.disk is None or not self.processes.is_main:
            return
        begins = start.checkpoint is None
        need = plan.disk if begins else plan.disk.resumed(len(list_checkpoints(self.run.checkpoints)))
        problems = disk_problems(need, self.run.path, free_bytes(self.run.path, replaced=begins))
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            raise RecipeError(errors)
        for problem in problems:
            self._warn(str(problem))

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def _tell(self, start: Start) -> None:
        """Says what a resumed run goes on from, and what was passed over."""
        for name, faults in start.skipped.items():
            self._warn(f"{name} was passed over: {'; '.join(faults)}")
        if start.complete or start.trained:
            left = "is complete" if start.complete else "is trained: going on with what comes after training"
            self.console.print(redact(f"{self.run.path} {left}"), highlight=False, markup=False)
            if start.complete and start.changes.harmless:
                self._warn(f"without effect on a complete run: {'; '.join(start.changes.harmless)}")
            return
        if start.checkpoint is None:
            self.console.print("there is no checkpoint to go on from yet: the run begins", highlight=False)
            return
        self.console.print(f"going on from {start.checkpoint.name}", highlight=False)
        self.warnings.append(f"resumed from {start.checkpoint.name}: times and speed are those of the last session")

    @cached_property
    def _fingerprint(self) -> dict[str, Any]:
        order = None if self._schedule is None else self._schedule.fingerprint()
        return fingerprint(self.recipe, self.prepared.fingerprint, order)


def _drop_printer(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
