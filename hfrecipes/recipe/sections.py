"""The sections that are ours. Their fields and hints are the schema; the comments behind them are what editors show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from hfrecipes.recipe.augmentation import METHODS
from hfrecipes.recipe.cleaning import RULES
from hfrecipes.recipe.drawing_words import GenerationWords, PairWords
from hfrecipes.recipe.judge_words import WinRateWords
from hfrecipes.recipe.long_context_words import GateWords, NeedleWords
from hfrecipes.recipe.mixture_words import Mixture
from hfrecipes.recipe.section_words import words
from hfrecipes.recipe.source_words import Source
from hfrecipes.recipe.split_words import Splits

Kind = Literal["pretrain", "sft", "reward", "dpo", "kto", "orpo", "ppo", "grpo", "rloo", "sample", "pipeline"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(kw_only=True, slots=True)
class TokenizerTraining:
    vocab_size: int | None = words(
        "Entries of a byte-level BPE that is trained on the training data; 260 are the bytes themselves.", minimum=260
    )
    extend: int | list[str] | None = words(
        "Instead: pieces that the model's own tokenizer gets besides, learnt from the sources with domain: new; or special "
        "tokens as they are written, such as ['<|im_start|>', '<|im_end|>'].",
        shape={
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "null"},
            ]
        },
    )


@dataclass(kw_only=True, slots=True)
class Data:
    train: list[Source] | None = words("What the model learns from.")
    mixture: Mixture | None = words("In place of train: sources with shares, which may change as the training goes on.")
    eval: list[Source] | None = words("What it is measured on while it learns, and at the end.")
    test: list[Source] | None = words("What it is measured on at the end only.")
    splits: Splits | None = words(
        "How local rows are dealt to train, validation and test. Default: 90, 5 and 5 % by a hash."
    )
    held_out_families: list[str] | None = words(
        "Families of tasks of which no row is trained on, so that data.test shows how the model does on tasks of a new type."
    )
    clean: list[Any] | None = words(
        "Rules that data.train passes through, in this order, as in [{rule: gopher_quality, profile: en}].",
        chosen_by=("rule", RULES),
    )
    augment: list[Any] | None = words(
        "Ways to add changed copies of rows to data.train, as in [{method: noise, share: 0.1}].",
        chosen_by=("method", METHODS),
    )
    augment_seed: int | None = words("Chooses which rows get a copy, and which. Default: 0.")


@dataclass(kw_only=True, slots=True)
class PromptData:
    train: list[Source] | None = words("The prompts that are answered.")
    splits: Splits | None = words(
        "How local rows are dealt to train, validation and test. Default: 90, 5 and 5 % by a hash."
    )


@dataclass(kw_only=True, slots=True)
class PackedData(Data):
    context_length: int | None = words("Tokens in a row; documents are packed to it. Default: 1024.", minimum=8)
    document_mask: bool | None = words("Tokens attend within their own document only. Default: true.")


@dataclass(kw_only=True, slots=True)
class Objective:
    name: Literal["clm", "mtp"] = words(
        "What is predicted: clm is the next token, mtp several tokens at once.", default="clm"
    )
    num_future_tokens: int | None = words("mtp: tokens predicted at each position. Default: 4.", minimum=2, maximum=64)
    heads: Literal["parallel", "chained"] | None = words(
        "mtp: parallel heads all read the trunk, chained ones each read the one before. Default: parallel."
    )
    loss_weight: float | list[float | list[float]] | None = words(
        "mtp: what the loss of each further head counts beside the model's own: a number, a list of one for each of them, or "
        "[[progress, weight], …] from progress 0 to 1. Default: 0.3.",
        minimum=0,
    )
    interpolation: Literal["linear", "step", "cosine"] | None = words(
        "mtp: between points of loss_weight. Default: linear."
    )
    curriculum: Literal["none", "forward", "reverse"] | None = words(
        "mtp: forward adds head after head as the training goes on, reverse takes them away. Default: forward."
    )
    frozen_trunk: bool | None = words(
        "mtp: the heads alone are trained, on a model that stays as it is. Default: false."
    )
    equal_parameters: bool | None = words(
        "mtp: takes the layers that the heads are made of out of the trunk of model.config. Default: false."
    )


@dataclass(kw_only=True, slots=True)
class Task:
    metric: str | None = words(
        "answer_match, docstring_f1, exact_match, chrf, final_answer_match, python_parses, or module:Class of an evaluate.Metric."
    )
    num_rows: int | None = words("Examples that are generated and scored. Default: 200.", minimum=2)
    num_shots: int | None = words("Examples shown in the prompt of the starting model. Default: 3.", minimum=0)
    max_new_tokens: int | None = words("Tokens generated for one example. Default: 64.", minimum=1)


@dataclass(kw_only=True, slots=True)
class EarlyStopping:
    patience: int | None = words(
        "Measurements without an improvement after which the training ends. Default: 3.", minimum=1
    )
    threshold: float | None = words("A smaller improvement counts as none. Default: 0.", minimum=0)


@dataclass(kw_only=True, slots=True)
class Evaluation:
    task: Task | None = words("A task that the model is scored on by generating.")
    samples: int | None = words("Generated samples kept for the card and the report. Default: 4.", minimum=0)
    compare_base: bool | None = words("Measure the starting model in the same way. Default: true where there is one.")
    compare_runs: list[str] | dict[str, list[str]] | None = words(
        "Folders of finished runs to compare with on the same held-out data: [runs/NAME, …], each by itself, or by name the runs "
        "of one recipe with different seeds: {NAME: [runs/A, runs/B]}."
    )
    other_seeds: list[str] | None = words(
        "Folders of finished runs of this very recipe with other seeds: what compare_runs compares is then told over all of them."
    )
    batch_size: int | None = words("Rows measured at once. Default: 16.", minimum=1)
    needle: NeedleWords | None = words("A sentence hidden in a long text, by length and depth: is it found?")
    early_stopping: EarlyStopping | None = words(
        "Ends the training when training.metric_for_best_model (the loss on the first of data.eval) stops improving; the best "
        "checkpoint is loaded: training.load_best_model_at_end stands beside it."
    )
    decoding_prompts: int | None = words(
        "mtp: held-out prompts that are decoded with the heads and without, for speed and accepted drafts. Default: 8.",
        minimum=0,
    )


@dataclass(kw_only=True, slots=True)
class PackedEvaluation(Evaluation):
    short_context: int | None = words("data.eval is measured in rows of so many tokens, too.", minimum=8)


@dataclass(kw_only=True, slots=True)
class PreferenceEvaluation(Evaluation):
    win_rate: WinRateWords | None = words(
        "How often the trained model's answers to held-out prompts are better than those of the model it began as."
    )
    alignment_tax: list[Source] | None = words(
        "Text that nothing was learnt about, such as [{name: python_prose, split: test}]: what does it cost before and after?"
    )


@dataclass(kw_only=True, slots=True)
class RewardEvaluation:
    batch_size: int | None = words("Prompts measured at once. Default: 16.", minimum=1)
    early_stopping: EarlyStopping | None = words(
        "Ends the training when training.metric_for_best_model (the loss on the first of data.eval) stops improving; the best "
        "checkpoint is loaded: training.load_best_model_at_end stands beside it."
    )


@dataclass(kw_only=True, slots=True)
class PolicyEvaluation:
    num_prompts: int | None = words("Held-out prompts that are answered and scored. Default: 200.", minimum=2)
    samples: int | None = words("Answers kept for the card and the report. Default: 4.", minimum=0)
    compare_base: bool | None = words("Measure the starting model in the same way. Default: true.")
    batch_size: int | None = words("Prompts answered at once. Default: 16.", minimum=1)


@dataclass(kw_only=True, slots=True)
class Publish:
    repo_id: str | None = words("Where `hfrecipes publish RUN` pushes: user/name.")
    private: bool | None = words("Whether a repository that is created is private. Default: true.")
    card: bool | None = words("Whether a model card is written. Default: true.")
    license: str | None = words("The licence of the model, as the Hub spells it: apache-2.0, mit, llama3.2 …")
    language: list[str] | None = words("Languages of the model, as ISO codes.")


@dataclass(kw_only=True, slots=True)
class Step:
    name: str | None = words("How later steps refer to this one: ${steps.NAME.model}.")
    recipe: str | None = words("A recipe: a path beside this file, or a shipped name.")
    # `with` is a keyword of Python, so the schema renames this field.
    with_: dict[str, Any] | None = words("Overrides of that recipe, by dotted key.")
    rounds: int | None = words("How many times the steps of a group are repeated.", minimum=1, maximum=1000)
    steps: list[Any] | None = words("The steps of a group.")
    gate: GateWords | None = words("What this step must have reached before the next one starts.")


# Sections by kind; `model`, `adapter`, `quantization` and `training` hold the ecosystem's words and are added by the schema.
OUR_SECTIONS: dict[str, dict[str, type]] = {
    "pretrain": {"data": PackedData, "objective": Objective, "evaluation": PackedEvaluation, "publish": Publish},
    "sft": {"data": Data, "objective": Objective, "evaluation": Evaluation, "publish": Publish},
    "reward": {"data": Data, "evaluation": RewardEvaluation, "publish": Publish},
    "dpo": {"data": Data, "evaluation": PreferenceEvaluation, "publish": Publish},
    "kto": {"data": Data, "evaluation": PreferenceEvaluation, "publish": Publish},
    "orpo": {"data": Data, "evaluation": PreferenceEvaluation, "publish": Publish},
    "ppo": {"data": Data, "evaluation": PolicyEvaluation, "publish": Publish},
    "grpo": {"data": Data, "evaluation": PolicyEvaluation, "publish": Publish},
    "rloo": {"data": Data, "evaluation": PolicyEvaluation, "publish": Publish},
    "sample": {"data": PromptData, "generation": GenerationWords, "pairs": PairWords, "publish": Publish},
    "pipeline": {},
}
REQUIRED_SECTIONS: dict[str, tuple[str, ...]] = {
    "pretrain": ("model", "data", "training"),
    "sft": ("model", "data", "training"),
    "reward": ("model", "data", "training"),
    "dpo": ("model", "data", "training"),
    "kto": ("model", "data", "training"),
    "orpo": ("model", "data", "training"),
    "ppo": ("model", "rewards", "data", "training"),
    "grpo": ("model", "rewards", "data", "training"),
    "rloo": ("model", "rewards", "data", "training"),
    "sample": ("model", "rewards", "data"),
    "pipeline": ("steps",),
}
