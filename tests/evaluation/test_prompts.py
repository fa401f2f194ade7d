from __future__ import annotations

import pytest

from hfrecipes.evaluation.prompts import end_of_turn_ids, prompt_ids, show_prompt, split_example

from .tiny import chat, train_tokenizer

USER = {"role": "user", "content": "q"}
SYSTEM = {"role": "system", "content": "be brief"}
ANSWER = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ({"prompt": "q", "completion": "a"}, ("q", "a")),
        (chat("q", "a"), ([USER], "a")),
        ({"messages": [SYSTEM, USER, ANSWER]}, ([SYSTEM, USER], "a")),
        ({"messages": [USER, ANSWER, USER, {"role": "assistant", "content": "b"}]}, ([USER, ANSWER, USER], "b")),
        ({"messages": [USER, ANSWER, USER]}, ([USER], "a")),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "a"}]}]},
            ([USER], "a"),
        ),
    ],
)
def test_examples_come_apart(example, expected):
    assert split_example(example, "row") == expected


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({"text": "t"}, "row 3: needs prompt and completion"),
        ({"messages": [USER]}, "row 3: has no assistant turn"),
        ({"prompt": "q", "completion": [ANSWER]}, "row 3: prompt and completion"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "row 3: the assistant turn holds no text"),
    ],
)
def test_examples_without_a_reference_are_named(example, words):
    with pytest.raises(ValueError, match=words):
        split_example(example, "row 3")


def test_prompts_are_shown_without_marks():
    assert show_prompt("q") == "q"
    assert show_prompt([USER]) == "q"
    assert show_prompt([SYSTEM, USER]) == "system: be brief\nuser: q"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}", "<|im_end|>"),
        (
            "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}",
            "<|endoftext|>",
        ),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", None),
    ],
)
def test_the_token_that_ends_a_turn(template, expected):
    tokenizer = train_tokenizer(template)
    ids = end_of_turn_ids(tokenizer)
    assert [tokenizer.convert_ids_to_tokens(token) for token in ids] == ([expected] if expected else [])


def test_an_end_that_the_text_itself_holds_stays():
    tokenizer = train_tokenizer(None, add_eos=True)
    assert prompt_ids(tokenizer, "a")[-1] != 0
    assert prompt_ids(tokenizer, "a<|endoftext|>")[-1] == 0
