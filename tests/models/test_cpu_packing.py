"""A 4-bit model that was evaluated on a CPU can still be trained through."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from hfrecipes.models.cpu_packing import keep_unpacked


@pytest.mark.parametrize("evaluated_before", [False, True])
def test_gradients_pass_through_quantised_layers_after_an_evaluation(evaluated_before: bool, tmp_path: Path) -> None:
    # Sizes that can be packed: multiples of 32 rows and of 64 columns.
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes, vocab_size=64)).save_pretrained(tmp_path)
    bits = BitsAndBytesConfig(load_in_4bit=True)
    gradients, ids = [], torch.arange(8)[None]
    for evaluates in (False, True):
        model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=bits)
        if evaluates and evaluated_before:
            model.eval()(input_ids=ids)
        keep_unpacked(model)
        if evaluates:
            with torch.no_grad():
                model.eval()(input_ids=ids)
        model.train()(input_ids=ids, labels=ids).loss.backward()
        gradients.append(model.model.embed_tokens.weight.grad)
    # Packing rounds the scales to bfloat16.
    torch.testing.assert_close(
        gradients[1], gradients[0], rtol=0.05 if evaluated_before else 0, atol=1e-4 * evaluated_before
    )
