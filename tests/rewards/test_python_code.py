"""Rewards for code: what parses, what compiles, what adds something; and that nothing a model writes can run or crash."""

from __future__ import annotations

import ast
import tokenize
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.rewards import new_statement, python_compiles, python_parses

BODY = "    return first + second * third - first\n"
HEAD = "def total(first, second, third):\n"


def score(reward, completion, prompt="") -> float:
    return reward(prompts=[prompt], completions=[completion], completion_ids=[[1]], trainer_state=None)[0]


def says(content) -> list[dict]:
    return [{"role": "assistant", "content": content}]


@pytest.mark.parametrize(
    ("code", "parses", "compiles"),
    [
        ("x = 1", 1, 1),
        ("", 0, 0),
        ("# nothing but a comment", 0, 0),
        ("x = = 1", 0, 0),
        ("return 1", 1, 0),
        ("break", 1, 0),
        ("def f(a, a): pass", 1, 0),
        ("print('a' 1)", 0, 0),
        ("await x", 1, 0),
        ("x = '\\d'", 1, 1),
        ("x\0", 0, 0),
        ("\ud800 = 1", 0, 0),
    ],
)
def test_parsing_and_compiling_tell_programs_apart(code: str, parses: int, compiles: int) -> None:
    assert (score(python_parses, code), score(python_compiles, code)) == (parses, compiles)


def test_code_is_taken_out_of_fences_and_messages() -> None:
    fenced = "Here it is:\n```python\nx = 1\n```\nI hope that helps."
    assert score(python_parses, fenced) == score(python_compiles, says(fenced)) == 1
    assert score(python_parses, says([{"type": "text", "text": "x ="}, {"type": "text", "text": " 1"}])) == 1
    assert score(python_parses, "Here it is: x = 1") == 0


def test_nothing_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = f"open({str(trace)!r}, 'w').close()\nraise SystemExit"
    assert score(python_compiles, code) == 1 and not trace.exists()


@pytest.mark.parametrize(
    "code",
    ["-" * 100_000 + "1", "a" + ".a" * 100_000, "(" * 50_000, "1" + "+1" * 90_000, "x=" * 99_999 + "1", "9" * 5000],
)
def test_monsters_neither_crash_nor_raise(code: str) -> None:
    for reward in (python_parses, python_compiles, new_statement):
        assert score(reward, code) in (0.0, 1.0)


def test_a_completion_that_finishes_a_function_adds_a_statement() -> None:
    assert score(new_statement, BODY, HEAD) == 1


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "    # only a comment of more than eight words in a row\n",
        "    pass\n",
        "    '''A docstring of its own with many words in it.'''\n",
        "    return first\n",
        "    return first + second * (third",
        "    pass\n\n\ndef other(a, b, c, d, e):\n    '''Nothing.'''\n    ...\n",
        "    pass\n\n\nclass Other(A, B, C, D, metaclass=M):\n    def f(self, a, b): pass\n",
        "    try: pass\n    except (A, B, C, D, E): pass\n",
        "```python\n    return first + second * third\n```",
    ],
)
def test_what_says_nothing_is_worth_nothing(completion: str) -> None:
    assert score(new_statement, completion, HEAD) == 0


def test_a_statement_that_began_in_the_prompt_is_not_new() -> None:
    assert score(new_statement, "first + second * third + fourth\n", HEAD + "    return ") == 0
    assert score(new_statement, "first\n" + BODY, HEAD + "    value = ") == 1


def test_copies_of_the_prompts_statements_are_not_new() -> None:
    line = "value = compute(first, second, third)\n"
    assert score(new_statement, line, line) == 0
    assert score(new_statement, "value  =  compute( first, second,third )  # again\n", line) == 0
    assert score(new_statement, line.replace("third", "fourth"), line) == 1


@pytest.mark.parametrize(("tokens", "expected"), [("a = b + c + d", 0), ("a = b + c + -d", 1)])
def test_eight_tokens_are_enough_and_seven_are_not(tokens: str, expected: int) -> None:
    assert score(new_statement, tokens + "  # and a comment of many, many words") == expected


def test_letters_of_several_bytes_and_other_line_ends_shift_no_place() -> None:
    prompt = "größe = 'äöü'; "
    assert score(new_statement, "名 = f(größe, 1, 2)\r\n", prompt) == 1
    assert score(new_statement, "x = 1\r", prompt) == 0
    assert score(new_statement, BODY.replace("\n", "\r\n"), HEAD.replace("\n", "\r")) == 1


def test_conversations_stand_alone() -> None:
    prompt = [{"role": "user", "content": "Add three numbers."}]
    assert score(new_statement, says(f"```python\n{HEAD}{BODY}```"), prompt) == 1
    assert score(new_statement, says("```python\nx = 1\n```"), prompt) == 0


FILES = [Path(ast.__file__), Path(tokenize.__file__)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_real_code_cut_before_a_long_statement_gains_from_that_statement(file: Path, data) -> None:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    statement = data.draw(st.sampled_from(ast.parse(text).body))
    before, own = lines[: statement.lineno - 1], lines[statement.lineno - 1 : statement.end_lineno]
    kept = [token for token in tokenize.generate_tokens(StringIO("".join(own)).readline) if token.string.strip()]
    count = sum(token.type not in (tokenize.COMMENT, tokenize.NL) for token in kept)
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    if getattr(statement, "decorator_list", None) or constant:
        return
    expected = float(count >= 8)
    assert score(new_statement, "".join(own), "".join(before)) == expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(prompt=st.text(max_size=30), completion=st.text(alphabet="ab =1()\n\t:#'\"\\{}if\r\fé", max_size=40))
def test_any_text_has_a_reward_and_what_compiles_also_parses(prompt: str, completion: str) -> None:
    assert score(python_compiles, completion) <= score(python_parses, completion)
    assert score(new_statement, completion, prompt) in (0.0, 1.0)
