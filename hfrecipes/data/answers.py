"""Answers to one prompt, of which one is better: preferences as they are found, and rankings as the pairs they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise, takewhile
from typing import Any

from hfrecipes.data.cells import Cells
from hfrecipes.data.hashing import stable_key
from hfrecipes.data.messages import Message, is_missing, kind_of, markup_fault, text_fault, turn
from hfrecipes.data.ranks import first_column, number_of, ranks_of
from hfrecipes.data.templates import draw_template
from hfrecipes.recipe.problem import Problem, RecipeError

# A text, or the turns of a conversation.
Part = str | list[Message]
# A pair's places in a ranking, best first, by how many answers there are.
PAIRS: dict[str, Callable[[int], list[tuple[int, int]]]] = {
    "all": lambda count: list(combinations(range(count), 2)),
    "adjacent": lambda count: list(pairwise(range(count))),
    "best_worst": lambda count: [(0, count - 1)],
}
# What all answers of a ranking are asked for together, in one example, is not a pair.
TOGETHER = "together"
# Columns that hold the answers of a ranking.
_ANSWERS = ("answers", "responses", "completions")
_PAIR = {"chosen", "rejected"}
# How the dialogues of Anthropic's HH are written (Bai et al. 2022): one text with these before each turn.
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Compared:
    """A prompt, and pairs of a better and a worse answer to it."""

    prompt: Part
    pairs: list[tuple[Part, Part]]


def comparison_examples(cells: Cells, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The examples of a row that is a preference or a ranking, whichever its columns say.

    As TRL takes them, texts stay texts and turns stay turns, unless the recipe says `conversational`.

    Raises:
        RecipeError: as for the two; the row is neither.
    """
    if spec.get("conversational") is None and spec.get("templates") is None:
        spec = {**spec, "conversational": not _is_plain(cells)}
    if _is_ranking(cells):
        return ranking_examples(cells, spec)
    return preference_examples(cells, spec)


def preference_examples(cells: Cells, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The example `{"prompt", "chosen", "rejected"}` of a row with these columns, and its `margin` where it has one.

    Without a `prompt`, or where the answers repeat it, it is what the two conversations begin with in common.

    Raises:
        RecipeError: a cell is missing, empty or of the wrong type; the two are equal, or share no beginning.
    """
    conversational = spec.get("conversational") is not False
    chosen, rejected = cells.text_or_messages("chosen"), cells.text_or_messages("rejected")
    if chosen == rejected:
        raise cells.error("rejected", "is the same as chosen, so neither is better")
    if isinstance(chosen, str) != isinstance(rejected, str):
        fault = f"is {kind_of(rejected)} and chosen {kind_of(chosen)}: both are strings, or both are lists of messages"
        raise cells.error("rejected", fault)
    if isinstance(chosen, str) and isinstance(rejected, str):
        found = _of_texts(cells, chosen, rejected, conversational)
    else:
        found = _of_conversations(cells, chosen, rejected)
    margin = (
        {} if is_missing(cells.values.get("margin")) else {"margin": number_of(cells, "margin", cells.cell("margin"))}
    )
    return [example | margin for example in _examples(cells, spec, found)]


def ranking_examples(cells: Cells, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Examples `{"prompt", "chosen", "rejected", "group"}` of a row with a `prompt` and its `answers`, best first.

    `group` is the same for all pairs of a prompt, in whichever rows, so that a split or a batch can keep them together.
    `ranks` (the lowest is the best) or `scores` (the highest is) put the answers in an order of their own, in which some may
    be tied: tied ones make no pair. Where a row has both, they have
    to prefer the same answers. With `pairs: together`, and where all are tied, the row makes one example
    `{"prompt", "answers", "ranks", "group"}`.

    Raises:
        RecipeError: as for preferences; fewer than two answers, two that are the same, or ranks that contradict scores.
    """
    column = _answers_column(cells) or "answers"
    prompt, found = cells.text_or_messages("prompt"), cells.cell(column)
    if not isinstance(found, list):
        raise cells.error(column, f"is {kind_of(found)} where a list, best first, is expected")
    if len(found) < 2:
        raise cells.error(column, f"is a list of {len(found)}, and a ranking compares two answers or more")
    answers = [_answer(cells, column, number, answer) for number, answer in enumerate(found, start=1)]
    for first, second in combinations(range(len(answers)), 2):
        if answers[first] == answers[second]:
            raise cells.error(column, f"has the same answer twice, as {first + 1} and {second + 1}")
    ranks = ranks_of(cells, len(answers))
    order = sorted(range(len(answers)), key=ranks.__getitem__)
    answers, ranks = [answers[place] for place in order], [ranks[place] for place in order]
    group = f"{stable_key(json.dumps(prompt, sort_keys=True)):016x}"
    asked = spec.get("pairs") or "all"
    if asked == TOGETHER or ranks[0] == ranks[-1]:
        return [_whole_ranking(cells, spec, prompt, answers) | {"ranks": ranks, "group": group}]
    pairs = [(better, worse) for better, worse in PAIRS[asked](len(answers)) if ranks[better] < ranks[worse]]
    compared = Compared(prompt, [(answers[better], answers[worse]) for better, worse in pairs])
    return [example | {"group": group} for example in _examples(cells, spec, compared)]


def _whole_ranking(cells: Cells, spec: dict[str, Any], prompt: Part, answers: list[Part]) -> dict[str, Any]:
    """The prompt and all answers as turns or as plain text."""
    best = _examples(cells, spec, Compared(prompt, [(answers[0], other) for other in answers[1:]]))
    return {"prompt": best[0]["prompt"], "answers": [best[0]["chosen"], *(each["rejected"] for each in best)]}


def _is_ranking(cells: Cells) -> bool:
    """Whether a row is read for its list of answers; where it has a pair, too, the recipe has named that list."""
    if not cells.values.keys() & _PAIR:
        return _answers_column(cells) is not None
    return not cells.columns.keys() & _PAIR and any(name in cells.columns for name in _ANSWERS)


def _answers_column(cells: Cells) -> str | None:
    return first_column(cells, _ANSWERS)


def _is_plain(cells: Cells) -> bool:
    """Whether a row of answers holds no messages: neither in its prompt nor in its answers."""
    parts = [cells.values.get(name) for name in ("prompt", "chosen", "rejected")]
    column = _answers_column(cells)
    answers = cells.values[column] if column else []
    parts += answers if isinstance(answers, list) else []
    system = cells.values.get("system")
    return is_missing(system) and not any(isinstance(part, list | dict) for part in parts)


def _answer(cells: Cells, column: str, number: int, answer: Any) -> Part:
    """One answer of a ranking: a text, a message, or a list of messages."""
    if isinstance(answer, str):
        if fault := text_fault(answer) or markup_fault(answer):
            raise cells.error(column, f"{fault} (answer {number})")
        return answer
    turns = [answer] if isinstance(answer, dict) else answer
    if not isinstance(turns, list):
        raise cells.error(column, f"is {kind_of(answer)} where a string or messages are expected (answer {number})")
    return _beginning_with_assistant(cells, column, cells.messages(column, turns))


def _of_texts(cells: Cells, chosen: str, rejected: str, conversational: bool) -> Compared:
    if "prompt" in cells.values:
        return Compared(cells.text_or_messages("prompt"), [(chosen, rejected)])
    dialogues = _dialogue(chosen), _dialogue(rejected)
    if dialogues[0] and dialogues[1]:
        turns = [cells.messages(name, turns) for name, turns in zip(("chosen", "rejected"), dialogues, strict=True)]
        found = _of_conversations(cells, *turns)
        return found if conversational else _as_dialogue(cells, found, chosen, rejected)
    return _of_continuations(cells, chosen, rejected)


def _dialogue(text: str) -> list[Message] | None:
    """The turns of a dialogue in one text; None where it is none."""
    pieces = _SPEAKER.split(text)
    if pieces[0].strip() or len(pieces) < 3:
        return None
    return [turn(_SPEAKERS[speaker], said.strip()) for speaker, said in zip(pieces[1::2], pieces[2::2], strict=True)]


def _as_dialogue(cells: Cells, found: Compared, chosen: str, rejected: str) -> Compared:
    """The same cut in the text itself: behind the mark of the assistant whose turns part."""
    marks = list(_SPEAKER.finditer(chosen))
    end = marks[len(found.prompt)].end()
    if chosen[:end] != rejected[:end]:
        raise cells.error("rejected", "spaces what comes before the answer otherwise than chosen does")
    return Compared(chosen[:end], [(chosen[end:], rejected[end:])])


def _of_continuations(cells: Cells, chosen: str, rejected: str) -> Compared:
    """Two texts cut where they part, but not within a word: what both begin with teaches nothing either way."""
    cut = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    if cut in (len(chosen), len(rejected)) or _within_word(chosen, cut) or _within_word(rejected, cut):
        while cut and not chosen[cut - 1].isspace():
            cut -= 1
    if chosen[cut - 1 : cut] == " ":  # the tokens of most vocabularies begin with the space
        cut -= 1
    if not chosen[:cut].strip():
        fix = "name the prompt with columns: {prompt: theirs}, or build one with format:"
        raise cells.error("rejected", "begins otherwise than chosen, so there is no prompt in common", fix)
    return Compared(chosen[:cut], [(chosen[cut:], rejected[cut:])])


def _within_word(text: str, position: int) -> bool:
    # Scripts that are no ASCII may write words without a space between them.
    around = text[max(position - 1, 0) : position + 1]
    return len(around) == 2 and around.isascii() and around.isalnum()


def _of_conversations(cells: Cells, chosen: list[Message], rejected: list[Message]) -> Compared:
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    asked = cells.text_or_messages("prompt") if "prompt" in cells.values else None
    prompt: Part = chosen[:common]
    if isinstance(asked, list):
        # Some data sets repeat the prompt at the beginning of both answers, others do not.
        common = len(asked) if chosen[: len(asked)] == asked == rejected[: len(asked)] else 0
        prompt = asked
    elif isinstance(asked, str) and not common:
        prompt = asked
    if not prompt:
        fix = "name the prompt with columns: {prompt: theirs}, or correct the row"
        raise cells.error("rejected", "shares no message with chosen, so there is no prompt in common", fix)
    better = _beginning_with_assistant(cells, "chosen", chosen[common:])
    return Compared(prompt, [(better, _beginning_with_assistant(cells, "rejected", rejected[common:]))])


def _beginning_with_assistant(cells: Cells, name: str, turns: list[Message]) -> list[Message]:
    if not turns:
        raise cells.error(name, "ends where the other goes on, so there is no answer in it")
    if turns[0]["role"] != "assistant":
        fault = f"goes its own way from a turn of {turns[0]['role']} on, where only answers of the assistant may differ"
        raise cells.error(name, fault)
    return turns


def _examples(cells: Cells, spec: dict[str, Any], found: Compared) -> list[dict[str, Any]]:
    """Pairs of answers as turns or as plain text, the prompt in the words of the row's template."""
    prompt, system = found.prompt, cells.optional_text("system")
    if spec.get("templates") is not None:
        prompt, system = _asked(cells, spec, prompt, system)
    if spec.get("conversational") is False:
        _refuse_turns(cells, [prompt, *(part for pair in found.pairs for part in pair)], system)
        return [{"prompt": prompt, "chosen": better, "rejected": worse} for better, worse in found.pairs]
    opening = cells.with_system(_as_turns("user", prompt), system)
    return [
        {"prompt": opening, "chosen": _as_turns("assistant", better), "rejected": _as_turns("assistant", worse)}
        for better, worse in found.pairs
    ]


def _as_turns(role: str, part: Part) -> list[Message]:
    return [turn(role, part)] if isinstance(part, str) else part


def _asked(cells: Cells, spec: dict[str, Any], prompt: Part, system: str) -> tuple[str, str]:
    """The prompt in the words of the row's template, and the system message."""
    if not isinstance(prompt, str):
        fix = "remove templates:, or give prompts as texts"
        raise cells.error("prompt", "is a conversation, and templates: puts texts into words", fix)
    words = {"prompt": prompt, "system": system}
    every = cells.present() | words
    template = draw_template(spec, every, tuple(words), cells.where)
    written = template.write(every, cells.where)
    return written.prompt, written.system or template.left_alone(system)


def _refuse_turns(cells: Cells, parts: list[Part], system: str) -> None:
    if system or not all(isinstance(part, str) for part in parts):
        what = "a system message" if system else "messages"
        message = f"the row has {what}, and conversational: false wants plain text"
        raise RecipeError(Problem(cells.where, message, "remove conversational: false"))
