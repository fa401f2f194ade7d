"""Needles asked of real models: the log-probability against one plain forward pass, and answers against the generated text."""

from __future__ import annotations

import pytest
import torch

from hfrecipes.evaluation import needle
from hfrecipes.evaluation.needle import NeedleCell, NeedleGrid, measure_needles, needle_estimates, needle_facts
from hfrecipes.evaluation.needle_text import make_needle
from tests.evaluation.tiny import build_model, train_tokenizer

TEXTS = ["Return the number of items in a container. What is the capital of France? It is Paris. " * 4]
GRID = NeedleGrid(lengths=(160, 224), depths=(0.0, 1.0), languages=("en", "zh"), num_needles=3)


@pytest.fixture(scope="module")
def model():
    return build_model("llama", max_position_embeddings=256)


@pytest.mark.parametrize("special", [{}, {"add_bos": True}, {"add_bos": True, "add_eos": True}], ids=str)
def test_log_probability_is_that_of_one_forward_pass(model, special: dict) -> None:
    tokenizer = train_tokenizer(None, **special)
    (cell,) = measure_needles(model, tokenizer, TEXTS, NeedleGrid((160,), (0.5,), ("en",), 2))
    expected = []
    haystack = needle.Haystack.of(TEXTS, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]))
    for number in range(2):
        hidden, start = make_needle("en", number), number * len(haystack.sentences) // 2
        prompt = haystack.hide(hidden, 0.5, 160 - ("add_bos" in special) - 2, start)
        ids = tokenizer(prompt + hidden.answer, add_special_tokens=False)["input_ids"]
        answer = len(ids) - len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        ids = [tokenizer.bos_token_id] * ("add_bos" in special) + ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected.append(sum(logits[place - 1, ids[place]].item() for place in range(len(ids) - answer, len(ids))))
    assert cell.log_probability == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert (cell.found, cell.n) == (0, 2)


def test_the_grid_is_complete_and_the_same_each_time(model) -> None:
    tokenizer = train_tokenizer(None)
    cells = measure_needles(model, tokenizer, TEXTS, GRID, batch_size=2)
    places = [(cell.language, cell.length, cell.depth) for cell in cells]
    assert places == [(lang, size, depth) for lang in ("en", "zh") for size in (160, 224) for depth in (0.0, 1.0)]
    again = measure_needles(model, tokenizer, TEXTS, GRID, batch_size=1)
    assert [cell.log_probability for cell in again] == pytest.approx([cell.log_probability for cell in cells], rel=1e-5)


@pytest.mark.parametrize("length", [160, 224])
def test_prompts_stay_within_their_length(model, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, seen = train_tokenizer(None, add_bos=True), []
    monkeypatch.setattr(needle, "measure_loss", lambda _model, rows, **_: seen.extend(rows) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure_needles(model, tokenizer, TEXTS, NeedleGrid((length,), (0.5,), ("zh",), 3))
    assert len(seen) == 3
    for row in seen:
        assert length - 40 < len(row["input_ids"]) <= length - 2
        answer = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
        assert tokenizer.decode(answer).strip().isdigit()
        assert row["input_ids"][0] == tokenizer.bos_token_id


def test_a_number_that_is_generated_is_found(model, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([make_needle("en", 0).number, "not it", make_needle("en", 2).number + "."])

    def written(_model, prompts, _config):
        return [tokenizer(f" {next(numbers)}", add_special_tokens=False)["input_ids"] for _ in prompts]

    tokenizer = train_tokenizer(None)
    monkeypatch.setattr(needle, "generate_batch", written)
    (cell,) = measure_needles(model, tokenizer, TEXTS, NeedleGrid((160,), (0.5,), ("en",), 3), batch_size=2)
    assert (cell.found, cell.n) == (2, 3)


def test_a_length_without_room_is_said(model) -> None:
    with pytest.raises(ValueError, match="64 tokens leave no room"):
        measure_needles(model, train_tokenizer(None), TEXTS, NeedleGrid((64,), (0.5,), ("zh",), 1))


def test_shares_by_length_with_wilsons_interval() -> None:
    cells = [
        NeedleCell("en", 256, 0.0, 4, 4, -0.1),
        NeedleCell("zh", 256, 0.0, 4, 4, -0.1),
        NeedleCell("en", 512, 0.0, 1, 4, -9.0),
    ]
    short, long = needle_estimates(cells, step=7)
    assert (short["dataset"], short["value"], short["n"], short["step"]) == ("needles in 256 tokens", 1.0, 8, 7)
    # Wilson (1927) for 1 of 4, from the closed form.
    assert (long["low"], long["high"]) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert needle_facts(cells)[2] == {
        "language": "en", "length": 512, "depth": 0.0, "found": 1, "n": 4, "log_probability": -9.0,
    }  # fmt: skip
