"""`kind: ppo`: a policy that is trained on its own answers, which rewards score, with a critic; full or through an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hfrecipes.data.prepare import Prepared
from hfrecipes.data.prompts import PromptRows
from hfrecipes.evaluation.prompts import end_of_turn_ids
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.stages.measure_policy import PolicyMeasurer
from hfrecipes.stages.policy_rewards import NormalisedScorer, OpenedReward, open_rewards
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.ppo.config import PPOConfig
from hfrecipes.trainers.ppo.trainer import PPOTrainer

ARGUMENTS = PPOConfig
MEASURER = PolicyMeasurer


def build_trainer(recipe: Recipe, model: Any, args: PPOConfig, prepared: Prepared, tokenizer: Any) -> PPOTrainer:
    """The trainer of a policy; its prompts are read and counted already.

    Raises:
        RecipeError: a reward cannot be loaded, or does not go with the policy.
    """
    config = adapter_config(recipe)
    _end_with_turns(recipe, args, prepared, tokenizer)
    opened = open_rewards(recipe, has_adapter=config is not None or hasattr(model, "peft_config"))
    trainer = PPOTrainer(
        model=model,
        args=args,
        reward_funcs=[each.scores for each in opened],
        train_dataset=PromptRows(prepared.train),
        eval_dataset={name: PromptRows(rows) for name, rows in prepared.eval.items()} or None,
        processing_class=tokenizer,
        reward_processing_classes=[each.tokenizer for each in opened],
        peft_config=config,
    )
    _name_scorers(trainer, opened)
    finish_adapter(recipe, trainer.model)
    return trainer


def _end_with_turns(recipe: Recipe, args: PPOConfig, prepared: Prepared, tokenizer: Any) -> None:
    """Answers in a conversation end with the turn, where the recipe says nothing and a text ends with another token."""
    # Null says something, too: with stop_token: null answers end nowhere.
    if {"stop_token", "stop_token_id", "stop_strings"} & recipe.get("training").keys():
        return
    if len(prepared.train) and isinstance(PromptRows(prepared.train)[0]["prompt"], list):
        ends = end_of_turn_ids(tokenizer)
        if ends and tokenizer.eos_token_id not in ends:
            args.stop_token_id = min(ends)


def more_callbacks(trainer: PPOTrainer, warn: Callable[[str], None]) -> list[Any]:
    """None; the trainer itself looks out for signs that a training goes wrong, and tells of them from here on."""
    trainer.signs.warn = warn
    return []


def refuse_unusable(recipe: Recipe, trainer: PPOTrainer, prepared: Prepared) -> None:
    """Makes sure that each prompt leaves room for an answer, and is read by the model at all.

    Raises:
        RecipeError: naming the first that does not.
    """
    embeddings = trainer.model.get_input_embeddings().num_embeddings
    room, length = trainer.reader.room, trainer.args.response_length
    for role, sets in (("train", {"data.train": prepared.train}), ("eval", prepared.eval), ("test", prepared.test)):
        for title, rows in sets.items():
            where = recipe.where(f"data.{role}")
            if len(rows) == 0:
                raise RecipeError(Problem(where, f"{title} has no rows", "name data that has some"))
            lengths, largest = _lengths_and_ids(rows)
            if (unknown := largest >= embeddings).any():
                number = int(unknown.argmax())
                fault = f"holds the id {largest[number]}, and the model knows ids from 0 to {embeddings - 1}"
                raise _prompt_problem(where, title, number, fault, "name the model's own tokenizer")
            if room is not None and (long := lengths + length > room).any():
                number = int(long.argmax())
                fault = (
                    f"has {lengths[number]} tokens, and with an answer of {length} more than the {room} that the model"
                )
                fix = f"say training.max_prompt_length: {max(room - length, 1)}, or lower training.response_length"
                raise _prompt_problem(where, title, number, f"{fault} has places for", fix)


def _prompt_problem(where: str, title: str, number: int, fault: str, fix: str) -> RecipeError:
    return RecipeError(Problem(where, f"{title}: prompt {number} (counted from 0) {fault}", fix))


def tokens_of_a_step(trainer: PPOTrainer) -> float:
    """Tokens of prompts and answers in one optimizer step, where answers are as long as they may be."""
    return float(_prompt_lengths(trainer).mean() + trainer.args.response_length) * trainer.args.minibatch_size


def training_facts(
    trainer: PPOTrainer, first_step: int, watch: dict[str, float], peak_memory: int, flops_per_token: float | None
) -> dict[str, Any]:
    """What the steps since `first_step` did, counted in prompts that were answered and in tokens that were learnt from.

    Args:
        trainer: After `train()`.
        first_step: 0, or the step a resumed run went on from.
        watch: Seconds.
        peak_memory: In bytes.
        flops_per_token: Model FLOPs for each token of each pass over a rollout; None where they are not known.
    """
    args, steps, lengths = trainer.args, trainer.state.global_step, _prompt_lengths(trainer)
    order, log = trainer.rows_read(), trainer.state.log_history
    answered, scores, losses = (_logged(log, name) for name in ("completions/length", "objective/scores", "loss"))
    answer = sum(answered) / len(answered) if answered else 0.0
    share = 1 - first_step / steps if steps else 0.0
    tokens = args.num_ppo_epochs * (int(lengths[order].sum()) + len(order) * answer)
    seconds = max(watch["wall_seconds"] - watch["evaluation_seconds"], 1e-9)
    return {
        "steps": steps,
        "epochs": round(len(order) / len(lengths), 4),
        "rows": len(order),
        "rollouts": trainer.rollouts_done,
        "tokens": round(tokens),
        "supervised_tokens": round(len(order) * answer),
        "flops": flops_per_token * tokens if flops_per_token else None,
        **watch,
        "tokens_per_second": round(tokens * share / seconds, 1),
        "peak_memory_bytes": peak_memory,
        "global_batch_size": args.minibatch_size,
        "rollout_size": args.rollout_size,
        "micro_batch_size": args.per_device_train_batch_size,
        "accumulation_steps": args.gradient_accumulation_steps,
        "first_loss": losses[0] if losses else None,
        "final_loss": losses[-1] if losses else None,
        "best_step": trainer.state.best_global_step if args.load_best_model_at_end else None,
        "first_score": scores[0] if scores else None,
        "final_score": scores[-1] if scores else None,
    }


def _logged(log: list[dict[str, Any]], name: str) -> list[float]:
    return [entry[name] for entry in log if name in entry]


def _prompt_lengths(trainer: PPOTrainer) -> np.ndarray:
    return _lengths_and_ids(trainer.train_dataset.rows)[0]


def _lengths_and_ids(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each prompt, and the largest id in it, without making Python lists of them; none is empty."""
    lengths, largest = [], []
    for chunk in rows.select_columns(["input_ids"]).with_format("arrow").iter(1024):
        column = chunk.column("input_ids").combine_chunks()
        sizes = column.value_lengths().to_numpy()
        lengths.append(sizes)
        largest.append(np.maximum.reduceat(column.flatten().to_numpy(), np.cumsum(sizes) - sizes))
    return np.concatenate(lengths), np.concatenate(largest)


def _name_scorers(trainer: PPOTrainer, opened: list[OpenedReward]) -> None:
    """Calls rewards what the recipe calls them, and brings those of adapters to mean 0 and variance 1."""
    scorers = trainer.rewards.scorers
    for place, each in enumerate(opened):
        if each.normalisation is not None:
            scorers[place] = NormalisedScorer(scorers[place], each.normalisation)
        scorers[place].__name__ = each.name
