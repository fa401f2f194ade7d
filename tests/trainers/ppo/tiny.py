"""Tiny policies, tokenizers, prompts and rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from hfrecipes import PPOConfig, PPOTrainer

VOCABULARY = 48
PAD, BOS, EOS = 0, 1, 2
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def tokenizer() -> PreTrainedTokenizerFast:
    """Words w3 … w47, one token each."""
    words = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS} | {f"w{token}": token for token in range(3, VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w3"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


def policy(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**{**SIZES, **changes}))


def classifier(seed: int = 1, **changes: Any) -> Any:
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(LlamaConfig(**{**SIZES, **changes}, num_labels=1))


def prompts(count: int = 16) -> Dataset:
    """Of 2 to 6 words, each with a number."""
    texts = [" ".join(f"w{3 + (row * 7 + place * 5) % 40}" for place in range(2 + row % 5)) for row in range(count)]
    return Dataset.from_dict({"prompt": texts, "number": list(range(count))})


def even_share(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """The share of even tokens: what a policy can learn in a few steps."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def trainer(folder: Path, model: Any = None, rewards: Any = even_share, **words: Any) -> PPOTrainer:
    """One that learns from 8 prompts at a time, in two minibatches of two micro-batches."""
    given = {
        name: words.pop(name)
        for name in ("eval_dataset", "ref_model", "value_model", "reward_processing_classes", "warn", "callbacks")
        if name in words
    }
    peft_config = LoraConfig(**LORA) if words.pop("lora", False) else None
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "num_mini_batches": 2,
        "num_ppo_epochs": 2,
        "response_length": 6,
        "temperature": 1.0,
        "learning_rate": 1e-3,
        "max_steps": 8,
        "logging_steps": 4,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
        **words,
    }
    data = settings.pop("train_dataset", None)
    return PPOTrainer(
        model=policy() if model is None else model,
        args=PPOConfig(**settings),
        reward_funcs=rewards,
        train_dataset=prompts() if data is None else data,
        processing_class=tokenizer(),
        peft_config=peft_config,
        **given,
    )
