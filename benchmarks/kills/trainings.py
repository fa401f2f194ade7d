"""The trainings that are killed: tiny, of every kind, offline; saves are frequent, and every step or third one is logged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PRETRAIN = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 512}
data:
  train: [{name: python_prose, split: train, limit: 60}]
  eval: [{name: python_prose, split: validation, limit: 6}]
  context_length: 256
training:
  {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 40, logging_steps: 1, save_steps: 5, save_total_limit: 2,
   eval_strategy: steps, eval_steps: 10}
evaluation: {samples: 1}
"""
_SFT = """
kind: sft
model:
  config:
    {model_type: qwen2, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4,
     num_key_value_heads: 2, attention_dropout: 0.1}
  tokenizer: {vocab_size: 512}
data:
  train: [{name: python_docstrings, split: train, limit: 90}]
  test: [{name: python_docstrings, split: test, limit: 6}]
"""
_LORA = "adapter: {method: lora, r: 4, lora_alpha: 8, lora_dropout: 0.1}\n"
_SFT_LORA = f"""{_SFT}{_LORA}
training:
  {{learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 40, logging_steps: 1, save_steps: 5, save_total_limit: 2,
   max_length: 256}}
evaluation: {{samples: 1}}
"""
# A save falls between two logs, and a step has two micro-batches.
_SFT_FULL = f"""{_SFT}
training:
  {{learning_rate: 3.0e-3, global_batch_size: 4, per_device_train_batch_size: 2, max_steps: 40, logging_steps: 3,
   save_steps: 5, save_total_limit: 3, max_length: 256}}
evaluation: {{samples: 1}}
"""
_PIPELINE = """
kind: pipeline
steps:
  - {name: base, recipe: pretrain.yaml, with: {training.max_steps: 20}}
  - name: tuned
    recipe: sft-lora.yaml
    with: {model: {name_or_path: "${steps.base.model}"}, training.max_steps: 20}
"""
_TEXTS = {"pretrain": _PRETRAIN, "sft-lora": _SFT_LORA, "sft-full": _SFT_FULL, "pipeline": _PIPELINE}


@dataclass(frozen=True, slots=True)
class Part:
    """One training of a run: the run itself, or a step of a pipeline.

    Args:
        folder: Its folder below the run directory; "" for the run itself.
        steps: Optimizer steps in all.
        save_every: Steps from one save to the next.
        log_every: Steps from one line of metrics.jsonl to the next.
    """

    folder: str
    steps: int
    save_every: int = 5
    log_every: int = 1

    def first_logged(self, step: int) -> int:
        """The first step from `step` on that has a line of its own."""
        return -(-step // self.log_every) * self.log_every


TRAININGS: dict[str, tuple[Part, ...]] = {
    "pretrain": (Part("", 40),),
    "sft-lora": (Part("", 40),),
    "sft-full": (Part("", 40, log_every=3),),
    "pipeline": (Part("base", 20), Part("tuned", 20)),
}


def write_trainings(folder: Path) -> None:
    """Writes the recipes as `<name>.yaml`; their runs are `<runs>/<name>/`."""
    for name, text in _TEXTS.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
