"""TRL keeps its chat templates where `compat` looks for them."""

from __future__ import annotations

from hfrecipes.compat import trl_chat_templates


def test_trl_ships_pairs_of_templates() -> None:
    folder = trl_chat_templates()
    assert folder is not None
    trained = list(folder.glob("*_training.jinja"))
    assert len(trained) > 10
    assert all(path.with_name(path.name.replace("_training", "")).is_file() for path in trained)
