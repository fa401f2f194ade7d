"""Memory against the figures of the papers, and optimizer states against the optimizers themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from hfrecipes.models.config import build_config
from hfrecipes.plan import memory


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_zero_paper(stage: int, gigabytes: float) -> None:
    """Figure 1 of the ZeRO paper: 7.5B parameters on 64 devices, bf16 with Adam."""
    parameters = 7.5e9
    whole = memory.StateBytes(weights=2 * parameters, gradients=2 * parameters, optimizer=12 * parameters)
    assert whole.shard(stage, 64).total / 1e9 == pytest.approx(gigabytes, abs=0.05)


def test_sharding_refuses_what_does_not_exist() -> None:
    with pytest.raises(ValueError, match="stages 0 to 3"):
        memory.StateBytes(1, 1, 1).shard(4, 8)
    with pytest.raises(ValueError, match="devices"):
        memory.StateBytes(1, 1, 1).shard(3, 0)


@pytest.mark.parametrize(
    ("layers", "heads", "head_dim", "tokens", "expected"),
    [
        (40, 40, 128, 1, 819_200),  # OPT-13B, a token
        (32, 32, 128, 4096, 2 * 2**30),  # Llama-2-7B
        (32, 8, 128, 8192, 2**30),  # Llama-3-8B
    ],
)
def test_kv_cache(layers: int, heads: int, head_dim: int, tokens: int, expected: int) -> None:
    assert memory.kv_cache_bytes(layers, heads, head_dim, tokens) == expected


def test_korthikanti() -> None:
    """Equations 1, 3 and 6: s b h (34 + 5 a s/h), 34 s b h, and the checkpointed 2 s b h L."""
    s, b, h, a, layers = 2048, 4, 6144, 64, 48
    eager = memory.layer_activation_bytes(s * b, h, 4 * h, score_entries=a * s * s * b)
    selective = memory.layer_activation_bytes(s * b, h, 4 * h)
    assert eager == pytest.approx(s * b * h * (34 + 5 * a * s / h))
    assert selective == 34 * s * b * h
    assert memory.activation_bytes(eager, layers, 2 * s * b * h) == eager * layers
    full = memory.activation_bytes(eager, layers, 2 * s * b * h, checkpointing=True)
    assert full == 2 * s * b * h * layers + eager


def test_a_gated_mlp_keeps_four_tensors_of_its_width() -> None:
    plain, gated = (memory.layer_activation_bytes(10, 8, 20, gated=flag) for flag in (False, True))
    assert gated - plain == 2 * 2 * 10 * 20


def test_quantised_bits() -> None:
    assert memory.quantized_bits(load_in_4bit=True, double_quant=True) == pytest.approx(4.127, abs=0.0005)
    assert memory.quantized_bits(load_in_4bit=True) == 4.5
    assert memory.quantized_bits(load_in_8bit=True) == 8
    with pytest.raises(ValueError, match="exactly one"):
        memory.quantized_bits()


_RUN_ON_A_CPU = (
    *("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "paged_adamw_32bit", "lion_32bit", "ademamix"),
    *("adamw_bnb_8bit", "lion_8bit", "ademamix_8bit", "rmsprop_bnb_8bit"),
)


@pytest.mark.parametrize("optim", _RUN_ON_A_CPU)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_against_the_optimizer_itself(optim: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """One step of the Trainer's own optimizer, then the bytes that its state holds."""
    # Larger than the 4096 entries below which bitsandbytes keeps a tensor in 32 bits.
    model = torch.nn.Sequential(torch.nn.Embedding(64, 128), torch.nn.Linear(128, 64, bias=False)).to(dtype)
    args = TrainingArguments(output_dir=str(tmp_path), optim=optim, use_cpu=True, report_to="none")
    optimizer = Trainer(model=model, args=args).create_optimizer()
    model(torch.arange(64)).sum().backward()
    optimizer.step()
    held = sum(
        tensor.numel() * tensor.element_size()
        for state in optimizer.state.values()
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor) and tensor.numel() >= 4096
    )
    embedding, linear = 64 * 128, 64 * 128
    estimate = memory.optimizer_bytes(
        optim, embedding + linear, parameter_bytes=torch.finfo(dtype).bits / 8, embedding=embedding
    )
    assert held == estimate


def test_every_named_optimizer_exists() -> None:
    assert set(memory._OPTIMIZER_STATES) <= {name.value for name in OptimizerNames}
    assert memory.optimizer_bytes("galore_adamw", 1000) is None


def test_logits() -> None:
    assert memory.logits_bytes(1, 32_000) == 32_000 * 6
    assert memory.logits_bytes(1, 32_000, 4) == 32_000 * 8


@pytest.mark.parametrize("mixed", [False, True])
def test_activations_against_what_autograd_saves(mixed: bool) -> None:
    """Every storage that a real forward pass keeps for its backward pass, weights and their 16-bit copies aside."""
    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4, "num_key_value_heads": 4}
    config = build_config({"model_type": "llama", **sizes, "num_hidden_layers": 4, "vocab_size": 64, "head_dim": 32})
    model, rows, length = AutoModelForCausalLM.from_config(config), 4, 128
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.randint(0, 64, (rows, length))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=mixed),
    ):
        output = model(input_ids=ids, use_cache=False)
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    copies = {
        pointer for pointer, tensor in saved.items() if {tuple(tensor.shape), tuple(tensor.shape)[::-1]} & set(shapes)
    }
    real = sum(tensor.untyped_storage().nbytes() for pointer, tensor in saved.items() if pointer not in copies)
    element_bytes = 2 if mixed else 4
    layer = memory.layer_activation_bytes(rows * length, 128, 352, gated=True, element_bytes=element_bytes, mixed=mixed)
    assert output.logits.shape[-1] == 64
    assert memory.activation_bytes(layer, 4, 0) == pytest.approx(real, rel=0.1)
