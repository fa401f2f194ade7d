"""What a training is made of: policy, values, rewards, from what a person gives."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.mode import eval_mode
from hfrecipes.models.pretrained import load_pretrained, load_pretrained_tokenizer, load_with_adapter
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.trainers.ppo.adapters import (
    REWARD,
    VALUE,
    add_value_adapter,
    is_prompt_learning,
    load_reward_adapter,
    running,
)
from hfrecipes.trainers.ppo.config import PPOConfig
from hfrecipes.trainers.ppo.policy import base_of, disable_dropout, make_policy, output_width
from hfrecipes.trainers.ppo.rewards import Rewards
from hfrecipes.trainers.ppo.sampling import Sampling
from hfrecipes.trainers.ppo.scorers import AdapterReward, FunctionReward, ModelReward, Scorer
from hfrecipes.trainers.ppo.stop_strings import StopStrings
from hfrecipes.trainers.ppo.value import ValueHead, ValueModel, value_from_classifier, value_from_policy


def open_policy(model: Any, args: PPOConfig, peft_config: PeftConfig | None) -> tuple[Any, bool]:
    """The model that is trained, without values.

    Args:
        model: A causal language model, one with an adapter, or the name or folder of either.
        args: Of the training.
        peft_config: A fresh adapter is made by it.

    Returns:
        The model; and whether its adapter is fresh.

    Raises:
        RecipeError: these do not go together.
    """
    if isinstance(model, str | Path):
        model = load_with_adapter(Path(model), trainable=True) if is_adapter(model) else load_pretrained(model)
    if peft_config is not None and isinstance(model, PeftModel):
        fix = "leave peft_config out to train the adapter on, or merge it first (merge_and_unload)"
        raise RecipeError(Problem("peft_config", "stands beside a model that has an adapter already", fix))
    if isinstance(model, PeftModel) and len(model.active_adapters) != 1:
        raise RecipeError(Problem("model", "runs several adapters at once", "activate one: model.set_adapter(name)"))
    # Before an adapter is put around it, which keeps references to its layers.
    make_policy(base_of(model))
    if peft_config is not None:
        if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=args.gradient_checkpointing)
        model = get_peft_model(model, peft_config)
    if isinstance(model, PeftModel):
        if is_prompt_learning(model):
            fix = "take an adapter of layers, such as LoRA"
            raise RecipeError(Problem("peft_config", "puts learnt tokens before each prompt", fix))
        if args.gradient_checkpointing:
            model.enable_input_require_grads()
    if args.disable_dropout:
        disable_dropout(model)
    return model, peft_config is not None


def open_tokenizer(model: Any) -> Any:
    """The tokenizer that lies with a model.

    Args:
        model: As `open_policy` takes it.

    Raises:
        RecipeError: the model came from nowhere, or no tokenizer lies there.
    """
    name = model if isinstance(model, str | Path) else base_of(model).config._name_or_path
    if not name:
        fault = "is not given, and the model comes from no folder and no repository"
        raise RecipeError(Problem("processing_class", fault, "give the model's tokenizer"))
    return load_pretrained_tokenizer(name, "processing_class")


def attach_values(policy: Any, args: PPOConfig, value_model: Any | None, rewards: Sequence[Any]) -> None:
    """Gives the policy what makes values.

    Args:
        policy: With its adapter; its reference has been made.
        args: `value` says what.
        value_model: With `value: model`, a sequence classifier with one label; None: the first reward that is one, else a
            copy of the policy.
        rewards: As they were given.

    Raises:
        RecipeError: these do not go together.
    """
    base = base_of(policy)
    if value_model is not None and args.value != "model":
        fix = "set value to model, or leave value_model out"
        raise RecipeError(Problem("value_model", f"stands beside value {args.value}", fix))
    if args.value == "model":
        base.ppo_value = _value_model(base, value_model, rewards)
        return
    if args.value == "adapter":
        if not isinstance(policy, PeftModel):
            fix = "give peft_config, or set value to head or model"
            raise RecipeError(Problem("PPOConfig.value", "is adapter, and the policy has none", fix))
        add_value_adapter(policy)
        base.ppo_second_pass = functools.partial(running, policy, VALUE)
    base.ppo_value = ValueHead(output_width(base), args.detach_value).to(base.device)


def _value_model(base: Any, given: Any | None, rewards: Sequence[Any]) -> ValueModel:
    classifiers = [reward for reward in rewards if isinstance(reward, PreTrainedModel)]
    if isinstance(given, str | Path):
        given = AutoModelForSequenceClassification.from_pretrained(given, num_labels=1)
    if given is None and classifiers and _same_vocabulary(classifiers[0], base):
        given = classifiers[0]
    made = value_from_policy(base, output_width(base)) if given is None else value_from_classifier(given)
    disable_dropout(made)
    return made.to(base.device)


def _same_vocabulary(classifier: Any, base: Any) -> bool:
    """It reads the policy's tokens, not its text."""
    sizes = [getattr(model.config.get_text_config(), "vocab_size", None) for model in (classifier, base)]
    return classifier.config.model_type == base.config.model_type and sizes[0] == sizes[1]


def open_rewards(
    given: Any, tokenizers: Any, policy: Any, tokenizer: Any, args: PPOConfig, call: Callable[..., Any]
) -> Rewards:
    """All rewards of a training.

    Args:
        given: One or several of: a sequence classifier, its name or folder, the folder of its adapter, a function.
        tokenizers: Of reward models, None where one is to be found beside it.
        policy: On whose base adapters are put.
        tokenizer: The policy's.
        args: Of the training.
        call: The policy's forward pass, whatever will be wrapped around it.

    Raises:
        RecipeError: one of them cannot be used.
    """
    each = list(given) if isinstance(given, list | tuple) else [given]
    own = list(tokenizers) if isinstance(tokenizers, list | tuple) else [tokenizers] * len(each)
    if len(own) != len(each):
        fault = f"{len(own)} tokenizers for {len(each)} reward functions"
        raise RecipeError(Problem("reward_processing_classes", fault, "give one, or None, for each"))
    made = [
        _scorer(*pair, place, policy, tokenizer, args, call) for place, pair in enumerate(zip(each, own, strict=True))
    ]
    return Rewards(made, args.reward_weights)


def _scorer(
    given: Any, own: Any, place: int, policy: Any, tokenizer: Any, args: PPOConfig, call: Callable[..., Any]
) -> Scorer:
    if isinstance(given, str | Path):
        if is_adapter(given):
            return _adapter_reward(Path(given), place, policy, tokenizer, args, call)
        given = AutoModelForSequenceClassification.from_pretrained(given, num_labels=1)
    if isinstance(given, torch.nn.Module):
        own = own or AutoTokenizer.from_pretrained(given.config._name_or_path)
        return ModelReward(given.to(args.device), own, args.local_rollout_forward_batch_size)
    if callable(given):
        return FunctionReward(given)
    fix = "give a sequence classifier, its name or folder, or a function"
    raise RecipeError(Problem("reward_funcs", f"{given!r} gives no scores", fix))


def _adapter_reward(
    folder: Path, place: int, policy: Any, tokenizer: Any, args: PPOConfig, call: Callable[..., Any]
) -> AdapterReward:
    if not isinstance(policy, PeftModel):
        fix = "give peft_config, or the whole reward model (loaded with its adapter)"
        raise RecipeError(Problem(str(folder), "is an adapter, and the policy has no base that it could share", fix))
    name = f"{REWARD}_{place}"
    head = load_reward_adapter(policy, folder, name)

    def hidden(ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        with eval_mode(policy), running(policy, name):
            return call(input_ids=ids.to(args.device), responses=places.to(args.device), wanted="hidden")["hidden"]

    return AdapterReward(hidden, head, folder.name, args.local_rollout_forward_batch_size, pad_id_of(tokenizer))


def pad_id_of(tokenizer: Any) -> int:
    """What fills rows. Masks say where, so it may be any token."""
    found = [tokenizer.pad_token_id, tokenizer.eos_token_id, 0]
    return next(token for token in found if token is not None)


def make_sampling(args: PPOConfig, tokenizer: Any) -> Sampling:
    """How completions are drawn.

    Raises:
        RecipeError: they are to end at a token that the tokenizer lacks.
    """
    stops = [] if args.stop_token_id is None else [args.stop_token_id]
    if any(not 0 <= stop < len(tokenizer) for stop in stops):
        fault, fix = f"is {stops[0]}, and the tokenizer has {len(tokenizer)} tokens", "give the number of one of them"
        raise RecipeError(Problem("PPOConfig.stop_token_id", fault, fix))
    if args.stop_token == "eos" and not stops:
        if tokenizer.eos_token_id is None:
            fix = "set stop_token_id, or stop_token to None"
            raise RecipeError(Problem("PPOConfig.stop_token", "is eos, and the tokenizer has none", fix))
        stops = [tokenizer.eos_token_id]
    strings = StopStrings(tokenizer, args.stop_strings) if args.stop_strings else None
    return Sampling(
        length=args.response_length,
        temperature=args.temperature,
        pad_id=pad_id_of(tokenizer),
        stop_ids=tuple(stops),
        stop_strings=strings,
        top_k=args.top_k,
        top_p=args.top_p,
        generate=copy.copy(args.generation_kwargs),
    )
