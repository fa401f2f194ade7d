"""Reward models: a decoder with a head that gives one number, read where the answer ends."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear
from transformers import AutoModelForSequenceClassification

from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.integrity import ADAPTER_CONFIG, read_settings
from hfrecipes.models.pretrained import load_pretrained, load_pretrained_tokenizer, load_with_adapter
from hfrecipes.recipe.problem import Problem, RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEAD = "score"
HEAD_WEIGHT = f"{HEAD}.weight"
# What a causal language model has and a reward model has not.
_OTHER_HEADS = ("lm_head.weight", "lm_head.bias")
# Beside an adapter, which has no config of the model's.
REWARD_CONFIG = "reward_config.json"
_MEAN, _STD = "reward_mean", "reward_std"


class RewardHead(torch.nn.Linear):
    """A linear layer that works in float32 whatever the model's precision, under autocast too.

    bfloat16 knows three digits: rewards of 10.0 and 10.05 are the same to it.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        with torch.autocast(states.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return linear(states.float(), self.weight.float(), bias)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How rewards were spread over the answers that a model was measured on; the head's weights know nothing of it.

    Args:
        mean: Of the rewards.
        std: Their standard deviation.
    """

    mean: float
    std: float

    def apply(self, rewards: Any) -> Any:
        """Rewards of mean 0 and variance 1 on those answers, so that a KL coefficient means the same for each model."""
        return (rewards - self.mean) / self.std


def load_reward_model(folder: str | Path, **words: Any) -> tuple[Any, PreTrainedTokenizerBase]:
    """A reward model and its tokenizer, ready to score: what `kind: reward` saved, or any sequence classifier of one label.

    `model(input_ids, attention_mask=…).logits[:, 0]` are the rewards of sequences that are padded on the right;
    `normalisation_of(folder)` is what brings them to mean 0 and variance 1.

    Args:
        folder: A folder, or a Hub id; an adapter's folder is put onto the base that it names.
        words: Further keywords of `from_pretrained`, such as dtype or revision.

    Raises:
        RecipeError: where it is damaged, lacks weights, or gives more than one number.
    """
    place = Path(folder)
    if is_adapter(place):
        model = load_with_adapter(place, trainable=False, loader=load_classifier)
    else:
        model = load_pretrained(folder, auto=AutoModelForSequenceClassification, **words)
    if model.config.num_labels != 1:
        fault = f"gives {model.config.num_labels} numbers, and a reward is one"
        raise RecipeError(Problem(str(folder), fault, "name a sequence classifier of one label"))
    use_float32_head(model)
    return model.eval(), load_pretrained_tokenizer(folder)


def normalisation_of(folder: str | Path) -> Normalisation | None:
    """Mean and spread of the rewards of a model in a folder; None where nobody has measured them."""
    for name in (REWARD_CONFIG, "config.json"):
        file = Path(folder) / name
        if file.is_file():
            said = json.loads(file.read_text(encoding="utf-8"))
            if said.get(_MEAN) is not None and said.get(_STD):
                return Normalisation(float(said[_MEAN]), float(said[_STD]))
    return None


def note_normalisation(config: Any, normalisation: Normalisation) -> None:
    """Writes mean and spread into a config, under names that plain `from_pretrained` passes over."""
    setattr(config, _MEAN, normalisation.mean)
    setattr(config, _STD, normalisation.std)


def write_beside_adapter(folder: Path, config: Any) -> None:
    """Mean and spread, once they are noted in the config, as a file beside an adapter."""
    said = {name: getattr(config, name, None) for name in (_MEAN, _STD)}
    if None not in said.values():
        (folder / REWARD_CONFIG).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def load_classifier(name: str | Path, where: str | None = None, **words: Any) -> PreTrainedModel:
    """A classifier of one label; its head is new where the files hold a language model.

    Raises:
        RecipeError: where files are damaged, or weights other than the head's are missing.
    """
    model = load_pretrained(
        name,
        where,
        auto=AutoModelForSequenceClassification,
        may_lack=(HEAD_WEIGHT,),
        may_exceed=_OTHER_HEADS,
        num_labels=1,
        **words,
    )
    _refuse_other_heads(model, where or str(name))
    if HEAD_WEIGHT in model.lacking:
        begin_head(model)
    return use_float32_head(model)


def classifier_from_config(config: Any, where: str, **words: Any) -> PreTrainedModel:
    """A classifier of one label with random weights.

    Raises:
        RecipeError: where the architecture has none.
    """
    config.num_labels = 1
    try:
        model = AutoModelForSequenceClassification.from_config(config, **words)
    except ValueError as error:
        fix = "take an architecture that has one, such as llama or qwen3"
        raise RecipeError(Problem(where, f"{config.model_type} has no sequence classifier", fix)) from error
    _refuse_other_heads(model, where)
    begin_head(model)
    return use_float32_head(model)


def classifier_of(model: PreTrainedModel, where: str) -> PreTrainedModel:
    """A reward model with a new head on the decoder of a language model.

    Raises:
        RecipeError: where the architecture has none.
    """
    config = copy.deepcopy(model.config)
    classifier = classifier_from_config(config, where, dtype=model.dtype)
    decoder = getattr(model, model.base_model_prefix)
    getattr(classifier, classifier.base_model_prefix).load_state_dict(decoder.state_dict())
    return classifier


def is_reward_adapter(folder: Path) -> bool:
    """Whether an adapter's folder is that of a reward model rather than of a language model."""
    return is_adapter(folder) and read_settings(folder / ADAPTER_CONFIG).get("task_type") == "SEQ_CLS"


def begin_head(model: PreTrainedModel) -> None:
    """Draws the head from N(0, 1 / (d + 1)), which gives rewards of a variance near 1 (Huang et al. 2024, arXiv:2403.17031)."""
    head = getattr(model, HEAD)
    with torch.no_grad():
        torch.nn.init.normal_(head.weight, std=1 / math.sqrt(head.in_features + 1))
        if head.bias is not None:
            head.bias.zero_()


def use_float32_head(model: Any) -> Any:
    """Puts a `RewardHead` of the same weights, in float32, in the place of each head of a model."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if _is_head(name, module, child):
                setattr(module, name, _in_float32(child))
    return model


def heads_of(model: Any) -> list[RewardHead]:
    """The heads of a model; under an adapter there are two, of which the one beside the adapter is trained."""
    return [module for module in model.modules() if isinstance(module, RewardHead)]


def _is_head(name: str, parent: torch.nn.Module, child: torch.nn.Module) -> bool:
    if not isinstance(child, torch.nn.Linear) or isinstance(child, RewardHead):
        return False
    # peft keeps the head that is trained, and the one it began with, in a wrapper of that name.
    return name == HEAD or (child.out_features == 1 and name in ("original_module", "default"))


def _in_float32(layer: torch.nn.Linear) -> RewardHead:
    head = RewardHead(layer.in_features, layer.out_features, layer.bias is not None, device=layer.weight.device)
    with torch.no_grad():
        for new, old in zip(head.parameters(), layer.parameters(), strict=True):
            new.copy_(old)
            new.requires_grad_(old.requires_grad)
    return head


def _refuse_other_heads(model: PreTrainedModel, where: str) -> None:
    if isinstance(getattr(model, HEAD, None), torch.nn.Linear):
        return
    fault = f"{type(model).__name__} does not read a reward where a sequence ends"
    raise RecipeError(Problem(where, fault, "take a decoder, such as llama or qwen3"))


def separate_pad(tokenizer: PreTrainedTokenizerBase, num_embeddings: int, where: str) -> None:
    """Gives a tokenizer a pad token that no text ends with.

    A reward is read at the last token that is not padding. With the end of the text for padding, that is the token before the
    end: an answer that was cut off and one that was finished would get the same reward.

    Args:
        tokenizer: Changed in place.
        num_embeddings: Rows of the model's embedding.
        where: The place of the model in the recipe.

    Raises:
        RecipeError: where there is no token to spare.
    """
    template = str(tokenizer.chat_template or "")
    used = {tokenizer.eos_token, tokenizer.bos_token}

    def is_free(token: str) -> bool:
        return token not in used and token not in template

    if tokenizer.pad_token is not None and is_free(tokenizer.pad_token):
        return
    specials = [entry.content for entry in tokenizer.added_tokens_decoder.values() if entry.special]
    free = sorted(filter(is_free, specials), key=lambda token: "pad" not in token.lower())
    if free:
        tokenizer.pad_token = free[0]
    elif max(tokenizer.get_vocab().values()) + 1 < num_embeddings:
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    else:
        fault = "the tokenizer pads with a token that ends texts, and has no other to spare"
        raise RecipeError(Problem(where, fault, "name a special token that no text holds in training.pad_token"))
