"""A tokenizer, recipes and a cache that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.tokenization.tokenizer import Tokenizer, train_tokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog. ",
    "def add(a, b):\n    return a + b\n",
    "Wer reitet so spät durch Nacht und Wind? 学而时习之，不亦说乎？ 🦊",
] * 20


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the whole session: mining the standard library once is enough."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFRECIPES_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tokenizer(TEXTS, 400, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_folder)


@pytest.fixture
def make_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Writes a recipe beside the test's files and loads it."""

    def make(data: str, training: str = "max_steps: 1", kind: str = "sft") -> Recipe:
        path = tmp_path / "my.yaml"
        lines = [
            f"kind: {kind}",
            "model: {config: {model_type: llama}, tokenizer: {vocab_size: 400}}",
            f"data: {{{data}}}",
            f"training: {{{training}}}",
        ]
        path.write_text("\n".join(lines), encoding="utf-8")
        return load_recipe(path)

    return make
