"""The catalogue: every entry is whole and loads by the words of a recipe; what a recipe says wins."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields

import pytest
from rich.console import Console

from hfrecipes.data import embedded
from hfrecipes.recipe.catalogue import CATEGORIES, TYPICAL_SHARES, CatalogueEntry, expand, load_catalogue, lookup
from hfrecipes.recipe.catalogue_table import catalogue_table, size_of
from hfrecipes.recipe.licenses import LICENSES
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.source_words import Source

ENTRIES = load_catalogue()
PYTHON = "PSF-2.0"  # SPDX's word; the Hub has none for Python's licence
TEXT_CATEGORIES = {"web", "books", "papers", "news", "reference", "code", "domain"}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_whole(name):
    entry = ENTRIES[name]
    assert re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", name)
    assert len(entry.title) > 5 and entry.category in CATEGORIES and entry.license in LICENSES | {PYTHON}
    assert entry.languages and all(re.fullmatch(r"[a-z]{2}|code", language) for language in entry.languages)
    assert entry.license_note or entry.license not in ("other", "unknown"), "say what the licence is"
    assert (entry.category == "domain") == (entry.domain is not None)
    assert (entry.text is not None) == (entry.category in TEXT_CATEGORIES) or name == "oasst1"
    assert entry.rows or entry.bytes or entry.tokens or entry.note, "say how large it is"
    if entry.embedded:
        assert name == entry.name
    else:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.name) and entry.split
        assert re.fullmatch(r"20[12][0-9](-(0[1-9]|1[0-2]))?", entry.published)


@pytest.mark.parametrize("name", ENTRIES)
def test_its_words_are_those_of_a_source_in_a_recipe(name):
    spec = expand({"name": name})
    Source(**spec)
    assert set(spec) <= {field.name for field in fields(Source)}
    assert all(isinstance(spec.get(word, ""), str) for word in ("name", "subset", "split"))
    assert spec == expand(spec), "a data set's own id stays as it is"


def test_there_are_sources_of_every_category_and_all_embedded_ones():
    assert {entry.category for entry in ENTRIES.values()} == set(CATEGORIES)
    assert {name for name, entry in ENTRIES.items() if entry.embedded} == set(embedded.NAMES)
    assert {entry.domain for entry in ENTRIES.values()} >= {"medicine", "law", "finance"}
    assert len(ENTRIES) >= 35


def test_no_two_names_load_the_same_thing():
    words = [str(entry.source) for entry in ENTRIES.values()]
    assert len(set(words)) == len(words)


def test_typical_shares_are_of_categories_and_can_sum_to_one():
    assert set(TYPICAL_SHARES) < {entry.category for entry in ENTRIES.values()}
    assert sum(low for low, _ in TYPICAL_SHARES.values()) <= 1 <= sum(high for _, high in TYPICAL_SHARES.values())


def test_a_name_becomes_the_words_that_load_it():
    assert expand({"name": "fineweb-edu", "limit": 10}) == {
        "name": "HuggingFaceFW/fineweb-edu",
        "license": "odc-by",
        "subset": "sample-10BT",
        "split": "train",
        "limit": 10,
    }
    assert expand({"name": "FineWeb-Edu"}) == expand({"name": "fineweb-edu"})
    assert expand({"name": "starcoderdata"})["columns"] == {"text": "content"}
    gsm8k = {"prompt": "question", "completion": "answer"}
    hub = {"name": "openai/gsm8k", "license": "mit", "subset": "main", "split": "train"}
    assert expand({"name": "gsm8k"}) == {**hub, "columns": gsm8k}


def test_what_the_recipe_says_wins():
    spec = expand({"name": "gsm8k", "subset": "socratic", "split": "test", "revision": None})
    assert (spec["subset"], spec["split"]) == ("socratic", "test") and "revision" not in spec


@pytest.mark.parametrize(
    "said, columns",
    [
        ({"columns": {"completion": "rationale"}}, {"prompt": "question", "completion": "rationale"}),
        ({"columns": {"kind": "level"}}, {"prompt": "question", "completion": "answer", "kind": "level"}),
        ({"columns": {"instruction": "question", "output": "answer"}}, {"instruction": "question", "output": "answer"}),
        ({"columns": {}}, {"prompt": "question", "completion": "answer"}),
        ({"format": "mine:rows"}, None),
        ({"format": "mine:rows", "columns": {"q": "question"}}, {"q": "question"}),
    ],
)
def test_columns_are_merged_and_none_is_mapped_twice(said, columns):
    assert expand({"name": "gsm8k", **said}).get("columns") == columns


@pytest.mark.parametrize(
    "spec",
    [
        {"path": "data/train.jsonl"},
        {"name": "allenai/c4", "subset": "de"},
        {"name": "python_code"},
        {"name": "python_docstrings", "split": "test"},
        {"path": "fineweb"},
        {},
    ],
)
def test_paths_hub_ids_and_embedded_sources_stay_as_they_are(spec):
    assert expand(spec) == spec


def test_expanding_changes_neither_the_recipe_nor_the_catalogue():
    spec = {"name": "gsm8k", "columns": {"extra": "x"}}
    expand(spec)["columns"]["more"] = "y"
    assert spec == {"name": "gsm8k", "columns": {"extra": "x"}}
    assert lookup("gsm8k").columns == {"prompt": "question", "completion": "answer"}


@pytest.mark.parametrize(
    "written, meant", [("finewebedu", "fineweb-edu"), ("wikipeda", "wikipedia"), ("gsmk8", "gsm8k")]
)
def test_a_name_that_is_not_known_gives_the_nearest(written, meant):
    with pytest.raises(
        RecipeError, match=rf"^my.yaml:9: error: '{written}' is no named source.*did you mean {meant}\?"
    ):
        expand({"name": written}, "my.yaml:9")
    assert lookup(written) is None


def test_a_name_unlike_any_is_left_to_the_hub():
    assert expand({"name": "imdb"}, "my.yaml:9") == {"name": "imdb"}


def test_the_table_has_a_line_for_every_source():
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(catalogue_table(ENTRIES))
    shown = console.export_text()
    assert all(
        re.search(rf"^{re.escape(name)} +{entry.category}", shown, re.MULTILINE) for name, entry in ENTRIES.items()
    )
    assert re.search(r"^pes2o +papers +odc-by +en +58.6 B tokens, 412 GB, 38 M rows \(2024-11\)", shown, re.MULTILINE)


def test_sizes_are_short_and_say_when_they_were_published():
    entry = CatalogueEntry(title="t", category="web", license="mit", languages=("en",), name="a/b", rows=7473)
    assert size_of(entry) == "7,473 rows"
    assert size_of(ENTRIES["fineweb"]) == "10 B tokens (2024-04)"
    assert size_of(ENTRIES["python_code"]) == "9 MB with Python 3.11"


def test_importing_it_reads_no_yaml_and_nothing_heavy():
    code = (
        "import sys, hfrecipes.recipe.catalogue, hfrecipes.recipe.catalogue_table\n"
        "print([m for m in ('yaml', 'rich', 'torch', 'datasets', 'transformers') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
