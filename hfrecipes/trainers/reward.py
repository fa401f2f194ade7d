"""The trainer of `kind: reward`: TRL's, on pairs and on rankings of any number of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trl import RewardTrainer

from hfrecipes.evaluation.rewards import score_rows
from hfrecipes.models.reward import Normalisation, heads_of, note_normalisation, write_beside_adapter
from hfrecipes.objectives.answers import RankingCollator, split_row
from hfrecipes.objectives.preference import ranking_losses
from hfrecipes.trainers.held_out import HeldOutLoss
from hfrecipes.trainers.means import MeansOfTRL
from hfrecipes.trainers.mixin import RecipeTrainerMixin
from hfrecipes.trainers.soundness import unsound_reward

# A reward beyond this in size, and a step that costs as much, are those of weights that have been thrown away.
LARGEST_REWARD = 1e4
# Rows whose rewards say what mean and spread are; the error of a mean of that many is 2 % of the spread.
REFERENCE_ROWS = 1024


class RecipeRewardTrainer(HeldOutLoss, MeansOfTRL, RecipeTrainerMixin, RewardTrainer):
    """Learns which of the answers to a prompt is better, from rows in which they stand side by side.

    Features:
        * all pairs of a ranking in one step, one forward pass for each answer, each prompt counted once; pairs are rankings
          of two, with TRL's loss, margin and centring;
        * the head stays in float32, also where TRL turns all that is trained into bfloat16 (a quantised base);
        * `save_final` measures mean and spread of the rewards and saves them with the model.

    Args:
        model: With a `RewardHead`.
        processing_class: The tokenizer; its pad token is the one of the model's config.
        words: As for `trl.RewardTrainer`; rows are prepared already.
    """

    _name = "Reward"

    def __init__(self, model: Any, processing_class: Any, **words: Any) -> None:
        before = [parameter.detach().clone() for head in heads_of(model) for parameter in head.parameters()]
        super().__init__(
            model=model,
            processing_class=processing_class,
            data_collator=RankingCollator(processing_class.pad_token_id),
            **words,
        )
        for head in heads_of(self.model):
            for parameter, values in zip(head.parameters(), before, strict=False):
                parameter.data = values.to(parameter.device, copy=True)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    # Guards

    @property
    def loss_bound(self) -> float:
        return LARGEST_REWARD

    def _bound_in_words(self) -> str:
        return f"{self.step_bound:.3g} (a guess costs {math.log(2):.3g})"

    def unsound_row(self, model: Any, row: dict[str, Any]) -> str | None:
        return unsound_reward(model, split_row(row)[:: len(row["ranks"]) - 1], LARGEST_REWARD, self.args.device)

    # The loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over the prompts of a micro-batch. All micro-batches of a step have as many, so their mean is the step's."""
        answers = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        outputs = model(**answers, use_cache=False)
        rewards = outputs.logits[:, 0].float()
        centring = self.args.center_rewards_coefficient or 0.0
        found = ranking_losses(rewards, inputs["ranks"], inputs["margin"], centring)
        self._note(rewards.detach(), found.accuracies, found.margins, inputs["attention_mask"])
        loss = found.losses.mean()
        return (loss, outputs) if return_outputs else loss

    def held_out_weight(self, inputs: dict[str, Any]) -> int:
        """The prompts of a batch."""
        return len(inputs["ranks"])

    @torch.no_grad()
    def _note(self, rewards: Any, accuracies: Any, margins: Any, attention_mask: Any) -> None:
        """TRL's figures, over the prompts of all processes."""
        mode = "train" if self.model.training else "eval"
        gather, noted = self.accelerator.gather, self._metrics[mode]
        if mode == "train":
            self._total_train_tokens += int(gather(attention_mask.sum()).sum())
        noted["num_tokens"] = [self._total_train_tokens]
        extremes = gather(torch.stack([rewards.min(), rewards.mean(), rewards.max()])[None])
        noted["min_reward"].append(float(extremes[:, 0].min()))
        noted["mean_reward"].append(float(extremes[:, 1].mean()))
        noted["max_reward"].append(float(extremes[:, 2].max()))
        noted["accuracy"].append(float(gather(accuracies).mean()))
        noted["margin"].append(float(gather(margins).mean()))

    # What is saved

    def save_final(self, folder: Path) -> None:
        note_normalisation(self.model.config, self._measure_spread())
        super().save_final(folder)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if hasattr(model, "peft_config"):
            write_beside_adapter(Path(output_dir or self.args.output_dir), model.config)

    def _measure_spread(self) -> Normalisation:
        """Over the answers of the rows that are measured on, or else of those that are trained on."""
        sets = list((self.eval_dataset or {}).values()) or [self.train_dataset]
        rows = [row for dataset in sets for row in _evenly(dataset, REFERENCE_ROWS // len(sets))]
        model = self.model_wrapped if self.is_deepspeed_enabled else self.model
        with self.compute_loss_context_manager():
            found = score_rows(
                model, rows, self.data_collator.pad_token_id, self.args.eval_batch_size, self.args.device
            )
        rewards = np.concatenate(found)
        return Normalisation(float(rewards.mean()), max(float(rewards.std()), 1e-6))


def _evenly(dataset: Any, most: int) -> Sequence[dict[str, Any]]:
    rows = len(dataset)
    return [dataset[place * rows // min(rows, most)] for place in range(min(rows, most))]
