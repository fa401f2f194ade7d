"""The same recipe made small: a tiny random model of the same architecture, embedded rows, two steps, a CPU, no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfrecipes.recipe.adapter_words import virtual_tokens
from hfrecipes.recipe.loader import Recipe, check_words
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.regularization_words import DECAY_GROUPS
from hfrecipes.recipe.schema import load_schema
from hfrecipes.recipe.source_list import GROUPED, PROMPTED, SAMPLE, sources_of

STEPS = 2
ROWS = 24
CONTEXT = 256
VOCABULARY = 512
PIECES = 16
# Weights of at most this size are trained for two steps as they are.
SMALL_MODEL_BYTES = 16 * 2**20

# Sizes by the names that configs give them. A field that a config does not have is left out.
_TINY: dict[str, Any] = {
    "hidden_size": 64,
    "n_embd": 64,
    "d_model": 64,
    "dim": 64,
    "embedding_size": 64,
    "word_embed_proj_dim": 64,
    "intermediate_size": 128,
    "ffn_dim": 128,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "num_layers": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "n_positions": CONTEXT,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
# What is trained on, by kind.
_EMBEDDED = {"pretrain": "python_prose", "sft": "python_docstrings", **dict.fromkeys(PROMPTED, "python_docstrings")}
# Rewards that read nothing but answers; others may need a column of the recipe's own rows, or a model.
_OWN_REWARDS = tuple(
    f"hfrecipes.rewards:{name}"
    for name in (
        *("Format", "Length", "RegexMatch", "Repetition"),
        *("docstring_fits", "new_statement", "python_compiles", "python_parses"),
    )
)
_TINY_REWARD = {"function": "hfrecipes.rewards:Length", "target": 8, "slope": 0.1, "unit": "characters"}
# What an objective says of the trunk.
_TRUNK_WORDS = ("equal_parameters", "frozen_trunk")
# What only a device of the recipe's own kind has.
_DEVICE_WORDS = ("bf16", "fp16", "tf32", "use_liger_kernel", "liger_kernel_config", "bf16_full_eval", "fp16_full_eval")


def shrink(recipe: Recipe) -> Recipe:
    """The recipe as `--smoke` runs it.

    Raises:
        RecipeError: where the architecture is not known offline; another family would not be the same recipe.
    """
    values = dict(recipe.values)
    values["data"] = _tiny_data(recipe)
    if _is_small(recipe):
        values["model"] = _with_few_pieces(recipe)
        _keep_domains(recipe, values["data"])
    else:
        values["model"] = _tiny_model(recipe)
        if recipe.get("optimizer.no_decay"):
            # Names, too, are those of the large model.
            kept = [word for word in recipe.get("optimizer.no_decay") if word in DECAY_GROUPS]
            values["optimizer"] = {"no_decay": kept}
    if recipe.kind == SAMPLE:
        values["generation"] = {**recipe.get("generation", {}), "num_return_sequences": 2, "max_new_tokens": 16}
    else:
        values["training"] = _tiny_training(recipe)
    if recipe.get("rewards"):
        values["rewards"] = [_tiny_reward(spec) for spec in recipe.get("rewards")]
    if recipe.get("objective"):
        # A tiny trunk has no layers to give, and one of random weights learns beside its heads.
        values["objective"] = {key: word for key, word in recipe.get("objective").items() if key not in _TRUNK_WORDS}
    if recipe.get("evaluation"):
        values["evaluation"] = _tiny_evaluation(recipe)
    return check_words(values, recipe.path, recipe.lines, recipe.overrides)


def model_type_of(recipe: Recipe) -> str | None:
    """The architecture a recipe trains, as far as it is known without the network."""
    stated = recipe.get("model.config.model_type") or recipe.get("model.model_type")
    if stated or not recipe.get("model.name_or_path"):
        return stated
    file = recipe.find_file(recipe.get("model.name_or_path")) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Whoever opens the model says what is wrong with the file.
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _is_small(recipe: Recipe) -> bool:
    """Whether the model is a local one that needs no shrinking, such as the output of a pipeline's smoke step."""
    folder = recipe.find_file(recipe.get("model.name_or_path", ""))
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        folder = Path(json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"])
    weights = list(folder.glob("*.safetensors")) if (folder / "config.json").is_file() else []
    return bool(weights) and sum(file.stat().st_size for file in weights) < SMALL_MODEL_BYTES


def _tiny_model(recipe: Recipe) -> dict[str, Any]:
    model_type = model_type_of(recipe)
    if model_type is None:
        where = recipe.where("model.name_or_path")
        fix = "add model.model_type, as in {name_or_path: Qwen/Qwen3-0.6B, model_type: qwen3}"
        raise RecipeError(Problem(where, "the architecture of this model is not known offline", fix))
    configs = load_schema()["$defs"]["configs"]
    fields = {**configs[""], **configs.get(model_type, {})}
    config = {name: size for name, size in _TINY.items() if name in fields}
    kept = {key: recipe.get(f"model.{key}") for key in ("dtype", "experts_implementation", "dropout")}
    if recipe.get("model.freeze"):
        # Names and numbers of layers are those of the large model.
        kept["freeze"] = {"all_but_last": 1}
    return {
        "config": {"model_type": model_type, **config},
        # Random weights have a row for each entry already.
        "tokenizer": {"vocab_size": VOCABULARY},
        **{key: value for key, value in kept.items() if value is not None},
    }


def _with_few_pieces(recipe: Recipe) -> dict[str, Any]:
    """The model as it is; of what is added to its tokenizer, as much as a few rows hold."""
    model = recipe.get("model")
    added = recipe.get("model.tokenizer.extend")
    if isinstance(added, int):
        return {**model, "tokenizer": {"extend": min(added, PIECES)}}
    return model


def _keep_domains(recipe: Recipe, data: dict[str, Any]) -> None:
    """Marks tiny sources as old or new where the recipe's are, in place."""
    for role in ("train", "eval", "test"):
        told = [spec for _, spec in recipe.sources(role)]
        tiny = [spec for _, spec in sources_of({"data": data}, role)]
        # Of several sources in a list one is left.
        for spec, said in zip(tiny, told, strict=False):
            if said.get("domain"):
                spec["domain"] = said["domain"]


def _tiny_data(recipe: Recipe) -> dict[str, Any]:
    name = _EMBEDDED.get(recipe.kind, "python_preferences")
    splits = {"train": "train", "eval": "validation", "test": "test"}
    data: dict[str, Any] = {
        role: [{"name": name, "split": split, "limit": ROWS}] for role, split in splits.items() if recipe.sources(role)
    }
    if recipe.get("data.mixture") is not None:
        data["mixture"] = _tiny_mixture(recipe, data.pop("train"))
    if recipe.kind == "pretrain":
        data["context_length"] = CONTEXT
        data["document_mask"] = recipe.get("data.document_mask", True)
    return data


def _tiny_mixture(recipe: Recipe, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The same shares of sources that are all alike; how long it lasts and how often rows may come is a matter of size."""
    kept = ("weight", "interpolation")
    sources = {
        name: {**rows[0], **{word: spec[word] for word in kept if spec.get(word) is not None}}
        for name, spec in recipe.get("data.mixture.sources", {}).items()
        if spec is not None
    }
    words = {word: recipe.get(f"data.mixture.{word}") for word in ("temperature", "seed")}
    return {"sources": sources, **{word: value for word, value in words.items() if value is not None}}


def _tiny_training(recipe: Recipe) -> dict[str, Any]:
    training = {key: value for key, value in recipe.get("training", {}).items() if key not in _DEVICE_WORDS}
    training |= {"max_steps": STEPS, "logging_steps": 1, "report_to": "none", "per_device_eval_batch_size": 4}
    training["global_batch_size"] = 2
    for word in ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "torch_compile"):
        training.pop(word, None)
    for word in ("save_steps", "eval_steps"):
        if training.get(word):
            training[word] = 1
    training["warmup_steps"] = min(training.get("warmup_steps") or 0, 1)
    if recipe.kind in PROMPTED:
        return {**training, **(_tiny_groups if recipe.kind in GROUPED else _tiny_rollouts)(training)}
    if recipe.kind != "pretrain":
        training["max_length"] = CONTEXT - virtual_tokens(recipe.get("adapter"))
        training.pop("chat_template_path", None)
        training.pop("eos_token", None)
        training.pop("pad_token", None)
    return training


def _tiny_rollouts(training: dict[str, Any]) -> dict[str, Any]:
    """One rollout of two minibatches, or of one that is learnt from twice."""
    minibatches = min(training.get("num_mini_batches") or 1, STEPS)
    words = {"num_mini_batches": minibatches, "num_ppo_epochs": STEPS // minibatches, "total_episodes": None}
    return {**words, "response_length": 16, "max_prompt_length": CONTEXT // 2, "local_rollout_forward_batch_size": 4}


def _tiny_groups(training: dict[str, Any]) -> dict[str, Any]:
    """Two answers to one prompt in each step, drawn anew each time unless they are learnt from twice."""
    words = {
        "num_generations": 2,
        "num_generations_eval": 2,
        "num_iterations": min(training.get("num_iterations", 1), STEPS),
    }
    drawn = {"generation_batch_size": None, "steps_per_generation": None, "use_vllm": False}
    return {**words, **drawn, "max_completion_length": 16, "max_prompt_length": CONTEXT // 2}


def _tiny_reward(spec: dict[str, Any]) -> dict[str, Any]:
    """The same reward where nothing else is needed for it; in place of others one that tells answers apart."""
    if spec.get("function") in _OWN_REWARDS:
        return spec
    return {**_TINY_REWARD, "weight": spec.get("weight", 1.0)}


def _tiny_judge(spec: dict[str, Any]) -> dict[str, Any]:
    """The same judge where it sees both answers; else what scores them in place of a reward, which has a weight."""
    if spec.get("compare") is not None:
        return spec
    return {word: value for word, value in _tiny_reward(spec).items() if word != "weight"}


def _tiny_evaluation(recipe: Recipe) -> dict[str, Any]:
    evaluation = {**recipe.get("evaluation", {}), "samples": 1, "batch_size": 4}
    # What other runs measured is of other data.
    for word in ("compare_runs", "other_seeds"):
        evaluation.pop(word, None)
    if recipe.kind in PROMPTED:
        evaluation["num_prompts"] = 4
    if evaluation.get("task"):
        evaluation["task"] = {**evaluation["task"], "num_rows": 4, "num_shots": 1, "max_new_tokens": 8}
        if evaluation["task"].get("metric") == "final_answer_match":
            # The embedded references hold no numbers to compare.
            evaluation["task"]["metric"] = "exact_match"
    if evaluation.get("win_rate"):
        judges = [_tiny_judge(spec) for spec in evaluation["win_rate"].get("judges") or []]
        evaluation["win_rate"] = {**evaluation["win_rate"], "judges": judges, "num_prompts": 4, "max_new_tokens": 8}
    if evaluation.get("alignment_tax"):
        evaluation["alignment_tax"] = [{"name": "python_prose", "split": "test", "limit": 4}]
    if evaluation.get("needle") is not None:
        evaluation["needle"] = {**evaluation["needle"], "lengths": [CONTEXT], "num_needles": 1, "haystack": None}
    if evaluation.get("short_context"):
        evaluation["short_context"] = CONTEXT // 2
    return evaluation
