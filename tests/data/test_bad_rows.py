"""Rows that could teach nothing, or something wrong, are refused by file and row before anything is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers

from hfrecipes.data import faults as faults_module
from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

MakeRecipe = Callable[..., Recipe]
Preparer = Callable[..., Prepared]
USER = {"role": "user", "content": "Wind?"}
GOOD: dict[str, dict[str, Any]] = {
    "text": {"text": "The fox."},
    "pair": {"prompt": "The", "completion": " fox"},
    "chat": {"messages": [USER, {"role": "assistant", "content": "Nacht"}]},
}
SURROGATE = "half of a surrogate pair"


def said(content: Any, **others: Any) -> dict[str, Any]:
    return {"messages": [USER, {"role": "assistant", "content": content, **others}]}


TEXTS = [
    ({"text": ""}, "text is empty"),
    ({"text": " \t\n"}, "text is empty"),
    ({"text": None}, "text is None where a string"),
    ({"text": float("nan")}, "text is NaN, a missing value, where a string"),
    ({"text": 5}, "text is an int"),
    ({"text": ["The fox."]}, "text is a list"),
    ({"text": "\ud800 fox"}, f"text holds {SURROGATE}"),
    ({}, r"the columns \(none\) make no example"),
]
PAIRS = [
    ({"prompt": "The", "completion": ""}, "completion is empty"),
    ({"prompt": "The", "completion": "\n"}, "completion is empty"),
    ({"prompt": "", "completion": "fox"}, "prompt is empty"),
    ({"prompt": "The", "completion": None}, "completion is None"),
    ({"prompt": "The", "completion": 3.5}, "completion is a float"),
    ({"prompt": "The \udc00", "completion": "fox"}, f"prompt holds {SURROGATE}"),
]
CHATS = [
    (said(""), "message 2 is the assistant's and says nothing"),
    (said("  \n"), "message 2 is the assistant's and says nothing"),
    (said([]), "message 2 is the assistant's and says nothing"),
    (said([{"type": "text", "text": " "}]), "message 2 is the assistant's and says nothing"),
    (said(None), "message 2 has no content"),
    (said("a \ud800"), f"message 2 holds {SURROGATE}"),
    (said([{"type": "text", "text": "a \ud800"}]), f"message 2 holds {SURROGATE}"),
    (said("", tool_calls=[{"function": {"name": "f", "arguments": {"x": "\ud800"}}}]), f"message 2 holds {SURROGATE}"),
    ({"messages": [{"role": "us\ud800er", "content": "x"}]}, f"message 1 holds {SURROGATE}"),
    # what marks the assistant's text while a template renders
    (said("\x00</generation>\x00"), "message 2 holds a NUL"),
    ({**GOOD["chat"], "tools": 5}, "tools is not a list of function schemas"),
    ({**GOOD["chat"], "tools": ["f"]}, "tools is not a list of function schemas"),
    ({**GOOD["chat"], "tools": [{"name": "\x00"}]}, "tools holds a NUL"),
    ({**GOOD["chat"], "chat_template_kwargs": "x"}, "chat_template_kwargs is a str"),
    ({**GOOD["chat"], "chat_template_kwargs": {"messages": []}}, "chat_template_kwargs sets messages"),
]
CASES = [
    *(("pretrain", "text", row, message) for row, message in TEXTS),
    *(("sft", "text", row, message) for row, message in TEXTS),
    *(("sft", "pair", row, message) for row, message in PAIRS),
    *(("sft", "chat", row, message) for row, message in CHATS),
]


@pytest.fixture
def prepared(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Preparer:
    """Prepares the file `rows.<ending>` beside the recipe."""
    monkeypatch.chdir(tmp_path)

    def run(file: str = "rows.jsonl", kind: str = "sft", training: str = "max_steps: 1", data: str = "", **others: Any):
        recipe = make_recipe(f"train: [{{path: {file}}}]{data}", training, kind=kind)
        return prepare(recipe, others.get("tokenizer", tokenizer), tmp_path / "cache")

    return run


def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize(("kind", "form", "row", "message"), CASES)
def test_a_row_that_teaches_nothing_is_refused_by_its_place(
    kind: str, form: str, row: dict[str, Any], message: str, prepared: Preparer, tmp_path: Path
) -> None:
    write([GOOD[form], row, GOOD[form]])
    with pytest.raises(RecipeError, match=rf"^rows.jsonl:2: error: .*{message}.* \(.+\)$"):
        prepared(kind=kind)
    assert not list((tmp_path / "cache" / "prepared").glob(".*.part"))


@pytest.mark.parametrize("kind", ["sft", "pretrain"])
def test_all_rows_with_the_same_fault_are_counted(kind: str, prepared: Preparer) -> None:
    empty = [1, 3, 599, 700, 701]
    write([{"text": "" if number in empty else "The fox."} for number in range(1, 703)])
    with pytest.raises(RecipeError) as caught:
        prepared(kind=kind)
    assert str(caught.value).startswith(
        "rows.jsonl:1: error: text is empty: 5 rows, rows.jsonl:1, rows.jsonl:3, rows.jsonl:599 and 2 more (correct or"
    )


def test_rows_are_counted_over_the_batches_of_the_tokenizer(prepared: Preparer) -> None:
    silent = {"messages": [USER]}
    write([GOOD["chat"]] * 3 + [silent] + [GOOD["chat"]] * 600 + [silent])
    with pytest.raises(
        RecipeError, match=r"^rows.jsonl:4: error: has no token that the loss looks at: 2 rows, .*:605 "
    ):
        prepared(training="max_steps: 1, assistant_only_loss: true")
    write([{"text": "The fox."}, {"text": "<|endoftext|>"}] * 300)
    with pytest.raises(RecipeError, match=r"^rows.jsonl:2: error: has no token of text.*: 300 rows, "):
        prepared(kind="pretrain")


def test_counting_does_not_keep_a_person_waiting(prepared: Preparer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_module, "_PATIENCE", 0.0)
    write([{"text": ""}] * 50)
    with pytest.raises(RecipeError, match=r"text is empty: at least 2 rows, rows.jsonl:1, rows.jsonl:2"):
        prepared()


def test_counting_ends_at_a_line_that_cannot_be_read(prepared: Preparer) -> None:
    Path("rows.jsonl").write_text('{"text": ""}\n{"text": ""}\nnonsense\n{"text": ""}\n')
    with pytest.raises(RecipeError, match=r"rows.jsonl:1: error: text is empty: 2 rows"):
        prepared()


def test_a_text_of_one_token_trains_and_one_of_none_does_not(prepared: Preparer, tokenizer: Tokenizer) -> None:
    eos = tokenizer.eos_token_id
    write([{"text": "a"}])
    for kind in ("sft", "pretrain"):
        (row,) = prepared(kind=kind).train
        assert row["input_ids"][1:] == [eos] == row["labels"][1:]
    write([GOOD["text"], {"text": "<|endoftext|>"}])
    with pytest.raises(RecipeError, match=r"rows.jsonl:2: error: has no token that the loss looks at \(remove it, or"):
        prepared()


def test_text_that_the_tokenizer_drops_is_an_error(prepared: Preparer, tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dropping"
    shutil.copytree(tokenizer_folder, folder)
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.normalizer = tokenizers.normalizers.Replace(tokenizers.Regex("[xyz]"), "")
    backend.save(str(folder / "tokenizer.json"))
    write([{"text": "The fox."}, {"text": "xyz"}])
    for kind, message in (("pretrain", "has no token of text"), ("sft", "has no token that the loss looks at")):
        with pytest.raises(RecipeError, match=rf"rows.jsonl:2: error: {message}"):
            prepared(kind=kind, tokenizer=Tokenizer.load(folder))


@pytest.mark.parametrize("kind", ["sft", "pretrain"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b"", r"my.yaml:3: error: rows.jsonl has no rows"),
        ("rows.json", b"[]", r"my.yaml:3: error: rows.json has no rows"),
        ("rows.csv", b"text\n", r"my.yaml:3: error: rows.csv has no rows"),
        ("rows.csv", b"text,n\nThe fox.,1\n,2\n", r"rows.csv:3: error: text is empty"),
        ("rows.csv", "text\nThe fox.\n".encode("utf-16-le"), r"rows.csv: error: is not UTF-8.*as in UTF-16"),
        ("rows.txt", b"", r"rows.txt: error: text is empty"),
        ("rows.txt", b" \n", r"rows.txt: error: text is empty"),
        ("rows.txt", "The fox.".encode("utf-16-le"), r"rows.txt: error: is not UTF-8.*as in UTF-16"),
        ("rows.parquet", pa.table({"text": pa.array([], pa.string())}), r"my.yaml:3: error: rows.parquet has no rows"),
        ("rows.parquet", pa.table({"text": ["a", None]}), r"rows.parquet: row 2: error: text is None"),
        ("rows.parquet", pa.table({"text": [b"a"]}), r"rows.parquet: row 1: error: text is a bytes"),
    ],
)
def test_files_that_hold_nothing_are_refused(
    kind: str, name: str, content: bytes | pa.Table, message: str, prepared: Preparer
) -> None:
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    else:
        pq.write_table(content, name)
    with pytest.raises(RecipeError, match=message):
        prepared(name, kind=kind)


def test_a_missing_value_that_became_a_word_is_warned_about(prepared: Preparer) -> None:
    Path("rows.csv").write_text("prompt,completion\nThe,nan\nfox,is\nnan,None\nA,null\n")
    (warning,) = prepared("rows.csv").warnings
    assert warning.startswith("rows.csv: in 2 of 4 rows a text is only the word for a missing value")
    assert warning.endswith("rows.csv:2, rows.csv:4")


def test_rows_that_lose_their_supervised_part_are_named(prepared: Preparer) -> None:
    long = {"prompt": "The quick brown fox jumps over the lazy dog. " * 4, "completion": " fox"}
    write([GOOD["pair"], *[long] * 5])
    result = prepared(training="max_steps: 1, max_length: 8")
    assert len(result.train) == 1 and result.facts[0]["dropped_rows"] == 5
    assert result.warnings[-1].endswith(
        "5 of 6 rows were left out, as the cut to max_length 8 leaves no supervised token in them: "
        "rows.jsonl:2, rows.jsonl:3, rows.jsonl:4 and 2 more"
    )
    write([long] * 5)
    with pytest.raises(RecipeError, match=r"no row of rows.jsonl is left: in all 5 the supervised part"):
        prepared(training="max_steps: 1, max_length: 8")


@pytest.mark.parametrize("role", ["asistant", "User", "gpt", "assitant"])
def test_a_role_that_is_nearly_a_usual_one_is_refused(role: str, prepared: Preparer) -> None:
    write([GOOD["chat"], {"messages": [USER, {"role": role, "content": "Nacht"}, GOOD["chat"]["messages"][1]]}])
    with pytest.raises(RecipeError, match=rf"rows.jsonl:2: error: message 2 has the role '{role}'.*The roles are"):
        prepared()


def test_a_role_that_the_template_leaves_out_is_refused(
    prepared: Preparer, tokenizer_folder: Path, tmp_path: Path
) -> None:
    write([GOOD["chat"], {"messages": [{"role": "critic", "content": "Nay"}, *GOOD["chat"]["messages"]]}])
    assert len(prepared().train) == 2  # this template writes any role down
    folder = shutil.copytree(tokenizer_folder, tmp_path / "choosy")
    known = "{% for m in messages if m.role in ['user', 'assistant'] %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    (folder / "chat_template.jinja").write_text(known)
    with pytest.raises(
        RecipeError, match=r"rows.jsonl:2.*message 1 has the role 'critic', and the chat template leaves"
    ):
        prepared(tokenizer=Tokenizer.load(folder))


def test_sequences_that_a_reward_model_cannot_read_are_left_out_and_told_once(prepared: Preparer) -> None:
    long = " The quick brown fox jumps over the lazy dog." * 4
    row = {"prompt": "The", "chosen": " fox", "rejected": " dog"}
    write([row, *[{**row, "rejected": long}] * 2])
    words = "max_steps: 1, max_length: 8"
    (warning,) = prepared(kind="reward", training=words).warnings
    assert "2 of 3 rows were left out, as too few of their answers fit into max_length 8" in warning
    write([{"prompt": "The", "answers": [" fox", " dog", long]}])
    (warning,) = prepared(kind="reward", training=words).warnings
    assert "1 of 1 rows have sequences longer than max_length 8" in warning and "left out with their seq" in warning


def test_rows_of_which_none_is_better_ask_for_other_answers(prepared: Preparer) -> None:
    write([{"prompt": "The", "answers": [" fox", " dog"], "scores": [1, 1]}] * 2)
    with pytest.raises(RecipeError, match=r"in 2 of 2 no answer is better") as told:
        prepared(kind="dpo", training="max_steps: 1, max_length: 64")
    assert "max_length" not in str(told.value)


@pytest.mark.parametrize("mask", ["true", "false"])
def test_no_packed_row_is_without_a_target(mask: str, prepared: Preparer, tokenizer: Tokenizer) -> None:
    text = "The quick brown fox"
    tokens = len(tokenizer.encode_ids([text])[0])
    for context in (tokens, 8, 9):
        write([{"text": text}] * 4)
        data = f", eval: [{{path: rows.jsonl}}], context_length: {max(context, 8)}, document_mask: {mask}"
        result = prepared(kind="pretrain", data=data)
        for rows in (result.train, result.eval["rows.jsonl"]):
            assert all(len(row["input_ids"]) > 1 for row in rows)
            assert all(any(label != -100 for label in row["labels"][1:]) for row in rows)
        assert sum(result.eval["rows.jsonl"]["num_bytes"]) == 4 * len(text)
        assert result.facts[0]["tokens"] == sum(len(row["input_ids"]) for row in result.train)
