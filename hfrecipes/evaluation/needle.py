"""Needle in a haystack: whether a model finds one sentence in a long text, by depth and length.

Exact match by greedy generation, and the log-probability of the right answer, which still moves where nothing is found yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from hfrecipes.evaluation.generation import generate_batch, generation_config
from hfrecipes.evaluation.intervals import proportion_interval
from hfrecipes.evaluation.language_modeling import IGNORED, measure_loss
from hfrecipes.evaluation.needle_text import Haystack, Needle, is_found, make_needle
from hfrecipes.evaluation.prompts import prompt_ids
from hfrecipes.models.mode import eval_mode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LANGUAGES = ("en",)
NUM_NEEDLES = 4
# An answer in other tokens than ours may take more of them.
_SPARE_TOKENS = 2
# Prompts that are measured at once hold at most this many tokens together.
_BATCH_TOKENS = 2**14


@dataclass(frozen=True, slots=True)
class NeedleGrid:
    """Which needles are hidden.

    Args:
        lengths: Tokens of prompt and answer, at most.
        depths: From 0, before the first sentence, to 1, before the question.
        languages: Of the needles.
        num_needles: In each cell of the grid, one to a prompt; cells of a language share them.
        seed: Other seeds, other needles.
    """

    lengths: tuple[int, ...]
    depths: tuple[float, ...] = DEPTHS
    languages: tuple[str, ...] = LANGUAGES
    num_needles: int = NUM_NEEDLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class NeedleCell:
    """What a model found of one language, length and depth.

    Args:
        found: Needles whose number it wrote.
        n: Needles that were hidden.
        log_probability: Of the right answer, given the prompt: the mean over needles, in nats.
    """

    language: str
    length: int
    depth: float
    found: int
    n: int
    log_probability: float


@dataclass(frozen=True, slots=True)
class _Question:
    """One prompt in tokens; `answer` holds the tokens that complete it, `ids` both."""

    needle: Needle
    ids: list[int]
    answer: list[int]

    @property
    def prompt(self) -> list[int]:
        return self.ids[: len(self.ids) - len(self.answer)]


def measure_needles(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    grid: NeedleGrid,
    batch_size: int = 8,
) -> list[NeedleCell]:
    """Hides the needles of a grid in texts, one to a prompt, and asks a model for each.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        tokenizer: Its tokenizer, which must know where its tokens stand in the text.
        texts: The haystack; each needle's begins at another sentence of it.
        grid: Which needles, how deep, in how much text.
        batch_size: Prompts measured at once, where they are short.

    Raises:
        ValueError: where the haystack is empty, or a length leaves no room for it.
    """
    haystack = Haystack.of(texts, lambda text: len(_encode(tokenizer, text, special=False)[0]))
    return [
        _measure_cell(model, tokenizer, haystack, (language, length, depth), grid, batch_size)
        for language in grid.languages
        for length in grid.lengths
        for depth in grid.depths
    ]


def needle_estimates(cells: Sequence[NeedleCell], step: int = 0) -> list[dict[str, Any]]:
    """The share of needles found at each length, with its 95 % interval, for run.json's `evaluations`.

    The caller adds `model` to the entries.
    """
    entries = []
    for length in dict.fromkeys(cell.length for cell in cells):
        at_length = [cell for cell in cells if cell.length == length]
        share = proportion_interval(sum(cell.found for cell in at_length), sum(cell.n for cell in at_length))
        figures = {"metric": "needles_found", "value": share.value, "low": share.low, "high": share.high, "n": share.n}
        known = {"unit": "share", "higher_is_better": True, "step": step}
        entries.append({"dataset": f"needles in {length:,} tokens", **figures, **known})
    return entries


def needle_facts(cells: Sequence[NeedleCell]) -> list[dict[str, Any]]:
    """The cells as plain values, for run.json's `needles`."""
    return [asdict(cell) for cell in cells]


def _measure_cell(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    haystack: Haystack,
    place: tuple[str, int, float],
    grid: NeedleGrid,
    batch_size: int,
) -> NeedleCell:
    language, length, depth = place
    questions = []
    for number in range(grid.num_needles):
        needle = make_needle(language, number, grid.seed)
        start = number * len(haystack.sentences) // grid.num_needles
        questions.append(_question(tokenizer, haystack, needle, depth, length, start))
    size = max(1, min(batch_size, _BATCH_TOKENS // length))
    losses = measure_loss(model, [_row(question) for question in questions], batch_size=size)
    found = sum(
        is_found(text, question.needle)
        for question, text in zip(questions, _answers(model, tokenizer, questions, size), strict=True)
    )
    return NeedleCell(language, length, depth, found, len(questions), -float(losses.nll.mean()))


def _question(
    tokenizer: PreTrainedTokenizerBase, haystack: Haystack, needle: Needle, depth: float, length: int, start: int
) -> _Question:
    before = len(prompt_ids(tokenizer, needle.cue)) - len(_encode(tokenizer, needle.cue, special=False)[0])
    prompt = haystack.hide(needle, depth, length - before - _SPARE_TOKENS, start)
    if prompt is None:
        raise ValueError(f"{length} tokens leave no room for a sentence beside the needle; take longer ones")
    ids, ends = _encode(tokenizer, prompt + needle.answer)
    # A token that reaches over the end of the prompt is the model's to write.
    answered = sum(end > len(prompt) for end in ends)
    return _Question(needle, ids, ids[len(ids) - answered :])


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True) -> tuple[list[int], list[int]]:
    """Tokens of a text, and in which character of it each ends; what a tokenizer puts behind a text is left out."""
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    ids, ends = list(encoded["input_ids"]), [end for _, end in encoded["offset_mapping"]]
    while special and ids and ends[-1] == 0:
        ids.pop()
        ends.pop()
    return ids, ends


def _row(question: _Question) -> dict[str, Any]:
    labels = [IGNORED] * len(question.prompt) + question.answer
    return {"input_ids": question.ids, "labels": labels, "num_bytes": len(question.needle.answer)}


def _answers(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, questions: list[_Question], batch_size: int
) -> Iterator[str]:
    """What the model writes first, question by question."""
    most = max(len(question.answer) for question in questions) + _SPARE_TOKENS
    config = generation_config(model, tokenizer, False, most, False, 1.0)
    for start in range(0, len(questions), batch_size):
        with eval_mode(model):
            written = generate_batch(model, [one.prompt for one in questions[start : start + batch_size]], config)
        yield from tokenizer.batch_decode(written, skip_special_tokens=True)
