"""Whether this machine, and what is installed on it, can do what the recipe asks for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import split_batch

RUNS = Path("runs")
# Few runs need less; whether this one fits is for its plan to say, once its model and rows are known.
SMALLEST_FREE_BYTES = 2 * 2**30

# Module to look for and package to install, by the tracker's name in `report_to`.
TRACKERS: dict[str, tuple[str, str]] = {
    "azure_ml": ("azureml", "azureml-core"),
    "clearml": ("clearml", "clearml"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "comet_ml": ("comet_ml", "comet-ml"),
    "dagshub": ("dagshub", "dagshub mlflow"),
    "dvclive": ("dvclive", "dvclive"),
    "flyte": ("flytekit", "flytekit"),
    "mlflow": ("mlflow", "mlflow"),
    "neptune": ("neptune", "neptune"),
    "swanlab": ("swanlab", "swanlab"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "trackio": ("trackio", "trackio"),
    "wandb": ("wandb", "wandb"),
}
# Module and package by the beginning of the optimizer's name in `optim`.
OPTIMIZERS: dict[str, tuple[str, str]] = {
    "adamw_anyprecision": ("torchdistx", "torchdistx"),
    "adamw_torch_4bit": ("torchao", "torchao"),
    "adamw_torch_8bit": ("torchao", "torchao"),
    "adamw_torch_npu_fused": ("torch_npu", "torch_npu"),
    "adamw_torch_xla": ("torch_xla", "torch_xla"),
    "adamw_bnb": ("bitsandbytes", "bitsandbytes"),
    "adamw_8bit": ("bitsandbytes", "bitsandbytes"),
    "ademamix": ("bitsandbytes", "bitsandbytes"),
    "lion": ("bitsandbytes", "bitsandbytes"),
    "paged": ("bitsandbytes", "bitsandbytes"),
    "rmsprop_bnb": ("bitsandbytes", "bitsandbytes"),
    "galore": ("galore_torch", "galore-torch"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "adalomo": ("lomo_optim", "lomo-optim"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "schedule_free": ("schedulefree", "schedulefree"),
    "apollo": ("apollo_torch", "apollo-torch"),
    "stable_adamw": ("optimi", "torch-optimi"),
}


def launch_problems(recipe: Recipe, hardware: Hardware, num_processes: int, runs_dir: Path = RUNS) -> list[Problem]:
    """What the hardware cannot do, what is not installed, and what cannot be written."""
    return [
        *_batch_problems(recipe, hardware, num_processes),
        *_device_problems(recipe, hardware, num_processes),
        *_precision_problems(recipe, hardware),
        *_kernel_problems(recipe, hardware),
        *_package_problems(recipe),
        *_output_problems(recipe, runs_dir),
    ]


def _batch_problems(recipe: Recipe, hardware: Hardware, num_processes: int) -> list[Problem]:
    try:
        split_batch(recipe, hardware, num_processes)
    except RecipeError as error:
        return error.problems
    return []


def _device_problems(recipe: Recipe, hardware: Hardware, num_processes: int) -> Iterator[Problem]:
    if hardware.device == "cuda" and num_processes > hardware.count:
        fault = f"{num_processes} processes are asked for, and there are {hardware.count} device(s)"
        yield Problem(recipe.where(), fault, f"launch at most {hardware.count}")


def _precision_problems(recipe: Recipe, hardware: Hardware) -> Iterator[Problem]:
    for word, ours in (("bf16", hardware.bf16), ("fp16", hardware.device == "cuda")):
        for key in (f"training.{word}", f"training.{word}_full_eval"):
            if recipe.get(key) and not ours:
                fix = f"remove it: precision is chosen for the device, and {hardware.name} keeps float32"
                yield Problem(recipe.where(key), f"{key} is on, and {_named(hardware)} has no use for it", fix)
    # The tensor cores that tf32 means came with the same generation as bfloat16.
    if recipe.get("training.tf32") and not (hardware.device == "cuda" and hardware.bf16):
        fault = f"training.tf32 is on, and {_named(hardware)} has no tensor cores for it"
        yield Problem(recipe.where("training.tf32"), fault, "remove it: it needs an Ampere GPU or newer")


def _kernel_problems(recipe: Recipe, hardware: Hardware) -> Iterator[Problem]:
    attention = str(recipe.get("model.attn_implementation", ""))
    if attention.startswith("flash_attention") and not hardware.flash_attention:
        if hardware.device == "cuda" and hardware.bf16:
            fix = "pip install flash-attn, or set attn_implementation: sdpa"
        else:
            fix = "set attn_implementation: sdpa"
        fault = f"model.attn_implementation is {attention}, which cannot run on {_named(hardware)}"
        yield Problem(recipe.where("model.attn_implementation"), fault, fix)
    if recipe.get("training.use_liger_kernel"):
        if hardware.device != "cuda":
            fault = f"training.use_liger_kernel is on, and its kernels do not run on {_named(hardware)}"
            yield Problem(recipe.where("training.use_liger_kernel"), fault, "remove it")
        else:
            yield from _missing(recipe, "training.use_liger_kernel", "on", "liger_kernel", "liger-kernel")
    if recipe.get("quantization") is not None:
        yield from _missing(recipe, "quantization", "asked for", "bitsandbytes", "bitsandbytes")
        if hardware.device == "mps":
            fault = f"bitsandbytes does not quantize on {_named(hardware)}"
            yield Problem(recipe.where("quantization"), fault, "remove quantization")


def _package_problems(recipe: Recipe) -> Iterator[Problem]:
    trackers = recipe.get("training.report_to", [])
    for tracker in [trackers] if isinstance(trackers, str) else trackers:
        if tracker in TRACKERS:
            yield from _missing(recipe, "training.report_to", tracker, *TRACKERS[tracker])
        elif tracker == "kubeflow" and not os.environ.get("KUBEFLOW_TRAINER_SERVER_URL"):
            fault = "training.report_to is kubeflow, and KUBEFLOW_TRAINER_SERVER_URL is not set"
            yield Problem(recipe.where("training.report_to"), fault, "set it, or remove kubeflow")
    optimizer = recipe.get("training.optim", "adamw_torch")
    if package := optimizer_package(optimizer):
        yield from _missing(recipe, "training.optim", optimizer, *package)


def optimizer_package(optimizer: str) -> tuple[str, str] | None:
    """Module and package that an optimizer comes from; None for those of torch and transformers."""
    return next((package for name, package in OPTIMIZERS.items() if optimizer.startswith(name)), None)


def _missing(recipe: Recipe, key: str, value: str, module: str, package: str) -> Iterator[Problem]:
    if find_spec(module) is None:
        fault = f"{key} is {value}, and {package.split()[0]} is not installed"
        yield Problem(recipe.where(key), fault, f"pip install {package}")


def _output_problems(recipe: Recipe, runs_dir: Path) -> Iterator[Problem]:
    target = runs_dir / recipe.name
    folder = next(path for path in (target, *target.parents) if path.exists())
    if not folder.is_dir():
        fault = f"the run cannot be written to {target}: {folder} is a file"
        yield Problem(recipe.where("name"), fault, "move it away, or give --runs-dir")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        fault = f"the run cannot be written to {target}: {folder.resolve()} may not be written to"
        yield Problem(recipe.where("name"), fault, "start from another folder, or give --runs-dir")
    free = shutil.disk_usage(folder).free
    if free < SMALLEST_FREE_BYTES:
        fault = f"{free / 2**20:,.0f} MiB are free on the disk of {folder.resolve()}"
        fix = "hfrecipes plan shows what the run writes; free some space, or give --runs-dir on another disk"
        yield Problem(recipe.where("name"), fault, fix, "warning")


def _named(hardware: Hardware) -> str:
    return {"cpu": "a CPU", "mps": "an Apple GPU", "cuda": f"the {hardware.name}"}[hardware.device]
