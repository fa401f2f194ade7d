"""A tokenizer with more pieces that goes on reading old text as it did.

The new merges stand behind all old ones, and BPE applies merges in their order. So every text is first cut as it always was,
and only what comes out is joined to new pieces: the new ids, each spelled in its old ones, are the old ids. That holds as well
where a word that is a piece as a whole skips the merges (Llama 3): by merges the same piece would come out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """

    first_id: int
    spelled: tuple[tuple[int, ...], ...]
    characters: int

    @property
    def entries(self) -> int:
        """Ids of the extended tokenizer."""
        return self.first_id + len(self.spelled)


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
    record = {"first_id": first_id, "characters": characters, "spelled": [piece.spelled for piece in pieces]}
    (folder / _RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")


def read_extension(folder: Path) -> Extension:
    """What `extend_tokenizer` wrote down of the pieces that it added."""
    record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    return Extension(record["first_id"], tuple(map(tuple, record["spelled"])), record["characters"])


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
