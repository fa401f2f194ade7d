"""Nothing that a run is called, or was started with, becomes markup in its card: judged by a Markdown parser not ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hfrecipes.publish.card import render_card
from hfrecipes.publish.escaping import code_span, fenced, inline_text, markdown_table
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.markdown import split_header

from .facts import make_facts, make_metrics

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
MARKUP = st.text("ab1 `*_~<>[]()!#+-=|:&;\\/.\"'\n\t{}$", max_size=24)
EVIL = [
    "a`<img src=x onerror=alert(1)>`b.jsonl",
    "n\n\n<script>alert(1)<!--s.jsonl",
    "rr\n```\n<img src=x onerror=alert(3)>\n",
    "![x](javascript&colon;alert`1`)",
    "[x](javascript:alert(1))",
    "a | b | <b>c</b>\\",
    "---\n# heading",
    "</code></pre><script>alert(1)</script> ```\n````\n~~~ x",
    "\u202ereversed \x1b[31m",
]


def flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from flat(token.children or [])


def parsed(text: str) -> list[Token]:
    return list(flat(PARSER.parse(text)))


def kinds(text: str) -> list[str]:
    return [token.type for token in parsed(text)]


def words(text: str) -> str:
    return " ".join(text.split())


def shown(tokens: list[Token]) -> str:
    return words("".join(token.content for token in tokens if token.type in ("text", "code_inline", "text_special")))


@given(MARKUP)
def test_inline_text_is_read_as_text_and_nothing_else(text: str) -> None:
    tokens = parsed(inline_text(text))
    assert {token.type for token in tokens} <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
    assert shown(tokens) == words(text)


@given(MARKUP)
def test_a_code_span_is_one_and_holds_the_text(text: str) -> None:
    (_, _, code, _) = parsed(f"{code_span(text)}")
    assert code.type == "code_inline"
    assert words(code.content) == (words(text) or "(nothing)")


@given(MARKUP, st.sampled_from(["text", "bash"]))
def test_a_fence_is_closed_by_nothing_in_it(text: str, language: str) -> None:
    before, block, after, *_ = PARSER.parse(f"{fenced(text, language)}\n\nafter")
    assert (before.type, before.info) == ("fence", language)
    assert before.content == f"{text}\n" and block.type == "paragraph_open" and after.content == "after"


@given(st.lists(st.lists(MARKUP, min_size=2, max_size=2), min_size=2, max_size=4))
def test_cells_stay_in_their_cells(rows: list[list[str]]) -> None:
    tokens = PARSER.parse(markdown_table(rows))
    cells = [token for token in tokens if token.type == "inline"]
    assert tokens[0].type == "table_open" and tokens[-1].type == "table_close"
    assert [shown(list(flat([cell]))) for cell in cells] == [words(cell) for row in rows for cell in row]
    assert {child.type for cell in cells for child in cell.children} <= {"text", "text_special"}


def with_evil(evil: str) -> dict[str, Any]:
    facts = make_facts(name=evil, status=evil, command=["hfrecipes", "run", "--runs-dir", evil], warnings=[evil])
    facts["samples"] = [{"model": evil, "prompt": evil, "completion": evil, "reference": evil}]
    for entry in facts["data"]:
        entry |= {"name": evil, "split": evil, "license": evil, "kinds": {evil: {"rows": 1, "supervised_tokens": 2}}}
    for entry in facts["evaluations"]:
        entry |= {"dataset": evil, "metric": evil, "unit": evil}
    facts["evaluations"][0]["model"] = evil
    facts["versions"][evil] = facts["hardware"]["name"] = facts["model"]["model_type"] = facts["model"]["base"] = evil
    facts["recipe"]["training"][evil] = evil
    facts["recipe"]["publish"] = {"license": evil, "language": [evil]}
    amounts = {"documents": {"before": 2, "after": 1}}
    facts["cleaning"] = amounts | {"rules": [amounts | {"rule": evil, "reasons": {evil: 1}}]}
    facts["augmentation"] = {evil: {"rows": 1, "methods": {evil: {"chosen": 1, "thrown_away": {evil: 1}}}}}
    return facts


def body_of(card: str) -> str:
    return "\n".join(card.splitlines()[split_header(card)[1] - 1 :])


@pytest.mark.parametrize("evil", EVIL)
def test_whatever_things_are_called_the_card_has_no_markup_of_theirs(evil: str) -> None:
    facts = with_evil(evil)
    card = render_card(facts, make_metrics())
    body = body_of(card)
    tokens = parsed(body)
    assert not {"html_block", "html_inline", "image", "s_open", "blockquote_open"} & {token.type for token in tokens}
    assert all(
        token.attrs["href"].startswith("https://huggingface.co/") for token in tokens if token.type == "link_open"
    )
    # Headings, blocks of code and tables are those of any other card.
    same = kinds(body_of(render_card(with_evil("plain"), make_metrics())))
    for kind in ("heading_open", "fence", "table_open", "tr_open", "td_open", "th_open", "list_item_open", "hr"):
        assert kinds(body).count(kind) == same.count(kind), kind
    assert not set(card) & set("\x1b\x07\u202e")
    for problem in lint_card(card, facts):
        assert problem.severity == "warning" or "language" in problem.message or "license" in problem.message, problem


@pytest.mark.parametrize(
    "line",
    [
        "<script>x</script>",
        "a <img src=x onerror=alert(1)>",
        '<a href="javascript:alert(1)">b</a>',
        "<iframe src=x>",
        "[x](javascript:alert(1))",
        "[x]: <javascript:alert(1)>",
    ],
)
def test_what_somebody_wrote_into_a_card_that_would_run_is_an_error(line: str) -> None:
    card = render_card(make_facts(), []).replace("## Limitations\n", f"## Limitations\n\n{line}\n")
    assert ["can run code" in problem.message for problem in lint_card(card) if problem.severity == "error"] == [True]
    assert not any("can run code" in problem.message for problem in lint_card(card.replace(line, f"`{line}`")))
