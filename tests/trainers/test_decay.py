"""Which parameters weight decay leaves alone: by group and by pattern, in the optimizer that a recipe gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, Trainer

from hfrecipes import RecipeError, RunOptions, build, load_recipe
from hfrecipes.models.config import build_config
from hfrecipes.trainers.decay import left_alone

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
FAMILIES = ("llama", "qwen3", "gemma2", "gpt2", "gpt_neox", "mixtral", "olmo2", "phi")
GPT2_NORMS = {f"transformer.{name}.{kind}" for name in ("h.0.ln_1", "h.0.ln_2", "ln_f") for kind in ("weight", "bias")}
GPT2_BIASES = {
    f"transformer.h.0.{name}.bias" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "ln_1", "ln_2")
} | {"transformer.ln_f.bias"}
RECIPE = """
kind: sft
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2}
  tokenizer: {vocab_size: 320}
data: {train: [{path: rows.jsonl}]}
optimizer:
  no_decay: [norms, embeddings, "*.o_proj.weight"]
training: {learning_rate: 1.0e-3, weight_decay: 0.1, max_steps: 2, global_batch_size: 2, max_length: 64}
"""


def model_of(family: str, **changes: Any) -> Any:
    return AutoModelForCausalLM.from_config(build_config({"model_type": family, **SIZES, **changes}))


@pytest.mark.parametrize("family", FAMILIES)
def test_biases_and_norms_are_those_that_transformers_takes(family: str) -> None:
    model = model_of(family)
    decayed = set(Trainer.get_decay_parameter_names(object.__new__(Trainer), model))
    names = {name for name, _ in model.named_parameters()}
    assert left_alone(model, ["biases", "norms"]) == names - decayed
    assert left_alone(model, []) == set()


def test_groups_are_what_their_names_say() -> None:
    model = model_of("gpt2")
    assert left_alone(model, ["norms"]) == GPT2_NORMS
    assert left_alone(model, ["biases"]) == GPT2_BIASES
    assert left_alone(model, ["embeddings"]) == {"transformer.wte.weight", "transformer.wpe.weight"}


@pytest.mark.parametrize("tied", [True, False])
def test_an_output_matrix_goes_with_the_embedding_that_it_is_tied_to(tied: bool) -> None:
    model = model_of("llama", tie_word_embeddings=tied)
    assert left_alone(model, ["embeddings"]) == {"model.embed_tokens.weight"}
    by_pattern = left_alone(model, ["lm_head.*"])
    assert by_pattern == ({"model.embed_tokens.weight"} if tied else {"lm_head.weight"})


def test_a_pattern_has_to_fit_something_that_is_trained() -> None:
    model = model_of("llama")
    with pytest.raises(ValueError, match=r"^'\*\.A_log' fits no parameter that is trained; they are called model\."):
        left_alone(model, ["*.A_log"])
    model.model.embed_tokens.weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"^'\*embed_tokens\*' fits no parameter that is trained"):
        left_alone(model, ["*embed_tokens*"])
    # A group may be empty: nothing is meant by name.
    assert left_alone(model, ["embeddings"]) == left_alone(model, ["biases"]) == set()


def build_trainer(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Any:
    monkeypatch.chdir(folder)
    Path("r.yaml").write_text(RECIPE)
    Path("rows.jsonl").write_text('{"prompt": "What is 3 times 3?", "completion": " It is 9."}\n' * 4)
    return build(load_recipe("r.yaml", list(overrides)), options=RunOptions(quiet=True)).trainer


def test_the_optimizer_of_a_recipe_leaves_alone_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build_trainer(tmp_path, monkeypatch)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    by_decay: dict[float, set[str]] = {}
    for group in trainer.create_optimizer().param_groups:
        by_decay.setdefault(group["weight_decay"], set()).update(names[id(each)] for each in group["params"])
    layer = "model.layers.0"
    assert by_decay[0.0] == {
        *("model.embed_tokens.weight", "model.norm.weight", f"{layer}.self_attn.o_proj.weight"),
        *(f"{layer}.{norm}.weight" for norm in ("input_layernorm", "post_attention_layernorm")),
    }
    assert by_decay[0.1] == set(names.values()) - by_decay[0.0]


def test_a_pattern_that_fits_nothing_is_an_error_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"override optimizer\.no_decay=.*: '\*\.A_log' fits no parameter"):
        build_trainer(tmp_path, monkeypatch, "optimizer.no_decay=['*.A_log']")
