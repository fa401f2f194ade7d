"""Preferences as ids: a prompt and two answers, as `DPOTrainer` and `RewardTrainer` would make them, every cut counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hfrecipes.data.encode import common_prefix
from hfrecipes.data.formats import Example, is_conversational
from hfrecipes.data.rendering import Renderer, ended
from hfrecipes.data.settings import EncodeSettings
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedPreference:
    """One pair of answers, in the columns of `trl.DPOTrainer`.

    `trl.RewardTrainer` reads whole sequences instead: prompt_ids + chosen_ids and prompt_ids + rejected_ids. It leaves
    out pairs that are longer than its `max_length`, which here are those with `truncated_tokens`.

    Args:
        prompt_ids: What both sequences begin with.
        chosen_ids: The rest of the better one.
        rejected_ids: The rest of the worse one.
        truncated_tokens: How many tokens `max_length` cut off the two sequences together.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    truncated_tokens: int = 0

    @property
    def teaches(self) -> bool:
        """Whether both answers have tokens left and differ in them; a pair that does not has no gradient to give."""
        return bool(self.chosen_ids) and bool(self.rejected_ids) and self.chosen_ids != self.rejected_ids


def encode_preferences(
    examples: Sequence[Example], tokenizer: Tokenizer, settings: EncodeSettings, wheres: Sequence[str] | None = None
) -> list[EncodedPreference]:
    """Tokenises pairs of answers, one result for each, in their order.

    The answers begin where the tokens of the prompt and of either whole part; plain answers that do not end in EOS get it;
    `max_length` cuts the ends, as `truncation_mode: keep_start` does. A result that does not teach lost what tells the
    answers apart; leave it out.

    Args:
        examples: From `to_examples`, with `prompt`, `chosen` and `rejected`.
        tokenizer: Its chat template renders messages, and its post-processor adds BOS to plain text where it has one.
        settings: Only `max_length` is read.
        wheres: The place of each example, for problems.

    Raises:
        RecipeError: an example without the three; a template that is missing or refuses the messages, or a message that
            holds one of its marks; answers that are the same tokens.
    """
    wheres = wheres or [f"example {number}" for number in range(1, len(examples) + 1)]
    texts = [_texts(example, tokenizer, where) for example, where in zip(examples, wheres, strict=True)]
    ids = _encode(texts, tokenizer)
    results = []
    for (prompt, better, worse, chat), where in zip(texts, wheres, strict=True):
        if ids[better, chat] == ids[worse, chat]:
            fix = "remove the row; they may differ in what the tokenizer or the chat template drops"
            raise RecipeError(Problem(where, "chosen and rejected are the same tokens, so neither is better", fix))
        results.append(_cut(ids[prompt, chat], ids[better, chat], ids[worse, chat], settings.max_length))
    return results


# The prompt, the prompt with the better and with the worse answer, and whether a chat template wrote them.
_Texts = tuple[str, str, str, bool]


def _encode(texts: list[_Texts], tokenizer: Tokenizer) -> dict[tuple[str, bool], list[int]]:
    """Ids by text. Rankings repeat prompts and answers, so each different text is encoded once."""
    ids: dict[tuple[str, bool], list[int]] = {}
    for chat in (True, False):
        different = list(dict.fromkeys(text for *three, is_chat in texts if is_chat is chat for text in three))
        # The template writes BOS itself.
        encoded = tokenizer.encode_ids(different, add_special_tokens=not chat)
        ids.update({(text, chat): tokens for text, tokens in zip(different, encoded, strict=True)})
    return ids


def _texts(example: Example, tokenizer: Tokenizer, where: str) -> _Texts:
    if missing := [name for name in ("prompt", "chosen", "rejected") if name not in example]:
        message = f"has no {' and no '.join(missing)}, which a preference needs"
        raise RecipeError(Problem(where, message, "say task: preference or task: ranking, and name the columns"))
    prompt, better, worse = example["prompt"], example["chosen"], example["rejected"]
    if not is_conversational(example):
        ends = [ended(answer, tokenizer, where) for answer in (better, worse)]
        return prompt, prompt + ends[0], prompt + ends[1], False
    renderer = Renderer(example, tokenizer, where)
    opening = renderer.render(prompt, add_generation_prompt=True).text
    return opening, renderer.render(prompt + better).text, renderer.render(prompt + worse).text, True


def _cut(prompt: list[int], better: list[int], worse: list[int], max_length: int | None) -> EncodedPreference:
    start = min(common_prefix(prompt, better), common_prefix(prompt, worse))
    kept = [ids[:max_length] for ids in (better, worse)]
    lost = sum(len(ids) for ids in (better, worse)) - sum(map(len, kept))
    return EncodedPreference(kept[0][:start], kept[0][start:], kept[1][start:], lost)
