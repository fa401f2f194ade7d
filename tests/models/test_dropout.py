"""Dropout by part: it acts in training, on the part that was named, and is saved; what a model does not have is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from hfrecipes.models.config import build_config
from hfrecipes.models.dropout import set_dropout
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}
# The parts that each architecture drops out, read off its code.
PARTS = {
    "llama": ["attention"],
    "qwen2": ["attention"],
    "mixtral": ["attention"],
    "gpt2": ["attention", "hidden", "embedding"],
    "gpt_neox": ["attention", "hidden"],
    "opt": ["attention", "hidden"],
    "bloom": ["attention", "hidden"],
    "falcon": ["hidden"],
    "starcoder2": ["attention", "hidden", "embedding"],
    "bert": ["attention", "hidden"],
}
IDS = torch.arange(1, 25).view(2, 12)


def model_of(family: str, **fields: Any) -> Any:
    sizes = {name: size for name, size in SIZES.items() if not (family == "bloom" and name == "intermediate_size")}
    more = {"ffn_dim": 48, "word_embed_proj_dim": 32} if family == "opt" else {}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(build_config({"model_type": family, **sizes, **more, **fields}))


def losses(model: Any) -> list[float]:
    """The loss of the same rows under two seeds."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            found.append(model(IDS, labels=IDS).loss.item())
    return found


@pytest.mark.parametrize("family", PARTS)
def test_a_part_that_is_named_drops_out_in_training_alone(family: str) -> None:
    model = model_of(family)
    set_dropout(model, dict.fromkeys(PARTS[family], 0.0))
    still = losses(model.train())
    assert still[0] == still[1]
    for part in PARTS[family]:
        set_dropout(model, {part: 0.5})
        first, second = losses(model.train())
        assert first != second, part
        assert losses(model.eval()) == pytest.approx(still, rel=1e-6)
        set_dropout(model, {part: 0.0})
        assert losses(model.train()) == still


def test_the_parts_are_those_of_the_code() -> None:
    model = model_of("gpt2")
    set_dropout(model, {"attention": 0.3, "embedding": 0.2})
    shares = {name.rpartition(".")[2]: each.p for name, each in model.named_modules() if hasattr(each, "p")}
    # Both others keep GPT-2's own .1.
    assert shares == {"drop": 0.2, "attn_dropout": 0.3, "resid_dropout": 0.1, "dropout": 0.1}


def test_what_is_saved_drops_out_as_well(tmp_path: Path) -> None:
    model = model_of("opt")
    set_dropout(model, {"attention": 0.25, "hidden": 0.5, "embedding": None})
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (loaded.config.attention_dropout, loaded.config.dropout) == (0.25, 0.5)
    assert losses(loaded.train()) == losses(model.train())


def test_weights_and_random_numbers_are_left_alone() -> None:
    model = model_of("llama")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    set_dropout(model, {"attention": 0.5})
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_classifier_drops_what_its_head_reads() -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", **SIZES, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(config)
    set_dropout(model, {"attention": 0.0, "hidden": 0.0, "classifier": 0.5})
    assert model.dropout.p == 0.5 and model.config.classifier_dropout == 0.5
    assert [each.p for name, each in model.named_modules() if hasattr(each, "p") and name != "dropout"] == [0.0] * 7


@pytest.mark.parametrize(
    ("family", "part", "says"),
    [
        ("llama", "hidden", r"^llama has no word for dropout of its hidden; it has attention \(attention_dropout\)$"),
        ("opt", "embedding", r"it has attention \(attention_dropout\), hidden \(dropout\)$"),
        # Fields that the configs have and the models do not read.
        ("phi3", "embedding", r"^Phi3ForCausalLM reads embd_pdrop nowhere: it has no dropout of its embedding$"),
        ("falcon", "attention", r"^FalconForCausalLM reads attention_dropout nowhere"),
        ("gpt_neox", "classifier", r"^GPTNeoXForCausalLM reads classifier_dropout nowhere"),
    ],
)
def test_what_the_architecture_has_not_is_refused_with_what_it_has(family: str, part: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        set_dropout(model_of(family), {part: 0.1})


def test_a_number_that_the_config_refuses_is_an_error_about_it() -> None:
    # MPT's class takes whole numbers alone there.
    config = AutoConfig.for_model("mpt", d_model=32, n_heads=4, n_layers=1, vocab_size=64)
    with pytest.raises(ValueError, match=r"the config of mpt refuses attn_config\.attn_pdrop"):
        set_dropout(AutoModelForCausalLM.from_config(config), {"attention": 0.1})


def load(recipe: Recipe) -> Any:
    return load_model(recipe, load_tokenizer(recipe.get("model.name_or_path"), recipe))


def test_a_recipe_says_it_of_saved_weights_and_of_the_base_of_an_adapter(
    folder: Callable[[str], Path], adapter: Path, recipe_for: Callable[..., Recipe]
) -> None:
    model = load(recipe_for(folder("gpt2"), dropout={"hidden": 0.25}))
    assert {each.p for name, each in model.named_modules() if name.endswith("resid_dropout")} == {0.25}
    assert model.config.resid_pdrop == 0.25 and model.config.attn_pdrop == 0.1
    adapted = load(recipe_for(adapter, dropout={"attention": 0.5}))
    layers = adapted.get_base_model().model.layers
    assert {layer.self_attn.attention_dropout for layer in layers} == {0.5}
    assert adapted.config.attention_dropout == 0.5


def test_what_is_refused_is_told_with_the_line_of_the_recipe(
    folder: Callable[[str], Path], recipe_for: Callable[..., Recipe]
) -> None:
    with pytest.raises(
        RecipeError, match=r"my\.yaml:2: error: model\.dropout: llama has no word for dropout of its hidden"
    ):
        load(recipe_for(folder("llama"), dropout={"hidden": 0.1}))
