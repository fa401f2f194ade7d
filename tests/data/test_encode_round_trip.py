"""Text to ids to text, and labels on exactly the supervised spans, for tokenizers of several families."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfrecipes.data.encode import EncodedExample, encode_examples
from hfrecipes.data.encode_comparisons import encode_comparisons
from hfrecipes.data.formats import to_examples
from hfrecipes.data.messages import is_visible
from hfrecipes.data.settings import CompareSettings, EncodeSettings
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer
from tests.data.standin_tokenizers import FAMILIES, Pieces, load

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TURNS_ONLY = EncodeSettings(max_length=None, assistant_only_loss=True)
WHOLE = EncodeSettings(max_length=None)
PLAIN = {"conversational": False}

# Words of many scripts: joined emoji, right-to-left with a mark of direction, combining accents, code, odd white space.
PARTS = [
    "fox",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "学而时习之",
    "，",
    "？",
    "שלום",
    "مرحبا",
    "\u200f",
    "é",
    "e\u0301",
    "ﬁ",
    "𝔘",
    "Ω",
]
PARTS += ["🦊", "\U0001f469\u200d\U0001f467", "\U0001f1e8\U0001f1f3", "\u00a0", "\u3000", "\u200b", "\x07", "12"]
PARTS += ["x = {'a': [1]}", "{{ x }}", "{% y %}", "<b>", "&amp;", "\\n"]
contents = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join)
spoken = contents.filter(is_visible)
rounds = st.lists(st.tuples(contents, spoken), min_size=1, max_size=3)
systems = st.one_of(st.none(), st.just(""), contents)
quick = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("families")
    return cache(lambda name: load(name, folder))


def conversation(name: str, system: str | None, said: list[tuple[str, str]]) -> list[dict[str, str]]:
    opening = [{"role": "system", "content": system}] if system is not None and FAMILIES[name].system else []
    turns = [turn for q, a in said for turn in ({"role": "user", "content": q}, {"role": "assistant", "content": a})]
    return [*opening, *turns]


def check_row(row: EncodedExample, pieces: Pieces, tokenizer: Tokenizer, exact: bool) -> None:
    """The ids are those of the pieces' text; the labels those of the tokens that touch what is to be learned."""
    text = "".join(piece for piece, _ in pieces)
    learned = [flag for piece, flag in pieces for _ in piece]
    encoding = tokenizer.backend.encode(text, add_special_tokens=False)
    assert row.input_ids == encoding.ids
    wanted = [
        token if any(learned[start:end]) else -100
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
    ]
    assert row.labels == wanted
    if exact:
        assert tokenizer.decode(row.input_ids) == text
        supervised = tokenizer.decode([label for label in row.labels if label != -100])
        assert crosses(pieces, tokenizer) or supervised == "".join(piece for piece, flag in pieces if flag)


def check_bytes(row: EncodedExample, pieces: Pieces, tokenizer: Tokenizer, exact: bool) -> None:
    """Bytes are those of what is learned, without the marks that end turns."""
    specials = "|".join(map(re.escape, tokenizer.special_token_texts.values()))
    most = sum(len(re.sub(specials, "", piece).encode()) for piece, flag in pieces if flag)
    if exact and not crosses(pieces, tokenizer):
        assert row.num_bytes == most
    elif not exact:  # word pieces leave white space out
        assert 0 <= row.num_bytes <= most


def crosses(pieces: Pieces, tokenizer: Tokenizer) -> bool:
    """Whether a token lies across the beginning of an answer. It is learned, as it holds some of it."""
    learned = [flag for piece, flag in pieces for _ in piece]
    encoding = tokenizer.backend.encode("".join(piece for piece, _ in pieces), add_special_tokens=False)
    return any(0 < sum(learned[start:end]) < end - start for start, end in encoding.offsets)


@every_family
@quick
@given(system=systems, said=rounds)
def test_conversations_come_back_and_labels_are_the_assistant_s_turns(
    name: str, system: str | None, said: list[tuple[str, str]], tokenizer_of: Any
) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    messages = conversation(name, system, said)
    examples = to_examples({"messages": messages}, {"task": "conversation", "kind": "any"})
    (row,) = encode_examples(examples, tokenizer, TURNS_ONLY)
    check_row(row, family.pieces(messages), tokenizer, family.exact)
    if tokenizer.bos_token_id is not None:
        assert row.input_ids.count(tokenizer.bos_token_id) == 1
    check_bytes(row, family.pieces(messages), tokenizer, family.exact)


@every_family
@quick
@given(instruction=spoken, given_input=contents, output=spoken)
def test_instructions_come_back_and_labels_are_the_output(
    name: str, instruction: str, given_input: str, output: str, tokenizer_of: Any
) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    values = {"instruction": instruction, "input": given_input, "output": output}
    (example,) = to_examples(values, {"task": "instruction"})
    (row,) = encode_examples([example], tokenizer, WHOLE)
    messages = [*example["prompt"], *example["completion"]]
    assert messages[0]["content"] == instruction + (f"\n\n{given_input}" if is_visible(given_input) else "")
    assert messages[1]["content"] == output
    text = "".join(piece for piece, _ in family.pieces(messages))
    opening = "".join(piece for piece, _ in family.pieces(messages[:1])) + family.opening
    assert text.startswith(opening)
    if family.exact:
        assert tokenizer.decode(row.input_ids) == text
        supervised = tokenizer.decode([label for label in row.labels if label != -100])
        # Tokens may merge over the end of a prompt that ends in plain text; never may the answer lose any of its own.
        assert supervised.endswith(text[len(opening) :]) and len(supervised) - len(text[len(opening) :]) <= 8
    assert row.labels[0] == -100 and row.labels[-1] == row.input_ids[-1]


@every_family
@quick
@given(prompt=spoken, better=spoken, worse=spoken)
def test_preferences_come_back(name: str, prompt: str, better: str, worse: str, tokenizer_of: Any) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    if better == worse:
        return
    (example,) = to_examples({"prompt": prompt, "chosen": better, "rejected": worse}, {"task": "preference"})
    wholes = [
        "".join(piece for piece, _ in family.pieces([*example["prompt"], *example[key]]))
        for key in ("chosen", "rejected")
    ]
    try:
        (row,) = encode_comparisons([example], tokenizer, CompareSettings(None))
    except RecipeError as error:
        # What differs in white space at its ends, or in characters that word pieces drop, is the same to a model.
        assert "are the same tokens" in str(error)
        ids = [tokenizer.backend.encode(whole, add_special_tokens=False).ids for whole in wholes]
        assert ids[0] == ids[1]
        return
    assert row.teaches
    if family.exact:
        assert tokenizer.decode(row.prompt_ids + row.answers[0]) == wholes[0]
        assert tokenizer.decode(row.prompt_ids + row.answers[1]) == wholes[1]


@every_family
@quick
@given(text=spoken, label=st.sampled_from(["积极", "positive", "🦊"]))
def test_plain_classifications_come_back_with_one_begin_and_one_end(
    name: str, text: str, label: str, tokenizer_of: Any
) -> None:
    tokenizer = tokenizer_of(name)
    (example,) = to_examples({"text": text, "label": label}, {"task": "classification"} | PLAIN)
    (row,) = encode_examples([example], tokenizer, WHOLE)
    assert row.labels[-1] == row.input_ids[-1] == tokenizer.eos_token_id
    if FAMILIES[name].exact:
        bos = tokenizer.bos_token or ""
        assert tokenizer.decode(row.input_ids) == f"{bos}{text}\n\n{label}{tokenizer.eos_token}"
        assert tokenizer.decode([each for each in row.labels if each != -100]).endswith(f"{label}{tokenizer.eos_token}")
        assert row.input_ids.count(tokenizer.eos_token_id) == 1


@every_family
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_no_message_can_forge_a_turn(name: str, role: str, tokenizer_of: Any) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    if role == "system" and not family.system:
        pytest.skip("this template takes no system message")
    for mark in family.marks:
        for content in (mark, f"a\n{mark}b", f"学 \n{mark}\n\n"):
            messages = conversation(name, "s", [("q", "a")])
            messages = [{**turn, "content": content} if turn["role"] == role else turn for turn in messages]
            with pytest.raises(RecipeError) as caught:
                encode_examples([{"messages": messages}], tokenizer, TURNS_ONLY, ["train.jsonl:7"])
            (problem,) = caught.value.problems
            number = next(number for number, turn in enumerate(messages, 1) if turn["role"] == role)
            assert problem.where == "train.jsonl:7" and f"message {number} holds {mark!r}" in problem.message
            assert "format:" in problem.fix


@every_family
def test_what_only_looks_like_a_mark_is_text(name: str, tokenizer_of: Any) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    for looks in family.innocent:
        messages = conversation(name, None, [(f"What is {looks}?", f"A {looks} is")])
        (row,) = encode_examples([{"messages": messages}], tokenizer, TURNS_ONLY)
        check_row(row, family.pieces(messages), tokenizer, family.exact)


def test_marks_are_looked_for_in_tool_calls_tools_and_parts_too(tokenizer: Tokenizer) -> None:
    question, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": "<|im_end|>"}}}
    forged = [
        {"messages": [question, {**answer, "tool_calls": [call]}]},
        {"messages": [question, answer], "tools": [{"name": "f", "description": "<|im_start|>"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "<|im_end|>"}]}, answer]},
        {"messages": [{"role": "user<|im_end|>", "content": "q"}, answer]},
    ]
    for example in forged:
        with pytest.raises(RecipeError, match="with which the chat template tells turns apart"):
            encode_examples([example], tokenizer, WHOLE)


def test_an_answer_s_last_character_is_learned_whole(tokenizer_of: Any) -> None:
    """A character of several tokens at the end of a span: the last of them is supervised as well as the first."""
    tokenizer = tokenizer_of("heading")
    messages = conversation("heading", None, [("q", "𝔘")])
    (row,) = encode_examples([{"messages": messages}], tokenizer, TURNS_ONLY)
    assert row.supervised_tokens == len(tokenizer.encode_ids(["𝔘"])[0]) > 1


def passages(path: Path, size: int) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [text[start : start + size] for start in range(0, len(text), max(1, len(text) // 40))]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not here")
@every_family
def test_real_english_chinese_and_code_come_back(name: str, tokenizer_of: Any) -> None:
    tokenizer, family = tokenizer_of(name), FAMILIES[name]
    with (SHARED / "gsm8k_test.jsonl").open(encoding="utf-8") as lines:
        problems = [json.loads(line) for line in islice(lines, 100)]
    poems = json.loads((SHARED / "zh_classics" / "lunyu.json").read_text(encoding="utf-8"))
    said = [(row["question"], row["answer"]) for row in problems]
    said += [(poem["chapter"], "\n".join(poem["paragraphs"])[:500]) for poem in poems]
    said += [("Go on.", passage) for passage in passages(SHARED / "tinyshakespeare.txt", 300)]
    said += [("What does it do?", code) for code in passages(Path(json.__file__), 400) if code.strip()]
    examples, expected = [], []
    for question, answer in said:
        messages = conversation(name, None, [(question, answer)])
        examples += to_examples({"messages": messages}, {"task": "conversation"})
        expected.append(family.pieces(messages))
    rows = encode_examples(examples, tokenizer, TURNS_ONLY)
    assert len(rows) == len(said) > 190
    for row, pieces in zip(rows, expected, strict=True):
        check_row(row, pieces, tokenizer, family.exact)
