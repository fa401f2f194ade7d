"""A tokenizer without torch or transformers: for checks, previews and the preparation of data.

`AutoTokenizer` costs five CPU-seconds to import. The same `tokenizer.json` read by the `tokenizers` library gives the
same ids in half a second, and tests hold the two together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Encoding

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization import chat
from hfrecipes.tokenization.chat import Rendered, training_chat_template
from hfrecipes.tokenization.files import (
    CONFIG,
    SPECIALS,
    TEMPLATE,
    TOKENIZER,
    OfflineError,
    find_files,
    is_folder_name,
    read_json,
)
from hfrecipes.tokenization.training import train_tokenizer

__all__ = ["OfflineError", "Rendered", "Tokenizer", "train_tokenizer", "training_chat_template"]

_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# transformers writes 1e30 for "no limit"; no model reads a million times a million tokens.
_NO_LIMIT = 10**12


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Text to ids and back, and conversations to text.

    Args:
        name: The folder or Hub id it came from.
        backend: The `tokenizers.Tokenizer` underneath.
        special_tokens: `bos_token`, `eos_token`, `pad_token`, ... -> their text, where the tokenizer has them.
        chat_templates: Jinja sources by name. The one called `default` is used, but for `tool_use` where tools are
            given and a template of that name exists.
        max_length: The longest input its model was made for, in tokens; None where it does not say.
    """

    name: str
    backend: tokenizers.Tokenizer
    special_tokens: dict[str, str]
    chat_templates: dict[str, str]
    max_length: int | None = None

    @classmethod
    def load(cls, name: str | Path, revision: str | None = None) -> Tokenizer:
        """Reads a tokenizer from a folder or the Hub.

        Args:
            name: A folder with `tokenizer.json`, or a Hub id. Where there is only a slow tokenizer's vocabulary, it is
                converted by transformers' `AutoTokenizer`, which is imported then.
            revision: The Hub commit, branch or tag.

        Raises:
            OfflineError: it is on the Hub, not in the cache, and the Hub cannot be reached.
            RecipeError: there is no tokenizer there, or its files are damaged.
        """
        files = find_files(str(name), revision)
        if TOKENIZER not in files:
            return cls._converted(str(name), revision)
        try:
            backend = tokenizers.Tokenizer.from_file(str(files[TOKENIZER]))
        except Exception as error:  # the library raises plain Exception
            where = str(files[TOKENIZER])
            raise RecipeError(Problem(where, f"is not a tokenizer: {error}", "fetch or save it again")) from error
        config = {**read_json(files.get(SPECIALS)), **read_json(files.get(CONFIG))}
        try:
            special_tokens = {key: _text(config[key]) for key in _SPECIAL_NAMES if config.get(key)}
            _complete(backend, special_tokens)
            templates = _chat_templates(config.get("chat_template"), files.get(TEMPLATE), name)
            return cls(str(name), backend, special_tokens, templates, _limit(config.get("model_max_length")))
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            where = str(files.get(CONFIG, name))
            fault = f"the settings or templates of this tokenizer are malformed: {type(error).__name__}: {error}"
            raise RecipeError(Problem(where, fault, "fetch or save it again")) from error

    @classmethod
    def from_transformers(cls, tokenizer: Any, name: str = "") -> Tokenizer:
        """The same tokenizer as a loaded `PreTrainedTokenizerFast`, whose backend is copied."""
        backend = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.no_padding()
        special_tokens = {
            key: str(value) for key, value in tokenizer.special_tokens_map.items() if key in _SPECIAL_NAMES
        }
        templates = _as_templates(tokenizer.chat_template)
        limit = _limit(tokenizer.model_max_length)
        return cls(name or tokenizer.name_or_path, backend, special_tokens, templates, limit)

    @classmethod
    def _converted(cls, name: str, revision: str | None) -> Tokenizer:
        from transformers import AutoTokenizer

        fix = "give a folder or Hub id with a tokenizer, or {vocab_size: ...} to train one on data.train"
        try:
            # Left open, transformers would ask on the terminal whether it may run code of the repository.
            slow = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            raise RecipeError(Problem(name, f"holds no tokenizer that can be read: {error}", fix)) from error
        if getattr(slow, "backend_tokenizer", None) is None:
            message = f"{type(slow).__name__} has no fast version, which labels from character positions need"
            raise RecipeError(Problem(name, message, fix))
        return cls.from_transformers(slow, name)

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def bos_token(self) -> str | None:
        return self.special_tokens.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        return self.special_tokens.get("eos_token")

    @property
    def pad_token(self) -> str | None:
        return self.special_tokens.get("pad_token")

    @property
    def bos_token_id(self) -> int | None:
        return self.token_id(self.bos_token)

    @property
    def eos_token_id(self) -> int | None:
        return self.token_id(self.eos_token)

    @property
    def pad_token_id(self) -> int | None:
        return self.token_id(self.pad_token)

    @property
    def chat_template(self) -> str | None:
        """The template for conversations without tools."""
        return self.chat_templates.get("default")

    @property
    def has_generation_markers(self) -> bool:
        """Whether the chat template says which of its text the assistant wrote."""
        return chat.has_generation_markers(self.chat_template)

    @cached_property
    def special_token_texts(self) -> dict[int, str]:
        """Ids that are marks rather than text, such as the end of a turn, and how they are written."""
        added = self.backend.get_added_tokens_decoder()
        return {token_id: token.content for token_id, token in added.items() if token.special}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides which ids a text or a conversation becomes."""
        parts = [self.backend.to_str(), self.special_tokens, self.chat_templates]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def token_id(self, token: str | None) -> int | None:
        """The id of a token given by its text; None where there is none."""
        return None if token is None else self.backend.token_to_id(token)

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[Encoding]:
        """Ids and character spans of each text. Special tokens written out in a text become their ids.

        Args:
            texts: Any number of strings.
            add_special_tokens: Adds what the tokenizer puts around a text by itself, such as BOS. False for rendered
                conversations: their template has written these already, and a second BOS harms.
        """
        return self.backend.encode_batch(list(texts), add_special_tokens=add_special_tokens)

    def encode_ids(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """Only the ids of each text, about a third faster than `encode_batch`."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of a sequence of ids."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        chat_template: str | None = None,
        **variables: Any,
    ) -> Rendered:
        """The text of a conversation, and where the assistant speaks in it.

        Args:
            messages: Dictionaries with `role` and `content`.
            tools: JSON schemas of the functions that the assistant may call.
            add_generation_prompt: Ends the text with the opening of an assistant turn.
            chat_template: Used instead of the tokenizer's own.
            variables: Further words for the template, such as `enable_thinking`.

        Raises:
            ValueError: there is no template, or it refuses the messages.
        """
        template = chat_template or (self.chat_templates.get("tool_use") if tools else None) or self.chat_template
        if template is None:
            raise ValueError(f"the tokenizer {self.name} has no chat template, which messages need")
        words = {**self.special_tokens, "documents": None, **variables}
        return chat.render(template, messages, tools=tools, add_generation_prompt=add_generation_prompt, **words)

    def require_same_ids(self, other: Any, texts: Sequence[str]) -> None:
        """Makes sure that a transformers tokenizer, which is saved with the model, reads text as the data was prepared.

        Args:
            other: A `PreTrainedTokenizerFast`.
            texts: Samples to compare on.

        Raises:
            RecipeError: the two give different ids: some tokenizer classes rebuild what `tokenizer.json` says.
        """
        for text, ours in zip(texts, self.encode_ids(texts), strict=True):
            theirs = other(text)["input_ids"]
            if list(theirs) != ours:
                message = f"{type(other).__name__} gives other ids than tokenizer.json for {text[:60]!r}"
                fix = "load it with AutoTokenizer, call save_pretrained on a new folder, and name that folder"
                raise RecipeError(Problem(self.name, message, fix))


def _text(token: str | dict[str, Any]) -> str:
    """A special token's text: files hold a string, or a description of an `AddedToken`."""
    return token if isinstance(token, str) else token["content"]


def _complete(backend: tokenizers.Tokenizer, special_tokens: dict[str, str]) -> None:
    """Does to the backend what transformers does on loading it: the file alone is not the whole tokenizer.

    `add_bos_token` and `add_eos_token` are not looked at: beside a `tokenizer.json`, whose post-processor says the same,
    transformers 5 ignores them.
    """
    backend.no_truncation()
    backend.no_padding()
    marked = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = [text for text in dict.fromkeys(special_tokens.values()) if text not in marked]
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in missing])


def _chat_templates(configured: Any, file: Path | None, name: str | Path) -> dict[str, str]:
    """Templates by name. A file beside `tokenizer.json` wins over the configuration, as in transformers."""
    templates = _as_templates(configured)
    if file is not None:
        templates["default"] = file.read_text(encoding="utf-8")
    folder = Path(name).expanduser() / "chat_templates"
    if is_folder_name(str(name)) and folder.is_dir():
        templates |= {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}
    return templates


def _as_templates(configured: Any) -> dict[str, str]:
    if not configured:
        return {}
    if isinstance(configured, str):
        return {"default": configured}
    if isinstance(configured, dict):
        return dict(configured)
    return {entry["name"]: entry["template"] for entry in configured}


def _limit(value: float | None) -> int | None:
    return None if value is None or value > _NO_LIMIT else int(value)
