"""The words of `trl sft --config` and of alignment-handbook that are not SFTConfig's own, and what becomes of them."""

from __future__ import annotations

# trl.ModelConfig, and alignment-handbook's ModelArguments.
MODEL_WORDS = (
    "model_name_or_path",
    "model_revision",
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "use_flash_attention_2",
    "trust_remote_code",
    "tokenizer_name_or_path",
    "model_init_kwargs",
)
# trl.ModelConfig's word -> peft.LoraConfig's word, and the value that TRL gives where a configuration is silent. None for
# target_modules leaves the choice to peft, by architecture.
ADAPTER_WORDS: dict[str, tuple[str, object]] = {
    "lora_r": ("r", 16),
    "lora_alpha": ("lora_alpha", 32),
    "lora_dropout": ("lora_dropout", 0.05),
    "lora_target_modules": ("target_modules", None),
    "lora_target_parameters": ("target_parameters", None),
    "lora_modules_to_save": ("modules_to_save", None),
    "use_rslora": ("use_rslora", False),
    "use_dora": ("use_dora", False),
}
# Those of TRL's defaults that differ from peft's, so that a recipe has to say them.
ADAPTER_DEFAULTS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
QUANTIZATION_WORDS: dict[str, str] = {
    "load_in_4bit": "load_in_4bit",
    "load_in_8bit": "load_in_8bit",
    "bnb_4bit_quant_type": "bnb_4bit_quant_type",
    "use_bnb_nested_quant": "bnb_4bit_use_double_quant",
    "bnb_4bit_quant_storage": "bnb_4bit_quant_storage",
}
DATA_WORDS = (
    "dataset_name",
    "dataset_config",
    "dataset_train_split",
    "dataset_test_split",
    "datasets",
    "test_split_size",
    "dataset_mixer",
    "dataset_mixture",
    "dataset_splits",
    "dataset_configs",
)
PUBLISH_WORDS = ("push_to_hub", "hub_model_id", "hub_private_repo")
NAME_WORDS = ("run_name", "output_dir")

# An earlier or another word for a field of SFTConfig.
RENAMED: dict[str, str] = {
    "evaluation_strategy": "eval_strategy",
    "max_seq_length": "max_length",
    "use_liger": "use_liger_kernel",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing_kwargs",
}
# Translated by a rule of their own in training.py.
SPECIAL_WORDS = ("warmup_ratio", "chat_template", "gradient_checkpointing_use_reentrant")

# Words that have no place in a recipe, and why; the owned words of training classes have theirs in recipe/owned.py.
DROPPED: dict[str, str] = {
    "preprocessing_num_workers": "rows are tokenised on all cores",
    "truncation_side": "a row that is too long loses its end, and the plan says how many do",
    "use_peft": "the adapter section says it",
    "lora_task_type": "follows from kind",
    "dataset_streaming": "data is prepared once and then read from disk, a row at a time",
    "streaming": "data is prepared once and then read from disk, a row at a time",
    "ignore_bias_buffers": "not needed by the architectures of transformers 5",
    "auto_insert_empty_system_msg": "messages are rendered as they are; write the system message into the rows",
    "overwrite_output_dir": "say hfrecipes run RECIPE --overwrite",
    "save_safetensors": "weights are always saved as safetensors",
    "no_cuda": "hide GPUs with CUDA_VISIBLE_DEVICES=''",
    "group_by_length": "removed from transformers; packing: true wastes less",
    "dataset_batch_size": "packing needs no batches",
    "wandb_project": "set WANDB_PROJECT in the environment",
    "wandb_entity": "set WANDB_ENTITY in the environment",
    "wandb_run_group": "set WANDB_RUN_GROUP in the environment",
}

# Words of other trainers of TRL, so that a configuration of theirs is told from a typo.
OTHER_TRAINERS: dict[str, str] = {
    "beta": "preference optimization (DPO, KTO, ORPO)",
    "desirable_weight": "KTO",
    "ref_model_init_kwargs": "preference optimization (DPO)",
    "precompute_ref_log_probs": "preference optimization (DPO)",
    "max_prompt_length": "preference optimization or GRPO",
    "reward_funcs": "GRPO or RLOO",
    "reward_weights": "GRPO or RLOO",
    "reward_model_path": "PPO or online methods",
    "num_generations": "GRPO or RLOO",
    "max_completion_length": "GRPO, RLOO or online methods",
    "use_vllm": "GRPO, RLOO or online methods",
    "center_rewards_coefficient": "reward modelling",
    "teacher_model_name_or_path": "distillation",
}
