"""The words of ORPO, on top of `TrainingArguments`; those of TRL's experimental ORPOConfig where they mean the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class ORPOConfig(TrainingArguments):
    """`TrainingArguments` with the words of ORPO."""

    learning_rate: float = field(default=8e-6, metadata={"help": "The initial learning rate for AdamW."})
    logging_steps: float = field(default=10, metadata={"help": "Log every X update steps."})
    beta: float = field(
        default=0.1,
        metadata={"help": "What the odds ratio counts beside the loss of the chosen answer: the paper's lambda."},
    )
    max_length: int | None = field(
        default=1024, metadata={"help": "Tokens of a prompt and one answer at most; None cuts nothing."}
    )
    disable_dropout: bool = field(default=True, metadata={"help": "Whether dropout is switched off."})
