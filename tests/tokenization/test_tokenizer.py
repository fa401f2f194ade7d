"""The light tokenizer gives what transformers gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.compat import trl_chat_templates
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import OfflineError, Tokenizer, train_tokenizer, training_chat_template

TEXTS = ["The quick brown fox jumps. ", "def add(a, b):\n    return a + b\n", "学而时习之 🦊 naïve "] * 30
CHAT = [
    {"role": "user", "content": "The fox? <b>&amp;</b>"},
    {"role": "assistant", "content": "It jumps 🦊."},
    {"role": "user", "content": "  And? "},
    {"role": "assistant", "content": "naïve 学\n\nend"},
]
MARKS = [
    "<|im_start|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<start_of_turn>",
    "<|end|>",
    "<|user|>",
]
TEMPLATES = ["qwen3", "qwen2_5", "llama3", "gemma", "phi3", "deepseekv3", "lfm2", "glm4moe", "gptoss", "cohere"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(TEXTS, 400, tmp_path_factory.mktemp("tokenizer"))


def with_config(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    path = target / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


def transformers_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, hfrecipes.tokenization.tokenizer as t; t.training_chat_template('x');"
        "print([m for m in ('torch', 'transformers', 'trl', 'datasets') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=40))
def test_same_ids_as_auto_tokenizer(text: str, folder: Path) -> None:
    ours, theirs = Tokenizer.load(folder), transformers_tokenizer(folder)
    mixed = f"{text}<|im_end|>\n {text}"
    assert ours.encode_ids([mixed]) == [theirs(mixed)["input_ids"]]
    assert ours.decode(ours.encode_ids([mixed])[0]) == mixed
    ours.require_same_ids(theirs, [mixed])


def test_special_tokens_agree_with_auto_tokenizer(folder: Path) -> None:
    ours, theirs = Tokenizer.load(folder), transformers_tokenizer(folder)
    assert (ours.eos_token, ours.pad_token, ours.bos_token) == ("<|endoftext|>", "<|pad|>", None)
    assert (ours.eos_token_id, ours.pad_token_id) == (theirs.eos_token_id, theirs.pad_token_id)
    assert ours.vocab_size == len(theirs)
    assert set(ours.special_token_texts.values()) == set(theirs.all_special_tokens)
    assert ours.max_length is None


@pytest.mark.parametrize(
    "changes",
    [
        {"bos_token": "<s>", "add_bos_token": True},  # not in the vocabulary yet
        {
            "bos_token": {"__type": "AddedToken", "content": "<|im_start|>"},
            "add_bos_token": True,
            "add_eos_token": True,
        },
        {"bos_token": "<|im_start|>", "add_bos_token": False},
        {"model_max_length": 2048, "unk_token": "<unk>"},
    ],
)
def test_configuration_acts_as_in_transformers(changes: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    changed = with_config(folder, tmp_path / "changed", **changes)
    ours, theirs = Tokenizer.load(changed), transformers_tokenizer(changed)
    assert ours.encode_ids(["fox <s><unk>"]) == [theirs("fox <s><unk>")["input_ids"]]
    assert ours.bos_token_id == theirs.bos_token_id
    assert ours.vocab_size == len(theirs)
    assert (ours.max_length or 10**30) == theirs.model_max_length


@pytest.mark.parametrize("name", [*TEMPLATES, *(f"{name}_training" for name in TEMPLATES)])
def test_rendering_and_assistant_tokens_agree_with_transformers(name: str, folder: Path, tmp_path: Path) -> None:
    templates = trl_chat_templates()
    assert templates is not None
    marked = with_config(folder, tmp_path / name, bos_token="<s>", additional_special_tokens=MARKS)
    shutil.copy(templates / f"{name}.jinja", marked / "chat_template.jinja")
    ours, theirs = Tokenizer.load(marked), transformers_tokenizer(marked)
    rendered = ours.render(CHAT)
    assert rendered.text == theirs.apply_chat_template(CHAT, tokenize=False)
    prompt = ours.render(CHAT[:1], add_generation_prompt=True).text
    assert prompt == theirs.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    if name.endswith("_training"):
        expected = theirs.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
        (encoding,) = ours.encode_batch([rendered.text], add_special_tokens=False)
        mask = [any(s < end and start < e for s, e in rendered.assistant_spans) for start, end in encoding.offsets]
        assert encoding.ids == expected["input_ids"]
        assert mask == [bool(bit) for bit in expected["assistant_masks"]]
        assert ours.has_generation_markers and any(mask)


def test_tools_and_json_are_rendered_as_in_transformers(folder: Path, tmp_path: Path) -> None:
    templates = trl_chat_templates()
    assert templates is not None
    target = with_config(folder, tmp_path / "tools")
    shutil.copy(templates / "qwen3.jinja", target / "chat_template.jinja")
    tools = [
        {"type": "function", "function": {"name": "f", "description": "a < b & ü", "parameters": {"type": "object"}}}
    ]
    chat = [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": None,
            "reasoning": "hm",
            "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
        },
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "4", "thinking": "so"},
    ]
    ours, theirs = Tokenizer.load(target), transformers_tokenizer(target)
    expected = theirs.apply_chat_template(chat, tools=tools, tokenize=False, enable_thinking=False)
    assert ours.render(chat, tools=tools, enable_thinking=False).text == expected


def test_spans_hold_inside_macros_and_captured_blocks() -> None:
    from hfrecipes.tokenization.chat import render

    template = (
        "{% macro turn(m) %}[{% generation %}{{ m.content }}{% endgeneration %}]{% endmacro %}"
        "{% set head %}<{{ messages[0].content }}>{% endset %}{{ head }}{{ turn(messages[1]) }}"
    )
    rendered = render(template, [{"role": "user", "content": "q"}, {"role": "assistant", "content": "answer"}])
    assert rendered.text == "<q>[answer]"
    assert [rendered.text[slice(*span)] for span in rendered.assistant_spans] == ["answer"]


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{% if %}", "{{ messages.append(1) }}"]
)
def test_a_template_that_refuses_is_a_value_error(template: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="the chat template refuses"):
        Tokenizer.load(folder).render(CHAT, chat_template=template)


def test_named_templates_from_the_configuration(folder: Path, tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    target = with_config(folder, tmp_path / "named", chat_template=named)
    (target / "chat_template.jinja").unlink()
    tokenizer = Tokenizer.load(target)
    assert tokenizer.render(CHAT).text == "plain"
    assert tokenizer.render(CHAT, tools=[{"name": "f"}]).text == "tools"


def test_training_template_is_trl_s_pair() -> None:
    templates = trl_chat_templates()
    assert templates is not None
    stock = (templates / "llama3.jinja").read_text(encoding="utf-8")
    assert training_chat_template(stock) == (templates / "llama3_training.jinja").read_text(encoding="utf-8")
    assert training_chat_template("{{ messages }}") is None


def test_training_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_tokenizer(TEXTS, 350, tmp_path / name)
    files = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    assert Tokenizer.load(tmp_path / "a").fingerprint == Tokenizer.load(tmp_path / "b").fingerprint


def test_a_turn_ends_inside_the_markers(folder: Path) -> None:
    rendered = Tokenizer.load(folder).render(CHAT)
    turns = [rendered.text[slice(*span)] for span in rendered.assistant_spans]
    assert turns == ["It jumps 🦊.<|im_end|>", "naïve 学\n\nend<|im_end|>"]


def test_too_small_a_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="at least 260"):
        train_tokenizer(TEXTS, 100, tmp_path)


def test_offline_hub_id_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OfflineError, match=r"some/model-never-fetched at revision abc is not in the local cache"):
        Tokenizer.load("some/model-never-fetched", revision="abc")


@pytest.mark.parametrize(
    ("name", "message"), [("./nowhere", "no such folder"), ("a b/c", "is neither a folder nor a Hub id")]
)
def test_wrong_names_are_clear_errors(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Tokenizer.load(name)


def test_damaged_and_empty_folders_are_clear_errors(folder: Path, tmp_path: Path) -> None:
    damaged = with_config(folder, tmp_path / "damaged")
    (damaged / "tokenizer.json").write_text("{")
    with pytest.raises(RecipeError, match=r"tokenizer.json: error: is not a tokenizer"):
        Tokenizer.load(damaged)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="holds no tokenizer that can be read"):
        Tokenizer.load(tmp_path / "empty")


def test_a_folder_without_tokenizer_json_is_converted(tmp_path: Path, folder: Path) -> None:
    backend = json.loads((folder / "tokenizer.json").read_text())["model"]
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "vocab.json").write_text(json.dumps(backend["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in backend["merges"]]
    (slow / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    (slow / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"})
    )
    ours, theirs = Tokenizer.load(slow), transformers_tokenizer(slow)
    assert ours.encode_ids(["The quick 学"]) == [theirs("The quick 学")["input_ids"]]
    assert ours.eos_token_id == theirs.eos_token_id


def test_other_ids_than_the_saved_tokenizer_s_are_refused(folder: Path, tmp_path: Path) -> None:
    other = transformers_tokenizer(train_tokenizer(["entirely other text "] * 9, 300, tmp_path / "other"))
    with pytest.raises(RecipeError, match="gives other ids than"):
        Tokenizer.load(folder).require_same_ids(other, ["The quick brown fox"])
