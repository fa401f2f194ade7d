"""A tokenizer with more pieces reads old text as before, new text in fewer tokens, and gives every text back."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoTokenizer

from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.extension import Extension, extend_tokenizer, read_extension
from hfrecipes.tokenization.new_pieces import LONGEST_PIECE, learn_pieces
from hfrecipes.tokenization.tokenizer import Tokenizer
from tests.tokenization.bpe_families import FAMILIES, OLD_TEXTS, near_texts, new_texts, write

COUNT = 500
# A tokenizer can have a piece for fox that no merge leads to.
FOXES = ["foxtrot foxes outfox a fox's foxy foxhole"] * 30
STRANGE = ["", " ", "\n", "a\u0301 é", "🦊👩‍👩‍👧 x", "שלום مرحبا", "中", "  中 文  ", "x中y文9。z", "\u2581 \u0000"]


@pytest.fixture(scope="module", params=FAMILIES)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, Tokenizer, Extension]:
    """A tokenizer, the same extended, and what was added."""
    folder = tmp_path_factory.mktemp(request.param)
    old = Tokenizer.load(write(request.param, folder / "old"))
    extend_tokenizer(
        old, [*new_texts(200), *near_texts(200), *OLD_TEXTS[:4], *FOXES], COUNT, folder / "new", "my.yaml:3"
    )
    return old, Tokenizer.load(folder / "new"), read_extension(folder / "new")


def mixed_texts() -> list[str]:
    """Old, new and strange text, and pieces of all three in one."""
    held_out, draw = new_texts(20, seed=1), random.Random(3)
    everything = [*OLD_TEXTS[:4], *held_out, *near_texts(20, seed=1), FOXES[0], *STRANGE]
    cut = [
        "".join(text[draw.randrange(len(text) + 1) :][:9] for text in draw.sample(everything, 5)) for _ in range(200)
    ]
    return [*everything, *cut]


def spelled_out(ids: list[int], extension: Extension) -> list[int]:
    spelled = [
        extension.spelled[token - extension.first_id] if token >= extension.first_id else (token,) for token in ids
    ]
    return [token for tokens in spelled for token in tokens]


def test_new_ids_spelled_in_old_pieces_are_the_old_ids_of_every_text(
    pair: tuple[Tokenizer, Tokenizer, Extension],
) -> None:
    old, new, extension = pair
    texts = mixed_texts()
    before, after = old.encode_ids(texts), new.encode_ids(texts)
    assert [spelled_out(ids, extension) for ids in after] == before
    # The test would pass where nothing was added.
    assert sum(map(len, after)) < 0.8 * sum(map(len, before))


def test_old_text_keeps_its_ids(pair: tuple[Tokenizer, Tokenizer, Extension], tmp_path: Path) -> None:
    old, _, _ = pair
    extend_tokenizer(old, new_texts(300), COUNT, tmp_path, "my.yaml:3")
    extended = Tokenizer.load(tmp_path)
    assert extended.encode_ids(OLD_TEXTS[:4]) == old.encode_ids(OLD_TEXTS[:4])
    # Pieces of new text alone hold none of its letters.
    assert not [text for text in extended.backend.get_vocab() if text.isascii() and old.token_id(text) is None]


def test_every_text_comes_back(pair: tuple[Tokenizer, Tokenizer, Extension]) -> None:
    old, new, _ = pair
    for text in mixed_texts():
        before = old.decode(old.encode_ids([text])[0], skip_special_tokens=True)
        assert new.decode(new.encode_ids([text])[0], skip_special_tokens=True) == before
        if text.isprintable() and text == text.strip() and "\u0301" not in text:
            assert before == text


def test_all_old_entries_keep_their_ids(pair: tuple[Tokenizer, Tokenizer, Extension]) -> None:
    old, new, extension = pair
    before, after = (tokenizer.backend.get_vocab(with_added_tokens=True) for tokenizer in (old, new))
    assert before.items() <= after.items()
    assert sorted(set(after.values()) - set(before.values())) == list(range(extension.first_id, extension.entries))
    assert len(after) == len(before) + COUNT
    assert new.special_tokens == old.special_tokens and new.special_token_texts == old.special_token_texts


def test_transformers_reads_the_folder_alike_and_saves_it_alike(
    pair: tuple[Tokenizer, Tokenizer, Extension], tmp_path: Path
) -> None:
    _, new, _ = pair
    loaded = AutoTokenizer.from_pretrained(new.name)
    new.require_same_ids(loaded, mixed_texts())
    assert len(loaded) == new.vocab_size
    loaded.save_pretrained(tmp_path)
    new.require_same_ids(AutoTokenizer.from_pretrained(tmp_path), mixed_texts())


@pytest.mark.parametrize("family", FAMILIES)
def test_beside_a_model_it_is_read_alike_also_by_the_class_of_its_family(family: str, tmp_path: Path) -> None:
    extend_tokenizer(
        Tokenizer.load(write(family, tmp_path / "old")), new_texts(100), 100, tmp_path / "new", "my.yaml:3"
    )
    loaded = AutoTokenizer.from_pretrained(tmp_path / "new")
    # A model's config makes AutoTokenizer choose by its type; Qwen 2's class rebuilds what tokenizer.json says.
    model_type = "llama" if family.startswith("llama") else family
    AutoConfig.for_model(model_type).save_pretrained(tmp_path / "model")
    loaded.save_pretrained(tmp_path / "model")
    new = Tokenizer.load(tmp_path / "new")
    new.require_same_ids(AutoTokenizer.from_pretrained(tmp_path / "model"), mixed_texts())


def test_pieces_neither_join_words_nor_grow_without_bound(pair: tuple[Tokenizer, Tokenizer, Extension]) -> None:
    old, _, extension = pair
    texts = ["".join(old.backend.id_to_token(token) for token in ids) for ids in extension.spelled]
    assert max(len(old.decode(ids)) for ids in extension.spelled) <= LONGEST_PIECE + 1
    # A space is ▁ or Ġ, at the beginning only.
    assert not [text for text in texts if {"▁", "Ġ"} & set(text[1:]) and text.strip("Ġ")]
    if extension.characters:
        merged = [old.decode(ids) for ids in extension.spelled[extension.characters :]]
        assert not [text for text in merged if not text.strip().isalpha()]


def test_characters_that_were_bytes_get_pieces_where_bytes_cannot_be_merged(
    pair: tuple[Tokenizer, Tokenizer, Extension],
) -> None:
    old, _, extension = pair
    if old.token_id("<0x00>") is None:
        assert extension.characters == 0
        return
    frequent = Counter("".join(new_texts(300))).most_common(50)
    characters = {old.decode(ids) for ids in extension.spelled[: extension.characters]}
    assert {letter for letter, _ in frequent if ord(letter) > 127} <= characters
    assert not [text for text in characters if len(text) != 1]


def test_what_occurs_once_gets_no_piece(pair: tuple[Tokenizer, Tokenizer, Extension]) -> None:
    old, _, _ = pair
    found = [old.decode(piece.spelled) for piece in learn_pieces(old.backend, ["中文中文龘"], 50)]
    assert "中文" in found and not [text for text in found if "龘" in text]


def test_a_tokenizer_of_bytes_learns_the_very_merges_that_training_from_nothing_does() -> None:
    texts = new_texts(100)
    bare, full = tokenizers.Tokenizer(models.BPE()), tokenizers.Tokenizer(models.BPE())
    for backend, size in ((bare, 256), (full, 256 + 120)):
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, min_frequency=2, show_progress=False)
        backend.train_from_iterator(texts if size > 256 else [], trainer)
    expected = [tuple(pair) for pair in json.loads(full.to_str())["model"]["merges"]]
    assert [piece.merged for piece in learn_pieces(bare, texts, 120)] == expected


def test_the_same_text_gives_the_same_pieces(pair: tuple[Tokenizer, Tokenizer, Extension]) -> None:
    old, _, _ = pair
    once, twice = (learn_pieces(old.backend, new_texts(60), 100) for _ in range(2))
    assert once == twice and len(once) == 100


def test_too_little_text_is_refused_with_what_there_is(
    pair: tuple[Tokenizer, Tokenizer, Extension], tmp_path: Path
) -> None:
    old, _, _ = pair
    with pytest.raises(
        RecipeError, match=r"my\.yaml:3: .*5,000 pieces were asked for, and the text has \d+ that occur"
    ):
        extend_tokenizer(old, ["中文中文"], 5000, tmp_path / "none", "my.yaml:3")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (models.Unigram([("a", 0.0)]), "Unigram"),
        (models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"), "WordPiece"),
        (models.BPE({"a": 0}, [], end_of_word_suffix="</w>"), "marks pieces by their place"),
        (models.BPE({"a": 0, "b": 1}, []), "no piece for each of the 256 bytes"),
    ],
)
def test_other_kinds_are_refused_by_their_name(model: models.Model, fault: str, tmp_path: Path) -> None:
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    with pytest.raises(RecipeError, match=f"cannot be extended: .*{fault}"):
        extend_tokenizer(tokenizer, ["text"], 1, tmp_path / "new", "my.yaml:3")
