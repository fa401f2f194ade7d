"""Training a tokenizer from text: byte-level BPE that any transformers model can use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers

from hfrecipes.recipe.problem import Problem, RecipeError

END_OF_TEXT, IM_START, IM_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END, PAD)

# The end of an assistant's turn stands inside the markers: a model is trained to stop only where the loss sees it stop.
# The newline after it stands outside, since nothing after the end of a turn is the assistant's to write.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}"
    "{{ message['content'] + '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# The trainer's time grows with the square of the longest stretch without a break: hours for a megabyte of base64 or of blanks.
# No word is as long as this, so nothing is learned across the cuts that any other text would have.
_LONGEST_RUN = 1000
_RUNS = re.compile(rf"\S{{{_LONGEST_RUN},}}|\s{{{_LONGEST_RUN},}}")


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: str | Path) -> Path:
    """Trains byte-level BPE and writes a folder that `AutoTokenizer.from_pretrained` reads.

    The end of a document and the end of a turn are two tokens. `eos_token` is `<|endoftext|>`, with which pretraining
    ends each document; a chat turn ends in `<|im_end|>`. Were they one, a base model that has seen only documents
    would enter instruction tuning with an end-of-turn token that already means "a new, unrelated text follows". A
    model tuned on chats therefore has to stop at both: `generation_config.eos_token_id` lists the two. Padding has a
    token of its own, so that no rule about padding can touch an end.

    Args:
        texts: What to learn from; read once. The same texts in the same order give the same tokenizer.
        vocab_size: Number of ids, the 256 bytes and the four special tokens included.
        folder: Where to write; made if absent.

    Returns:
        The folder.

    Raises:
        RecipeError: `vocab_size` leaves no room for the bytes and special tokens.
    """
    smallest = 256 + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        message = f"vocab_size {vocab_size} is too small: 256 bytes and {len(SPECIAL_TOKENS)} special tokens come first"
        raise RecipeError(Problem("model.tokenizer.vocab_size", message, f"say at least {smallest}"))
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # Spans with their leading space: labels and byte counts come from them.
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_without_long_runs(texts), trainer)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "extra_special_tokens": [IM_START, IM_END],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def _without_long_runs(texts: Iterable[str]) -> Iterator[str]:
    """The texts, those with a stretch of one word (or of white space) longer than any word cut into pieces within it."""
    for text in texts:
        begin = 0
        for run in _RUNS.finditer(text):
            for end in range(run.start() + _LONGEST_RUN, run.end(), _LONGEST_RUN):
                yield text[begin:end]
                begin = end
        yield text[begin:]
