"""What is learned under chat templates of public models that mark nothing: the assistant's turns, whole, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers

from hfrecipes.data.encode import EncodedExample, encode_examples
from hfrecipes.data.settings import EncodeSettings
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.chat import render
from hfrecipes.tokenization.tokenizer import Tokenizer, training_chat_template
from hfrecipes.tokenization.turns import finds_turns, mark_turns
from tests.data.public_templates import PUBLIC, Message
from tests.data.standin_tokenizers import TEXTS

every_family = pytest.mark.parametrize("name", PUBLIC)
SETTINGS = EncodeSettings(max_length=None, assistant_only_loss=True)
TALK: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Who asks?\n"},
    {"role": "assistant", "content": " The user 🦊 asks. "},
    {"role": "user", "content": "12 + 30 = ?"},
    {"role": "assistant", "content": "42"},
    {"role": "user", "content": "And 学?"},
    {"role": "assistant", "content": "def add(a, b):\n    return a + b\n"},
]


def write(name: str, folder: Path) -> Path:
    """A byte-level tokenizer with a family's marks; it pads with its end, and puts BOS before plain text by itself."""
    family = PUBLIC[name]
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in family.specials])
    if family.bos:
        begin = (family.bos, backend.token_to_id(family.bos))
        backend.post_processor = processors.TemplateProcessing(single=f"{family.bos} $A", special_tokens=[begin])
    folder.mkdir(parents=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(family.template, encoding="utf-8")
    special = {"eos_token": family.specials[0], "pad_token": family.specials[0]}
    special |= {"bos_token": family.bos} if family.bos else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(special), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tokenizer]:
    root = tmp_path_factory.mktemp("public")
    return cache(lambda name: Tokenizer.load(write(name, root / name.replace(" ", "-"))))


def talk_of(name: str) -> list[Message]:
    return TALK if PUBLIC[name].system else TALK[1:]


def learned(row: EncodedExample, tokenizer: Tokenizer) -> list[str]:
    """Texts of the stretches that carry loss."""
    stretches = groupby(row.labels, key=lambda label: label != -100)
    return [tokenizer.decode(list(labels)) for carries, labels in stretches if carries]


def expected(name: str, messages: list[Message]) -> list[str]:
    """Neighbouring pieces that are learned are one stretch."""
    stretches = groupby(PUBLIC[name].write(messages), key=lambda piece: piece[1])
    return [text for carries, pieces in stretches if carries and (text := "".join(piece for piece, _ in pieces))]


@every_family
def test_the_assistant_s_turns_and_their_ends_are_learned(name: str, tokenizer_of: Callable) -> None:
    tokenizer, messages = tokenizer_of(name), talk_of(name)
    assert tokenizer.pad_token == tokenizer.eos_token and not tokenizer.has_generation_markers
    assert finds_turns(tokenizer)
    (row,) = encode_examples([{"messages": messages}], tokenizer, SETTINGS)
    assert tokenizer.decode(row.input_ids) == "".join(piece for piece, _ in PUBLIC[name].write(messages))
    found, wanted = learned(row, tokenizer), expected(name, messages)
    assert len(found) == 3
    if name == "Llama 2":
        # The space in front of an answer is in one token with its first word.
        found = [text.removeprefix(" ") for text in found]
    if training_chat_template(PUBLIC[name].template):
        # TRL has a marked version, whose labels are taken as they are: it learns what stands behind the mark, too.
        found = [text.removesuffix("<|endoftext|>").removesuffix("\n") for text in found]
    assert found == wanted
    assert all(label in (-100, token) for label, token in zip(row.labels, row.input_ids, strict=True))


@every_family
def test_each_turn_ends_in_its_mark_though_rows_are_padded_with_it(name: str, tokenizer_of: Callable) -> None:
    """Labels come from the text, never from the pad id (trl#1623)."""
    tokenizer, messages = tokenizer_of(name), talk_of(name)
    rendered = mark_turns(tokenizer.render, messages, tokenizer.special_token_texts.values())
    turns = [rendered.text[start:end] for start, end in rendered.assistant_spans]
    assert turns == expected(name, messages)
    assert all(turn.endswith(tuple(tokenizer.special_token_texts.values())) for turn in turns)


@every_family
def test_there_is_one_bos_where_the_template_writes_one(name: str, tokenizer_of: Callable) -> None:
    """The tokenizer would put its own in front of the template's (trl#1400)."""
    tokenizer, family = tokenizer_of(name), PUBLIC[name]
    (row,) = encode_examples([{"messages": talk_of(name)}], tokenizer, SETTINGS)
    if family.bos is None:
        return
    # Llama 2 writes one in front of every question.
    assert row.input_ids.count(tokenizer.bos_token_id) == (3 if name == "Llama 2" else 1)
    assert row.input_ids[0] == tokenizer.bos_token_id != row.input_ids[1]
    assert tokenizer.encode_ids(["a"])[0][0] == tokenizer.bos_token_id


@every_family
def test_a_turn_that_lost_its_end_to_the_length_is_counted(name: str, tokenizer_of: Callable) -> None:
    tokenizer, messages = tokenizer_of(name), talk_of(name)
    (whole,) = encode_examples([{"messages": messages}], tokenizer, SETTINGS)
    assert whole.truncated_tokens == 0
    for length in range(1, len(whole.input_ids)):
        settings_ = EncodeSettings(max_length=length, assistant_only_loss=True)
        (row,) = encode_examples([{"messages": messages}], tokenizer, settings_)
        assert row.truncated_tokens == len(whole.input_ids) - length > 0
        assert row.input_ids == whole.input_ids[:length]
        assert row.labels == whole.labels[:length] or not row.supervised_tokens


PARTS = ["fox", " ", "\n", "学", "🦊", "42", "{{ x }}", "é", "def f():\n    pass"]
said = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("".join).filter(lambda text: text.strip())


@every_family
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.tuples(said, said), min_size=1, max_size=3))
def test_whatever_is_said(name: str, rounds: list[tuple[str, str]], tokenizer_of: Callable) -> None:
    tokenizer = tokenizer_of(name)
    roles = [
        {"role": role, "content": text}
        for pair in rounds
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    rendered = mark_turns(tokenizer.render, roles, tokenizer.special_token_texts.values())
    assert rendered is not None
    assert rendered.text == "".join(piece for piece, _ in PUBLIC[name].write(roles))
    turns = [rendered.text[start:end] for start, end in rendered.assistant_spans]
    assert turns == expected(name, roles)


@pytest.mark.parametrize("where", ["field", "text"])
def test_thoughts_are_learned_where_the_template_shows_them(where: str, tokenizer_of: Callable) -> None:
    """Qwen 3 shows those of the last turn alone."""
    tokenizer = tokenizer_of("Qwen 3")
    turns = []
    for question, thought, answer in (("1 + 1?", "easy", "2"), ("2 + 2?", "again\nsums", "4")):
        told = {"reasoning_content": thought, "content": answer}
        inline = {"content": f"<think>\n{thought}\n</think>\n\n{answer}"}
        turns += [{"role": "user", "content": question}]
        turns += [{"role": "assistant", **(told if where == "field" else inline)}]
    (row,) = encode_examples([{"messages": turns}], tokenizer, SETTINGS)
    assert learned(row, tokenizer) == ["2<|im_end|>", "<think>\nagain\nsums\n</think>\n\n4<|im_end|>"]


def test_a_template_that_drops_or_rewrites_messages_is_refused(tokenizer_of: Callable, tmp_path: Path) -> None:
    for template in (
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content | upper | replace('\x00', '') }}<|im_end|>{% endfor %}",
        "{% for m in messages %}{{ m.content[3:] }}<|im_end|>{% endfor %}",
    ):
        folder = write("ChatML", tmp_path / str(len(list(tmp_path.iterdir()))))
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        tokenizer = Tokenizer.load(folder)
        with pytest.raises(RecipeError, match="where the assistant's turns end does not show"):
            encode_examples([{"messages": TALK}], tokenizer, SETTINGS, ["t.jsonl:3"])


def test_calls_of_tools_need_a_template_with_markers(tokenizer_of: Callable) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    talk = [TALK[1], {"role": "assistant", "content": "x", "tool_calls": [call]}]
    with pytest.raises(RecipeError, match=r"no {% generation %} markers"):
        encode_examples([{"messages": talk}], tokenizer_of("Qwen 3"), SETTINGS)


@pytest.mark.parametrize(
    "template",
    [
        # The end, or the beginning, of a marked block is cut off.
        "{% set t %}{% generation %}{{ messages[0].content }}{% endgeneration %}{% endset %}{{ t[:-3] }}",
        "{% set t %}{% generation %}{{ messages[0].content }}{% endgeneration %}{% endset %}{{ t[3:] }}",
    ],
)
def test_a_template_that_cuts_its_own_markers_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"cuts off a part of what stands between {% generation %}"):
        render(template, [{"role": "assistant", "content": "abc"}])
