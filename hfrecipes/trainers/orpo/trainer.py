"""The trainer of `kind: orpo`: preferences and fine-tuning in one loss, without a reference, on the stock Trainer."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from accelerate.utils import is_peft_model
from peft import PeftConfig, get_peft_model
from transformers import Trainer, set_seed

from hfrecipes.compat import trl_fused_head
from hfrecipes.objectives.answers import PairCollator
from hfrecipes.objectives.orpo import odds_ratio_losses
from hfrecipes.trainers.means import held_out_prefix
from hfrecipes.trainers.mixin import RecipeTrainerMixin
from hfrecipes.trainers.orpo.config import ORPOConfig
from hfrecipes.trainers.ppo.policy import disable_dropout


class RecipeORPOTrainer(RecipeTrainerMixin, Trainer):
    """Odds-ratio preference optimisation (Hong et al. 2024, arXiv:2403.07691).

    TRL keeps its own among the experimental ones, whose words and files change without notice, and tokenises for itself; this one
    takes its words and its figures' names.

    Features:
        * the chosen answer's loss is a mean over the tokens of the whole batch, however it is divided;
        * the logits of all tokens never exist at once.

    Args:
        model: A causal language model, or one with an adapter.
        args: Of the training.
        processing_class: The tokenizer.
        peft_config: For a fresh adapter.
        words: Those of `transformers.Trainer`; rows are prepared already.
    """

    def __init__(
        self, model: Any, args: ORPOConfig, processing_class: Any, peft_config: PeftConfig | None = None, **words: Any
    ) -> None:
        set_seed(args.seed)
        trl_fused_head(model.get_base_model() if is_peft_model(model) else model)
        if peft_config is not None:
            model = get_peft_model(model, peft_config)
        if any(getattr(model, f"is_loaded_in_{bits}bit", False) for bits in (4, 8)):
            # As TRL's trainers have adapters on quantised bases.
            for weight in model.parameters():
                weight.data = weight.data.to(torch.bfloat16) if weight.requires_grad else weight.data
        if is_peft_model(model) and args.gradient_checkpointing:
            model.enable_input_require_grads()
        if args.disable_dropout:
            disable_dropout(model)
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            data_collator=PairCollator(processing_class.pad_token_id),
            **words,
        )
        # Losses are divided here by what the whole step holds; the stock Trainer would do it once more.
        self.model_accepts_loss_kwargs = True
        # Sums of what is logged, and what they are to be divided by, since the last log call.
        self._sums: dict[str, dict[str, list[float]]] = {"train": defaultdict(_zeros), "eval": defaultdict(_zeros)}

    @property
    def step_bound(self) -> float:
        """None: odds have no bound; a saved model still has to read its rows."""
        return math.inf

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        mask = inputs["completion_mask"][:, 1:]
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        words = {"attention_mask": inputs["attention_mask"], "use_cache": False}
        outputs = model(input_ids=inputs["input_ids"], labels=labels, fused_lm_head=True, **words)
        sums = outputs.log_probs[:, -mask.shape[1] :].sum(1)
        lengths = mask.sum(1)
        (chosen, rejected), (tokens, others) = sums.chunk(2), lengths.chunk(2)
        losses, ratios = odds_ratio_losses(chosen / tokens.clamp_min(1), rejected / others.clamp_min(1))
        pairs = torch.as_tensor(len(chosen), device=chosen.device)
        whole = torch.stack([tokens.sum(), pairs]) if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over processes, whose parts add up to the whole.
        scale = 1 if num_items_in_batch is None else self.args.world_size
        loss = scale * (-chosen.sum() / whole[0] + self.args.beta * losses.sum() / whole[1])
        self._note(chosen, rejected, tokens, losses, ratios)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor, None, None]:
        """The loss; the stock Trainer finds no labels in these batches, and would take none."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach(), None, None

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:
        """Tokens of the chosen answers, and pairs, of a step over all processes."""
        if not batch_samples:
            return None
        chosen = [batch["completion_mask"].chunk(2)[0][:, 1:] for batch in batch_samples]
        counts = torch.tensor([[int(mask.sum()), len(mask)] for mask in chosen]).sum(0).to(device)
        return self.accelerator.gather(counts[None]).sum(0)

    # What is logged

    def _note(
        self,
        chosen: torch.Tensor,
        rejected: torch.Tensor,
        tokens: torch.Tensor,
        losses: torch.Tensor,
        ratios: torch.Tensor,
    ) -> None:
        pairs = float(len(chosen))
        figures = {
            "nll_loss": (-chosen.sum(), float(tokens.sum())),
            "logps/chosen": (chosen.sum(), pairs),
            "logps/rejected": (rejected.sum(), pairs),
            "log_odds_chosen": (ratios.sum(), pairs),
            "log_odds_ratio": (-losses.sum(), pairs),
            "rewards/accuracies": ((ratios > 0).float().sum(), pairs),
        }
        noted = self._sums["train" if self.model.training else "eval"]
        for name, (total, count) in figures.items():
            noted[name][0] += float(total.detach())
            noted[name][1] += count

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """With the means since the last call, over all processes; those of held-out pairs are called after their data set."""
        mode = "train" if self.model.training else "eval"
        noted, self._sums[mode] = self._all(self._sums[mode]), defaultdict(_zeros)
        prefix = "" if mode == "train" else held_out_prefix(logs)
        logs.update({prefix + name: total / count for name, (total, count) in noted.items() if count})
        super().log(logs, *args, **kwargs)

    def _all(self, noted: dict[str, list[float]]) -> dict[str, list[float]]:
        if self.args.world_size == 1 or not noted:
            return noted
        table = torch.tensor(list(noted.values()), dtype=torch.float64, device=self.accelerator.device)
        return dict(zip(noted, self.accelerator.gather(table[None]).sum(0).tolist(), strict=True))

    def accumulators(self) -> dict[str, Any]:
        """Also the sums since the last log call."""
        return {**super().accumulators(), "figures": self._all(self._sums["train"])}

    def restore_accumulators(self, saved: dict[str, Any]) -> None:
        super().restore_accumulators(saved)
        if self.args.process_index == 0:
            # Sums over all processes, so one of them goes on with them.
            for name, values in saved["figures"].items():
                self._sums["train"][name] = list(values)
        else:
            for name in saved["figures"]:
                self._sums["train"][name] = _zeros()


def _zeros() -> list[float]:
    return [0.0, 0.0]
