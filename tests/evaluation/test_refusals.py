"""Answers that decline or ask back are told from those that do not."""

from __future__ import annotations

import pytest

from hfrecipes.evaluation.refusals import asks_back, refuses


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I won\u2019t do this.",
        "I cannot say: the function has no parameter `x`.",
        "Unfortunately, I don't know who wrote it.",
        "This cannot be determined from the text.",
        "We are unable to answer.",
        "抱歉，我不能提供这些内容。",
        "根据文章无法判断他的年龄。",
    ],
)
def test_refusals(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Paris.",
        "The function cannot fail, since its argument is checked.",
        "He was sorry that he came.",
        "def can(): return None",
        "这个函数返回一个列表。",
        "It opens the file. " * 20 + "I cannot say more.",
    ],
)
def test_answers_that_refuse_nothing(answer: str) -> None:
    assert not refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Which file do you mean?",
        "Which file do you mean, `a` or `b`?\n",
        'Do you mean "the first one?"',
        "I need the code for that. Please paste it.",
        "Could you specify the language",
        "您指的是哪一个文件？",
        "请提供代码。",
    ],
)
def test_questions_back(answer: str) -> None:
    assert asks_back(answer)


@pytest.mark.parametrize("answer", ["", "4", "Is it so? Yes, it is.", "It asks the user for a name.", "请求已发送。"])
def test_answers_that_ask_nothing(answer: str) -> None:
    assert not asks_back(answer)
