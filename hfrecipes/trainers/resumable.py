"""Going on from a checkpoint exactly: what the stock Trainer loads half, forgets, or does once too often."""

from __future__ import annotations

import contextlib
import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import set_seed
from transformers.trainer_callback import ExportableState

from hfrecipes.callbacks.contents import ACCUMULATORS
from hfrecipes.callbacks.folders import newest_valid, pickled_weights, read_state, unfit
from hfrecipes.models.bottleneck import BottleneckModel
from hfrecipes.models.peft_methods import has_prompt_network, load_prompt_network
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.stops import RunStoppedError
from hfrecipes.trainers.same_weights import same_weights

_UNREADABLE = (
    pickle.UnpicklingError,
    SafetensorError,
    RuntimeError,
    EOFError,
    OSError,
    KeyError,
    ValueError,
    TypeError,
)


class _NothingLeftError(Exception):
    """The checkpoint is that of the last step."""


class ResumableTrainer:
    """Comes before the Trainer class in the bases.

    What it adds to the stock resume:
        * weights are loaded whole, also of architectures whose files name them otherwise than their modules do (mixtures
          of experts, GPT-NeoX), of which the stock Trainer leaves the parts it does not find as they were initialised;
        * the sums behind the next logged loss, and those of other trainers, go on instead of beginning at zero;
        * steps of logging, evaluation and saving follow the arguments of today, not those of the checkpoint;
        * a checkpoint of the last step is loaded and finished; the stock Trainer takes one step more;
        * with `replan`, the optimizer's settings and the schedule are those of the arguments of today.

    Attributes:
        resumed_from: The checkpoint; None for a training that begins.
        replan: Whether the schedule is planned anew on resuming; otherwise it is the checkpoint's.
        rates: Learning rate of the next step by the checkpoint's schedule and by the new one, where it was planned anew.
    """

    resumed_from: Path | None = None
    replan = False
    rates: tuple[float, float] | None = None

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Trains to the end; `resume_from_checkpoint=True` takes the newest checkpoint that is whole.

        Raises:
            RecipeError: where a checkpoint is asked for that is not there, or cannot be loaded.
        """
        self.resumed_from = self._chosen(resume_from_checkpoint)
        if self.resumed_from is None:
            return super().train(None, *args, **kwargs)
        # It was measured when the run began.
        self.args.eval_on_start = False
        try:
            return super().train(str(self.resumed_from), *args, **kwargs)
        except _NothingLeftError:
            return self._finalize_training(None, 0, time.time())

    def _chosen(self, asked: str | Path | bool | None) -> Path | None:
        if asked is None or asked is False:
            return None
        if asked is not True:
            return Path(asked)
        found, skipped = newest_valid(Path(self.args.output_dir))
        if found is None:
            reasons = "; ".join(f"{name}: {', '.join(faults)}" for name, faults in skipped.items())
            raise RecipeError(
                Problem(self.args.output_dir, f"holds no checkpoint to go on from. {reasons}", "begin anew")
            )
        return found

    def load_trained(self, folder: Path, step: int) -> None:
        """Takes over the weights of a finished training.

        Args:
            folder: What `save_final` wrote.
            step: The training's last step.

        Raises:
            PoisonedRunError: where these weights are not fit to be used.
        """
        self.load_whole(folder)
        self.state.global_step = step
        self.refuse_unsound_folder(folder, "--resume then saves the model again from the last checkpoint")

    def load_whole(self, folder: Path) -> None:
        """The weights that `save_final` wrote, also in one process of several: FSDP has not divided the model yet."""
        divides, self.is_fsdp_enabled = self.is_fsdp_enabled, False
        try:
            self._load_from_checkpoint(str(folder))
        finally:
            self.is_fsdp_enabled = divides
        if divides:
            # Until it divides a model the Trainer leaves it where it was loaded.
            self.model.to(self.args.device)

    # What is saved beside the stock state, and brought back

    def accumulators(self) -> dict[str, Any]:
        """Sums between two log calls, as JSON. Every process calls this; the result is that of all of them."""
        losses = self._tr_loss.detach().reshape(1)
        gathered = self.accelerator.gather(losses) if self.args.world_size > 1 else losses
        return {
            "loss": [float(value) for value in gathered],
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
        }

    def restore_accumulators(self, saved: dict[str, Any]) -> None:
        """Goes on with sums that `accumulators` gave, on as many processes or on others."""
        losses = saved["loss"]
        same = len(losses) == self.args.world_size
        # The logged loss is the mean over processes, so it may be shared out evenly.
        self._tr_loss.fill_(losses[self.args.process_index] if same else sum(losses) / len(losses))
        self._total_loss_scalar = saved["total_loss"]
        self._globalstep_last_logged = saved["last_logged"]

    def restore_sums(self) -> None:
        """Goes on with the sums in the checkpoint that is resumed.

        Raises:
            RecipeError: where they are not this kind of training's.
        """
        with _readable(self.resumed_from):
            saved = (self.resumed_from / ACCUMULATORS).read_text(encoding="utf-8")
            self.restore_accumulators(json.loads(saved))

    def restore_state(self) -> None:
        """Brings the Trainer's state in line with today; called when all of the checkpoint has been loaded.

        Raises:
            RecipeError: where the best checkpoint is asked for and gone.
        """
        self.state.compute_steps(self.args, self.state.max_steps)
        self._find_best()
        self._restore_callbacks()

    def end_if_nothing_is_left(self) -> None:
        """Ends a training that is resumed at its last step; called before its first epoch."""
        if self.state.global_step >= self.state.max_steps:
            raise _NothingLeftError

    def _find_best(self) -> None:
        """The best checkpoint under the folder of today; a run that was moved would lose it silently."""
        best = read_state(self.resumed_from).get("best_model_checkpoint")
        if best is None:
            return
        folder = Path(self.args.output_dir) / Path(best).name
        faults = unfit(folder)
        if faults and self.args.load_best_model_at_end:
            fault = f"the best checkpoint so far cannot be used: {'; '.join(faults)}"
            fix = "begin the run anew, or set training.load_best_model_at_end=false with --allow-change"
            raise RecipeError(Problem(str(folder), fault, fix))
        self.state.best_model_checkpoint = None if faults else str(folder)

    def _restore_callbacks(self) -> None:
        """Counters of callbacks that keep some (early stopping); the stock way would bring back a stop once asked for."""
        for callback in self.callback_handler.callbacks:
            saved = self.state.stateful_callbacks.get(type(callback).__name__)
            if isinstance(callback, ExportableState) and isinstance(saved, dict):
                for name, value in saved.get("attributes", {}).items():
                    setattr(callback, name, value)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "train_loss" in logs:
            # The stock figure divides the loss of all steps by the steps of this session.
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        super().log(logs, *args, **kwargs)

    # Loading

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._loading = Path(resume_from_checkpoint)
        if faults := pickled_weights(self._loading):
            raise RecipeError(Problem(str(self._loading), "; ".join(faults), "remove these files, or this folder"))
        with _readable(self._loading):
            trained = self.accelerator.unwrap_model(self.model if model is None else model, keep_torch_compile=False)
            if isinstance(trained, BottleneckModel):
                trained.load_bottlenecks(self._loading)
            elif has_prompt_network(trained):
                # peft would put the finished prompt where the network's first layer belongs.
                load_prompt_network(trained, self._loading)
            else:
                with same_weights(trained):
                    super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        self._loading = Path(self.state.best_model_checkpoint)
        if faults := unfit(self._loading):
            raise RunStoppedError(f"the best checkpoint, {self._loading}, cannot be loaded: {'; '.join(faults)}")
        trained = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if isinstance(trained, BottleneckModel) or has_prompt_network(trained):
            self._load_from_checkpoint(str(self._loading))
        else:
            with same_weights(trained):
                super()._load_best_model()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Called with the names that a checkpoint lacks or has too many, which is no matter for a warning."""
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        state = model.state_dict()
        missing = set(load_result.missing_keys)
        kept = {tensor.data_ptr() for name, tensor in state.items() if name not in missing}
        if load_result.unexpected_keys or any(state[name].data_ptr() not in kept for name in missing):
            load_by_the_files_names(model, self._loading)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        groups = [_settings(group) for group in self.optimizer.param_groups]
        rates = getattr(self.lr_scheduler, "base_lrs", None)
        with _readable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.replan:
            self._plan_anew(groups, rates)

    def _plan_anew(self, groups: list[dict[str, Any]], base_rates: list[float] | None) -> None:
        """Puts the settings of today in place of the checkpoint's, which hold the end of the old schedule."""
        before = self.optimizer.param_groups[0]["lr"]
        for group, settings in zip(self.optimizer.param_groups, groups, strict=True):
            group.update(settings)
        if base_rates is not None and hasattr(self.lr_scheduler, "lr_lambdas"):
            step = self.lr_scheduler.last_epoch
            self.lr_scheduler.base_lrs = list(base_rates)
            now = [rate * factor(step) for rate, factor in zip(base_rates, self.lr_scheduler.lr_lambdas, strict=True)]
            for group, rate, base in zip(self.optimizer.param_groups, now, base_rates, strict=True):
                group["lr"], group["initial_lr"] = rate, base
            self.lr_scheduler._last_lr = now
        self.rates = (float(before), float(self.optimizer.param_groups[0]["lr"]))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _readable(checkpoint):
            super()._load_rng_state(checkpoint)
        if checkpoint is not None and not (Path(checkpoint) / self._rng_file()).is_file():
            # Saved by another number of processes. The stock Trainer would draw what it drew at the first step.
            set_seed(self.args.seed + self.state.global_step)

    def _rng_file(self) -> str:
        return f"rng_state_{self.args.process_index}.pth" if self.args.world_size > 1 else "rng_state.pth"


def load_by_the_files_names(model: Any, folder: Path) -> None:
    """Loads weights that are saved under other names, or in other pieces, than the modules hold them in.

    Raises:
        RecipeError: where weights of the model are in no file.
    """
    loaded, info = type(model).from_pretrained(
        folder, dtype=model.dtype, output_loading_info=True, use_safetensors=True, local_files_only=True
    )
    if info["missing_keys"]:
        fault = f"lacks weights of the model: {sorted(info['missing_keys'])[:3]}"
        raise RecipeError(Problem(str(folder), fault, "remove this folder: --resume takes an older one"))
    # What the model has beyond its class (heads of its own) lies beside, and is loaded by whoever put it there.
    unexpected = model.load_state_dict(loaded.state_dict(), strict=False).unexpected_keys
    assert not unexpected, unexpected


@contextlib.contextmanager
def _readable(checkpoint: str | Path | None) -> Iterator[None]:
    """Turns what a library raises over a file it cannot load, or will not since it would run code, into an error."""
    try:
        yield
    except RecipeError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, pickle.UnpicklingError):
            # Torch says at length how to load it all the same.
            reason = "it is damaged, or holds more than tensors and could run code"
        fault = f"its state cannot be loaded: {type(error).__name__}: {reason}"
        fix = "remove this folder: --resume takes an older one"
        raise RecipeError(Problem(str(checkpoint), fault, fix)) from error


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params" and not torch.is_tensor(value)}
