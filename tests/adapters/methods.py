"""Every method on weights of every precision: trained for a few steps, saved, and loaded again by peft alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig

from hfrecipes.models.bottleneck import add_bottlenecks, load_bottleneck
from hfrecipes.models.peft_methods import peft_config
from hfrecipes.tokenization.tokenizer import train_tokenizer
from hfrecipes.trainers.language_modeling import RecipeSFTTrainer

VOCABULARY = 300
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "r": 4},
    "rslora": {"method": "lora", "r": 4, "use_rslora": True},
    "dora": {"method": "lora", "r": 4, "use_dora": True},
    "pissa": {"method": "lora", "r": 4, "init_lora_weights": "pissa"},
    "olora": {"method": "lora", "r": 4, "init_lora_weights": "olora"},
    "orthogonal": {"method": "lora", "r": 4, "init_lora_weights": "orthogonal"},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix", "num_virtual_tokens": 3},
    "projected prefix": {"method": "prefix", "num_virtual_tokens": 3, "prefix_projection": True},
    "prompt": {"method": "prompt", "num_virtual_tokens": 3},
    "p_tuning": {"method": "p_tuning", "num_virtual_tokens": 3},
    "bottleneck": {"method": "bottleneck", "r": 4},
}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "8-bit": {"dtype": "float32", "quantization": {"load_in_8bit": True}},
    "nf4": {"dtype": "float32", "quantization": {**NF4, "bnb_4bit_compute_dtype": "bfloat16"}},
    # As FSDP needs it stored.
    "nf4 stored in bf16": {
        "dtype": "bfloat16",
        "quantization": {**NF4, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "bfloat16"},
    },
}
# What peft or bitsandbytes cannot do on a CPU, and a part of what they raise.
IMPOSSIBLE: dict[tuple[str, str], str] = {
    **{("pissa", name): "initialize PiSSA under float32" for name in ("8-bit", "nf4")},
    ("pissa", "nf4 stored in bf16"): "",
    **{("orthogonal", name): "can require gradients" for name in ("8-bit", "nf4")},
    ("dora", "8-bit"): "'NoneType' object has no attribute 'unsqueeze'",
    ("ia3", "nf4 stored in bf16"): "to have the same dtype",
    **{("bottleneck", name): "purely quantized" for name in PRECISIONS if name not in ("fp32", "bf16")},
}
# What works by a hair: the shape in which the bytes are stored is taken for that of the matrix.
UNSOUND = {("orthogonal", "nf4 stored in bf16")}
POSSIBLE = [
    (method, name)
    for method in METHODS
    for name in PRECISIONS
    if (method, name) not in IMPOSSIBLE and (method, name) not in UNSOUND
]
IDS = torch.tensor([[7, 70, 31, 200, 12, 99]])


def save_base(folder: Path) -> Path:
    """A tiny Llama with a tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model("llama", vocab_size=VOCABULARY, num_key_value_heads=2, **sizes, **special)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    train_tokenizer(["a b c"], VOCABULARY, folder)
    return folder


def load_base(folder: Path, precision: str) -> Any:
    words = dict(PRECISIONS[precision])
    quantization = words.pop("quantization", None)
    config = {} if quantization is None else {"quantization_config": BitsAndBytesConfig(**quantization)}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=words["dtype"], **config)


def train(base: Path, method: str, precision: str, folder: Path, steps: int = 3) -> Any:
    """The trained model; its adapter is saved in `folder / "model"`."""
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, VOCABULARY, (12,), generator=generator).tolist() for _ in range(4)]
    words = {"max_steps": steps, "learning_rate": 1e-2, "per_device_train_batch_size": 2, "save_strategy": "no"}
    args = SFTConfig(
        str(folder),
        use_cpu=True,
        bf16=precision in ("bf16", "nf4 stored in bf16"),
        report_to="none",
        disable_tqdm=True,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        **words,
    )
    model, section = load_base(base, precision), METHODS[method]
    torch.manual_seed(0)
    if method == "bottleneck":
        add_bottlenecks(model, r=section["r"], base=(str(base), None))
    trainer = RecipeSFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=None if method == "bottleneck" else peft_config(section),
    )
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    trained = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    moved = {name for name, weight in trainer.model.named_parameters() if not _same_bytes(weight, before[name])}
    assert moved and moved == trained, sorted(moved ^ trained)
    trainer.save_final(folder / "model")
    # What autocast was wrapped around is no part of the adapter, nor is the dtype of the training: peft loads float32.
    whole = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    for name, weight in whole.named_parameters():
        # Of a prompt that a network makes, what it makes in the dtype of the training is saved.
        if name in trained and "prompt_encoder" not in name:
            weight.data = weight.data.float()
    return whole.eval()


def _same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Four bits that are stored as floats can be floats that are no numbers."""
    return torch.equal(*(part.detach().contiguous().flatten().view(torch.uint8) for part in (one, other)))


def reload(base: Path, method: str, precision: str, folder: Path) -> Any:
    """By peft alone; bottleneck adapters are ours."""
    model = load_base(base, precision)
    if method == "bottleneck":
        return load_bottleneck(model, folder / "model").eval()
    return PeftModel.from_pretrained(model, folder / "model").eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS), use_cache=False).logits.float()
