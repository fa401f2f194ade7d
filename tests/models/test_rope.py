"""Rotary positions of live models: changed, saved, read back, and held against their config."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.models import load, rope
from hfrecipes.models.rope import change_rope, check_rotary
from hfrecipes.models.rope_config import RopeChange, change_config
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import RecipeError

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
KINDS = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32}
SHARED = {"num_key_value_heads": 1}
FAMILIES = {
    "llama": SHARED,
    "qwen2": SHARED,
    "qwen3": {**SHARED, "head_dim": 16},
    "mistral": SHARED,
    "gemma2": {**SHARED, "head_dim": 16},
    "gemma3_text": {**SHARED, **KINDS, "head_dim": 16},
    "olmo2": SHARED,
    "gpt_neox": {},
}
YARN = {"rope_type": "yarn", "factor": 4.0}


def build(family: str, **fields):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SMALL, **FAMILIES.get(family, {}), **fields})
    return AutoModelForCausalLM.from_config(config).eval()


def words(family: str, flat: dict) -> dict:
    return {"full_attention": flat} if family == "gemma3_text" else flat


@pytest.mark.parametrize("flat", [{"rope_theta": 3e6}, YARN], ids=["base", "yarn"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_changed_model_is_the_one_that_is_read_back(family: str, flat: dict, tmp_path: Path) -> None:
    model = build(family)
    ids = torch.randint(3, 64, (1, 200), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(ids).logits
        change_rope(model, RopeChange(words(family, flat), None, 256))
        after = model(ids).logits
    assert not torch.allclose(before, after)
    assert check_rotary(model) == []
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert again.config.max_position_embeddings == 256
    with torch.no_grad():
        assert torch.equal(again(ids).logits, after)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_that_was_edited_alone_is_noticed(family: str) -> None:
    model = build(family)
    assert check_rotary(model) == []
    change_config(model.config, RopeChange(words(family, {"rope_theta": 3e6}), None, None))
    (fault,) = check_rotary(model)
    assert "is not what the config stands for" in fault


def test_frequencies_are_those_of_the_formula() -> None:
    model = build("llama")
    change_rope(model, RopeChange({"rope_theta": 777.0}, None, None))
    expected = [777.0 ** (-2 * pair / 16) for pair in range(8)]
    assert model.model.rotary_emb.inv_freq.tolist() == pytest.approx(expected, rel=1e-6)


def test_only_the_layers_that_are_named_turn_otherwise() -> None:
    model = build("gemma3_text")
    rotary = model.model.rotary_emb
    local = rotary.sliding_attention_inv_freq.clone()
    change_rope(model, RopeChange({"full_attention": {"rope_type": "linear", "factor": 8.0}}, None, None))
    expected = [1e6 ** (-2 * pair / 16) / 8 for pair in range(8)]
    assert rotary.full_attention_inv_freq.tolist() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(rotary.sliding_attention_inv_freq, local)


def test_yarns_scaling_of_the_attention_is_noticed_where_frequencies_agree() -> None:
    model = build("llama")
    change_rope(model, RopeChange(YARN, 256, None))
    # YaRN, eq. 22: the scores are scaled by the square of this.
    assert model.model.rotary_emb.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)
    model.model.rotary_emb.attention_scaling = 1.0
    (fault,) = check_rotary(model)
    assert "attention_scaling is 1, by the config 1.13863" in fault


def test_rounded_frequencies_are_noticed() -> None:
    model = build("llama")
    model.model.rotary_emb.to(torch.bfloat16)
    assert "rounded to bfloat16" in check_rotary(model)[0]


def test_hooks_stay_on_the_module() -> None:
    model, calls = build("llama"), []
    model.model.rotary_emb.register_forward_hook(lambda *_: calls.append(1))
    change_rope(model, RopeChange(YARN, 256, None))
    model(torch.tensor([[3, 4]]))
    assert calls == [1]


@pytest.mark.parametrize(
    ("family", "fault"),
    [
        ("gpt2", r"gpt2 learnt a vector for each of its 64 positions \(transformer\.wpe\)"),
        ("bloom", "bloom has ALiBi, .* set data.context_length alone"),
        ("gptj", "gptj has no rotary positions that follow rope_parameters"),
    ],
)
def test_other_positions_are_refused_by_what_they_are(family: str, fault: str) -> None:
    fields = {"rotary_dim": 4, "n_positions": 64} if family == "gptj" else {}
    with pytest.raises(ValueError, match=fault):
        change_rope(build(family, **fields), RopeChange({"rope_theta": 3e6}, None, None))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    build("llama").save_pretrained("model")
    text = (
        "kind: pretrain\n"
        "model:\n"
        "  name_or_path: model\n"
        "  rope_parameters: {rope_theta: 3.0e+6}\n"
        "data: {train: [{name: python_prose}], context_length: 128}\n"
        "training: {max_steps: 1}\n"
    )
    Path("long.yaml").write_text(text)
    return load_recipe("long.yaml")


class FewTokens:
    """What `load_model` asks of a tokenizer."""

    pad_token_id, eos_token_id, chat_template = 0, 2, None

    def __len__(self) -> int:
        return 64


def test_a_recipe_changes_the_model_that_is_trained_and_not_the_one_it_is_compared_with(recipe) -> None:
    trained = load.load_model(recipe, FewTokens())
    assert trained.config.rope_parameters["rope_theta"] == 3e6
    assert trained.config.max_position_embeddings == 128
    base = load.load_model(recipe, FewTokens(), as_it_was=True)
    assert base.config.rope_parameters["rope_theta"] == 1e4


def test_a_stage_that_skips_the_rebuild_does_not_start(recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rope, "rebuild_rotary", lambda model: None)
    with pytest.raises(RecipeError, match=r"long\.yaml:4.*does not turn as its config says: model\.rotary_emb"):
        load.load_model(recipe, FewTokens())
