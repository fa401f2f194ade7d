"""Local files and folders, their splits, and what is said of those that cannot be read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfrecipes.data.formats import to_example
from hfrecipes.data.hashing import SPLITS
from hfrecipes.data.row import Source
from hfrecipes.data.sources import open_source, open_sources
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ROWS = [{"text": "one"}, {"text": "zwei ü"}, {"text": "三"}]

Opener = Callable[..., Source]


@pytest.fixture
def opened(make_recipe: Callable[..., Recipe]) -> Opener:
    recipe = make_recipe("train: [{name: python_code}]")

    def open_spec(path: str | Path, **spec: Any) -> Source:
        return open_source({"path": str(path), **spec}, recipe, "my.yaml:3")

    return open_spec


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_each_format(folder: Path) -> list[Path]:
    (folder / "a.jsonl").write_text(lines(ROWS), encoding="utf-8")
    (folder / "a.json").write_text(json.dumps(ROWS), encoding="utf-8")
    (folder / "a.csv").write_text("text\n" + "".join(f'"{row["text"]}"\r\n' for row in ROWS), encoding="utf-8-sig")
    (folder / "a.tsv").write_text("text\n" + "".join(f"{row['text']}\n" for row in ROWS), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(("\ufeff\n\n" + lines(ROWS)).encode()))
    return sorted(folder.glob("[ab].*"))


def test_every_format_gives_the_same_rows(tmp_path: Path, opened: Opener) -> None:
    files = write_each_format(tmp_path)
    assert len(files) == 6
    for file in files:
        source = opened(file)
        assert [row.values for row in source.rows()] == ROWS, file
        assert source.columns == ("text",) and source.revision.startswith("sha256:") and not source.embedded


def test_places_are_those_an_editor_opens(tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text("\n" + lines(ROWS), encoding="utf-8")
    (tmp_path / "a.csv").write_text('text,n\n"two\nlines",1\nplain,2\n')
    assert [row.where for row in opened("a.jsonl").rows()] == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4"]
    assert [row.where for row in opened("a.csv").rows()] == ["a.csv:2", "a.csv:4"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a.jsonl:2: error: is not valid JSON"),
        ("a.jsonl", b'{"text": "x"}\n["x"]\n', r"a.jsonl:2: error: is a list, not an object"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\xff"}\n', r"a.jsonl:2: error: is not UTF-8: byte 0xff"),
        ("a.json", b'{"text": "x"}', r"a.json: error: holds a dict where a list"),
        ("a.json", b"[1]", r"a.json: item 1: error: is an int"),
        ("a.csv", b"text,n\na,1\nb\n", r"a.csv:3: error: has 1 cells where the header has 2"),
        ("a.csv", b'text,n\na,"1\n', r"a.csv:2: error: is malformed"),
        ("a.csv", b"text,text\na,1\n", r"a.csv:1: error: the header names 'text' more than once"),
        ("a.parquet", b"PAR1", r"a.parquet: error: is not a readable Parquet file"),
        ("a.jsonl.gz", b"nonsense", r"a.jsonl.gz: error: cannot be read"),
        ("a.txt", b"\xff\xfe", r"a.txt: error: is not UTF-8"),
        ("a.jsonl", b"\n\n", r"my.yaml:3: error: .*a.jsonl has no rows"),
    ],
)
def test_malformed_files_name_the_row(name: str, content: bytes, message: str, tmp_path: Path, opened: Opener) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        list(opened(tmp_path / name).rows())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"path": "missing.jsonl"}, r"missing.jsonl does not exist \(.* holds a.jsonl, b.xlsx, my.yaml\)"),
        ({"path": "b.xlsx"}, r"of no format that can be read \(the formats are .jsonl"),
        ({"path": "a.jsonl", "split": "train[:10]"}, r"has no split 'train\[:10\]'.*say limit"),
        ({"path": "a.jsonl", "name": "x/y"}, "either a name or a path"),
        ({}, "either a name or a path"),
        ({"name": "python_code", "split": "dev"}, "python_code has no split 'dev'"),
        ({"name": "python_code", "revision": "abc"}, "python_code has no revision"),
    ],
)
def test_sources_that_cannot_be_opened(
    spec: dict[str, Any], message: str, tmp_path: Path, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe("train: [{name: python_code}]")
    (tmp_path / "a.jsonl").write_text(lines(ROWS), encoding="utf-8")
    (tmp_path / "b.xlsx").write_bytes(b"")
    with pytest.raises(RecipeError, match=message):
        open_source(spec, recipe, "my.yaml:3")


def test_all_problems_of_a_role_come_at_once(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe("train: [{path: no.jsonl}, {name: python_code}, {path: nor.jsonl}]")
    with pytest.raises(RecipeError) as caught:
        open_sources(recipe, "train")
    assert [problem.message for problem in caught.value.problems] == [
        "no.jsonl does not exist",
        "nor.jsonl does not exist",
    ]


def test_a_folder_with_named_splits(tmp_path: Path, opened: Opener) -> None:
    folder = tmp_path / "data"
    (folder / "test").mkdir(parents=True)
    (folder / "train-00000.jsonl").write_text(lines(ROWS[:1]), encoding="utf-8")
    (folder / "dev.jsonl").write_text(lines(ROWS[1:2]), encoding="utf-8")
    (folder / "test" / "part.jsonl").write_text(lines(ROWS[2:]), encoding="utf-8")
    (folder / "README.md").write_text("about")
    found = {split: [row.values for row in opened(folder, split=split).rows()] for split in SPLITS}
    assert found == {"train": ROWS[:1], "validation": ROWS[1:2], "test": ROWS[2:]}
    with pytest.raises(RecipeError, match="has files for train, validation, test"):
        opened(folder)


def test_a_folder_without_split_names_is_read_whole_and_in_order(tmp_path: Path, opened: Opener) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "z.txt").write_text("z")
    (folder / "testimonials.txt").write_text("t")
    (folder / ".hidden.txt").write_text("h")
    assert [row.values["text"] for row in opened(folder).rows()] == ["z", "t"]


def test_a_hash_split_is_stable_and_keeps_equal_rows_together(tmp_path: Path, opened: Opener) -> None:
    rows = [{"text": f"row {number}"} for number in range(2000)]
    path = tmp_path / "a.jsonl"

    def split(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
        path.write_text(lines(rows), encoding="utf-8")
        return {name: [row.values["text"] for row in opened(path, split=name).rows()] for name in SPLITS}

    before = split(rows)
    assert sorted(text for texts in before.values() for text in texts) == sorted(row["text"] for row in rows)
    # 5 % of 2000 is 100, with a standard deviation below 10
    assert all(60 <= len(before[name]) <= 140 for name in ("validation", "test"))
    after = split([{"text": "new"}, *rows[::-1], *rows])
    assert all(set(before[name]) <= set(after[name]) for name in SPLITS)
    assert not set(after["train"]) & set(after["test"])


def test_one_text_file_is_cut_from_its_beginning_to_its_end(tmp_path: Path, opened: Opener) -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    (tmp_path / "a.txt").write_text(text)
    parts = {name: [row.values["text"] for row in opened(tmp_path / "a.txt", split=name).rows()] for name in SPLITS}
    assert all(len(part) == 1 for part in parts.values())
    assert "".join(parts[name][0] for name in SPLITS) == text
    assert abs(len(parts["train"][0]) / len(text) - 0.9) < 0.01
    (tmp_path / "a.txt").write_text("one line")
    with pytest.raises(RecipeError, match="too short to have a test part"):
        list(opened(tmp_path / "a.txt", split="test").rows())


def test_a_limit_is_an_even_and_stable_sample(tmp_path: Path, opened: Opener) -> None:
    rows = [{"text": f"row {number}"} for number in range(1000)]
    path = tmp_path / "a.jsonl"
    path.write_text(lines(rows), encoding="utf-8")
    taken = [row.values for row in opened(path, limit=100).rows()]
    positions = [rows.index(row) for row in taken]
    assert len(taken) == 100 and positions == sorted(positions)
    assert 300 < sum(positions) / 100 < 700  # a standard deviation of the mean is 29
    path.write_text(lines([*rows, *({"text": f"later {n}"} for n in range(100))]), encoding="utf-8")
    again = [row.values for row in opened(path, limit=100).rows()]
    assert sum(row in again for row in taken) > 75
    assert len(list(opened(path, limit=5000).rows())) == 1100


def test_the_revision_is_the_content_s(tmp_path: Path, opened: Opener) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").write_text(lines(ROWS), encoding="utf-8")
    before = opened(tmp_path / "a").revision
    assert opened(tmp_path / "b").revision == before
    (tmp_path / "a" / "x.jsonl").write_text(lines(ROWS[:2]), encoding="utf-8")
    assert opened(tmp_path / "a").revision != before


def test_hub_offline_is_a_clear_error(make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert datasets.config.HF_HUB_OFFLINE
    source = open_source(
        {"name": "some/never-fetched", "split": "train"}, make_recipe("train: [{name: x/y}]"), "my.yaml:3"
    )
    with pytest.raises(RecipeError, match=r"my.yaml:3: error: some/never-fetched .*neither from the local cache nor"):
        list(source.rows())


def test_hub_rows_limit_and_revision(make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[Any, ...]] = []
    commit = "0123456789abcdef0123456789abcdef01234567"
    checksums = {f"hf://datasets/o/d@{commit}/train.parquet": {}}
    data = datasets.Dataset.from_list(
        [{"text": str(number)} for number in range(100)],
        info=datasets.DatasetInfo(download_checksums=checksums),
        split="train",
    )

    def load_dataset(name: str, subset: str | None, **options: Any) -> Any:
        asked.append((name, subset, options))
        return data if options["split"] else datasets.DatasetDict(train=data, test=data)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    recipe = make_recipe("train: [{name: x/y}]")
    source = open_source({"name": "o/d", "subset": "en", "split": "train", "revision": "main", "limit": 7}, recipe, "w")
    rows = list(source.rows())
    assert len(rows) == 7 and all(row.where == f"o/d/train: row {row.values['text']}" for row in rows)
    assert source.revision == commit
    assert asked == [("o/d", "en", {"split": "train", "revision": "main"})]  # loaded once
    with pytest.raises(RecipeError, match="o/d has the splits train, test"):
        list(open_source({"name": "o/d"}, recipe, "w").rows())


@pytest.mark.skipif(not SHARED.is_dir(), reason="real data is not here")
def test_real_files(opened: Opener) -> None:
    gsm = opened(SHARED / "gsm8k_test.jsonl", limit=50)
    assert gsm.columns == ("question", "answer")
    columns = {"columns": {"prompt": "question", "completion": "answer"}}
    assert all(to_example(row.values, columns)["prompt"] == row.values["question"] for row in gsm.rows())
    plays = opened(SHARED / "tinyshakespeare.txt", split="validation")
    (row,) = plays.rows()
    assert 50_000 < len(row.values["text"]) < 60_000
    assert opened(SHARED / "zh_classics" / "lunyu.json").columns
