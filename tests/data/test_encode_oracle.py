"""Ids and labels are those that `trl.SFTTrainer` makes of the same rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from hfrecipes.data.encode import encode_examples
from hfrecipes.data.formats import to_example
from hfrecipes.data.settings import SFT_MAX_LENGTH, EncodeSettings
from hfrecipes.tokenization.tokenizer import Tokenizer

TEXT = [{"text": "The quick fox."}, {"text": "naïve 🦊 学而\n"}, {"text": "ends already<|endoftext|>"}, {"text": "a"}]
STRINGS = [
    {"prompt": "The quick", "completion": " brown fox"},
    {"prompt": "jump", "completion": "s over"},  # tokens may merge across the boundary
    {"prompt": "2 + 2 =", "completion": " 4<|endoftext|>"},
]
CHAT = [
    {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The fox?"}],
        "completion": [{"role": "assistant", "content": "It jumps."}],
    },
    {
        "prompt": [{"role": "user", "content": "Wind?"}],
        "completion": [
            {"role": "assistant", "content": "Nacht 学"},
            {"role": "user", "content": "more"},
            {"role": "assistant", "content": "🦊"},
        ],
    },
]
MESSAGES = [{"messages": row["prompt"] + row["completion"]} for row in CHAT]
SHAREGPT = [
    {"conversations": [{"from": "user", "value": "The fox?"}, {"from": "assistant", "value": "It jumps."}]},
    {"conversations": [{"from": "user", "value": "Wer?"}, {"from": "assistant", "value": "Wind"}]},
]
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "text": (TEXT, {}),
    "text, cut": (TEXT, {"max_length": 3}),
    "strings": (STRINGS, {}),
    "strings, all of them": (STRINGS, {"completion_only_loss": False}),
    "strings, cut": (STRINGS, {"max_length": 6}),
    "chat": (CHAT, {}),
    "chat, all of it": (CHAT, {"completion_only_loss": False}),
    "chat, assistant only": (CHAT, {"assistant_only_loss": True}),
    "messages": (MESSAGES, {}),
    "messages, assistant only": (MESSAGES, {"assistant_only_loss": True}),
    "messages, assistant only, cut": (MESSAGES, {"assistant_only_loss": True, "max_length": 40}),
    "sharegpt": (SHAREGPT, {"max_length": None}),
}


@pytest.fixture(scope="module")
def bos_folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer, which now puts BOS before every text by itself."""
    folder = tmp_path_factory.mktemp("bos") / "tokenizer"
    shutil.copytree(tokenizer_folder, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"bos_token": "<|im_start|>"}))
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = ("<|im_start|>", backend.token_to_id("<|im_start|>"))
    backend.post_processor = TemplateProcessing(single="<|im_start|> $A", pair="$A $B", special_tokens=[bos])
    backend.save(str(folder / "tokenizer.json"))
    return folder


def trl_rows(rows: list[dict[str, Any]], options: dict[str, Any], folder: Path, output: Path) -> list[dict[str, Any]]:
    """What the trainer itself prepares."""
    import datasets
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    args = SFTConfig(
        output_dir=str(output), use_cpu=True, bf16=False, report_to="none", shuffle_dataset=False, **options
    )
    trainer = SFTTrainer(
        LlamaForCausalLM(LlamaConfig(vocab_size=400, **shape)),
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    return [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in trainer.train_dataset]


def our_rows(rows: list[dict[str, Any]], options: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    examples = [to_example(row, {}) for row in rows]
    encoded = encode_examples(examples, Tokenizer.load(folder), EncodeSettings(**options))
    return [{"input_ids": row.input_ids, "labels": row.labels} for row in encoded if row.supervised_tokens]


@pytest.mark.parametrize("case", CASES)
def test_same_rows_as_trl(case: str, tokenizer_folder: Path, tmp_path: Path) -> None:
    rows, options = CASES[case]
    theirs = trl_rows(rows, options, tokenizer_folder, tmp_path)
    assert our_rows(rows, options, tokenizer_folder) == theirs
    assert theirs


@pytest.mark.parametrize("case", ["text", "strings", "chat", "messages, assistant only"])
def test_same_rows_as_trl_where_the_tokenizer_adds_bos(case: str, bos_folder: Path, tmp_path: Path) -> None:
    rows, options = CASES[case]
    theirs = trl_rows(rows, options, bos_folder, tmp_path)
    assert our_rows(rows, options, bos_folder) == theirs
    bos = Tokenizer.load(bos_folder).bos_token_id
    assert [row["input_ids"][:2].count(bos) for row in theirs] == [1] * len(theirs)  # one, not two


def test_a_known_template_without_markers_gets_trl_s_own(tokenizer_folder: Path, tmp_path: Path) -> None:
    from hfrecipes.compat import trl_chat_templates

    folder = tmp_path / "qwen"
    shutil.copytree(tokenizer_folder, folder)
    templates = trl_chat_templates()
    assert templates is not None
    shutil.copy(templates / "qwen3.jinja", folder / "chat_template.jinja")
    rows, options = MESSAGES, {"assistant_only_loss": True}
    assert not Tokenizer.load(folder).has_generation_markers
    assert our_rows(rows, options, folder) == trl_rows(rows, options, folder, tmp_path / "out")


def test_the_default_length_is_trl_s() -> None:
    from trl import SFTConfig

    assert SFTConfig.__dataclass_fields__["max_length"].default == SFT_MAX_LENGTH


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(min_size=1, max_size=12), completion=st.text(min_size=1, max_size=12))
def test_labels_are_ids_or_ignored_and_bytes_are_the_completion_s(
    prompt: str, completion: str, tokenizer: Tokenizer
) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": prompt}], "completion": [{"role": "assistant", "content": completion}]}
    ]
    (row,) = encode_examples(rows, tokenizer, EncodeSettings())
    assert all(label in (-100, token) for label, token in zip(row.labels, row.input_ids, strict=True))
    assert tokenizer.decode([label for label in row.labels if label != -100]) == completion + "<|im_end|>\n"
    # The line break behind <|im_end|> is the completion's in TRL's reading, so it is text that carries loss.
    assert row.num_bytes == len(completion.encode()) + 1
