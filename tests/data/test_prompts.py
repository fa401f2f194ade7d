"""Prompts: what of a row asks, and what of it the rewards can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.data.encode_prompts import encode_prompts
from hfrecipes.data.formats import to_examples
from hfrecipes.data.prompts import PromptRows, dump_prompt
from hfrecipes.data.settings import PromptSettings
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer, train_tokenizer

USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["What is 3 times 3? It is 9. " * 9], 300, folder)
    return Tokenizer.load(str(folder))


def asked(values: dict, **spec: object) -> tuple[object, dict]:
    (example,) = to_examples(values, {"prompts": True, **spec}, "rows.jsonl:1")
    return example["prompt"], example["columns"]


def test_each_kind_of_row_gives_its_prompt_and_the_rest() -> None:
    assert asked({"prompt": "So?", "answer": 3}) == ("So?", {"answer": 3})
    assert asked({"q": "So?", "a": 3}, columns={"prompt": "q", "answer": "a"}) == ("So?", {"answer": 3})
    assert asked({"messages": [USER, ASSISTANT, USER, ASSISTANT], "n": 1}) == ([USER, ASSISTANT, USER], {"n": 1})
    assert asked({"prompt": [USER], "messages": [USER], "n": 1})[0] == [USER]
    preference = {"prompt": "So?", "chosen": "Yes", "rejected": "No"}
    assert asked(preference) == ("So?", {"chosen": "Yes", "rejected": "No"})
    prompt, columns = asked({"instruction": "Add", "output": "3"}, task="instruction", conversational=True)
    assert prompt[-1]["content"].startswith("Add") and columns["output"] == "3"
    prompt, _ = asked({"chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT | {"content": "No"}]})
    assert prompt == [USER]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "A text"}, "nothing says where the prompt ends"),
        ({"question": "So?"}, "the columns question hold no prompt"),
        ({"prompt": ""}, "prompt is empty"),
        ({"messages": [ASSISTANT]}, "no turn of the user's"),
        ({"prompt": [USER], "tools": [{}]}, "has tools, without which"),
    ],
)
def test_a_row_that_asks_nothing_is_told_with_its_place(row: dict, says: str) -> None:
    with pytest.raises(RecipeError, match=rf"rows.jsonl:1: error: .*{says}"):
        asked(row)


def test_a_format_function_says_where_a_prompt_ends(tmp_path: Path) -> None:
    (tmp_path / "cutting.py").write_text(
        "def cut(row):\n    return {'prompt': row['text'][:3], 'rest': row['text'][3:]}\n"
    )
    spec = {"prompts": True, "format": "cutting:cut"}
    (example,) = to_examples({"text": "So? Yes"}, spec, "row", tmp_path)
    assert example == {"prompt": "So?", "columns": {"rest": " Yes"}}


def test_ids_are_those_of_the_last_tokens_and_rows_come_back_whole(tokenizer: Tokenizer) -> None:
    examples = [{"prompt": "What is 3?", "columns": {"n": 3}}, {"prompt": [USER], "columns": {}}]
    plain, chat = encode_prompts(examples, tokenizer, PromptSettings())
    assert plain.input_ids == tokenizer.encode_ids(["What is 3?"])[0] and plain.num_bytes == 10
    assert tokenizer.decode(chat.input_ids) == tokenizer.render([USER], add_generation_prompt=True).text
    (cut,) = encode_prompts(examples[:1], tokenizer, PromptSettings(2))
    assert cut.input_ids == plain.input_ids[-2:] and cut.longest == len(plain.input_ids)
    rows = PromptRows([each.row() for each in (plain, chat)])
    assert len(rows) == 2 and rows[0] == {"prompt": "What is 3?", "n": 3} and rows[1] == {"prompt": [USER]}


def test_a_column_cannot_take_the_place_of_the_prompt() -> None:
    given = dump_prompt({"prompt": "So?", "columns": {"when": Path("x")}})
    assert json.loads(given) == ["So?", {"when": "x"}]
