"""Tiny models of four families with random weights, and a tokenizer trained on a handful of sentences."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SENTENCES = [
    "Return the number of items in a container.",
    "What is the capital of France? It is Paris.",
    "def add(a, b):\n    return a + b\n",
    "user assistant system question answer",
]
SMALL = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
GPT2 = {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
FAMILIES = {
    "llama": SMALL,
    "qwen2": SMALL,
    "gpt2": GPT2,
    "gemma": {**SMALL, "head_dim": 8},
    # A cap this low bends every logit.
    "gemma2": {**SMALL, "head_dim": 8, "final_logit_softcapping": 0.5, "sliding_window": 16},
    # Scales its logits, so they are not its head over its decoder.
    "granite": {**SMALL, "logits_scaling": 8.0},
}


def build_model(family: str, **changes):
    """Weights large enough that predictions differ from a uniform guess."""
    torch.manual_seed(0)
    special = {"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **{**FAMILIES[family], "initializer_range": 0.3, **special, **changes})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def train_tokenizer(template: str | None, add_bos: bool = False, add_eos: bool = False) -> PreTrainedTokenizerFast:
    specials = ["<|endoftext|>", "<s>", "<|im_start|>", "<|im_end|>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(SENTENCES, trainer)
    single = ("<s> " if add_bos else "") + "$A" + (" <|endoftext|>" if add_eos else "")
    raw.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("<|endoftext|>", 0)]),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=template,
    )


def force_token(model, token: int, after: int = 0):
    """Makes `token` the likeliest from the given forward pass of the head on; the list counts the passes."""
    passes: list[int] = []

    def lift(_module, _inputs, logits):
        passes.append(1)
        if len(passes) > after:
            logits[..., token] += 1e4
        return logits

    model.get_output_embeddings().register_forward_hook(lift)
    return passes


def chat(question: str, answer: str) -> dict:
    return {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }
