"""The hand-kept table: what type hints do not say about the ecosystem's words.

Choices that only help texts know, the keys of free-form dicts, the keywords of `from_pretrained`, the types of
`BitsAndBytesConfig`'s arguments, and the ranges that numbers keep. `tests/recipe/test_words.py` holds every entry against the
installed libraries, so that a word which they drop does not linger here.
"""

from __future__ import annotations

from typing import Any

DTYPES = ["float32", "float16", "bfloat16"]

# The keywords of AutoModel.from_pretrained that describe a model; what the project decides itself (device_map under a
# launcher, state_dict, token …) is left out.
FROM_PRETRAINED: dict[str, dict[str, Any]] = {
    "revision": {"type": "string", "description": "The commit, branch or tag of the Hub repository."},
    "dtype": {"enum": ["auto", *DTYPES], "description": "The precision the weights are loaded in."},
    "attn_implementation": {
        "anyOf": [
            {"enum": ["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]},
            {"type": "string", "pattern": "/"},
        ],
        "description": "How attention is computed; a kernel is named by its Hub id.",
    },
    "experts_implementation": {"type": "string", "description": "How mixture-of-experts layers are computed."},
    "use_kernels": {
        "type": "boolean",
        "description": "Kernels of transformers' choice: refused, since none is pinned.",
    },
    "trust_remote_code": {"type": "boolean", "description": "Run code of the repository; needs a pinned revision."},
    "subfolder": {"type": "string", "description": "The folder inside the repository."},
    "variant": {"type": "string", "description": "A variant of the weight files, such as fp16."},
    "device_map": {
        "type": "string",
        "description": "auto splits one process's model over its devices; one process only.",
    },
}

# The kinds of layers to which configs give rotary parameters of their own.
ROPE_LAYERS = ("full_attention", "sliding_attention", "chunked_attention")
# transformers logs a remark about numbers beyond these, and goes on.
ROPE_RANGES: dict[str, dict[str, float]] = {
    "rope_theta": {"exclusiveMinimum": 0},
    "factor": {"minimum": 1},
    "original_max_position_embeddings": {"minimum": 1},
    "partial_rotary_factor": {"exclusiveMinimum": 0, "maximum": 1},
    "attention_factor": {"minimum": 0},
}

# BitsAndBytesConfig has no type hints.
BITSANDBYTES: dict[str, dict[str, Any]] = {
    "load_in_8bit": {"type": "boolean"},
    "load_in_4bit": {"type": "boolean"},
    "llm_int8_threshold": {"type": "number", "minimum": 0},
    "llm_int8_skip_modules": {"type": "array", "items": {"type": "string"}},
    "llm_int8_enable_fp32_cpu_offload": {"type": "boolean"},
    "llm_int8_has_fp16_weight": {"type": "boolean"},
    "bnb_4bit_compute_dtype": {"enum": DTYPES},
    "bnb_4bit_quant_type": {"enum": ["nf4", "fp4"]},
    "bnb_4bit_use_double_quant": {"type": "boolean"},
    "bnb_4bit_quant_storage": {"enum": ["uint8", "int8", *DTYPES]},
}

# Choices of fields that are hinted as plain strings.
CHOICES: dict[str, dict[str, list[Any]]] = {
    "SFTConfig": {
        "packing_strategy": ["bfd", "bfd_split", "wrapped"],
        "loss_type": ["nll", "dft"],
    },
    "GRPOConfig": {
        "loss_type": ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"],
        "scale_rewards": ["group", "batch", "none"],
        "importance_sampling_level": ["token", "sequence"],
        "multi_objective_aggregation": ["sum_then_normalize", "normalize_then_sum"],
        "vllm_mode": ["server", "colocate"],
        "vllm_model_impl": ["transformers", "vllm"],
        "vllm_importance_sampling_mode": ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"],
    },
    "RLOOConfig": {
        "vllm_mode": ["server", "colocate"],
        "vllm_model_impl": ["transformers", "vllm"],
    },
    "DPOConfig": {
        "f_divergence_type": ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"],
    },
    "KTOConfig": {
        "loss_type": ["kto", "apo_zero_unpaired"],
    },
    "TrainingArguments": {
        "log_level": ["detail", "debug", "info", "warning", "error", "critical", "passive"],
        "log_level_replica": ["detail", "debug", "info", "warning", "error", "critical", "passive"],
        "torch_compile_mode": ["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "lite"],
        "dataloader_multiprocessing_context": ["fork", "forkserver", "spawn"],
        "ddp_backend": ["nccl", "gloo", "mpi", "xccl", "hccl", "cncl", "mccl"],
    },
}

DPO_LOSSES = [
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
]

_COUNT, _POSITIVE = {"type": "integer", "minimum": 1}, {"type": "number", "exclusiveMinimum": 0}
_COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 1}
_AT_LEAST_0, _SHARE = {"type": "number", "minimum": 0}, {"type": "number", "minimum": 0, "maximum": 1}
_AT_LEAST_0_OR_NULL = {"type": ["number", "null"], "minimum": 0}
_POSITIVE_OR_NULL = {"type": ["number", "null"], "exclusiveMinimum": 0}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_MULTIPLE = {"anyOf": [_COUNT_OR_NULL, {"enum": ["auto"]}]}
# Divided by less, logits leave the range of single precision.
_TEMPERATURE = {"type": "number", "minimum": 1e-3}

# Of trainers that draw several answers to each prompt.
_GROUPS: dict[str, dict[str, Any]] = {
    # One answer has nothing to be compared with.
    "num_generations": {"type": "integer", "minimum": 2},
    **dict.fromkeys(("num_iterations", "max_completion_length"), _COUNT),
    **dict.fromkeys(("num_generations_eval", "generation_batch_size", "steps_per_generation"), _COUNT_OR_NULL),
    "max_prompt_length": _COUNT_OR_NULL,
    **dict.fromkeys(("epsilon", "repetition_penalty"), _POSITIVE),
    "temperature": _TEMPERATURE,
    "beta": _AT_LEAST_0,
    "min_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 0},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    **dict.fromkeys(("vllm_max_model_length", "num_completions_to_print"), _COUNT_OR_NULL),
    "pad_to_multiple_of": _MULTIPLE,
    "epsilon_high": _AT_LEAST_0_OR_NULL,
    "vllm_tensor_parallel_size": _COUNT,
    **dict.fromkeys(("vllm_server_port", "vllm_group_port"), _PORT),
    "vllm_server_timeout": _POSITIVE,
    "vllm_gpu_memory_utilization": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
}
_OF_GRPO: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("delta", "off_policy_mask_threshold"), _POSITIVE_OR_NULL),
    **dict.fromkeys(("sapo_temperature_neg", "sapo_temperature_pos"), _POSITIVE),
    **dict.fromkeys(("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"), _POSITIVE),
    "top_entropy_quantile": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
}

_DEBUG = ["underflow_overflow", "tpu_metrics_debug"]
# Fields whose hint is wider than what is accepted.
SCHEMAS: dict[str, dict[str, dict[str, Any]]] = {
    "PPOConfig": {
        **dict.fromkeys(("num_ppo_epochs", "num_mini_batches", "response_length", "kl_horizon"), _COUNT),
        **dict.fromkeys(("local_rollout_forward_batch_size", "num_completions_to_print"), _COUNT),
        **dict.fromkeys(("max_prompt_length", "total_episodes", "log_completions"), _COUNT_OR_NULL),
        "temperature": _TEMPERATURE,
        "stop_token_id": {"type": ["integer", "null"], "minimum": 0},
        **dict.fromkeys(("cliprange", "cliprange_value", "kl_target"), _POSITIVE),
        "target_kl": {"type": ["number", "null"], "exclusiveMinimum": 0},
        **dict.fromkeys(("kl_coef", "vf_coef"), _AT_LEAST_0),
        **dict.fromkeys(("missing_eos_penalty", "value_learning_rate"), _AT_LEAST_0_OR_NULL),
        **dict.fromkeys(("gamma", "lam", "top_p"), _SHARE),
        "top_k": {"type": "integer", "minimum": 0},
    },
    "KTOConfig": dict.fromkeys(("beta", "desirable_weight", "undesirable_weight"), _AT_LEAST_0),
    "ORPOConfig": {"beta": _AT_LEAST_0},
    "RewardConfig": {"center_rewards_coefficient": _AT_LEAST_0_OR_NULL},
    "RecipeGRPOConfig": {**_GROUPS, **_OF_GRPO},
    "RecipeRLOOConfig": _GROUPS,
    "DPOConfig": {
        "loss_type": {"anyOf": [{"enum": DPO_LOSSES}, {"type": "array", "items": {"enum": DPO_LOSSES}}]},
        "loss_weights": {"type": ["array", "null"], "items": _AT_LEAST_0},
        **dict.fromkeys(("beta", "discopop_tau"), _POSITIVE),
        # 1 is DPO, 0 leaves out what the longer answer has beyond the shorter one (Liu et al. 2024, arXiv:2409.06411).
        "ld_alpha": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        # From a half on, the rejected answer is preferred.
        "label_smoothing": {"type": "number", "minimum": 0, "maximum": 0.49},
    },
    "SFTConfig": {"pad_to_multiple_of": _MULTIPLE},
    # -1 is transformers' word for "by epochs"; any other number below 1 would be taken for it.
    "TrainingArguments": {
        "max_steps": {"anyOf": [{"type": "integer", "minimum": 1}, {"enum": [-1]}]},
        "debug": {"anyOf": [{"enum": ["", *_DEBUG]}, {"type": "array", "items": {"enum": _DEBUG}}]},
        "optim_args": {"type": ["string", "null"], "pattern": r"^\s*\w+=[^,=]+(,\s*\w+=[^,=]+)*$"},
    },
    "LoraConfig": {
        "init_lora_weights": {
            "anyOf": [
                {"type": "boolean"},
                {"enum": ["gaussian", "eva", "olora", "pissa", "corda", "loftq", "orthogonal", "mica"]},
                {"type": "string", "pattern": "^pissa_niter_[0-9]+$"},
            ]
        },
        "rank_pattern": {"type": ["object", "null"], "additionalProperties": {"type": "integer", "minimum": 1}},
        "alpha_pattern": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
    },
}

# Keys of dicts that the classes take as they come.
DICT_KEYS: dict[str, dict[str, dict[str, Any]]] = {
    "TrainingArguments": {
        "gradient_checkpointing_kwargs": {"use_reentrant": {"type": "boolean"}, "selective": {"type": "boolean"}},
        "liger_kernel_config": {
            "rope": {"type": "boolean"},
            "swiglu": {"type": "boolean"},
            "geglu": {"type": "boolean"},
            "rms_norm": {"type": "boolean"},
            "layer_norm": {"type": "boolean"},
            "cross_entropy": {"type": "boolean"},
            "fused_linear_cross_entropy": {"type": "boolean"},
        },
    },
}

# Ranges that neither a hint nor the class keeps.
RANGES: dict[str, dict[str, float]] = {
    "learning_rate": {"minimum": 0},
    "weight_decay": {"minimum": 0},
    "max_grad_norm": {"minimum": 0},
    "adam_beta1": {"minimum": 0, "exclusiveMaximum": 1},
    "adam_beta2": {"minimum": 0, "exclusiveMaximum": 1},
    # A gradient of 0 is divided by it.
    "adam_epsilon": {"exclusiveMinimum": 0},
    "num_train_epochs": {"minimum": 0},
    "warmup_steps": {"minimum": 0},
    "label_smoothing_factor": {"minimum": 0, "maximum": 1},
    "per_device_train_batch_size": {"minimum": 1},
    "per_device_eval_batch_size": {"minimum": 1},
    "gradient_accumulation_steps": {"minimum": 1},
    "eval_accumulation_steps": {"minimum": 1},
    "save_total_limit": {"minimum": 1},
    "dataloader_num_workers": {"minimum": 0},
    "max_length": {"minimum": 2},
    "seed": {"minimum": 0, "maximum": 2**32 - 1},
    "save_steps": {"exclusiveMinimum": 0},
    "eval_steps": {"exclusiveMinimum": 0},
    "logging_steps": {"exclusiveMinimum": 0},
    "eval_delay": {"minimum": 0},
    "router_aux_loss_coef": {"minimum": 0},
    "torch_empty_cache_steps": {"minimum": 1},
    "precompute_ref_batch_size": {"minimum": 1},
    "ddp_bucket_cap_mb": {"minimum": 1},
    "ddp_timeout": {"minimum": 1},
    "neftune_noise_alpha": {"minimum": 0},
    "dataloader_prefetch_factor": {"minimum": 1},
    "lora_alpha": {"minimum": 1},
    "r": {"minimum": 1},
    "lora_dropout": {"minimum": 0, "maximum": 1},
    "num_virtual_tokens": {"minimum": 1},
    "encoder_hidden_size": {"minimum": 1},
    "encoder_num_layers": {"minimum": 1},
    "encoder_dropout": {"minimum": 0, "maximum": 1},
}
