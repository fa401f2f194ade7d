"""What the machine can do, found out without importing torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

# bfloat16 arithmetic and flash attention 2 both begin with Ampere.
AMPERE = (8, 0)


@dataclass(frozen=True, slots=True)
class Hardware:
    """The devices that a run on this machine would use.

    Args:
        device: Kind of device.
        name: Product name of the (first) device.
        count: Devices visible to this process.
        memory_bytes: Memory of one device; of the whole machine on a CPU.
        bf16: Whether mixed-precision training in bfloat16 is worth having on it.
        flash_attention: Whether `attn_implementation: flash_attention_2` can run.
    """

    device: Literal["cpu", "cuda", "mps"]
    name: str
    count: int
    memory_bytes: int
    bf16: bool
    flash_attention: bool


@cache
def detect_hardware() -> Hardware:
    """Asks `nvidia-smi` and the operating system; costs milliseconds, where `import torch` costs seconds."""
    gpus = _visible_gpus() if _torch_has_cuda() else []
    if gpus:
        name, memory_mib, capability = gpus[0]
        modern = capability >= AMPERE
        flash = modern and importlib.util.find_spec("flash_attn") is not None
        return Hardware("cuda", name, len(gpus), memory_mib * 2**20, modern, flash)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Hardware("mps", platform.processor() or "Apple silicon", 1, _machine_memory(), False, False)
    return Hardware("cpu", _cpu_name(), 1, _machine_memory(), False, False)


def _torch_has_cuda() -> bool:
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _visible_gpus() -> list[tuple[str, int, tuple[int, int]]]:
    """Name, memory in MiB and compute capability of each visible GPU, in the order that CUDA gives them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "" or shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = {}
    for line in answer.splitlines():
        index, uuid, name, memory, capability = (field.strip() for field in line.split(","))
        major, _, minor = capability.partition(".")
        gpus[index] = gpus[uuid] = (name, int(memory), (int(major), int(minor or 0)))
    wanted = visible.split(",") if visible else [key for key in gpus if key.isdigit()]
    return [gpus[key.strip()] for key in wanted if key.strip() in gpus]


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
