"""The method `back_translation`: the mechanics with tiny random models, the meaning with one that has learnt to translate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.augment.augment import augment, make_methods
from hfrecipes.data.augment.method import Task
from hfrecipes.data.augment.report import AugmentationReport
from hfrecipes.data.augment.translation import Search, direction
from hfrecipes.data.row import Row
from hfrecipes.recipe.augmentation import Translator
from hfrecipes.recipe.problem import RecipeError
from tests.data.clean.tiny_models import save_model

SENTENCES = ["The quick brown fox.", "A dog.", "Wer reitet so spät durch Nacht und Wind?", "学而时习之"]
CODES = ("eng_Latn", "deu_Latn")
# A language of our own, word by word, which both models of the last test learn.
PAIRS = {
    "the": "da",
    "dog": "vuf",
    "cat": "miu",
    "sees": "lok",
    "big": "groz",
    "large": "groz",
    "house": "huz",
    "a": "un",
}
CORPUS = [
    "the dog sees a house",
    "the cat sees the dog",
    "a big dog sees the cat",
    "the cat sees a big house",
    "a dog sees a cat",
]


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A random T5 whose tokenizer knows two languages."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_special_tokens({"extra_special_tokens": list(CODES)})
    folder = tmp_path_factory.mktemp("words")
    tokenizer.save_pretrained(folder)
    return save_t5(tmp_path_factory.mktemp("t5"), folder)


def save_t5(folder: Path, tokenizer_folder: Path, **words: Any) -> Path:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4, "initializer_factor": 1.0}
    ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
    return save_model(folder, tokenizer_folder, "AutoModelForSeq2SeqLM", "t5", **{**sizes, **ids, **words})


def translator(folder: Path, **words: Any) -> Any:
    return direction(Translator(name_or_path=str(folder), **words), Path, "my.yaml:9")


def test_a_batch_gives_what_each_sentence_gives_alone(t5: Path) -> None:
    search = Search(num_beams=2, max_new_tokens=12)
    whole = translator(t5).translate(SENTENCES, search)
    assert whole == [translator(t5).translate([sentence], search)[0] for sentence in SENTENCES]
    assert whole == translator(t5).translate(SENTENCES[::-1], search)[::-1]
    assert len(set(whole)) > 1


def test_sampling_follows_the_seed_and_leaves_others_their_random_numbers(t5: Path) -> None:
    import torch

    search = Search(temperature=1.0, max_new_tokens=12)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = translator(t5).translate(SENTENCES, search, seed=1)
    assert torch.rand(1) == expected
    assert first == translator(t5).translate(SENTENCES, search, seed=1)
    assert first != translator(t5).translate(SENTENCES, search, seed=2)


def test_prefix_and_languages_reach_the_model(t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    seen: list[dict[str, Any]] = []
    original = transformers.T5ForConditionalGeneration.generate

    def spy(self: Any, **words: Any) -> Any:
        seen.append(words)
        return original(self, **words)

    monkeypatch.setattr(transformers.T5ForConditionalGeneration, "generate", spy)
    tokenizer = transformers.AutoTokenizer.from_pretrained(t5)
    search = Search(num_beams=1, max_new_tokens=4)
    translator(t5, source="eng_Latn", target="deu_Latn", prefix="go: ").translate(["A dog."], search)
    assert seen[0]["forced_bos_token_id"] == tokenizer.convert_tokens_to_ids("deu_Latn")
    assert seen[0]["input_ids"][0].tolist() == tokenizer("go: A dog.")["input_ids"]
    assert seen[0]["num_beams"] == 1 and seen[0]["do_sample"] is False


def test_languages_and_models_that_there_are_not_are_refused(t5: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"my\.yaml:9: error: .* knows no language 'fra_Latn'"):
        translator(t5, target="fra_Latn").translate(["x"], Search())
    with pytest.raises(RecipeError, match=r"my\.yaml:9: error: .*absent: cannot be loaded"):
        translator(tmp_path / "absent").translate(["x"], Search())


def method(t5: Path, **words: Any) -> Any:
    both = {"name_or_path": str(t5)}
    said = {"method": "back_translation", "share": 1.0, "max_new_tokens": 8, **words}
    return make_methods([{"forward": both, "backward": both, **said}])[0]


def test_layout_and_code_stay(t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = method(t5)
    monkeypatch.setattr(made, "_there_and_back", lambda sentences, seed: [f"<{one}>" for one in sentences])
    text = "Dr. Who came. He left!\n\n  - one item\n***\n```\nx. y.\n```\n你好。再见。\n"
    expected = "<Dr. Who came.> <He left!>\n\n  - <one item>\n***\n```\nx. y.\n```\n<你好。><再见。>\n"
    assert made.change([Task((text, "Go."), (), 0)]) == [(expected, "<Go.>")]


def test_random_models_make_copies_that_are_thrown_away(t5: Path) -> None:
    report = AugmentationReport()
    rows = [(Row(f"a:{n}", {}), {"text": sentence}) for n, sentence in enumerate(SENTENCES)]
    assert list(augment(rows, [method(t5)], 0, report)) == rows
    assert sum(report.facts()["methods"]["back_translation"]["thrown_away"].values()) == len(SENTENCES)


def test_sampled_copies_do_not_depend_on_the_rows_beside_them(t5: Path) -> None:
    made = method(t5, temperature=1.0)
    tasks = [Task((sentence,), (), seed) for seed, sentence in enumerate(SENTENCES)]
    assert made.change(tasks) == [made.change([task])[0] for task in tasks]


def test_the_fingerprint_follows_both_models(t5: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    other = {"name_or_path": str(save_t5(tmp_path / "other", tokenizer_folder, d_ff=40))}
    assert method(t5).fingerprint == method(t5).fingerprint
    assert (
        len({method(t5).fingerprint, method(t5, forward=other).fingerprint, method(t5, backward=other).fingerprint})
        == 3
    )


def test_models_that_learnt_a_language_bring_back_other_words_for_the_same(tmp_path: Path) -> None:
    """`big` and `large` are one word there: what comes back for `large` is `big`."""
    there = {text: " ".join(PAIRS[word] for word in text.split()) for text in CORPUS}
    there |= {text.replace("big", "large"): foreign for text, foreign in there.items()}
    back = {there[text]: text for text in CORPUS}
    forward, backward = (learnt(tmp_path / name, pairs) for name, pairs in (("there", there), ("back", back)))
    assert translator(forward).translate(CORPUS, Search(max_new_tokens=12)) == [there[text] for text in CORPUS]
    words = {"forward": {"name_or_path": str(forward)}, "backward": {"name_or_path": str(backward)}}
    said = {"method": "back_translation", "share": 1.0, "max_new_tokens": 12, **words}
    report = AugmentationReport()
    rows = [(Row(f"a:{n}", {}), {"prompt": text, "completion": "yes"}) for n, text in enumerate(sorted(there))]
    out = list(augment(rows, make_methods([said]), 0, report))
    copies = {row.where: example for row, example in out if row.where.endswith("(back_translation)")}
    assert sorted(example["prompt"] for example in copies.values()) == sorted(text for text in CORPUS if "big" in text)
    assert all(example["completion"] == "yes" for example in copies.values())


def learnt(folder: Path, pairs: dict[str, str]) -> Path:
    """A small T5 that was trained on these pairs until it knows them."""
    import tokenizers
    import torch
    import transformers

    words = sorted({word for pair in pairs.items() for text in pair for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    specials = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **specials)
    tokenizer.save_pretrained(folder)
    save_t5(folder, folder, d_model=64, d_kv=16, d_ff=128, dropout_rate=0.0)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    inputs = tokenizer(list(pairs), padding=True, return_tensors="pt")
    labels = tokenizer(list(pairs.values()), padding=True, return_tensors="pt")["input_ids"]
    labels[labels == 0] = -100
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder
