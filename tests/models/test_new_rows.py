"""Rows of new tokens are trained beside an adapter, those alone where peft can, and anyone's peft reads them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hfrecipes.models.extended_embeddings import extend_embeddings
from hfrecipes.models.merge import merge_adapter
from hfrecipes.models.new_rows import complete_wrappers, needed_rows, train_new_rows
from hfrecipes.models.peft_methods import embeddings_left_out, peft_config
from hfrecipes.models.pretrained import load_with_adapter
from hfrecipes.plan.parameters import count_parameters
from hfrecipes.tokenization.extension import Extension
from tests.models.test_extended_embeddings import ROWS, build

NEW = Extension(ROWS, ((5, 6), (7, 9)), characters=0, tokens=("<|a|>", "<|b|>"))
LORA: dict[str, Any] = {"method": "lora", "r": 4, "target_modules": "all-linear"}
DORA = {**LORA, "use_dora": True}
IA3 = {"method": "ia3"}
CASES = [
    *((name, LORA) for name in ("llama", "llama, tied", "gemma", "gpt2", "phi")),
    *((name, DORA) for name in ("llama", "llama, tied")),
    *((name, IA3) for name in ("llama", "llama, tied", "gpt2")),
]
IDS = torch.tensor([[3, ROWS, 8, 9, ROWS + 1, 4, ROWS, 2]])


def trained(name: str, section: dict[str, Any], folder: Path) -> tuple[Any, torch.Tensor]:
    """An adapter on a base with new rows after some steps, its base saved in `folder / "base"`, and its logits."""
    base = build(name)
    base.save_pretrained(folder / "base")
    extend_embeddings(base, NEW, filled=False)
    config = peft_config(section)
    train_new_rows(config, base, NEW.ids)
    model = get_peft_model(base, config)
    model.peft_config["default"].base_model_name_or_path = str(folder / "base")
    complete_wrappers(model)
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.5)
    for _ in range(2):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return model, model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize(("name", "section"), CASES, ids=lambda case: case if isinstance(case, str) else case["method"])
def test_an_adapter_with_new_rows_is_what_it_was_wherever_it_is_loaded(
    name: str, section: dict[str, Any], tmp_path: Path
) -> None:
    model, expected = trained(name, section, tmp_path)
    with embeddings_left_out(model):
        model.save_pretrained(tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert needed_rows(tmp_path / "adapter", plain) == NEW.entries
    # What the card tells others to do, with noise in the rows, as resizing may leave it.
    plain.resize_token_embeddings(NEW.entries, mean_resizing=False)
    with torch.no_grad():
        for part in (plain.get_input_embeddings(), plain.get_output_embeddings()):
            part.weight[ROWS:] = 99.0
            if getattr(part, "bias", None) is not None:
                part.bias[ROWS:] = 99.0
        assert torch.equal(
            PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()(input_ids=IDS).logits, expected
        )
        ours = load_with_adapter(tmp_path / "adapter", trainable=False).eval()
        assert torch.equal(ours(input_ids=IDS).logits, expected)
        merge_adapter(ours, torch.float32).save_pretrained(tmp_path / "merged")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        assert torch.allclose(merged(input_ids=IDS).logits, expected, atol=1e-4)
        assert merged.get_input_embeddings().num_embeddings == NEW.entries


@pytest.mark.parametrize("name", ["llama", "llama, tied", "gpt2"])
def test_lora_trains_and_saves_the_new_rows_and_no_other_one(name: str, tmp_path: Path) -> None:
    model, _ = trained(name, LORA, tmp_path)
    with embeddings_left_out(model):
        model.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    rows = {key: value for key, value in saved.items() if "lora_" not in key}
    # A tied output has no rows of its own.
    assert len(rows) == (2 if name == "llama" else 1) and {each.shape[0] for each in rows.values()} == {2}
    merged = merge_adapter(model, torch.float32)
    before = build(name)
    for ours, theirs in (
        (merged.get_input_embeddings(), before.get_input_embeddings()),
        (merged.get_output_embeddings(), before.get_output_embeddings()),
    ):
        assert torch.equal(ours.weight[:ROWS], theirs.weight)
        start = torch.stack([theirs.weight[list(ids)].mean(0) for ids in NEW.spelled])
        assert not torch.isclose(ours.weight[ROWS:], start).all(dim=1).any()


@pytest.mark.parametrize(("name", "section"), CASES, ids=lambda case: case if isinstance(case, str) else case["method"])
def test_the_plan_counts_what_is_trained(name: str, section: dict[str, Any], tmp_path: Path) -> None:
    model, _ = trained(name, section, tmp_path)
    config = model.get_base_model().config
    counts = count_parameters(config, section, new_tokens=NEW.ids)
    assert counts.trainable == sum(each.numel() for each in model.parameters() if each.requires_grad)


def test_whole_embeddings_that_a_recipe_asks_for_hold_the_new_rows_already() -> None:
    base = build("llama")
    extend_embeddings(base, NEW, filled=False)
    config = peft_config({**LORA, "modules_to_save": ["embed_tokens", "lm_head"]})
    train_new_rows(config, base, NEW.ids)
    assert config.trainable_token_indices is None and set(config.modules_to_save) == {"embed_tokens", "lm_head"}


def test_a_method_that_has_no_means_says_so() -> None:
    with pytest.raises(ValueError, match="no means to train the rows"):
        train_new_rows(peft_config({"method": "prefix"}), build("llama"), NEW.ids)
