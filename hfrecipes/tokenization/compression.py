"""How short two tokenizers make the same text."""

from __future__ import annotations

from typing import Any

from hfrecipes.tokenization.tokenizer import Tokenizer


def compression_figures(before: Tokenizer, after: Tokenizer, texts: list[str]) -> dict[str, Any]:
    """Bytes per token and tokens per character of the same texts under two tokenizers, without what these put around a text.

    Args:
        before: One tokenizer.
        after: The other.
        texts: Some text.

    Returns:
        `bytes` (UTF-8), `characters` (code points), and for `before` and `after` each `bytes_per_token`,
        `tokens_per_character`.

    Raises:
        ValueError: where there is no text.
    """
    num_bytes, characters = sum(len(text.encode()) for text in texts), sum(map(len, texts))
    if not characters:
        raise ValueError("there is no text to measure")
    figures: dict[str, Any] = {"bytes": num_bytes, "characters": characters}
    for name, tokenizer in (("before", before), ("after", after)):
        tokens = sum(map(len, tokenizer.encode_ids(texts, add_special_tokens=False)))
        figures[name] = {"bytes_per_token": num_bytes / tokens, "tokens_per_character": tokens / characters}
    return figures


def compression_words(figures: dict[str, Any]) -> str:
    """What `compression_figures` gave, for a terminal."""
    before, after = figures["before"], figures["after"]
    saved = f"{before['bytes_per_token']:.2f} → {after['bytes_per_token']:.2f} bytes a token"
    return f"{saved}, {before['tokens_per_character']:.3f} → {after['tokens_per_character']:.3f} tokens a character"
