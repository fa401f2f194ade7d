"""Instructions of many families, mined from functions and the sentences that say what they do; every answer can be checked.

Each family has several wordings. Answers that take a computation come with their steps (kind chain_of_thought) and without
(kind direct); questions that the function has no answer to are refused, and questions without their function are asked back.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hfrecipes.data.hashing import stable_key
from hfrecipes.data.mining import Piece

# A function with more is asked nothing, so that prompts are short.
_MOST_CHARACTERS = 500
# Instructions that one function makes: more of them would show the same text in all families.
_FAMILIES_PER_PIECE = 4
# Of a hundred instructions: computed with their steps, and asked without what they are about.
_WITH_STEPS, _WITHOUT_INPUT = 50, 6
_MOST_SORTED = 6
DIRECT, STEPS, REFUSAL, CLARIFICATION = "direct", "chain_of_thought", "refusal", "clarification"


@dataclass(frozen=True, slots=True)
class Instruction(Piece):
    """A piece of which `text` is the whole prompt and `summary` the answer.

    Args:
        family: What type of task it is.
        kind: direct, chain_of_thought, refusal, clarification or None.
    """

    family: str = ""
    kind: str | None = None


# Answer, the same with its steps where there are any, and a kind where it is neither of the two.
_Made = tuple[str, str | None, str | None]


def _words(piece: Piece) -> list[str]:
    return piece.summary.rstrip(".").split()


def _parameters(piece: Piece) -> list[ast.arg]:
    """The parameters that a caller names, in their order."""
    arguments = _function(piece).args
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [each for each in found if each.arg not in ("self", "cls")]


def _function(piece: Piece) -> ast.FunctionDef | ast.AsyncFunctionDef:
    function = ast.parse(piece.text).body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    return function


def _counted(names: Sequence[str]) -> _Made:
    steps = ", ".join(f"{number} {name}" for number, name in enumerate(names, start=1))
    return str(len(names)), f"{steps or 'There is none.'}\n#### {len(names)}", None


def _default(piece: Piece, asked: str) -> _Made:
    """The default value of a parameter; of one that there is not, the refusal to make one up."""
    function = _function(piece)
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    given = dict(zip(reversed([each.arg for each in positional]), reversed(arguments.defaults), strict=False))
    given |= {each.arg: value for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value}
    rest = [each for each in (arguments.vararg, arguments.kwarg) if each]
    if asked not in {each.arg for each in (*positional, *arguments.kwonlyargs, *rest)}:
        return f"I cannot say: {function.name} has no parameter {asked}.", None, REFUSAL
    return (ast.unparse(given[asked]) if asked in given else "It has none."), None, None


def _returns(piece: Piece) -> _Made:
    # What a function inside it returns is not returned by it.
    pending, found = list(_function(piece).body), False
    while pending:
        node = pending.pop()
        found = found or (isinstance(node, ast.Return) and node.value is not None)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending += list(ast.iter_child_nodes(node))
    return ("yes" if found else "no"), None, None


@dataclass(frozen=True, slots=True)
class _Family:
    """A type of task: how it is asked, of what, and what the answer is."""

    asked: tuple[str, ...]
    of_function: bool
    answer: Callable[[Piece], _Made]


_FAMILIES: dict[str, _Family] = {
    "capitals": _Family(
        (
            "Write this sentence in capital letters.",
            "Put the following in upper case.",
            "Rewrite it with capital letters only.",
        ),
        False,
        lambda piece: (piece.summary.upper(), None, None),
    ),
    "first_word": _Family(
        (
            "What is the first word of this sentence?",
            "Which word does the sentence begin with?",
            "Give the first word only.",
        ),
        False,
        lambda piece: (_words(piece)[0], None, None),
    ),
    "last_word": _Family(
        (
            "What is the last word of this sentence?",
            "Which word does the sentence end with?",
            "Give the last word only.",
        ),
        False,
        lambda piece: (_words(piece)[-1], None, None),
    ),
    "reversal": _Family(
        (
            "Write the words of this sentence from the last to the first.",
            "Reverse the order of the words.",
            "Say the sentence backwards, word by word.",
        ),
        False,
        lambda piece: (" ".join(reversed(_words(piece))), None, None),
    ),
    "sorting": _Family(
        (
            "Sort the first words of this sentence by the alphabet.",
            "Put the first six words into alphabetical order.",
            "Order the first six words alphabetically.",
        ),
        False,
        lambda piece: (" ".join(sorted(_words(piece)[:_MOST_SORTED], key=str.casefold)), None, None),
    ),
    "counting_words": _Family(
        ("How many words has this sentence?", "Count the words of the sentence.", "Of how many words is it made?"),
        False,
        lambda piece: _counted(_words(piece)),
    ),
    "function_name": _Family(
        ("What is this function called?", "Give the name of the function.", "Which name does the function have?"),
        True,
        lambda piece: (_function(piece).name, None, None),
    ),
    "parameters": _Family(
        (
            "List the parameters of this function.",
            "Which parameters does the function take?",
            "Name the function's parameters in their order.",
        ),
        True,
        lambda piece: (", ".join(each.arg for each in _parameters(piece)) or "It has none.", None, None),
    ),
    "counting_parameters": _Family(
        (
            "How many parameters does this function take?",
            "Count the parameters of the function.",
            "Say how many parameters it has.",
        ),
        True,
        lambda piece: _counted([each.arg for each in _parameters(piece)]),
    ),
    "returning": _Family(
        (
            "Does this function return a value? Answer yes or no.",
            "Yes or no: is a value returned?",
            "Say yes if the function returns a value, else no.",
        ),
        True,
        _returns,
    ),
    "describing": _Family(
        (
            "Summarize what this Python function does in one sentence.",
            "What does the function do?",
            "Describe the function in a sentence.",
        ),
        True,
        lambda piece: (piece.summary, None, None),
    ),
}
_DEFAULT = "default_value"
_DEFAULT_ASKED = (
    "What is the default value of the parameter {name}?",
    "Which default does {name} have?",
    "Give the default value of {name}.",
)
FAMILIES = (*_FAMILIES, _DEFAULT)


def mine_instructions(pieces: Sequence[Piece]) -> Iterator[Instruction]:
    """Instructions about each short function: of some families, by a hash of where it stands.

    Args:
        pieces: From `mine_docstrings`, without repeats.

    Yields:
        In the order of `pieces`.
    """
    names = sorted({each.arg for piece in pieces for each in _parameters(piece)})
    for piece in pieces:
        if len(piece.text) > _MOST_CHARACTERS:
            continue
        order = sorted(FAMILIES, key=lambda family: _draw(piece, family, "order", 1 << 32))
        for family in order[:_FAMILIES_PER_PIECE]:
            yield _default_value(piece, names) if family == _DEFAULT else _of_family(piece, family)


def _of_family(piece: Piece, name: str) -> Instruction:
    family = _FAMILIES[name]
    question = family.asked[_draw(piece, name, "wording", len(family.asked))]
    if _draw(piece, name, "input", 100) < _WITHOUT_INPUT:
        missing = "function" if family.of_function else "sentence"
        return _make(piece, question, f"Which {missing} do you mean? Please show it to me.", name, CLARIFICATION)
    answer, steps, kind = family.answer(piece)
    if steps is not None:
        kind = STEPS if _draw(piece, name, "steps", 100) < _WITH_STEPS else DIRECT
        question += " Think step by step." if kind == STEPS else " Answer at once."
    shown = _fenced(piece) if family.of_function else piece.summary
    return _make(piece, f"{question}\n\n{shown}", steps if kind == STEPS else answer, name, kind)


def _default_value(piece: Piece, names: Sequence[str]) -> Instruction:
    """Asks for the default of one of the function's parameters, or as often of one that another function has."""
    own = [each.arg for each in _parameters(piece)]
    choices = own if own and _draw(piece, _DEFAULT, "own", 2) else names
    name = choices[_draw(piece, _DEFAULT, "name", len(choices))]
    question = _DEFAULT_ASKED[_draw(piece, _DEFAULT, "wording", len(_DEFAULT_ASKED))].format(name=name)
    answer, _, kind = _default(piece, name)
    return _make(piece, f"{question}\n\n{_fenced(piece)}", answer, _DEFAULT, kind)


def _make(piece: Piece, prompt: str, answer: str, family: str, kind: str | None) -> Instruction:
    return Instruction(piece.file, piece.line, piece.split, prompt, answer, piece.same_as, family, kind)


def _fenced(piece: Piece) -> str:
    return f"```python\n{piece.text}\n```"


def _draw(piece: Piece, family: str, what: str, choices: int) -> int:
    return stable_key(f"{what} {family} {piece.file}:{piece.line}") % choices
