"""The trainers of `kind: grpo` and `kind: rloo`: TRL's, on prompts that are prepared, with the rewards that PPO takes."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather
from trl import GRPOTrainer, RLOOTrainer

from hfrecipes.compat import trl_fused_head
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.trainers.groups.order import GroupSampler
from hfrecipes.trainers.groups.signs import GroupSigns, share_of_different
from hfrecipes.trainers.groups.stops import length_to_stop
from hfrecipes.trainers.means import MeansOfTRL, NamedHeldOut
from hfrecipes.trainers.mixin import RecipeTrainerMixin
from hfrecipes.trainers.ppo.distributed import prepare_frozen
from hfrecipes.trainers.ppo.prompts import Prompt, PromptReader
from hfrecipes.trainers.ppo.rewards import Rewards
from hfrecipes.trainers.ppo.sampling import Sampling
from hfrecipes.trainers.ppo.scorers import Completed
from hfrecipes.trainers.ppo.stop_strings import StopStrings
from hfrecipes.trainers.ppo.watching import REWARD
from hfrecipes.trainers.reference_adapter import ReferenceLeftOut
from hfrecipes.trainers.soundness import WINDOW, unsound_forward
from hfrecipes.trainers.whole_rollouts import WholeRollouts

_LISTED_ROWS = 20
# What PPO calls the figures that mean the same, so that runs of both can be laid side by side.
_ALIASES = {"reward": "objective/scores", "completions/mean_length": "completions/length"}
_HELD_OUT_ALIASES = {"reward": "score"}


class GroupPolicy(ReferenceLeftOut, NamedHeldOut, MeansOfTRL, RecipeTrainerMixin, WholeRollouts):
    """Comes before a trainer of TRL's that draws several answers to each prompt and compares them with each other.

    Features:
        * prompts are tokenised when the data are prepared, as for PPO, and come in an order that any number of processes has;
        * rewards are those of PPO: functions, classifiers with tokenizers of their own, several, weighted;
        * the policy is compared with itself as it was, also where it is trained whole and was never on the Hub;
        * evaluations and saves wait for the end of a rollout; resumed from there, the run is the one that was not cut.

    Args:
        model: A causal language model, or one with an adapter.
        args: Of the training.
        rewards: What scores answers.
        ref_model: A frozen copy of the policy; None where its adapter can be switched off, or nothing is compared.
        end_ids: Tokens that end an answer beside the tokenizer's and the model's own.
        words: As for TRL's trainer; rows have `input_ids` and `given`.
    """

    def __init__(
        self,
        model: Any,
        args: Any,
        rewards: Rewards,
        ref_model: Any = None,
        end_ids: tuple[int, ...] = (),
        **words: Any,
    ) -> None:
        beta = args.beta
        # TRL would load its own copy of a whole model, from wherever its config says it came from.
        args.beta = 0.0 if ref_model is not None else beta
        super().__init__(model=model, args=args, reward_funcs=list(rewards.scorers), **words)
        args.beta = self.beta = beta
        if ref_model is not None:
            self._compare_with(ref_model)
        self.rewards, self.reward_func_names = rewards, rewards.names
        self.data_collator = _asked
        self.signs = GroupSigns()
        self._end_at(end_ids)
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        self.reader = PromptReader(self.processing_class, args.max_prompt_length, room, args.response_length)

    def _compare_with(self, reference: Any) -> None:
        words = {"cast_lm_head_to_fp32": True} if getattr(self.args, "cast_lm_head_to_fp32", False) else {}
        trl_fused_head(reference, temperature=self.temperature, **words)
        self.ref_model = prepare_frozen(reference, self)

    def _end_at(self, ids: tuple[int, ...]) -> None:
        self.eos_token_ids = list(dict.fromkeys([*self.eos_token_ids, *ids]))
        if not self.use_vllm:
            self.generation_config.eos_token_id = self.generation_kwargs["eos_token_id"] = self.eos_token_ids

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn where policies are measured."""
        drawn = {"min_p": self.min_p} if self.min_p is not None else {}
        drawn |= {"repetition_penalty": self.repetition_penalty} if self.repetition_penalty != 1 else {}
        return Sampling(
            length=self.args.response_length,
            temperature=self.temperature,
            pad_id=self.processing_class.pad_token_id,
            stop_ids=tuple(self.eos_token_ids),
            stop_strings=StopStrings(self.processing_class, self.args.stop_strings) if self.args.stop_strings else None,
            top_k=self.top_k,
            top_p=self.top_p,
            generate={**drawn, **(self.args.generation_kwargs or {})} or None,
        )

    # The order of prompts

    def _get_train_sampler(self, dataset: Any = None) -> GroupSampler:
        args, rows = self.args, len(self.train_dataset)
        repeats = args.micro_batches_of_a_generation
        generation = args.prompts_of_a_generation, args.num_generations, repeats, args.generations_per_rollout
        self._sampler = GroupSampler(rows, *generation, args.seed)
        return self._sampler

    def set_sampler_epoch(self) -> None:
        """Tells the sampler where the training goes on, and TRL how many micro-batches came before."""
        self._step = self.state.global_step * self.args.gradient_accumulation_steps
        micro_batches = len(self._sampler) // self.args.generation_batch_size
        self._sampler.set_epoch(self._step // micro_batches)

    def rows_read(self) -> np.ndarray:
        """The prompts of all rollouts so far, in their order: `(prompts,)`."""
        rollouts = -(-self.state.global_step // self.args.steps_per_rollout)
        return self._sampler.order(0, rollouts * self.args.rollout_size // self.args.num_generations)

    def _rows_of(self, step: int) -> str:
        rollout, prompts = (
            (step - 1) // self.args.steps_per_rollout,
            self.args.rollout_size // self.args.num_generations,
        )
        rows = self._sampler.order(rollout * prompts, (rollout + 1) * prompts).tolist()
        more = " …" if len(rows) > _LISTED_ROWS else ""
        return f"Its rollout completed prompts {', '.join(map(str, rows[:_LISTED_ROWS]))}{more}"

    # Rollouts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._prompts = [row["asked"] for row in inputs]
        output = super()._generate_and_score_completions(inputs)
        if self.model.training:
            noted = self._metrics["train"]
            figures = {
                name: noted[name][-1] for name in ("reward", "frac_reward_zero_std", "completions/clipped_ratio")
            }
            figures |= {f"{REWARD}{name}": noted[f"{REWARD}{name}/mean"][-1] for name in self.reward_func_names}
            different = share_of_different(output["completion_ids"])
            self.signs.look(figures, different, len(inputs), self.state.global_step + 1)
        return output

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL draws them; what follows a stop string was never asked for."""
        made = super()._generate_single_turn(*args, **kwargs)
        if not self.args.stop_strings:
            return made
        ids, logprobs = made if isinstance(made, tuple) else (made, None)
        ends = [self._length_to_stop(each) for each in ids]
        ids = [list(each)[:end] for each, end in zip(ids, ends, strict=True)]
        if not isinstance(made, tuple):
            return ids
        return ids, logprobs and [each[:end] for each, end in zip(logprobs, ends, strict=True)]

    def _length_to_stop(self, ids: Any) -> int | None:
        return length_to_stop(ids, self.processing_class, self.args.stop_strings or ())

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [prompt.ids for prompt in self._prompts], None, {}

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: Any
    ) -> torch.Tensor:
        ids = [list(each) for each in completion_ids_list]
        extra = {"trainer_state": self.state, "log_extra": self._log_completion_extra, "log_metric": self._log_metric}
        finished = [each[-1] in self.eos_token_ids or self._length_to_stop(each) is not None for each in ids]
        texts = self.reader.texts(ids, self.args.stop_strings or ())
        _, _, table = self.rewards(Completed(self._prompts, texts, ids, finished, extra), self.args.response_length)
        device = self.accelerator.device
        # TRL knows of tokens alone that end an answer.
        cut = 1.0 - gather(torch.tensor(finished, device=device).float()).mean().item()
        self._metrics["train" if self.model.training else "eval"]["completions/clipped_ratio"][-1] = cut
        return gather(table.to(device))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Also under the names that PPO gives what means the same."""
        training = self.model.training
        noted, aliases = (self._metrics["train"], _ALIASES) if training else (self._metrics["eval"], _HELD_OUT_ALIASES)
        for name, alias in aliases.items():
            if name in noted:
                noted[alias] = list(noted[name])
        super().log(logs, start_time)

    # Guards

    @property
    def loss_bound(self) -> float:
        """Any loss that is a number: its size follows that of the rewards."""
        return sys.float_info.max

    def unsound_row(self, model: Any, row: dict[str, Any]) -> str | None:
        """What is wrong with a model, seen from one prompt; None where nothing is."""
        ids = row["input_ids"][:WINDOW]
        read = {"input_ids": ids, "labels": [-100] * len(ids)}
        return unsound_forward(model, read, self.loss_bound, self.args.device)

    # State

    def accumulators(self) -> dict[str, Any]:
        """Also what rollouts are, and which signs were told."""
        return {**super().accumulators(), "rollouts": self._rollouts(), "signs": self.signs.told}

    def restore_accumulators(self, saved: dict[str, Any]) -> None:
        super().restore_accumulators(saved)
        self.signs.told = saved["signs"]
        for name, value in self._rollouts().items():
            if saved["rollouts"][name] != value:
                fault = f"was saved with {name} {saved['rollouts'][name]}, and it is {value} now"
                fix = (
                    "keep num_generations, num_iterations and what is drawn at a time over all processes, or begin anew"
                )
                raise RecipeError(Problem(str(self.resumed_from), fault, fix))

    def _rollouts(self) -> dict[str, int]:
        args = self.args
        return {
            "steps_per_rollout": args.steps_per_rollout,
            "rollout_size": args.rollout_size,
            "num_generations": args.num_generations,
        }


class RecipeGRPOTrainer(GroupPolicy, GRPOTrainer):
    """Group-relative policy optimisation (Shao et al. 2024, arXiv:2402.03300), in any form that TRL knows."""

    _name = "GRPO"


class RecipeRLOOTrainer(GroupPolicy, RLOOTrainer):
    """REINFORCE with the mean of the other answers as its baseline (Ahmadian et al. 2024, arXiv:2402.14740)."""

    _name = "RLOO"


def _asked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prepared rows as TRL takes them, with the prompt as rewards read it."""
    made = []
    for row in rows:
        given, columns = json.loads(row["given"])
        columns.pop("completion", None)
        made.append({"prompt": given, "asked": Prompt(0, list(row["input_ids"]), given, columns)})
    return made
