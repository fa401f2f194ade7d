"""What trainings of a policy on its own answers have in common: prompts that are looked at, figures of what was done, rewards."""

from __future__ import annotations

from typing import Any

import numpy as np

from hfrecipes.data.prepare import Prepared
from hfrecipes.data.prompts import PromptRows
from hfrecipes.evaluation.prompts import end_of_turn_ids
from hfrecipes.models.extended_embeddings import input_rows
from hfrecipes.recipe.answer_words import answer_length, answer_word
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.stages.policy_rewards import NormalisedScorer, OpenedReward
from hfrecipes.trainers.ppo.rewards import Rewards


def ends_of_turns(prepared: Prepared, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end an answer in a conversation, where that is not what a text ends with; none for texts."""
    if len(prepared.train) and isinstance(PromptRows(prepared.train)[0]["prompt"], list):
        ends = end_of_turn_ids(tokenizer)
        return () if tokenizer.eos_token_id in ends else tuple(sorted(ends))
    return ()


def refuse_unusable(recipe: Recipe, trainer: Any, prepared: Prepared) -> None:
    """Makes sure that each prompt leaves room for an answer, and is read by the model at all.

    Raises:
        RecipeError: naming the first that does not.
    """
    embeddings = input_rows(trainer.model)
    room, length = trainer.reader.room, answer_length(recipe)
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
                fix = f"say training.max_prompt_length: {max(room - length, 1)}, or lower {answer_word(recipe)}"
                raise _prompt_problem(where, title, number, f"{fault} has places for", fix)


def _prompt_problem(where: str, title: str, number: int, fault: str, fix: str) -> RecipeError:
    return RecipeError(Problem(where, f"{title}: prompt {number} (counted from 0) {fault}", fix))


def tokens_of_a_step(trainer: Any) -> float:
    """Tokens of prompts and answers in one optimizer step, where answers are as long as they may be."""
    return float(_prompt_lengths(trainer).mean() + trainer.args.response_length) * trainer.args.minibatch_size


def training_facts(
    trainer: Any, first_step: int, watch: dict[str, float], peak_memory: int | None, flops_per_token: float | None
) -> dict[str, Any]:
    """What the steps since `first_step` did, counted in prompts that were answered and in tokens that were learnt from.

    Args:
        trainer: After `train()`.
        first_step: 0, or the step a resumed run went on from.
        watch: Seconds.
        peak_memory: In bytes; None where it is not known.
        flops_per_token: Model FLOPs for each token of each pass over a rollout; None where they are not known.
    """
    args, steps, lengths = trainer.args, trainer.state.global_step, _prompt_lengths(trainer)
    order, log = trainer.rows_read(), trainer.state.log_history
    drawn, scores, losses = (_logged(log, name) for name in ("completions/length", "objective/scores", "loss"))
    answer = sum(drawn) / len(drawn) if drawn else 0.0
    share = 1 - first_step / steps if steps else 0.0
    answers = len(order) * args.answers_of_a_prompt
    tokens = args.passes * (int(lengths[order].sum()) * args.answers_of_a_prompt + answers * answer)
    seconds = max(watch["wall_seconds"] - watch["evaluation_seconds"], 1e-9)
    return {
        "steps": steps,
        "epochs": round(len(order) / len(lengths), 4),
        "rows": len(order),
        "answers": answers,
        "rollouts": trainer.rollouts_done,
        "tokens": round(tokens),
        "supervised_tokens": round(answers * answer),
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


def _prompt_lengths(trainer: Any) -> np.ndarray:
    return _lengths_and_ids(getattr(trainer.train_dataset, "rows", trainer.train_dataset))[0]


def _lengths_and_ids(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each prompt, and the largest id in it, without making Python lists of them; none is empty."""
    lengths, largest = [], []
    for chunk in rows.select_columns(["input_ids"]).with_format("arrow").iter(1024):
        column = chunk.column("input_ids").combine_chunks()
        sizes = column.value_lengths().to_numpy()
        lengths.append(sizes)
        largest.append(np.maximum.reduceat(column.flatten().to_numpy(), np.cumsum(sizes) - sizes))
    return np.concatenate(lengths), np.concatenate(largest)


def name_scorers(rewards: Rewards, opened: list[OpenedReward]) -> None:
    """Calls rewards what the recipe calls them, and brings those of adapters to mean 0 and variance 1."""
    scorers = rewards.scorers
    for place, each in enumerate(opened):
        if each.normalisation is not None:
            scorers[place] = NormalisedScorer(scorers[place], each.normalisation)
        scorers[place].__name__ = each.name
