"""Plain text to ids to text: documents, prompts with completions, and packed rows, for all families of tokenizers."""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfrecipes.data.encode import encode_examples
from hfrecipes.data.formats import to_examples
from hfrecipes.data.messages import is_visible
from hfrecipes.data.row import Row
from hfrecipes.data.settings import EncodeSettings, PackSettings
from hfrecipes.data.streams import packed_rows
from hfrecipes.data.tally import Tally
from hfrecipes.tokenization.tokenizer import Tokenizer
from tests.data.standin_tokenizers import FAMILIES, load
from tests.data.test_encode_round_trip import PARTS, SHARED, passages

WHOLE = EncodeSettings(max_length=None)
# Word pieces drop white space and case, so nothing comes back from them.
TURNING_BACK = [name for name in FAMILIES if name != "word pieces"]
every_family = pytest.mark.parametrize("name", TURNING_BACK)
quick = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
texts = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join).filter(is_visible)


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("families")
    return cache(lambda name: load(name, folder))


def written(tokenizer: Tokenizer, name: str, text: str) -> str:
    """What ids decode to: BOS where the tokenizer has one, and a space where its normalizer puts one before each text."""
    return f"{tokenizer.bos_token or ''}{' ' if name == 'prefix' else ''}{text}{tokenizer.eos_token}"


def real_texts() -> list[str]:
    """English, Chinese, code."""
    with (SHARED / "gsm8k_test.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line)["answer"] for line in islice(lines, 60)]
    chapters = json.loads((SHARED / "zh_classics" / "lunyu.json").read_text(encoding="utf-8"))
    found += ["\n".join(chapter["paragraphs"]) for chapter in chapters]
    found += passages(SHARED / "tinyshakespeare.txt", 700)
    return [*found, *(code for code in passages(Path(json.__file__), 500) if code.strip())]


def check_document(tokenizer: Tokenizer, name: str, text: str) -> None:
    (row,) = encode_examples(to_examples({"text": text}, {}), tokenizer, WHOLE)
    assert tokenizer.decode(row.input_ids) == written(tokenizer, name, text)
    assert row.labels == row.input_ids and row.num_bytes == len(text.encode())


def check_pair(tokenizer: Tokenizer, name: str, prompt: str, completion: str) -> None:
    (row,) = encode_examples(to_examples({"prompt": prompt, "completion": completion}, {}), tokenizer, WHOLE)
    assert tokenizer.decode(row.input_ids) == written(tokenizer, name, prompt + completion)
    learned = [label for label in row.labels if label != -100]
    assert row.labels == [-100] * (len(row.input_ids) - len(learned)) + learned == row.labels
    spelled = tokenizer.backend.encode(prompt + completion + tokenizer.eos_token)
    begin = spelled.offsets[len(row.input_ids) - len(learned)][0]
    # Nothing of the completion is left out; of the prompt, what would be other tokens without the completion is learned too.
    assert 0 <= len(prompt) - begin <= 12
    assert row.num_bytes == len((prompt + completion)[begin:].encode())


@every_family
@quick
@given(text=texts)
def test_documents_come_back_and_all_of_them_is_learned(name: str, text: str, tokenizer_of: Any) -> None:
    check_document(tokenizer_of(name), name, text)


@every_family
@quick
@given(prompt=texts, completion=texts)
def test_prompts_and_completions_come_back(name: str, prompt: str, completion: str, tokenizer_of: Any) -> None:
    check_pair(tokenizer_of(name), name, prompt, completion)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not here")
@every_family
def test_real_english_chinese_and_code_come_back(name: str, tokenizer_of: Any) -> None:
    found, tokenizer = real_texts(), tokenizer_of(name)
    assert len(found) > 130
    for text in found:
        check_document(tokenizer, name, text)
        middle = len(text) // 2
        if is_visible(text[:middle]) and is_visible(text[middle:]):
            check_pair(tokenizer, name, text[:middle], text[middle:])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not here")
@every_family
@pytest.mark.parametrize("mask", [True, False])
def test_packed_documents_come_back_with_each_byte_counted_once(name: str, mask: bool, tokenizer_of: Any) -> None:
    found, tokenizer = real_texts(), tokenizer_of(name)
    examples = ((Row(str(number), {}), {"text": text}) for number, text in enumerate(found))
    rows = list(packed_rows(examples, True, Tally(), tokenizer, PackSettings(128, mask)))
    ids = [token for row in rows for token in row["input_ids"].tolist()]
    documents = [[]]
    for token in ids:
        documents[-1].append(token)
        if token == tokenizer.eos_token_id:
            documents.append([])
    assert documents.pop() == []
    assert [tokenizer.decode(each) for each in documents] == [written(tokenizer, name, text) for text in found]
    assert sum(row["num_bytes"] for row in rows) == sum(len(text.encode()) for text in found)
