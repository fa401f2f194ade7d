"""`hfrecipes data sources`."""

from __future__ import annotations

import pytest

from hfrecipes.cli.main import main
from hfrecipes.recipe.catalogue import load_catalogue


def test_all_named_sources_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "sources"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in load_catalogue())


def test_a_category_shows_its_own_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "sources", "code"]) == 0
    told = capsys.readouterr().out
    for name, entry in load_catalogue().items():
        assert (f"{name} " in told) == (entry.category == "code")


def test_an_unknown_category_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "sources", "cod"])
    assert "'reference', 'code'" in capsys.readouterr().err
