"""The rule `perplexity` against one text at a time in float64."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import pytest

from hfrecipes.data.clean.model_scores import length_batches, load_scorer, named_model
from hfrecipes.data.clean.perplexity import PerplexityRule, mean_losses
from hfrecipes.data.clean.rule import Document
from hfrecipes.recipe.cleaning import Perplexity
from hfrecipes.recipe.problem import RecipeError
from tests.data.clean.tiny_models import TEXTS, save_model


@pytest.fixture(scope="module", params=["llama", "gpt2", "gpt_neox"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    return save_model(tmp_path_factory.mktemp("lm"), tokenizer_folder, "AutoModelForCausalLM", request.param)


def oracle(folder: Path, text: str, max_length: int) -> float | None:
    """The same number from the definition, without batches or padding, in float64."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    lm = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    ids = tokenizer(text)["input_ids"][:max_length]
    if len(ids) < 2:
        return None
    with torch.no_grad():
        scores = torch.log_softmax(lm(input_ids=torch.tensor([ids])).logits[0], dim=-1)
    return -sum(float(scores[place, token]) for place, token in enumerate(ids[1:])) / (len(ids) - 1)


def rule(folder: Path, **words: object) -> PerplexityRule:
    return PerplexityRule(Perplexity(name_or_path=str(folder), **words), "my.yaml:3")


def documents(texts: list[str] = TEXTS) -> list[Document]:
    return [Document(f"a.jsonl:{row}", (text,)) for row, text in enumerate(texts)]


def test_batched_losses_are_those_of_each_text_alone(model: Path) -> None:
    losses = mean_losses(TEXTS, named_model(str(model), None, 48, "x"))
    for text, loss in zip(TEXTS, losses, strict=True):
        assert loss == pytest.approx(oracle(model, text, 48), rel=2e-5)
    assert max(losses) - min(losses) > 0.1


def test_no_more_is_read_than_the_model_has_positions_for(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = save_model(
        tmp_path / "short", tokenizer_folder, "AutoModelForCausalLM", "gpt2", max_position_embeddings=16
    )
    assert mean_losses(TEXTS[-1:], named_model(str(folder), None, None, "x"))[0] == pytest.approx(
        oracle(folder, TEXTS[-1], 16), rel=2e-5
    )


def test_bounds_leave_out_what_is_beyond_them(model: Path) -> None:
    perplexities = [math.exp(oracle(model, text, 48)) for text in TEXTS]
    low, high = sorted(perplexities)[1] * 1.0001, sorted(perplexities)[-2] * 0.9999
    verdicts = rule(model, min_perplexity=low, max_perplexity=high, max_length=48).judge(documents())
    expected = ["too_predictable" if p < low else "too_strange" if p > high else None for p in perplexities]
    assert [verdict.reason for verdict in verdicts] == expected
    assert expected.count("too_predictable") == 2 and expected.count("too_strange") == 2
    assert all("perplexity" in verdict.detail for verdict in verdicts if verdict.reason)


def test_what_has_no_perplexity_is_kept_and_counted(model: Path) -> None:
    verdicts = rule(model, max_perplexity=1.0).judge(documents(["", "x", "The quick brown fox"]))
    assert [verdict.reason for verdict in verdicts] == [None, None, "too_strange"]
    assert [dict(verdict.counts) for verdict in verdicts[:2]] == [{"not_measured": 1}] * 2


def test_the_rule_travels_between_processes_and_the_model_is_loaded_once(model: Path) -> None:
    load_scorer.cache_clear()
    first = rule(model, max_perplexity=10.0)
    again = pickle.loads(pickle.dumps(first))
    assert [v.reason for v in first.judge(documents())] == [v.reason for v in again.judge(documents())]
    assert load_scorer.cache_info().misses == 1
    assert len(pickle.dumps(first)) < 2000


def test_the_fingerprint_follows_the_weights(tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "lm", tokenizer_folder, "AutoModelForCausalLM", "llama")
    before = rule(folder, max_perplexity=9.0).fingerprint
    assert rule(folder, max_perplexity=9.0).fingerprint == before
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    assert rule(folder, max_perplexity=9.0).fingerprint != before


def test_the_fingerprint_of_a_hub_id_names_its_commit() -> None:
    words = Perplexity(name_or_path="someone/something", revision="a" * 40, max_perplexity=9.0)
    assert PerplexityRule(words).fingerprint == f"someone/something@{'a' * 40}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"max_perplexity": 9.0}, "no model is named"),
        ({"name_or_path": "x"}, "there is no bound"),
        ({"name_or_path": "x", "min_perplexity": 9.0, "max_perplexity": 3.0}, "min_perplexity 9.0 is above"),
    ],
)
def test_words_that_make_no_rule_are_refused_at_their_place(words: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=rf"my\.yaml:3: error: {message}"):
        PerplexityRule(Perplexity(**words), "my.yaml:3")


def test_models_that_cannot_be_trusted_are_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    import torch

    pickled = save_model(tmp_path / "pickled", tokenizer_folder, "AutoModelForCausalLM", "llama")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    coded = save_model(tmp_path / "coded", tokenizer_folder, "AutoModelForCausalLM", "llama")
    config = json.loads((coded / "config.json").read_text(encoding="utf-8"))
    (coded / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "m.M"}}))
    headless = save_model(tmp_path / "headless", tokenizer_folder, "AutoModel", "llama", tie_word_embeddings=False)
    for folder, message in (
        (pickled, "safetensors"),
        (coded, "code that is not part of transformers"),
        (headless, "lacks weights of LlamaForCausalLM, which would be random: lm_head.weight"),
        (tmp_path / "absent", "cannot be loaded"),
    ):
        with pytest.raises(RecipeError, match=message):
            rule(folder, max_perplexity=9.0).judge(documents())


def test_batches_hold_every_row_once_and_stay_within_bounds() -> None:
    lengths = [5, 900, 3, 3, 70, 512, 512, 1, 20_000]
    batches = list(length_batches(lengths, outputs=2**16))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 2**10 for batch in batches)
    assert any(len(batch) > 1 for batch in batches)
