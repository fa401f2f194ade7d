"""The method `synonyms`: words that fit, in the form and case of those they replace."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hfrecipes.data.augment import synonym_tables
from hfrecipes.data.augment.augment import make_methods
from hfrecipes.data.augment.method import Task
from hfrecipes.data.augment.synonym_tables import own_table, read_table, wordnet_synonyms
from hfrecipes.data.augment.synonyms import SynonymsMethod
from hfrecipes.recipe.augmentation import Synonyms
from hfrecipes.recipe.problem import RecipeError


def outcomes(text: str, fixed: tuple[str, ...] = (), seeds: int = 20, **words: object) -> set[str]:
    method = SynonymsMethod(Synonyms(**{"max_words": 1.0, **words}))
    return {method.change([Task((text,), fixed, seed)])[0][0] for seed in range(seeds)}


def table_file(folder: Path, text: str, name: str = "mine.tsv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_case_and_form_are_kept(tmp_path: Path) -> None:
    file = table_file(tmp_path, "quickly\trapidly\nbought\tpurchased\n")
    text = "Quickly, QUICKLY and quickly: they bought, and they buy what Bought sells."
    assert outcomes(text, file=file) == {
        "Rapidly, RAPIDLY and rapidly: they purchased, and they buy what Bought sells."
    }


def test_own_tables_are_large_enough_and_name_no_word_as_its_own_synonym() -> None:
    for language in ("en", "zh"):
        table = own_table(language)
        assert len(table) >= 150
        assert all(word not in synonyms and synonyms for word, synonyms in table.items())
    assert all(2 <= len(word) <= 6 for word in own_table("zh"))


@pytest.mark.parametrize(
    "text", ["We obtain a huge error and a quick meal, perhaps, after the journey.", "An error. A mistake."]
)
def test_articles_fit_the_words_after_them(text: str) -> None:
    found = outcomes(text)
    assert not any(re.search(r"\ba [aeio]|\ban [^aeiou]", one, re.IGNORECASE) for one in found)


def test_articles_go_by_the_ear(tmp_path: Path) -> None:
    file = table_file(tmp_path, "tool\tutensil,unit,hour,oar,hammer\n")
    assert outcomes("It is a tool", file=file) == {"It is a utensil", "It is a unit", "It is a hammer"}


def test_chinese_words_are_replaced_in_running_text() -> None:
    assert outcomes("他忽然觉得这个方法非常重要。") == {"他突然认为这个办法十分要紧。"}
    assert len(outcomes("他忽然觉得这个方法非常重要。", max_words=0.1)) == 5


def test_classical_chinese_stays() -> None:
    text = "子曰：“不仁者不可以久处约，不可以长处乐。仁者安仁，知者利仁。”许多"
    assert outcomes(text) == {text}


def test_other_languages_are_left_alone() -> None:
    text = "Der alte Physician war idea und perhaps auch enormous, sagte die kleine Katze zu ihrem Bruder im Garten."
    assert outcomes(text) == {text}


def test_no_more_words_change_than_are_allowed() -> None:
    text = "Perhaps the huge error was important, however the children immediately began the journey."
    words = text.split()
    for one in outcomes(text, max_words=0.2):
        changed = sum(before != after for before, after in zip(words, one.split(), strict=True))
        assert 1 <= changed <= 0.2 * len(words) + 0.5
    assert outcomes(text, max_words=0.0) == {text}


def test_answers_and_code_stay() -> None:
    text = "Was it a `huge` error_code or huge error? Perhaps the huge one."
    assert outcomes(text, fixed=("huge error",)) == {
        "Was it a `huge` error_code or huge error? Maybe the enormous one."
    }


@pytest.mark.parametrize(
    ("name", "text", "place", "message"),
    [
        ("a.tsv", "big\tlarge\nsmall little\n", "a.tsv:2", "no word with synonyms"),
        ("a.tsv", "# nothing\n", "a.tsv", "there are no synonyms"),
        ("a.json", '{"big": 3}', "a.json", "the synonyms of 'big' are no list"),
        ("a.json", "[1]", "a.json", "no mapping"),
        ("a.json", "{", "a.json", "not JSON"),
    ],
)
def test_wrong_tables_are_refused_at_their_line(tmp_path: Path, name: str, text: str, place: str, message: str) -> None:
    file = table_file(tmp_path, text, name)
    with pytest.raises(RecipeError, match=message) as raised:
        SynonymsMethod(Synonyms(file=file))
    assert raised.value.problems[0].where.endswith(place)


def test_tables_of_both_kinds_hold_the_same(tmp_path: Path) -> None:
    lines = read_table(Path(table_file(tmp_path, "\ufeffbig\tlarge, huge\n\n高\t大，长\n")))
    mapping = read_table(
        Path(table_file(tmp_path, json.dumps({"big": ["large", "huge"], "高": ["大", "长"]}), "a.json"))
    )
    assert lines == mapping == {"big": ("large", "huge"), "高": ("大", "长")}


def test_wordnet_that_is_not_installed_is_named_before_any_row_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nltk = pytest.importorskip("nltk")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(RecipeError, match=r"^my.yaml:7: error: WordNet is not installed .*nltk\.downloader wordnet"):
        make_methods([{"method": "synonyms", "wordnet": True}], place=lambda key: "my.yaml:7")


def test_wordnet_gives_synonyms_of_words_with_one_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """WordNet's data cannot be had here: a stand-in with its interface, for words with one sense, several, and inflected."""
    corpus = pytest.importorskip("nltk.corpus")
    monkeypatch.setattr(corpus, "wordnet", StandInWordNet(), raising=False)
    synonym_tables._wordnet_lookup.cache_clear()
    assert wordnet_synonyms("automobile") == ("car", "motor car")
    assert wordnet_synonyms("bank") == () and wordnet_synonyms("automobiles") == () and wordnet_synonyms("x") == ()
    assert "He crossed the lake in his car." in outcomes("He crossed the lake in his automobile.", wordnet=True)
    synonym_tables._wordnet_lookup.cache_clear()


class StandInWordNet:
    def ensure_loaded(self) -> None: ...

    def synsets(self, word: str) -> list[object]:
        senses = {"automobile": [["car", "automobile", "motor_car"]], "bank": [["bank"], ["bank", "shore"]]}
        senses["automobiles"] = senses["automobile"]
        return [
            type("Synset", (), {"lemma_names": lambda self, names=names: names})() for names in senses.get(word, [])
        ]
