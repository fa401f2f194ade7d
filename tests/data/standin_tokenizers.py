"""Tokenizers of several families, trained on a few lines, each with a chat template of its kind and what it should write.

Each template marks the assistant's text. Beside it stands the same rule in Python: a conversation as pieces of text, and of
each whether the assistant is to be learned from it. Tests hold the one against the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from hfrecipes.tokenization.tokenizer import Tokenizer, train_tokenizer

Message = dict[str, Any]
Pieces = list[tuple[str, bool]]

TEXTS = [
    "The quick brown fox jumps over the lazy dog. Who asks? The assistant replies to the user: 12 + 30 = 42.",
    "def add(a, b):\n    return a + b\n",
    "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？",
    "שלום עולם مرحبا بالعالم 🦊",
] * 30


@dataclass(frozen=True)
class Family:
    """One kind of tokenizer.

    Args:
        write: Builds it in a folder.
        pieces: What its template should write of a conversation.
        opening: What it should write before an assistant's turn.
        marks: What a message must not hold.
        innocent: What looks like a mark of some tokenizer and is none of this one's.
        system: Whether its template takes a system message.
        exact: Whether ids decode to the very text.
    """

    write: Callable[[Path], Path]
    pieces: Callable[[list[Message]], Pieces]
    opening: str
    marks: tuple[str, ...]
    innocent: tuple[str, ...]
    system: bool = True
    exact: bool = True


def _save(backend: tokenizers.Tokenizer, folder: Path, template: str, **special: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _byte_level(specials: list[str], bos: str | None) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    if bos:
        pair = (bos, backend.token_to_id(bos))
        own = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[pair])
        backend.post_processor = processors.Sequence([backend.post_processor, own])
    return backend


def _chatml(folder: Path) -> Path:
    return train_tokenizer(TEXTS, 500, folder)


def _chatml_pieces(messages: list[Message]) -> Pieces:
    pieces: Pieces = []
    for message in messages:
        pieces += [(f"<|im_start|>{message['role']}\n", False)]
        pieces += [(message["content"] + "<|im_end|>", message["role"] == "assistant"), ("\n", False)]
    return pieces


# A header of special tokens, two line breaks, the content without white space at its ends (Llama 3's manner).
_HEADER_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{{ '<|head|>' ~ turn.role ~ '<|/head|>\n\n' }}"
    "{% if turn.role == 'assistant' %}{% generation %}{{ (turn.content | trim) ~ '<|eot|>' }}{% endgeneration %}"
    "{% else %}{{ (turn.content | trim) ~ '<|eot|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)


def _header(folder: Path) -> Path:
    specials = ["<|begin|>", "<|eot|>", "<|head|>", "<|/head|>", "<|unused|>"]
    return _save(
        _byte_level(specials, "<|begin|>"), folder, _HEADER_TEMPLATE, bos_token="<|begin|>", eos_token="<|eot|>"
    )


def _header_pieces(messages: list[Message]) -> Pieces:
    pieces: Pieces = [("<|begin|>", False)]
    for message in messages:
        pieces += [(f"<|head|>{message['role']}<|/head|>\n\n", False)]
        pieces += [(message["content"].strip() + "<|eot|>", message["role"] == "assistant")]
    return pieces


# No system message, and the assistant is called model (Gemma's manner).
_MODEL_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}"
    "{% if turn.role == 'system' %}{{ raise_exception('no system message here') }}{% endif %}"
    "{% if turn.role == 'assistant' %}{{ '<turn>model\n' }}"
    "{% generation %}{{ (turn.content | trim) ~ '</turn>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ '<turn>' ~ turn.role ~ '\n' ~ (turn.content | trim) ~ '</turn>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)


def _model(folder: Path) -> Path:
    specials = ["<bos>", "<eos>", "<turn>", "</turn>", "<image>"]
    return _save(_byte_level(specials, "<bos>"), folder, _MODEL_TEMPLATE, bos_token="<bos>", eos_token="<eos>")


def _model_pieces(messages: list[Message]) -> Pieces:
    pieces: Pieces = [("<bos>", False)]
    for message in messages:
        spoken = message["role"] == "assistant"
        pieces += [(f"<turn>{'model' if spoken else message['role']}\n", False)]
        pieces += [(message["content"].strip() + "</turn>", spoken), ("\n", False)]
    return pieces


# Turns told apart by plain text, no opening of its own; SentencePiece's pieces with bytes to fall back on (Mistral's manner).
_INST_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{% if turn.role == 'user' %}{{ '[INST] ' ~ turn.content ~ ' [/INST]' }}"
    "{% elif turn.role == 'assistant' %}{% generation %}{{ ' ' ~ turn.content ~ eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('no system message here') }}{% endif %}{% endfor %}"
)


def _inst(folder: Path) -> Path:
    specials = ["<unk>", "<s>", "</s>"]
    trained = tokenizers.Tokenizer(models.Unigram())
    space = pre_tokenizers.Metaspace(prepend_scheme="never")
    trained.pre_tokenizer = space
    options = {"vocab_size": 400, "special_tokens": specials, "unk_token": "<unk>", "show_progress": False}
    trained.train_from_iterator(TEXTS, trainers.UnigramTrainer(**options))
    vocabulary = [tuple(entry) for entry in json.loads(trained.to_str())["model"]["vocab"]]
    lowest = min(score for _, score in vocabulary)
    vocabulary += [(f"<0x{byte:02X}>", lowest - 1) for byte in range(256)]
    backend = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = space
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    pair = ("<s>", backend.token_to_id("<s>"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[pair])
    return _save(backend, folder, _INST_TEMPLATE, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


# The same with a space before each stretch of text between special tokens, and BPE instead of unigrams (Llama 2's manner).
def _prefix(folder: Path) -> Path:
    specials = ["<unk>", "<s>", "</s>"]
    bytes_of_all = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    options = {"vocab_size": 700, "special_tokens": [*specials, *bytes_of_all], "show_progress": False}
    backend.train_from_iterator([text[:60] for text in TEXTS], trainers.BpeTrainer(max_token_length=8, **options))
    described = json.loads(backend.to_str())
    # The bytes are pieces like others, which the text never spells out.
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] in specials]
    described["added_tokens"] = [token | {"special": True, "normalized": False} for token in described["added_tokens"]]
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    pair = ("<s>", backend.token_to_id("<s>"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[pair])
    return _save(backend, folder, _INST_TEMPLATE, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _inst_pieces(messages: list[Message]) -> Pieces:
    pieces: Pieces = [("<s>", False)]
    for message in messages:
        content = message["content"]
        pieces += (
            [(f" {content}</s>", True)] if message["role"] == "assistant" else [(f"[INST] {content} [/INST]", False)]
        )
    return pieces


# Words and their parts, lower case, white space dropped (BERT's manner).
_WORDS_TEMPLATE = (
    "{{ '[CLS] ' }}{% for turn in messages %}{{ turn.role ~ ' : ' }}"
    "{% if turn.role == 'assistant' %}{% generation %}{{ turn.content ~ ' [SEP]' }}{% endgeneration %}{{ ' ' }}"
    "{% else %}{{ turn.content ~ ' [SEP] ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant : ' }}{% endif %}"
)


def _word_pieces(folder: Path) -> Path:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    pairs = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=pairs
    )
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    return _save(backend, folder, _WORDS_TEMPLATE, eos_token="[SEP]", mask_token="[MASK]", **special)


def _word_pieces_pieces(messages: list[Message]) -> Pieces:
    pieces: Pieces = [("[CLS] ", False)]
    for message in messages:
        pieces += [(f"{message['role']} : ", False)]
        pieces += [(f"{message['content']} [SEP]", message["role"] == "assistant"), (" ", False)]
    return pieces


# Headings of plain text, and no mark at the end of a turn: the last character of an answer is the last that is learned.
_HEADING_TEMPLATE = (
    "{% for turn in messages %}{{ '### ' ~ turn.role ~ ':\n' }}"
    "{% if turn.role == 'assistant' %}{% generation %}{{ turn.content }}{% endgeneration %}"
    "{% else %}{{ turn.content }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)


def _heading(folder: Path) -> Path:
    return _save(_byte_level(["<|end|>"], None), folder, _HEADING_TEMPLATE, eos_token="<|end|>")


def _heading_pieces(messages: list[Message]) -> Pieces:
    pieces: Pieces = []
    for message in messages:
        pieces += [
            (f"### {message['role']}:\n", False),
            (message["content"], message["role"] == "assistant"),
            ("\n", False),
        ]
    return pieces


FAMILIES: dict[str, Family] = {
    "chatml": Family(
        _chatml,
        _chatml_pieces,
        "<|im_start|>assistant\n",
        ("<|im_end|>", "<|im_start|>", "<|endoftext|>"),
        ("</s>", "<|eot|>"),
    ),
    "header": Family(
        _header,
        _header_pieces,
        "<|head|>assistant<|/head|>\n\n",
        ("<|begin|>", "<|eot|>", "<|head|>", "<|/head|>"),
        ("<|im_end|>", "<|unused|>"),
    ),
    "model": Family(
        _model,
        _model_pieces,
        "<turn>model\n",
        ("<bos>", "<eos>", "<turn>", "</turn>"),
        ("<image>", "</s>"),
        system=False,
    ),
    "inst": Family(_inst, _inst_pieces, "", ("<s>", "</s>", "[/INST]"), ("<|im_end|>", "<unk>"), system=False),
    "prefix": Family(
        _prefix, _inst_pieces, "", ("<s>", "</s>", "[/INST]"), ("<|im_end|>", "<unk>"), system=False, exact=False
    ),
    "word pieces": Family(
        _word_pieces, _word_pieces_pieces, "assistant : ", ("[SEP]", "[CLS]"), ("</s>", "[MASK]"), exact=False
    ),
    "heading": Family(
        _heading,
        _heading_pieces,
        "### assistant:\n",
        ("<|end|>", "### assistant:", "### user:"),
        ("</s>", "a ### user:"),
    ),
}


def load(name: str, folder: Path) -> Tokenizer:
    """The tokenizer of a family, built in a folder."""
    return Tokenizer.load(FAMILIES[name].write(folder / name.replace(" ", "-")))
