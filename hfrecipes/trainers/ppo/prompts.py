"""Prompts: from rows of a data set to token ids, and completions back to what reward functions read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError

_TOKENISED = "input_ids"


@dataclass
class Prompt:
    """One row.

    Args:
        row: Its number in the data set.
        ids: Tokens.
        given: As the row has it: a text or messages.
        columns: All others of the row, for reward functions.
    """

    row: int
    ids: list[int]
    given: Any
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def conversational(self) -> bool:
        return not isinstance(self.given, str)


class PromptReader:
    """Reads prompts of a data set with columns `prompt` (text, or messages), or `input_ids`, and any others.

    Args:
        tokenizer: The policy's.
        max_length: Longer prompts lose their beginning; None keeps them whole.
        room: Tokens that a prompt and its completion may have together; None where the model does not say.
        response_length: Tokens of a completion.
    """

    def __init__(self, tokenizer: Any, max_length: int | None, room: int | None, response_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.room = room
        self.response_length = response_length

    def read(self, dataset: Any, rows: Sequence[int]) -> list[Prompt]:
        """Prompts of rows.

        Raises:
            RecipeError: naming the first row that cannot be used.
        """
        return [self._read(dataset[int(row)], int(row)) for row in rows]

    def _read(self, values: dict[str, Any], row: int) -> Prompt:
        columns = {name: value for name, value in values.items() if name not in ("prompt", "completion", _TOKENISED)}
        if values.get("prompt") is None and values.get(_TOKENISED) is not None:
            ids = [int(token) for token in values[_TOKENISED]]
            given: Any = self.tokenizer.decode(ids, skip_special_tokens=True)
        else:
            given = values.get("prompt")
            ids = self._tokenise(given, row)
        if self.max_length is not None:
            ids = ids[-self.max_length :]
        if not ids:
            raise _problem(row, "is empty: there is nothing to go on from", "leave the row out")
        if self.room is not None and len(ids) + self.response_length > self.room:
            fault = f"has {len(ids)} tokens, and with a completion of {self.response_length} more than the {self.room}"
            fix = "lower response_length, or set max_prompt_length"
            raise _problem(row, f"{fault} that the model has positions for", fix)
        return Prompt(row, ids, given, columns)

    def _tokenise(self, given: Any, row: int) -> list[int]:
        if isinstance(given, str):
            ids = list(self.tokenizer(given)["input_ids"])
            # Some tokenizers end every text; a prompt is to be gone on with.
            end = self.tokenizer.eos_token_id
            ended = end is not None and len(ids) > 1 and ids[-1] == end
            return ids[:-1] if ended and not given.endswith(self.tokenizer.eos_token) else ids
        if isinstance(given, list) and given and all(isinstance(message, dict) for message in given):
            if getattr(self.tokenizer, "chat_template", None) is None:
                raise _problem(row, "is a conversation, and the tokenizer has no chat template", "give one, or text")
            text = self.tokenizer.apply_chat_template(given, add_generation_prompt=True, tokenize=False)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        kind = type(given).__name__
        raise _problem(row, f"is {kind}, not a text or a list of messages", "give a column named prompt")

    def texts(self, completion_ids: Sequence[Sequence[int]], stop_strings: Sequence[str] = ()) -> list[str]:
        """Texts of completions, without special tokens and without the stop string that ends one."""
        texts = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        return [_before(text, stop_strings) for text in texts]


def _before(text: str, stops: Sequence[str]) -> str:
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return text[: min(places)] if places else text


def _problem(row: int, fault: str, fix: str) -> RecipeError:
    return RecipeError(Problem(f"train_dataset, row {row}, prompt", fault, fix))


def refuse_unusable_dataset(dataset: Any, name: str) -> None:
    """Raises where a data set has no rows, or none of the columns that hold prompts.

    Raises:
        RecipeError: naming it.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        fix = "give one with rows that can be looked up by number"
        raise RecipeError(Problem(name, f"{type(dataset).__name__} has no length", fix))
    if len(dataset) == 0:
        raise RecipeError(Problem(name, "has no rows", "name data that has some"))
    columns = list(dataset[0])
    if "prompt" not in columns and _TOKENISED not in columns:
        fix = "give a column prompt (text or messages) or input_ids"
        raise RecipeError(Problem(name, f"has no prompts; its columns are {', '.join(columns)}", fix))
