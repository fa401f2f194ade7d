"""Words of the training classes that a recipe may not say, because the project owns what they decide."""

from __future__ import annotations

import re

_DATA_ORDER = "the order of the data is fixed by training.seed and the same for any number of processes"
_BATCHES = "the global batch is divided exactly; say training.global_batch_size"
_LAUNCHER = "sharding is chosen at launch: --launcher fsdp2, zero2 or zero3"
_PUBLISH = "publishing is a step of its own: fill in the publish: section and run hfrecipes publish RUN"

# What to say instead, by the name of the field.
INSTEAD: dict[str, str] = {
    "output_dir": "a run is written to runs/<name>/; say name: at the top level, or --runs-dir",
    "hub_token": "a token comes from the environment (HF_TOKEN) or `hf auth login`, never from a file",
    "push_to_hub": _PUBLISH,
    "resume_from_checkpoint": "resume with hfrecipes run RECIPE --resume",
    "ignore_data_skip": "a resumed run always continues where it stopped in the data",
    "train_sampling_strategy": _DATA_ORDER,
    "data_seed": "say training.seed",
    "dataloader_drop_last": "no row is dropped; the last batch of an epoch is completed from the next",
    "remove_unused_columns": "columns are chosen when the data is prepared",
    "label_names": "labels are built when the data is prepared",
    "logging_nan_inf_filter": "a loss that is not finite stops the run",
    "average_tokens_across_devices": "the loss is always averaged over the tokens of the global batch",
    "accelerator_config": _BATCHES,
    "fsdp": _LAUNCHER,
    "fsdp_config": _LAUNCHER,
    "deepspeed": _LAUNCHER,
    "parallelism_config": _LAUNCHER,
    "local_rank": "set by the launcher",
    "use_cpu": "the device is found by itself; hide GPUs with CUDA_VISIBLE_DEVICES=''",
    "model_init_kwargs": "these keywords are the model: section",
    "do_train": "a run always trains",
    "do_eval": "name data.eval",
    "do_predict": "name data.test",
    "save_only_model": "a checkpoint that cannot be resumed is not written",
    "auto_find_batch_size": "hfrecipes plan shows the memory a micro-batch needs; say training.per_device_train_batch_size",
    "enable_jit_checkpoint": "checkpoints follow training.save_steps",
    "skip_memory_metrics": "peak memory is always recorded",
    "trust_remote_code": "say model.trust_remote_code",
    "dataset_kwargs": "data is prepared before the trainer is built",
    "shuffle_dataset": _DATA_ORDER,
    "reward_weights": "say weight: beside each of rewards:",
    "log_completions_hub_repo": _PUBLISH,
    "use_transformers_paged": "deprecated by TRL: say use_transformers_continuous_batching",
    "truncation_mode": "a row that is too long loses its end (keep_start), and the plan says how many do",
    "eval_packing": "rows that are measured are never packed",
    "dataset_num_proc": "rows are tokenised on all cores",
    "run_name": "say name: at the top level",
    "restore_callback_states_from_checkpoint": "a resumed run restores all of its state",
    "disable_tqdm": "progress follows the terminal; pass --quiet",
    "warmup_ratio": "removed from transformers: say warmup_steps, where a number below 1 is a share of all steps",
    "logging_dir": "removed from transformers: logs are in runs/<name>/",
    "evaluation_strategy": "renamed by transformers: say eval_strategy",
    "max_seq_length": "renamed by TRL: say max_length",
    "activation_checkpointing": "say gradient_checkpointing until transformers 6 renames it",
    "activation_checkpointing_kwargs": "say gradient_checkpointing_kwargs until transformers 6 renames it",
}
_HUB_WORDS = re.compile(r"hub_\w+$")


def instead_of(field: str) -> str | None:
    """What a recipe says instead of this field of a training class; None where the field is the user's own."""
    if field in INSTEAD:
        return INSTEAD[field]
    return _PUBLISH if _HUB_WORDS.match(field) else None
