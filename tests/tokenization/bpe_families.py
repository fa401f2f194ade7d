"""Tokenizers in the manner of published families, trained on a little English, and text in a language they do not know."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

OLD_TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind. It's 12:30, we'll wait.\n",
    "def add(first, second):\n    return first + second  # the sum of both\n\n",
    "Whoever reads this reads of readers who were reading; numbers such as 1234567 and 3.14 stand between.\n\n\n",
    "  Spaces   in a row,\ttabs\tand names_with_underscores, URLs like https://example.org/?q=1&r=2.\r\n",
] * 20

# Of Llama 3, whose words are letters, up to three digits, punctuation, line breaks; Qwen 2 has every digit alone.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def new_texts(count: int, seed: int = 0, words: int = 300) -> list[str]:
    """Texts of a made-up language in Chinese characters: words by Zipf's law, without spaces, with its own full stops."""
    draw = random.Random(0)
    letters = [chr(0x4E00 + draw.randrange(2000)) for _ in range(400)]
    lexicon = ["".join(draw.choices(letters, k=draw.choice((1, 2, 2, 3)))) for _ in range(words)]
    weights = [1 / rank for rank in range(1, words + 1)]
    draw = random.Random(seed)
    return [
        "".join("，".join("".join(draw.choices(lexicon, weights, k=6)) for _ in range(3)) + "。" for _ in range(4))
        + "\n"
        for _ in range(count)
    ]


def near_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of a made-up language in Latin letters, whose words are parts of English ones: what is learnt meets old merges."""
    draw = random.Random(0)
    words = "".join(OLD_TEXTS[:3]).split()
    parts = [word[:end] for word in words for end in (2, 3, 4)] + [word[-end:] for word in words for end in (1, 2, 3)]
    lexicon = ["".join(draw.choices(parts, k=draw.choice((1, 2, 2, 3)))) for _ in range(200)]
    weights = [1 / rank for rank in range(1, len(lexicon) + 1)]
    draw = random.Random(seed)
    return [" ".join(draw.choices(lexicon, weights, k=40)) + ".\n" for _ in range(count)]


def _byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer, specials: list[str], size: int) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(OLD_TEXTS, trainer)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def _split_words(pattern: str = _WORDS) -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2() -> tokenizers.Tokenizer:
    """Byte-level BPE, its one special token among the vocabulary."""
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"], 500)


def qwen2() -> tokenizers.Tokenizer:
    """Normalised to NFC; special tokens stand behind the vocabulary."""
    backend = _byte_level(_split_words(_WORDS.replace("{1,3}", "")), [], 480)
    backend.normalizer = normalizers.NFC()
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in ("<|endoftext|>", "<|im_end|>")])
    return backend


def llama3() -> tokenizers.Tokenizer:
    """Words that are pieces as a whole skip the merges; BOS before each text; special tokens behind the vocabulary."""
    backend = _byte_level(_split_words(), [], 480)
    settings = json.loads(backend.to_str())
    settings["model"]["ignore_merges"] = True
    # A word that no merge leads to, as Llama 3 has.
    settings["model"]["vocab"]["fox"] = len(settings["model"]["vocab"])
    backend = tokenizers.Tokenizer.from_str(json.dumps(settings))
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in ("<|begin|>", "<|end|>", "<|eot|>")])
    bos = ("<|begin|>", backend.token_to_id("<|begin|>"))
    template = processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[bos])
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return backend


def _fallback(specials: list[str]) -> tokenizers.Tokenizer:
    """SentencePiece's BPE: learnt word by word, applied to a text as a whole, with byte tokens to fall back on."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trained.train_from_iterator(OLD_TEXTS, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    learnt = json.loads(trained.to_str())["model"]
    pieces = [*specials, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    for piece in sorted(learnt["vocab"], key=learnt["vocab"].get):
        # SentencePiece has no pieces for line ends; Llama 2 spells them in bytes.
        if piece not in "\n\r\t":
            vocabulary.setdefault(piece, len(vocabulary))
    merges = [tuple(pair) for pair in learnt["merges"] if all(part in vocabulary for part in (*pair, "".join(pair)))]
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in specials])
    return backend


def llama2() -> tokenizers.Tokenizer:
    """A space before each text."""
    backend = _fallback(["<unk>", "<s>", "</s>"])
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Strip(content=" ", left=1)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    bos = ("<s>", backend.token_to_id("<s>"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[bos])
    return backend


def gemma() -> tokenizers.Tokenizer:
    """No space before a text."""
    backend = _fallback(["<pad>", "<eos>", "<bos>", "<unk>"])
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bos = ("<bos>", backend.token_to_id("<bos>"))
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A $B", special_tokens=[bos])
    return backend


FAMILIES: dict[str, tuple[Callable[[], tokenizers.Tokenizer], dict[str, str]]] = {
    "gpt2": (gpt2, {"eos_token": "<|endoftext|>"}),
    "qwen2": (qwen2, {"eos_token": "<|endoftext|>"}),
    "llama3": (llama3, {"bos_token": "<|begin|>", "eos_token": "<|end|>"}),
    "llama2": (llama2, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "gemma": (gemma, {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}),
}


def write(family: str, folder: Path) -> Path:
    """The tokenizer of a family in a folder."""
    build, special = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    build().save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
