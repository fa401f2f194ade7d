"""Training with multi-token prediction under the stock Trainer and TRL's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from hfrecipes.models.mtp.attach import MTPModel, add_mtp_heads, inner_model
from hfrecipes.models.mtp.beside import spoken
from hfrecipes.models.mtp.saving import PREFIX, write_heads
from hfrecipes.objectives.mtp import head_weights, some_head_rests
from hfrecipes.objectives.settings import MTPSettings
from hfrecipes.trainers.language_modeling import PretrainTrainer, RecipeSFTTrainer
from hfrecipes.trainers.sharding import give_idle_weights_a_state, is_sharded, kept_with_root


@dataclass
class MTPConfig(TrainingArguments):
    """`TrainingArguments` with the words of multi-token prediction."""

    num_future_tokens: int = field(
        default=4, metadata={"help": "Tokens predicted at each position, the next included."}
    )
    heads: str = field(
        default="parallel", metadata={"help": "parallel: all read the trunk; chained: each the one before."}
    )
    mtp_loss_weight: float = field(
        default=0.3, metadata={"help": "What each further head counts beside the model's own."}
    )
    mtp_curriculum: str = field(
        default="forward", metadata={"help": "none, forward (heads are added), reverse (taken away)."}
    )

    @property
    def settings(self) -> MTPSettings:
        return MTPSettings(self.num_future_tokens, self.heads, self.mtp_loss_weight, self.mtp_curriculum)


class MTPTrainerMixin:
    """Comes before a trainer of ours in the bases.

    Features:
        * each step gives the heads their weights, by the curriculum;
        * the loss is the model's own, over all heads; TRL's trainers would make one of the first head's logits alone;
        * what is evaluated is the first head: the model as others will load it;
        * each head's mean loss over its own targets is logged, `loss_head_1` and so on, exact over micro-batches,
          processes and resumes; beside it what the head counts, `weight_head_2` and so on;
        * under FSDP2 what all heads use is gathered with the whole model;
        * heads are saved, and loaded again, in a file beside the model; a checkpoint without them is refused.
    """

    mtp: MTPSettings

    @property
    def mtp_model(self) -> MTPModel:
        return inner_model(self.accelerator.unwrap_model(self.model, keep_torch_compile=False))

    @property
    def loss_bound(self) -> float:
        """The loss of all heads, each of which may cost what one may."""
        return super().loss_bound * sum(self.mtp_model.mtp_weights)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        with kept_with_root(self.mtp_model.shared_parts()):
            return super().train(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        progress = self.state.global_step / max(self.state.max_steps, 1)
        self.mtp_model.mtp_weights = head_weights(self.mtp, progress)
        return super().training_step(*args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not model.training:
            self.mtp_model.mtp_weights = [1.0] + [0.0] * (self.mtp.num_future_tokens - 1)
        loss, outputs = Trainer.compute_loss(self, model, inputs, True, num_items_in_batch)
        sums = torch.stack([outputs["head_losses"].double(), outputs["head_targets"].double()])
        if model.training:
            self._head_sums = sums + self._head_sums
        else:
            loss = (sums[0, 0] / sums[1, 0].clamp_min(1)).to(loss.dtype)
        return (loss, {"loss": loss}) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            sums, counts = self._all_head_sums()
            means = {head: float(sums[head] / counts[head]) for head in range(len(sums)) if counts[head]}
            logs |= {f"loss_head_{head + 1}": round(mean, 6) for head, mean in means.items()}
            further = enumerate(self.mtp_model.mtp_weights[1:], start=2)
            logs |= {f"weight_head_{head}": round(weight, 6) for head, weight in further}
            self._head_sums = 0.0
        super().log(logs, *args, **kwargs)

    def _all_head_sums(self) -> torch.Tensor:
        """Sums of losses and targets by head since the last log call, over all processes: `(2, heads)`."""
        if not isinstance(self._head_sums, torch.Tensor):
            return torch.zeros(2, self.mtp.num_future_tokens)
        if self.args.world_size == 1:
            return self._head_sums
        return self.accelerator.gather(self._head_sums[None]).sum(0)

    _head_sums: torch.Tensor | float = 0.0

    def accumulators(self) -> dict[str, Any]:
        return {**super().accumulators(), "heads": self._all_head_sums().tolist()}

    def restore_accumulators(self, saved: dict[str, Any]) -> None:
        super().restore_accumulators(saved)
        sums = torch.tensor(saved["heads"], dtype=torch.float64, device=self.args.device)
        # Sums over all processes, so one of them goes on with them.
        self._head_sums = sums if self.args.process_index == 0 else torch.zeros_like(sums)

    # Saving and loading

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        saved = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if self.args.should_save and saved is not self.mtp_model:
            # An adapter saves itself alone.
            whole = self.model.state_dict() if state_dict is None else state_dict
            heads = {name.split(PREFIX, 1)[1]: value for name, value in whole.items() if PREFIX in name}
            write_heads(folder, heads, self.mtp_model.head_facts)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_fsdp_enabled:
            # Heads whose turn in the curriculum is still to come.
            give_idle_weights_a_state(self.optimizer)
        super()._save_optimizer_and_scheduler(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.load_beside(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self.load_beside(Path(self.state.best_model_checkpoint))

    def load_beside(self, folder: Path) -> None:
        """The heads of a checkpoint; of a model that is held in parts, they are among those."""
        if not (is_sharded(self.mtp_model) or self.is_deepspeed_enabled):
            self.mtp_model.load_heads(folder)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        missing = [name for name in load_result.missing_keys if PREFIX not in name]
        super()._issue_warnings_after_load(
            SimpleNamespace(missing_keys=missing, unexpected_keys=load_result.unexpected_keys)
        )


class MTPTrainer(MTPTrainerMixin, PretrainTrainer):
    """Multi-token prediction with the stock Trainer.

    Args:
        model: A causal language model; heads are put onto it where it has none.
        args: An `MTPConfig`.
        kwargs: Those of `transformers.Trainer`.

    Raises:
        ValueError: the model has heads of another kind or number than the settings say.
    """

    def __init__(self, model: Any, args: TrainingArguments, *, mtp: MTPSettings | None = None, **kwargs: Any) -> None:
        self.mtp = mtp or args.settings
        _ready(model, args, self.mtp)
        super().__init__(model=model, args=args, **kwargs)


class MTPSFTTrainer(MTPTrainerMixin, RecipeSFTTrainer):
    """Multi-token prediction with `trl.SFTTrainer`, full or beside an adapter.

    Args:
        model: With heads, or a causal language model that gets them.
        args: An `SFTConfig`.
        mtp: How the heads are trained.
        kwargs: Those of `trl.SFTTrainer`.

    Raises:
        ValueError: as for `MTPTrainer`.
    """

    def __init__(self, model: Any, args: Any, *, mtp: MTPSettings, **kwargs: Any) -> None:
        self.mtp = mtp
        _ready(model, args, mtp)
        if kwargs.get("peft_config") is not None:
            _leave_heads_out(kwargs["peft_config"])
        # On a quantised base, TRL turns whatever is trained by now into bfloat16.
        inner_model(model).mtp_heads.requires_grad_(False)
        super().__init__(model=model, args=args, **kwargs)
        self.mtp_model.mtp_heads.requires_grad_(True)


def _ready(model: Any, args: TrainingArguments, settings: MTPSettings) -> None:
    """Puts heads onto a model that has none, freezes what is not to be trained, and tells DDP what may lie idle.

    Raises:
        ValueError: it has heads of another kind or number.
    """
    inner = inner_model(model)
    if not isinstance(inner, MTPModel):
        add_mtp_heads(inner, settings.num_future_tokens, settings.heads)
    wanted = {"heads": settings.heads, "num_future_tokens": settings.num_future_tokens}
    if inner.head_facts != wanted:
        raise ValueError(
            f"the model has {spoken(inner.head_facts)}, and the training is set to {spoken(wanted)}: set num_future_tokens and "
            "heads to what the model has, or give a model without heads"
        )
    if settings.frozen_trunk:
        inner.requires_grad_(False)
        inner.mtp_heads.requires_grad_(True)
    if args.ddp_find_unused_parameters is None and some_head_rests(settings):
        # Otherwise the Trainer says no under activation checkpointing, and DDP waits for the gradients of heads that rest.
        args.ddp_find_unused_parameters = True


def _leave_heads_out(adapter: Any) -> None:
    """Of an adapter: `all-linear` would find the linear layers of the heads, too; these are trained whole."""
    said = adapter.exclude_modules or []
    patterns = [said] if isinstance(said, str) else [rf"(?:.*\.)?{re.escape(name)}" for name in sorted(said)]
    adapter.exclude_modules = "|".join([*patterns, rf".*{re.escape(PREFIX[:-1])}.*"])
