"""One training from recipe to finished run directory: the order in which the rooms are passed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hfrecipes.callbacks.folders import list_checkpoints, step_of
from hfrecipes.callbacks.progress import ProgressCallback
from hfrecipes.callbacks.signals import StopRequest, catch_signals, name_of
from hfrecipes.callbacks.stopping import StopCallback
from hfrecipes.plan.disk import disk_problems, free_bytes
from hfrecipes.plan.plan import Plan
from hfrecipes.publish.continued import tokenizer_sentence
from hfrecipes.recipe.manifest import faults_of
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import now
from hfrecipes.recipe.secrets import redact
from hfrecipes.recipe.stops import InterruptedRunError, RunStoppedError
from hfrecipes.stages.assembly import Assembly
from hfrecipes.stages.continued import tokenizer_facts
from hfrecipes.stages.decoding import decoding_facts
from hfrecipes.stages.facts import (
    Stopwatch,
    model_facts,
    resumed_facts,
    starting_facts,
    training_facts,
)
from hfrecipes.stages.fingerprints import compare_fingerprints
from hfrecipes.stages.long_context import LongContext
from hfrecipes.stages.measured_runs import TUNED
from hfrecipes.stages.opening import Start, agree, begin, claimed, go_on, open_run
from hfrecipes.stages.other_runs import compare_with_others
from hfrecipes.stages.own_tokenizer import refuse_retrained_tokenizer
from hfrecipes.stages.pages import remove_drafts, write_missing_pages, write_pages
from hfrecipes.stages.row_losses import write_row_losses
from hfrecipes.stages.same_recipe import refuse_unlike_runs
from hfrecipes.stages.tracking import restarted_trackers, tracked
from hfrecipes.tokenization.compression import compression_words


class Session(Assembly):
    """A recipe on its way through the rooms: `trainer` is built when it is first asked for; `train` runs it to the end."""

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
        refuse_unlike_runs(self.recipe)
        plan = self._plan(trainer)
        today, world_size = self._fingerprint, self.processes.world_size
        trainer.replan, changed, conditions = agree(start, today, plan.steps, world_size, allow_change)
        refuse_retrained_tokenizer(self.recipe, start.checkpoint)
        for line in [*(f"changed on purpose after step {start.step}: {change}" for change in changed), *conditions]:
            self._warn(line)
        for line in self.prepared.warnings:
            self.console.print(redact(line), style="yellow", highlight=False, markup=False, soft_wrap=True)
        self._refuse_small_disk(plan, start)
        self._try_out(plan)
        if start.checkpoint is not None:
            for line in restarted_trackers(trainer.args.report_to, self.run):
                self._warn(line)
        facts = starting_facts(self.recipe, self.hardware, self.processes.world_size, self.warnings, self.run)
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
            if trainer.is_fsdp_enabled:
                del trainer
                self._take_whole_model()
            self._complete(facts)

    def _take_whole_model(self) -> None:
        """One process measures, and cannot run a model of which others hold parts: it reads the one that was saved."""
        step, accelerator = self.trainer.state.global_step, self.trainer.accelerator
        del self.trainer
        accelerator.free_memory()
        # Built by all processes, since TRL's trainers wait for each other meanwhile.
        trainer = self.trainer
        if self.processes.is_main:
            trainer.load_whole(self.run.model)
            trainer.state.global_step = step

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
        # The plan counts those of a language model. (Weights in four bits cannot be counted by their elements.)
        planned = self.recipe.kind != "reward" or self.recipe.get("quantization")
        counts = plan.get("parameters") if planned else None
        facts["model"] = model_facts(self.recipe, trainer.model, counts, chat=self._trains_on_conversations())
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
        describe = getattr(self.stage, "training_facts", training_facts)
        return {"training": describe(trainer, step_of(checkpoint), seconds, peak, per_token)}

    def _tokenizer_facts(self) -> dict[str, Any]:
        """What pieces that were added save, also told to the user."""
        facts = tokenizer_facts(self.recipe, self.prepared, self.trainer.model)
        if facts:
            line = f"  {'Tokenizer':12} {tokenizer_sentence(facts)}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
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
        if hasattr(self._measurer, "take"):
            self._measurer.take(self.trainer)
        evaluations, samples = self._measurer.trained_and_base(model, self.trainer.state.global_step)
        losses = getattr(self._measurer, "losses", {}).get(TUNED, {})
        write_row_losses(self.run, losses)
        others = compare_with_others(self.recipe, evaluations, self.prepared.facts, losses)
        evaluations = others.evaluations + evaluations
        facts |= {
            "evaluations": evaluations,
            "samples": samples,
            **self._measurer.more_facts,
            "warnings": [*(facts.get("warnings") or []), *self._measurer.warnings, *others.warnings],
        }
        if others.comparisons:
            facts["comparisons"] = others.comparisons
        facts |= decoding_facts(self.recipe, model, self.tokenizer, self.console)
        long_context = LongContext(self.recipe, *self._tokenizers, self.console)
        if long_context.is_asked_for:
            found = long_context.measure(self.run, model.device, self.trainer.state.global_step)
            facts |= {"evaluations": evaluations + found["evaluations"], "needles": found["needles"]}

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
