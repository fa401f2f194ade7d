"""What a recipe is made into before a step is made: tokenizer, rows, model, trainer, plan. Nothing of a run is written here."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from rich.console import Console

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.curriculum import CurriculumCallback
from hfrecipes.callbacks.health import HealthCallback
from hfrecipes.callbacks.metrics_log import MetricsLogCallback
from hfrecipes.callbacks.patience import PatienceCallback
from hfrecipes.callbacks.progress import ProgressCallback
from hfrecipes.data.formats import is_conversational, to_examples
from hfrecipes.data.gate import refuse_unusable_rows
from hfrecipes.data.mixture.schedule import MixtureSchedule, SourceSize
from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.data.settings import packing_word
from hfrecipes.models.extended_embeddings import input_rows
from hfrecipes.models.leakage import LeakageError, check_no_leakage
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.probe import try_forward
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.plan.counts import DataCounts
from hfrecipes.plan.mixture import plan_schedule
from hfrecipes.plan.parameters import count_parameters
from hfrecipes.plan.plan import Plan, make_plan
from hfrecipes.plan.render import plan_lines
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import resolve, split_batch
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.secrets import redact
from hfrecipes.stages import dpo, grpo, kto, orpo, ppo, pretrain, reward, rloo, sft
from hfrecipes.stages.facts import (
    PeakMemory,
    row_sizes,
)
from hfrecipes.stages.fingerprints import fingerprint
from hfrecipes.stages.measure import Measurer
from hfrecipes.stages.processes import Processes, refuse_other_precision
from hfrecipes.trainers.arguments import build_arguments
from hfrecipes.trainers.decay import choose_decay

# Measurements without an improvement, where early stopping says none.
PATIENCE = 3
STAGES = {
    "pretrain": pretrain,
    "sft": sft,
    "reward": reward,
    "dpo": dpo,
    "kto": kto,
    "orpo": orpo,
    "ppo": ppo,
    "grpo": grpo,
    "rloo": rloo,
}


@dataclass
class Assembly:
    """A recipe and what is made of it, each part when it is first asked for.

    Args:
        recipe: A checked recipe of a kind that trains.
        run: Where it will be written.
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
    def _measurer(self) -> Any:
        return getattr(self.stage, "MEASURER", Measurer)(self.recipe, self.prepared, self.tokenizer, self.console)

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
        choose_decay(self.recipe, trainer)
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
            *self._early_stopping(),
            *(self.stage.more_callbacks(trainer, self._warn) if hasattr(self.stage, "more_callbacks") else ()),
            ProgressCallback(title, self._tokens_of_a_step(trainer), self.console),
        ]

    def _early_stopping(self) -> list[PatienceCallback]:
        said = self.recipe.get("evaluation.early_stopping")
        if said is None:
            return []
        return [PatienceCallback(said.get("patience") or PATIENCE, said.get("threshold") or 0.0, self._warn)]

    def _tokens_of_a_step(self, trainer: Any) -> float:
        if self._schedule is not None:
            return self._schedule.tokens / self._schedule.steps
        if hasattr(self.stage, "tokens_of_a_step"):
            return self.stage.tokens_of_a_step(trainer)
        return float(row_sizes(trainer.train_dataset)[0].mean()) * trainer.global_batch_size

    def _plan(self, trainer: Any) -> Plan:
        """The plan as `hfrecipes plan` gives it, with the rows counted instead of estimated."""
        counts = self._counts(len(trainer.train_dataset))
        plan = make_plan(self.recipe, self.hardware, self.processes.world_size, counts, trainer.model.config)
        for label, text in plan_lines(plan):
            self.console.print(f"  {label:12} {text}", highlight=False, markup=False, soft_wrap=True)
        for problem in plan.problems:
            if problem.severity == "warning":
                self._warn(str(problem))
        return plan

    def _counts(self, rows: int) -> DataCounts:
        sizes = tuple(SourceSize(part.rows, part.tokens) for part in self.prepared.parts)
        return DataCounts.from_facts(self.prepared.facts, rows, len(self.tokenizer), sizes)

    @cached_property
    def _fingerprint(self) -> dict[str, Any]:
        order = None if self._schedule is None else self._schedule.fingerprint()
        return fingerprint(self.recipe, self.prepared.fingerprint, order)

    def _refuse_unfit(self) -> None:
        """What can be known about model and rows before a step is made.

        Raises:
            RecipeError: for rows that the model cannot read or learn from, and a model that cannot do the task.
            PoisonedRunError: for weights that are not finite.
        """
        trainer = self.trainer
        self._measurer.refuse_unscorable(trainer.model)
        if hasattr(self.stage, "refuse_unusable"):
            self.stage.refuse_unusable(self.recipe, trainer, self.prepared)
        else:
            self._refuse_unusable_rows(trainer)
        trainer.refuse_poisoned_weights(f"{self.recipe.where('model')}: before the first step,")

    def _refuse_unusable_rows(self, trainer: Any) -> None:
        embeddings = input_rows(trainer.model)
        refuse_unusable_rows(trainer.train_dataset, embeddings, self.recipe.where("data.train"), "the training rows")
        for name, rows in self.prepared.eval.items():
            refuse_unusable_rows(rows, embeddings, self.recipe.where("data.eval"), name)

    def _try_out(self, plan: Plan) -> None:
        """What training begins with, tried before anything of an earlier run is removed."""
        if plan.steps == 0:
            fault, fix = "no step would be made", "raise training.num_train_epochs, or set training.max_steps"
            raise RecipeError(Problem(self.recipe.where("training.num_train_epochs"), fault, fix))
        with self._refusing("training"):
            self.trainer.try_out()

    def _trains_on_conversations(self) -> bool:
        source, spec = self.prepared.sources("train")[0], self.recipe.sources("train")[0][1]
        return any(
            is_conversational(to_examples(row.values, spec, row.where, self.recipe.path.parent)[0])
            for row in islice(source.rows(), 1)
        )

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

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _drop_printer(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
