"""Prompts as ids: what a policy goes on from, as `PPOTrainer` tokenises it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hfrecipes.data.encode import IGNORED
from hfrecipes.data.formats import Example, example_texts
from hfrecipes.data.prompts import dump_prompt
from hfrecipes.data.rendering import Renderer
from hfrecipes.data.settings import PromptSettings
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """One prompt.

    Args:
        input_ids: Its last tokens, as many as the policy sees.
        given: The prompt as the row has it, and the row's other columns, as JSON.
        num_bytes: UTF-8 bytes of the text, without what a chat template adds.
        truncated_tokens: How many tokens at its beginning `max_prompt_length` cut off.
    """

    input_ids: list[int]
    given: str
    num_bytes: int = 0
    truncated_tokens: int = 0

    @property
    def supervised_tokens(self) -> int:
        """Tokens that make the row worth keeping: those of the prompt, for none of them carries loss."""
        return len(self.input_ids)

    @property
    def longest(self) -> int:
        """Tokens before the cut."""
        return len(self.input_ids) + self.truncated_tokens

    @property
    def labels(self) -> list[int]:
        """No token of a prompt is learnt."""
        return [IGNORED] * len(self.input_ids)

    def row(self) -> dict[str, object]:
        """The columns of the prepared data."""
        return {"input_ids": self.input_ids, "given": self.given, "num_bytes": self.num_bytes}


def encode_prompts(
    examples: Sequence[Example], tokenizer: Tokenizer, settings: PromptSettings, wheres: Sequence[str] | None = None
) -> list[EncodedPrompt]:
    """Tokenises prompts, one result for each, in their order.

    Args:
        examples: From `to_examples`: `prompt` and `columns`.
        tokenizer: Its chat template renders messages up to the assistant's turn; plain text gets its BOS, where it has one.
        settings: How long a prompt may be.
        wheres: The place of each example, for problems.

    Raises:
        RecipeError: a prompt without a token, or one that the chat template refuses.
    """
    wheres = wheres or [f"example {number}" for number in range(1, len(examples) + 1)]
    texts = [_text(example, tokenizer, where) for example, where in zip(examples, wheres, strict=True)]
    found: dict[int, list[int]] = {}
    for chat in (True, False):
        places = [place for place, (_, is_chat) in enumerate(texts) if is_chat is chat]
        # The template writes BOS itself.
        ids = tokenizer.encode_ids([texts[place][0] for place in places], add_special_tokens=not chat)
        found |= dict(zip(places, ids, strict=True))
    return [
        _encoded(example, _unended(found[place], *texts[place], tokenizer), settings, wheres[place])
        for place, example in enumerate(examples)
    ]


def _text(example: Example, tokenizer: Tokenizer, where: str) -> tuple[str, bool]:
    """A prompt as text, and whether a chat template wrote it."""
    prompt = example["prompt"]
    if isinstance(prompt, str):
        return prompt, False
    return Renderer({}, tokenizer, where).render(prompt, add_generation_prompt=True).text, True


def _unended(ids: list[int], text: str, is_chat: bool, tokenizer: Tokenizer) -> list[int]:
    """Some tokenizers end every text; a prompt is to be gone on with."""
    ended = not is_chat and tokenizer.eos_token_id is not None and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id
    return ids[:-1] if ended and not text.endswith(tokenizer.eos_token) else ids


def _encoded(example: Example, ids: list[int], settings: PromptSettings, where: str) -> EncodedPrompt:
    if not ids:
        raise RecipeError(Problem(where, "the prompt has no token: there is nothing to go on from", "remove the row"))
    kept = ids if settings.max_length is None else ids[-settings.max_length :]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in example_texts(example))
    return EncodedPrompt(kept, dump_prompt(example), size, len(ids) - len(kept))
