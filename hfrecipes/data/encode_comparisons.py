"""Answers that are compared, as ids: a prompt and two answers or a whole ranking, as `DPOTrainer` and `RewardTrainer` would
make them, every cut counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from hfrecipes.data.encode import IGNORED, common_prefix
from hfrecipes.data.formats import Example, example_texts, is_conversational
from hfrecipes.data.rendering import Renderer, ended
from hfrecipes.data.settings import CompareSettings
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodedComparison:
    """A prompt and its answers, best first.

    In a row of the prepared data the sequences, each of which begins with the prompt, stand one behind the other.

    Args:
        prompt_ids: What all sequences begin with.
        answers: The rest of each.
        ranks: The place of each answer, 0 for the best; tied ones have the same.
        margin: By how much the better of two answers should score higher.
        num_bytes: UTF-8 bytes of the answers.
        truncated_tokens: How many tokens `max_length` cut off, or left out with answers that are longer.
        longest: Tokens of the longest sequence before that.
    """

    prompt_ids: list[int]
    answers: list[list[int]]
    ranks: list[int]
    margin: float = 0.0
    num_bytes: int = 0
    truncated_tokens: int = 0
    longest: int = 0

    @property
    def tied(self) -> bool:
        """Whether no answer is better than another; so it is, too, where fewer than two are left."""
        return len(set(self.ranks)) < 2

    @property
    def teaches(self) -> bool:
        """Whether answers of different ranks have tokens left and differ in them; else there is no gradient to get."""
        different = len({tuple(answer) for answer in self.answers}) == len(self.answers)
        return not self.tied and all(self.answers) and different

    @property
    def sequences(self) -> list[list[int]]:
        return [self.prompt_ids + answer for answer in self.answers]

    @property
    def input_ids(self) -> list[int]:
        return list(chain.from_iterable(self.sequences))

    @property
    def labels(self) -> list[int]:
        """The ids of the answers, -100 for those of the prompt."""
        silent = [IGNORED] * len(self.prompt_ids)
        return list(chain.from_iterable(silent + answer for answer in self.answers))

    @property
    def supervised_tokens(self) -> int:
        """Tokens that carry loss; none where nothing can be learnt, so that the row is left out."""
        return sum(map(len, self.answers)) if self.teaches else 0

    def row(self) -> dict[str, object]:
        """The columns of the prepared data."""
        return {
            "input_ids": self.input_ids,
            "labels": self.labels,
            "seq_lengths": [len(sequence) for sequence in self.sequences],
            "ranks": self.ranks,
            "margin": self.margin,
            "num_bytes": self.num_bytes,
        }


def encode_comparisons(
    examples: Sequence[Example], tokenizer: Tokenizer, settings: CompareSettings, wheres: Sequence[str] | None = None
) -> list[EncodedComparison]:
    """Tokenises prompts and their answers, one result for each, in their order.

    The answers begin where the tokens of the prompt and of any whole part; plain answers that do not end in EOS get it.
    Whole sequences that are longer than `max_length` lose their end, as `truncation_mode: keep_start` does, or are left out,
    as `trl.RewardTrainer` does. A result that does not teach lost what tells the answers apart, or has only ties; leave it out.

    Args:
        examples: From `to_examples`: `prompt`, `chosen` and `rejected`, or `prompt`, `answers` and `ranks`.
        tokenizer: Its chat template renders messages, and its post-processor adds BOS to plain text where it has one.
        settings: How long a sequence may be, and what becomes of longer ones.
        wheres: The place of each example, for problems.

    Raises:
        RecipeError: an example without answers to compare; a template that is missing or refuses the messages, or a message
            that holds one of its marks; answers of different ranks that are the same tokens.
    """
    wheres = wheres or [f"example {number}" for number in range(1, len(examples) + 1)]
    texts = [_texts(example, tokenizer, where) for example, where in zip(examples, wheres, strict=True)]
    ids = _encode(texts, tokenizer)
    results = []
    for example, (prompt, wholes, chat), where in zip(examples, texts, wheres, strict=True):
        sequences = [ids[whole, chat] for whole in wholes]
        ranks = example.get("ranks") or list(range(len(sequences)))
        _refuse_equal(sequences, ranks, where)
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in _answer_texts(example))
        results.append(_cut(ids[prompt, chat], sequences, ranks, float(example.get("margin", 0.0)), size, settings))
    return results


# The prompt, the prompt with each answer, and whether a chat template wrote them.
_Texts = tuple[str, list[str], bool]


def _encode(texts: list[_Texts], tokenizer: Tokenizer) -> dict[tuple[str, bool], list[int]]:
    """Ids by text. Rows repeat prompts and answers, so each different text is encoded once."""
    ids: dict[tuple[str, bool], list[int]] = {}
    for chat in (True, False):
        found = (text for prompt, wholes, is_chat in texts if is_chat is chat for text in (prompt, *wholes))
        different = list(dict.fromkeys(found))
        # The template writes BOS itself.
        encoded = tokenizer.encode_ids(different, add_special_tokens=not chat)
        ids.update({(text, chat): tokens for text, tokens in zip(different, encoded, strict=True)})
    return ids


def _texts(example: Example, tokenizer: Tokenizer, where: str) -> _Texts:
    needed = ("prompt",) if "answers" in example else ("prompt", "chosen", "rejected")
    if missing := [name for name in needed if name not in example]:
        message = f"has no {' and no '.join(missing)}, which a preference needs"
        raise RecipeError(Problem(where, message, "say task: preference or task: ranking, and name the columns"))
    prompt = example["prompt"]
    answers = example["answers"] if "answers" in example else [example["chosen"], example["rejected"]]
    if not is_conversational(example):
        return prompt, [prompt + ended(answer, tokenizer, where) for answer in answers], False
    renderer = Renderer(example, tokenizer, where)
    opening = renderer.render(prompt, add_generation_prompt=True).text
    return opening, [renderer.render(prompt + answer).text for answer in answers], True


def _answer_texts(example: Example) -> list[str]:
    return example_texts({name: example[name] for name in ("chosen", "rejected", "answers") if name in example})


def _refuse_equal(sequences: list[list[int]], ranks: list[int], where: str) -> None:
    fix = "remove the row; they may differ in what the tokenizer or the chat template drops"
    for second, sequence in enumerate(sequences):
        for first in range(second):
            if sequences[first] == sequence and ranks[first] != ranks[second]:
                pair = "chosen and rejected" if len(sequences) == 2 else f"answers {first + 1} and {second + 1}"
                raise RecipeError(Problem(where, f"{pair} are the same tokens, so neither is better", fix))


def _cut(
    prompt: list[int],
    sequences: list[list[int]],
    ranks: list[int],
    margin: float,
    num_bytes: int,
    settings: CompareSettings,
) -> EncodedComparison:
    start = min(common_prefix(prompt, ids) for ids in sequences)
    limit = settings.max_length
    if settings.leaves_out:
        fitting = [place for place, ids in enumerate(sequences) if limit is None or len(ids) <= limit]
        kept, ranks = [sequences[place] for place in fitting], [ranks[place] for place in fitting]
    else:
        kept = [ids[:limit] for ids in sequences]
    lost = sum(map(len, sequences)) - sum(map(len, kept))
    prompt = sequences[0][:start] if limit is None else sequences[0][:start][:limit]
    longest = max(map(len, sequences))
    return EncodedComparison(prompt, [ids[start:] for ids in kept], ranks, margin, num_bytes, lost, longest)
