"""What `model.freeze` takes out of a training, and what it leaves."""

from __future__ import annotations

import pytest
import torch

from hfrecipes.models.config import build_config
from hfrecipes.models.freezing import freeze
from hfrecipes.models.layers import decoder_layers
from hfrecipes.plan.parameters import count_parameters

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
LAYERS = {"llama": "model.layers", "mixtral": "model.layers", "gpt_neox": "gpt_neox.layers", "gpt2": "transformer.h"}


def fields_of(family: str, **changes: object) -> dict:
    return {"model_type": family, **SIZES, **({"num_local_experts": 8} if family == "mixtral" else {}), **changes}


def model_of(family: str, **changes: object) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(build_config(fields_of(family, **changes)))


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", LAYERS)
def test_the_layers_are_found(family: str) -> None:
    assert decoder_layers(model_of(family)) == LAYERS[family]


@pytest.mark.parametrize("family", LAYERS)
def test_all_but_the_last_layers_leaves_them_and_what_comes_behind(family: str) -> None:
    model = model_of(family, tie_word_embeddings=False)
    freeze(model, {"all_but_last": 1})
    prefix = f"{LAYERS[family]}.2."
    names = {name for name, _ in model.named_parameters()}
    last = {name for name in names if name.startswith(prefix)}
    others = trained(model) - last
    assert last <= trained(model) and len(last) >= 6
    # The last norm and the output matrix, and nothing of what comes before.
    assert {name.split(".")[-2] for name in others} <= {"norm", "ln_f", "final_layer_norm", "lm_head", "embed_out"}
    assert any("head" in name or "embed_out" in name for name in others)


def test_a_tied_output_matrix_stays_with_the_embedding() -> None:
    model = model_of("llama", tie_word_embeddings=True)
    freeze(model, {"all_but_last": 2})
    assert not model.lm_head.weight.requires_grad
    tied = model_of("llama", tie_word_embeddings=True)
    freeze(tied, {"names": ["lm_head.*"]})
    assert not tied.get_input_embeddings().weight.requires_grad


def test_patterns_are_of_whole_names() -> None:
    model = model_of("llama")
    before = trained(model)
    freeze(model, {"names": ["*.layers.0.*", "model.norm.weight"]})
    assert before - trained(model) == {name for name in before if ".layers.0." in name or name == "model.norm.weight"}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            {"names": ["*.norm.*", "layers.0.*"]},
            "'layers.0.*' fits no parameter; the names are like model.embed_tokens",
        ),
        ({"all_but_last": 3}, "all_but_last is 3, and LlamaForCausalLM has 3 layers"),
        ({"names": ["*"]}, "nothing is left"),
    ],
)
def test_what_cannot_be_meant_is_an_error(section: dict, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        freeze(model_of("llama"), section)
    assert words in str(caught.value)


@pytest.mark.parametrize("section", [{"all_but_last": 1}, {"names": ["*embed*", "*mlp*"]}])
@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt_neox"])
def test_the_plan_counts_what_is_trained(family: str, section: dict) -> None:
    model = model_of(family)
    freeze(model, section)
    count = count_parameters(fields_of(family), frozen=section)
    assert count.trainable == sum(part.numel() for part in model.parameters() if part.requires_grad)
    assert count.total == sum(part.numel() for part in model.parameters())
    assert 0 < count.trainable_matmul < count.matmul
