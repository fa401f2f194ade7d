"""A tokenizer with more pieces that goes on reading old text as it did.

The new merges stand behind all old ones, and BPE applies merges in their order. So every text is first cut as it always was,
and only what comes out is joined to new pieces: the new ids, each spelled in its old ones, are the old ids. That holds as well
where a word that is a piece as a whole skips the merges (Llama 3): by merges the same piece would come out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.files import CONFIG, TEMPLATE, TOKENIZER
from hfrecipes.tokenization.new_pieces import NewPiece, fault_of, learn_pieces
from hfrecipes.tokenization.tokenizer import Tokenizer

_RECORD = "extension.json"


@dataclass(frozen=True, slots=True)
class Extension:
    """What was added to a tokenizer.

    Args:
        first_id: Id of the first new piece; the others follow.
        spelled: The old ids that each new piece was spelled in before, in the order of the new ids.
        characters: How many of them are characters that were spelled in bytes.
        tokens: How special tokens are written that a recipe named; empty for pieces that were learnt.
    """

    first_id: int
    spelled: tuple[tuple[int, ...], ...]
    characters: int
    tokens: tuple[str, ...] = ()

    @property
    def entries(self) -> int:
        """Ids of the extended tokenizer."""
        return self.first_id + len(self.spelled)

    @property
    def ids(self) -> range:
        """Those that are new."""
        return range(self.first_id, self.entries)


def extension_problem(tokenizer: Tokenizer, where: str) -> Problem | None:
    """Why pieces cannot be added to a tokenizer; None where they can."""
    fault = fault_of(tokenizer.backend)
    if fault is None:
        return None
    fix = (
        "take a model with a BPE tokenizer, such as Llama, Qwen, Gemma, OLMo or GPT-2, or leave the tokenizer as it is"
    )
    return Problem(where, f"the tokenizer of {tokenizer.name} cannot be extended: {fault}", fix)


def extend_tokenizer(tokenizer: Tokenizer, texts: Iterable[str], count: int, folder: Path, where: str) -> None:
    """Adds pieces that are learnt from text, and writes a folder that `AutoTokenizer.from_pretrained` reads.

    Args:
        tokenizer: The one to extend.
        texts: What to learn from, read once. The same texts in the same order give the same pieces.
        count: Pieces to add.
        folder: Where to write; there is also what `read_extension` reads.
        where: The recipe's place, for problems.

    Raises:
        RecipeError: where the tokenizer is of a kind that cannot be extended, or the text has too few pieces.
    """
    if problem := extension_problem(tokenizer, where):
        raise RecipeError(problem)
    pieces = learn_pieces(tokenizer.backend, texts, count)
    if len(pieces) < count:
        fault = f"{count:,} pieces were asked for, and the text has {len(pieces):,} that occur more than once"
        fewer = f"say at most {len(pieces)}, or give more text" if pieces else "give more text"
        raise RecipeError(Problem(where, fault, fewer))
    settings = json.loads(tokenizer.backend.to_str())
    first_id = max(tokenizer.backend.get_vocab(with_added_tokens=True).values()) + 1
    _add(settings, pieces, first_id)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / TOKENIZER, settings)
    _write(folder / CONFIG, _config(tokenizer))
    _write_templates(tokenizer, folder)
    characters = sum(piece.merged is None for piece in pieces)
    _record(folder, first_id, [piece.spelled for piece in pieces], characters)


def add_special_tokens(tokenizer: Tokenizer, tokens: list[str], folder: Path, where: str) -> None:
    """Adds special tokens, which no text is cut into by itself, and writes a folder that `AutoTokenizer.from_pretrained` reads.

    Args:
        tokenizer: The one to add to, of any kind.
        tokens: How they are written, in the order of their ids.
        folder: Where to write; there is also what `read_extension` reads.
        where: The recipe's place, for problems.

    Raises:
        RecipeError: where one of them is a token already, or is written twice.
    """
    if faults := [fault for token in dict.fromkeys(tokens) if (fault := _token_fault(tokenizer, tokens, token))]:
        raise RecipeError([Problem(where, fault, "leave it out") for fault in faults])
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    first_id = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    if [backend.token_to_id(token) for token in tokens] != list(range(first_id, first_id + len(tokens))):
        fault = f"the ids of {tokenizer.name} have holes, into which new tokens would fall"
        raise RecipeError(Problem(where, fault, "take a model whose tokenizer numbers its tokens without holes"))
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / TOKENIZER))
    _write(folder / CONFIG, _config(tokenizer))
    _write_templates(tokenizer, folder)
    _record(folder, first_id, [tuple(ids) for ids in tokenizer.encode_ids(tokens, add_special_tokens=False)], 0, tokens)


def _token_fault(tokenizer: Tokenizer, tokens: list[str], token: str) -> str | None:
    if not token.strip() or "\0" in token:
        return f"{token!r} cannot be a token"
    if tokenizer.token_id(token) is not None:
        return f"{token!r} is a token of {tokenizer.name} already"
    return f"{token!r} is named twice" if tokens.count(token) > 1 else None


def _record(
    folder: Path, first_id: int, spelled: list[tuple[int, ...]], characters: int, tokens: Sequence[str] = ()
) -> None:
    record = {"first_id": first_id, "characters": characters, "spelled": spelled, "tokens": list(tokens)}
    (folder / _RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")


def read_extension(folder: Path) -> Extension:
    """What `extend_tokenizer` or `add_special_tokens` wrote down of what it added."""
    record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    # Extensions that were made before tokens could be named have none.
    named = tuple(record.get("tokens", ()))
    return Extension(record["first_id"], tuple(map(tuple, record["spelled"])), record["characters"], named)


def _add(settings: dict[str, Any], pieces: list[NewPiece], first_id: int) -> None:
    """Adds pieces to the settings of a tokenizer, in place."""
    vocabulary, merges = settings["model"]["vocab"], settings["model"]["merges"]
    for token in settings["added_tokens"]:
        # Added tokens that are no part of the vocabulary are counted on from its end when it is loaded, so they would move.
        vocabulary.setdefault(token["content"], token["id"])
    for number, piece in enumerate(pieces):
        vocabulary[piece.text] = first_id + number
        if piece.merged is not None:
            merges.append(list(piece.merged))


def _config(tokenizer: Tokenizer) -> dict[str, Any]:
    # The plain class takes tokenizer.json as it is; some others rebuild parts of it.
    limit = {} if tokenizer.max_length is None else {"model_max_length": tokenizer.max_length}
    plain = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    return {**plain, **tokenizer.special_tokens, **limit}


def _write_templates(tokenizer: Tokenizer, folder: Path) -> None:
    for name, template in tokenizer.chat_templates.items():
        file = folder / TEMPLATE if name == "default" else folder / "chat_templates" / f"{name}.jinja"
        file.parent.mkdir(exist_ok=True)
        file.write_text(template, encoding="utf-8")


def _write(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
