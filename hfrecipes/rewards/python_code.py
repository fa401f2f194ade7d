"""Rewards for Python code. It is parsed and compiled, never run."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from hfrecipes.evaluation.scores import FENCE
from hfrecipes.rewards.texts import Completion, text_of

# A statement of fewer tokens (`x = 1`, `return x`, `import os`) is too cheap to be worth a reward.
MIN_TOKENS = 8
# Longer texts are nobody's answer, and would keep the parser busy.
_MOST_CHARACTERS = 200_000
# What Python raises for text that is no program: deep nesting ends in the last two.
_REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError)
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

Place = tuple[int, int]


def python_parses(prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
    """1 where a completion is Python with at least one statement; of one with a code fence, what is inside the first.

    A single word of prose parses too: for continuations of code `new_statement` asks for more.

    Args:
        prompts: Not looked at.
        completions: Texts, or messages.
        columns: Not looked at.
    """
    return [float(_tree(_code_of(completion)) is not None) for completion in completions]


def python_compiles(prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
    """As `python_parses`, and 1 only where the code can be compiled, which refuses a `return` outside of functions, a `break`
    outside of loops, names of arguments that repeat, and the like. Nothing is run.

    Args:
        prompts: Not looked at.
        completions: Texts, or messages.
        columns: Not looked at.
    """
    return [float(_compiles(_code_of(completion))) for completion in completions]


def new_statement(prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
    """1 where prompt and completion together are Python, and the completion adds a statement that says something.

    Such a statement begins in the completion, has at least eight tokens (comments do not count), and is not the copy of one in
    the prompt. Constants and docstrings, `pass`, and blocks of nothing else say nothing. So a model that stops at once, in the
    middle of a statement, or after a comment gets 0.

    Args:
        prompts: The code before each completion; a conversation is no code, and what answers it stands alone.
        completions: Texts, or messages, of which a code fence's inside counts.
        columns: Not looked at.
    """
    return [float(_adds_statement(*_continued(*pair))) for pair in zip(prompts, completions, strict=True)]


def _code_of(completion: Completion) -> str:
    text = text_of(completion)
    fenced = FENCE.search(text)
    return fenced.group(1) if fenced else text


def _continued(prompt: Any, completion: Completion) -> tuple[str, str]:
    """The code before a completion, and the completion's."""
    if isinstance(prompt, str) and isinstance(completion, str):
        return _plain_lines(prompt), _plain_lines(completion)
    return "", _plain_lines(_code_of(completion))


def _plain_lines(text: str) -> str:
    """Python counts all three ends of lines as one; so that places can be found again, only one is left."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _tree(code: str) -> ast.Module | None:
    """The tree of a program with at least one statement; None for any other text."""
    if len(code) > _MOST_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except _REFUSALS:
        return None
    return tree if tree.body else None


def _compiles(code: str) -> bool:
    if _tree(code) is None:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # dont_inherit: the future imports of this file are not the code's.
            compile(code, "completion", "exec", dont_inherit=True)
    except _REFUSALS:
        return False
    return True


def _adds_statement(before: str, added: str) -> bool:
    tree = _tree(before + added)
    if tree is None:
        return False
    lines = (before + added).split("\n")
    start = (before.count("\n") + 1, len(before) - before.rfind("\n") - 1)
    try:
        old, new = _statements(tree, lines, start)
        candidates = [statement for statement in new if not _says_nothing(statement)]
        if not candidates:
            return False
        tokens = _token_places(before + added)
        known = {ast.dump(statement) for statement in old}
        return any(
            _num_tokens(statement, lines, tokens) >= MIN_TOKENS and ast.dump(statement) not in known
            for statement in candidates
        )
    except (*_REFUSALS, tokenize.TokenError):  # depths that can be parsed, and not walked through
        return False


def _statements(tree: ast.Module, lines: list[str], start: Place) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """The statements that begin before a place, and those that begin at it or behind."""
    old, new = [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            (new if _place(node.lineno, node.col_offset, lines) >= start else old).append(node)
    return old, new


def _says_nothing(statement: ast.stmt) -> bool:
    """Whether it is a constant (a docstring, `...`), `pass`, or a block that holds nothing else."""
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    inner = list(_inner_statements(statement))
    return bool(inner) and all(_says_nothing(each) for each in inner)


def _inner_statements(statement: ast.AST) -> Iterator[ast.stmt]:
    """The statements directly inside one, those of its handlers and cases included."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from _inner_statements(child)


def _token_places(code: str) -> list[Place]:
    """Where each token of a program begins, line from 1 and character from 0; comments and ends of lines are left out."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [token.start for token in tokens if token.type not in _NO_CODE]


def _num_tokens(statement: ast.stmt, lines: list[str], tokens: list[Place]) -> int:
    begin = _place(statement.lineno, statement.col_offset, lines)
    end = _place(statement.end_lineno or statement.lineno, statement.end_col_offset or 0, lines)
    return bisect_left(tokens, end) - bisect_left(tokens, begin)


def _place(line: int, num_bytes: int, lines: list[str]) -> Place:
    """`ast` counts the bytes of a line, `tokenize` its characters."""
    return line, len(lines[line - 1].encode()[:num_bytes].decode())
