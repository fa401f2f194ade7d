"""The engine applies rules in their order, once, and gives the same bytes however it was run."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.clean import engine, work
from hfrecipes.data.clean.engine import Cleaned, clean
from hfrecipes.data.clean.work import Work
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer
from tests.data.clean.own_rules import ShortRule

Cleaning = Callable[..., Recipe]
ALL = [{"rule": "short", "least": 4}, {"rule": "repeats"}, {"rule": "digits"}, {"rule": "repeats"}]


@pytest.fixture(autouse=True)
def rules(own: None) -> None:
    pass


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Texts of which many repeat, more of them once they have no digits."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abc", k=chance.randint(1, 6))) for _ in range(count)]
    return [{"text": word + str(chance.randint(0, 20))} for word in words]


def texts(cleaned: Cleaned, index: int = 0) -> list[str]:
    return [example["text"] for _, example in cleaned.examples(index)]


def by_hand(*sources: list[dict[str, Any]]) -> list[list[str]]:
    """What `ALL` leaves, worked out without parts."""
    kept = [(source, row["text"]) for source, some in enumerate(sources) for row in some if len(row["text"]) >= 4]
    kept = without_repeats(kept)
    kept = [(source, "".join(filter(str.isalpha, text))) for source, text in kept]
    kept = without_repeats(kept)
    return [[text for source, text in kept if source == index] for index in range(len(sources))]


def without_repeats(kept: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return list({text: (source, text) for source, text in reversed(kept)}.values())[::-1] if kept else []


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_rules_are_applied_in_their_order_over_all_sources_at_once(cleaning: Cleaning, tmp_path: Path) -> None:
    first, second = rows(64), rows(57, seed=1)
    cleaned = clean(cleaning(ALL, first=first, second=second), cache=tmp_path / "cache")
    expected = by_hand(first, second)
    # The oracle keeps the first of equals, in order; order within a source is that of its rows.
    assert [sorted(texts(cleaned, index)) for index in (0, 1)] == [sorted(some) for some in expected]
    places = [row.where for row, _ in cleaned.examples(0)]
    assert places == sorted(places, key=lambda place: int(place.rpartition(":")[2]))
    assert len(set(texts(cleaned, 0) + texts(cleaned, 1))) == sum(map(len, expected)) > 5


def test_the_report_counts_every_document_once(cleaning: Cleaning, tmp_path: Path) -> None:
    first, second = rows(64), rows(57, seed=1)
    report = clean(cleaning(ALL, first=first, second=second), cache=tmp_path / "cache").report
    kept = [len(some) for some in by_hand(first, second)]
    assert report["documents"] == {"before": 121, "after": sum(kept), "kept": round(sum(kept) / 121, 6)}
    before = 121
    for rule in report["rules"]:
        assert rule["documents"]["before"] == before
        before = rule["documents"]["after"]
        assert rule["documents"]["before"] - before == sum(rule["reasons"].values())
    assert before == sum(kept)
    assert [source["documents"]["after"] for source in report["sources"]] == kept
    for source, size in zip(report["sources"], (64, 57), strict=True):
        assert source["documents"]["after"] + sum(source["left_out"].values()) == size
    short = sum(len(row["text"]) < 4 for row in first + second)
    assert report["rules"][0]["reasons"] == {"too_short": short} and short > 3
    digits = report["rules"][2]
    assert digits["changed"] == digits["documents"]["before"]
    assert digits["counts"]["digits"] == digits["characters"]["before"] - digits["characters"]["after"] > 0
    assert report["rules"][0]["settings"] == {"least": 4}


def test_a_few_examples_of_what_was_left_out_are_shown_without_personal_data(
    cleaning: Cleaning, tmp_path: Path
) -> None:
    bad = [{"text": f"{number}, mail me at bob{number}@corp.org"} for number in range(40)]
    good = [{"text": "long " * 50}]
    report = clean(cleaning([{"rule": "short", "least": 90}], bad=bad, good=good), cache=tmp_path / "cache").report
    examples = report["rules"][0]["examples"]
    assert len(examples) == 3 and len({one["where"] for one in examples}) == 3
    for one in examples:
        assert one["text"].endswith("mail me at <EMAIL>") and one["reason"] == "too_short"
        assert "<EMAIL>" in one["detail"] and "corp.org" not in json.dumps(one)
        assert one["source"] == "bad.jsonl"
    assert any(int(one["where"].rpartition(":")[2]) > 3 for one in examples)  # not only the first that came


def test_bytes_are_the_same_for_any_number_of_workers(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning(ALL, first=rows(200), second=rows(35, seed=1))
    one = clean(recipe, cache=tmp_path / "one")
    two = clean(recipe, workers=2, cache=tmp_path / "two")
    assert digests(one.folder) == digests(two.folder) and len(digests(one.folder)) > 15


class Stopped(BaseException):
    """A kill, as far as one process can play it."""


@pytest.mark.parametrize("after", [0, 5, 6, 9, 12, 13, 25])
def test_stopped_after_any_task_and_repeated_it_gives_the_same_bytes_and_repeats_no_task(
    after: int, cleaning: Cleaning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = cleaning(ALL, first=rows(60))
    whole = clean(recipe, cache=tmp_path / "whole")
    written: list[str] = []
    write_once = work.write_once

    def counted(folder: Path, write: Callable[[Path], None], **facts: Any) -> None:
        if len(written) == after:
            raise Stopped
        write_once(folder, write, **facts)
        written.append(f"{folder.parent.name}/{folder.name}")

    monkeypatch.setattr(work, "write_once", counted)
    with pytest.raises(Stopped):
        clean(recipe, cache=tmp_path / "again")
    after = -1
    again = clean(recipe, cache=tmp_path / "again")
    assert digests(again.folder) == digests(whole.folder)
    assert len(written) == len(set(written)) == 6 + 3 * 6 + 2
    assert [path.name for path in (tmp_path / "again" / "cleaned").iterdir() if path.suffix == ".work"] == []


def test_what_an_earlier_task_wrote_is_damaged_is_said(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning(ALL, first=rows(50))
    folder, work = engine.plan_work(recipe, "train", None, tmp_path)
    work.read()
    (work.folders.root / "pass-0" / "00002" / "documents.arrow").write_bytes(b"x")
    with pytest.raises(RecipeError, match=r"00002: error: is damaged: .*\.work and clean again"):
        clean(recipe, cache=tmp_path)
    shutil.rmtree(work.folders.root)
    assert clean(recipe, cache=tmp_path).folder == folder


def test_a_task_whose_result_is_damaged_is_done_again(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning(ALL, first=rows(50))
    whole = clean(recipe, cache=tmp_path / "whole")
    _, work = engine.plan_work(recipe, "train", None, tmp_path)
    work.read()
    work.run_task(1, 0)
    file = work.folders.root / "pass-1" / "00000" / "documents.arrow"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert digests(clean(recipe, cache=tmp_path).folder) == digests(whole.folder)


def test_a_result_is_found_and_a_damaged_one_is_made_anew(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning(ALL, first=rows(50))
    cleaned = clean(recipe, cache=tmp_path)
    files = digests(cleaned.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "read", lambda self, told: pytest.fail("it is done already"))
        assert clean(recipe, cache=tmp_path).warnings == []
    (cleaned.folder / "part-00000.arrow").write_bytes(b"")
    again = clean(recipe, cache=tmp_path)
    assert "part-00000.arrow" in again.warnings[0] and digests(again.folder) == files


def change_rows(recipe: Recipe) -> Recipe:
    with (recipe.path.parent / "first.jsonl").open("a") as file:
        file.write('{"text": "another one"}\n')
    return recipe


def change_rules(recipe: Recipe) -> Recipe:
    data = recipe.values["data"]
    return recipe.replace(data={**data, "clean": [{"rule": "short", "least": 5}, *data["clean"][1:]]})


def change_source(recipe: Recipe) -> Recipe:
    data = recipe.values["data"]
    return recipe.replace(data={**data, "train": [{**data["train"][0], "limit": 20}]})


@pytest.mark.parametrize("change", [change_rows, change_rules, change_source])
def test_what_changes_the_documents_makes_a_result_of_its_own(
    change: Callable[[Recipe], Recipe], cleaning: Cleaning, tmp_path: Path
) -> None:
    recipe = cleaning(ALL, first=rows(50))
    folder = clean(recipe, cache=tmp_path).folder
    assert clean(change(recipe), cache=tmp_path).folder != folder


def test_a_rule_whose_own_files_change_makes_a_result_of_its_own(
    cleaning: Cleaning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = cleaning(ALL, first=rows(50))
    folder = clean(recipe, cache=tmp_path).folder
    monkeypatch.setattr(ShortRule, "fingerprint", "2")
    assert clean(recipe, cache=tmp_path).folder != folder


def test_an_empty_turn_is_no_example(cleaning: Cleaning, tmp_path: Path) -> None:
    pairs = [{"prompt": "how many?", "completion": "42"}, {"prompt": "how many 2?", "completion": "two 2"}]
    cleaned = clean(cleaning([{"rule": "digits"}], first=pairs), cache=tmp_path / "cache")
    assert [example for _, example in cleaned.examples(0)] == [{"prompt": "how many ?", "completion": "two "}]
    assert cleaned.report["rules"][0]["reasons"] == {"nothing_left": 1}


def test_all_of_an_example_but_its_text_stays_as_it_is(cleaning: Cleaning, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "2 plus 2?", "name": "Ann"}, {"role": "assistant", "content": "é 4 学"}]
    rows = [{"messages": turns, "tools": [{"name": "add2"}], "url": "x"}, {"messages": turns, "url": "bad"}]
    cleaned = clean(cleaning([{"rule": "column"}, {"rule": "digits"}], first=rows), cache=tmp_path / "cache")
    ((row, example),) = cleaned.examples(0)
    assert row.values == {"url": "x"} and row.where.endswith("first.jsonl:1")
    assert example == {
        "messages": [
            {"role": "user", "content": " plus ?", "name": "Ann"},
            {"role": "assistant", "content": "é  学"},
        ],
        "tools": [{"name": "add2"}],
    }


def test_tokens_are_counted_where_there_is_a_tokenizer(
    cleaning: Cleaning, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    some = rows(50)
    recipe = cleaning(ALL, first=some)
    cleaned = clean(recipe, tokenizer=tokenizer, cache=tmp_path)

    def count(strings: list[str]) -> int:
        return sum(map(len, tokenizer.encode_ids(strings, add_special_tokens=False)))

    assert cleaned.report["tokens"]["before"] == count([row["text"] for row in some])
    assert cleaned.report["tokens"]["after"] == count(texts(cleaned))
    # Who does not ask for tokens takes what is there; who does gets them.
    assert clean(recipe, cache=tmp_path).folder == cleaned.folder
    plain = clean(recipe, cache=tmp_path / "other")
    assert "tokens" not in plain.report and texts(plain) == texts(cleaned)
    assert "tokens" in clean(recipe, tokenizer=tokenizer, cache=tmp_path / "other").report


def test_two_at_once_do_the_work_once(
    cleaning: Cleaning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = cleaning(ALL, first=rows(50))
    reads: list[int] = []
    began, waits = threading.Event(), threading.Event()
    read = Work.read

    def slow(self: Work, told: Callable[[int], None]) -> None:
        reads.append(1)
        began.set()
        assert waits.wait(20)
        read(self, told)

    def tell(*args: Any) -> None:
        told(*args)
        waits.set()

    told = engine.tell_if_waiting
    monkeypatch.setattr(Work, "read", slow)
    first = threading.Thread(target=clean, args=(recipe,), kwargs={"cache": tmp_path})
    first.start()
    assert began.wait(20)
    monkeypatch.setattr(engine, "tell_if_waiting", tell)
    cleaned = clean(recipe, cache=tmp_path)
    first.join()
    assert reads == [1] and len(texts(cleaned)) > 5
    assert "another process is cleaning the same data: waiting for it" in capsys.readouterr().err


def test_an_empty_list_of_rules_leaves_all(cleaning: Cleaning, tmp_path: Path) -> None:
    some = rows(25)
    cleaned = clean(cleaning([], first=some), cache=tmp_path / "cache")
    assert texts(cleaned) == [row["text"] for row in some] and cleaned.report["rules"] == []


def test_parts_of_which_nothing_is_left_are_passed_over(cleaning: Cleaning, tmp_path: Path) -> None:
    some = [{"text": "a"}] * 10 + [{"text": "abcdef"}] * 10 + [{"text": "b"}] * 10 + [{"text": "ghijkl"}] * 3
    cleaned = clean(cleaning(ALL, first=some), cache=tmp_path / "cache")
    assert texts(cleaned) == ["abcdef", "ghijkl"]
