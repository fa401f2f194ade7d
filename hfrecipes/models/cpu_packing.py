"""Weights in 4 bits on a CPU, through which a gradient can pass."""

from __future__ import annotations

from typing import Any


def keep_unpacked(model: Any) -> None:
    """Keeps bitsandbytes from packing 4-bit weights for inference on a CPU, and unpacks those that are packed.

    On processors with AVX512-BF16 the first pass in evaluation mode packs them. The product with packed weights has no
    backward pass (`matmul_4bit` of bitsandbytes 0.50), so that a training after it goes on without the gradients through the
    quantised layers, and says nothing.

    Args:
        model: Of transformers, quantised or not.
    """
    for layer in model.modules():
        if not hasattr(layer, "support_avx512bf16_for_cpu"):
            continue
        layer.support_avx512bf16_for_cpu = False
        if getattr(getattr(layer.weight, "quant_state", None), "packing_format_for_cpu", False):
            # Weights are unpacked where they are about to be saved.
            layer.state_dict()
