"""Peak rates and memory of the devices that a run may be planned for, and the measured rate of the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.validate import nearest

GIB = 2**30
# Share of the peak that training with the stock stack reaches, where nothing was measured: torchtitan reports 33 to 39 %
# for Llama 3.1 8B under FSDP on H100, Meta 43 % for Llama 2 70B on A100.
DEFAULT_UTILISATION = 0.35


@dataclass(frozen=True, slots=True)
class Device:
    """A product.

    Args:
        name: The word for `--gpu`.
        peak_flops: Dense operations per second of its matrix units, in bfloat16 with float32 sums (float16 where it has no
            bfloat16); figures "with sparsity" are twice that.
        memory_bytes: What the driver reports, which is less than the name says where error correction takes its share.
        bf16: Whether it computes in bfloat16.
        source: Where the peak was published.
    """

    name: str
    peak_flops: float
    memory_bytes: int
    bf16: bool
    source: str

    @property
    def hardware(self) -> Hardware:
        """One such device, as `resolve` wants it. Flash attention depends on what is installed there, so it is left out."""
        return Hardware("cuda", self.name, 1, self.memory_bytes, self.bf16, False)


def _device(name: str, teraflops: float, gib: float, source: str, *, bf16: bool = True) -> Device:
    return Device(name, teraflops * 1e12, int(gib * GIB), bf16, source)


# Narrower names stand before those that they contain, since products are matched in this order.
DEVICES = (
    _device("b200", 2250, 179.0, "NVIDIA Blackwell architecture brief, HGX B200"),
    _device("h200", 989, 140.4, "NVIDIA H200 data sheet, SXM"),
    _device("h100-pcie", 756, 79.6, "NVIDIA H100 data sheet, PCIe"),
    _device("h100", 989, 79.6, "NVIDIA H100 data sheet, SXM"),
    _device("a100-40gb", 312, 40.0, "NVIDIA A100 data sheet, 40 GB"),
    _device("a100", 312, 80.0, "NVIDIA A100 data sheet, 80 GB"),
    _device("a10g", 70, 22.5, "NVIDIA A10G data sheet (AWS G5)"),
    _device("l40s", 362, 45.0, "NVIDIA L40S data sheet"),
    _device("l4", 121, 22.5, "NVIDIA L4 data sheet"),
    _device("rtx5090", 209.5, 31.8, "NVIDIA RTX Blackwell GPU architecture white paper"),
    _device("rtx4090", 165.2, 24.0, "NVIDIA Ada GPU architecture white paper"),
    _device("rtx3090", 71, 24.0, "NVIDIA Ampere GA102 architecture white paper"),
    _device("mi300x", 1307.4, 192.0, "AMD Instinct MI300X data sheet"),
    _device("v100", 125, 32.0, "NVIDIA V100 data sheet, SXM2 32 GB", bf16=False),
    _device("t4", 65, 15.0, "NVIDIA T4 data sheet", bf16=False),
)


def find_device(name: str) -> Device:
    """The device of a `--gpu` word.

    Raises:
        RecipeError: for a word that is not in the table.
    """
    by_name = {device.name: device for device in DEVICES}
    if name.lower() in by_name:
        return by_name[name.lower()]
    guess = nearest(name.lower(), by_name)
    fix = f"did you mean {guess}?" if guess else f"known: {', '.join(by_name)}"
    raise RecipeError(Problem("--gpu", f"{name} is not a device whose peak is known", fix))


def recognise(hardware: Hardware) -> Device | None:
    """The table's entry for the product name that a driver gives (`NVIDIA H100 80GB HBM3`); None for another product."""
    product = "".join(character for character in hardware.name.lower() if character.isalnum())
    matching = (device for device in DEVICES if device.name.replace("-", "") in product)
    found = next(matching, None)
    if found is not None and found.name == "a100" and hardware.memory_bytes < 60 * GIB:
        return find_device("a100-40gb")
    return found


@cache
def measured_flops(size: int = 768, rounds: int = 4) -> float:
    """Operations per second of float32 matrix products on this CPU, the best of a few: what it could do at most."""
    import numpy

    left, right = (numpy.random.default_rng(seed).random((size, size), dtype=numpy.float32) for seed in (0, 1))
    left @ right  # the first call starts the threads
    fastest = min(_seconds(lambda: left @ right) for _ in range(rounds))
    return 2.0 * size**3 / fastest


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
