"""Every shipped recipe and launcher, word by word: they load, they check, their headings tell the truth."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from hfrecipes.check.check import check_recipe
from hfrecipes.recipe.adapter_words import FULL, RATES
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.resolve import resolve
from hfrecipes.recipe.shipped import shipped_launchers, shipped_recipes
from hfrecipes.recipe.smoke import shrink

RECIPES = [name for name in shipped_recipes() if name.startswith(("pretrain/", "sft/", "reward/", "dpo/"))]
# These are pipelines.
RECIPES = [name for name in RECIPES if not name.endswith("own-answers")]
RECIPES += [name for name in shipped_recipes() if name.startswith("ppo/") and not name.startswith("ppo/docstrings")]
# Steps of pipelines are run by these.
RECIPES += [
    name for name in shipped_recipes() if name.startswith("continue/") and not name.startswith("continue/python")
]
LAUNCHERS = ["cpu", "ddp", "fsdp2", "multi-node", "zero2", "zero3"]
CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
GPU = Hardware("cuda", "NVIDIA H100", 8, 80 * 2**30, True, False)


def heading(name: str) -> dict[str, str]:
    """The labelled lines of a recipe's first comment."""
    found: dict[str, str] = {}
    label = ""
    for line in shipped_recipes()[name].read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.match(r"# ([A-Z][\w ]+):\s+(.*)", line):
            label, found[match[1]] = match[1], match[2]
        elif label:
            found[label] += " " + line.removeprefix("#").strip()
    return found


def overrides(text: str) -> list[str]:
    """The `key=value` words of a line; remarks stand in parentheses."""
    return [word for word in shlex.split(re.sub(r"\([^)]*\)", "", text)) if "=" in word]


def test_no_two_recipes_write_into_the_same_run() -> None:
    names = [load_recipe(name).name for name in shipped_recipes()]
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("hardware", [CPU, GPU], ids=["cpu", "gpu"])
def test_checks_offline_and_resolves(name: str, hardware: Hardware, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    problems = check_recipe(recipe, hardware, runs_dir=tmp_path)
    assert [str(problem) for problem in problems if problem.severity != "unchecked"] == []
    training = resolve(recipe, hardware, 1).get("training")
    assert training["bf16"] == (hardware is GPU)
    assert training["global_batch_size"] % training["per_device_train_batch_size"] == 0


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_batches_divide_over_processes(name: str, world_size: int) -> None:
    recipe = load_recipe(name)
    if recipe.get("training.global_batch_size") < world_size:
        pytest.skip("a batch of a few rows is for one device")
    split = resolve(recipe, GPU, world_size).get("training")
    assert split["global_batch_size"] == recipe.get("training.global_batch_size")


@pytest.mark.parametrize("name", RECIPES)
def test_the_heading_says_what_it_needs_and_how_it_runs(name: str) -> None:
    said = heading(name)
    assert {"Needs", "Run", "Try"} <= set(said)
    own = name.removeprefix("sft/") + ".yaml" if name == "sft/my-data" else name
    assert f"hfrecipes run {own}" in said["Run"]
    assert len(overrides(said["Try"])) >= 2
    if name != "sft/my-data" and "0.1" not in said["Needs"]:
        assert re.search(r"≈|estimate|FLOPs", said["Needs"]), "figures that were not measured are marked"


@pytest.mark.parametrize("name", RECIPES)
def test_the_overrides_it_suggests_are_words(name: str) -> None:
    words = overrides(heading(name)["Try"])
    assert load_recipe(name, words).values != load_recipe(name).values


@pytest.mark.parametrize("name", RECIPES)
def test_it_shrinks_to_its_own_architecture(name: str) -> None:
    recipe = load_recipe(name)
    small = shrink(recipe)
    asked = recipe.get("model.model_type") or recipe.get("model.config.model_type")
    assert small.get("model.config.model_type") == asked
    assert "name_or_path" not in small.get("model")


@pytest.mark.parametrize("name", RECIPES)
def test_no_commit_is_invented_and_nothing_is_said_for_the_machine(name: str) -> None:
    recipe = load_recipe(name)
    text = str(recipe.values)
    assert not re.search(r"\b[0-9a-f]{40}\b", text)
    for word in ("bf16", "fp16", "tf32", "ddp_backend"):
        assert recipe.get(f"training.{word}") is None, f"{word} follows from the hardware"
    assert recipe.get("training.save_total_limit") is not None


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("sft/")])
def test_rates_lie_where_practice_puts_them(name: str) -> None:
    recipe = load_recipe(name)
    rates = RATES[recipe.get("adapter.method", FULL)]
    assert rates.low <= recipe.get("training.learning_rate") <= rates.high
    assert recipe.get("quantization") is None or recipe.get("adapter") is not None


def test_the_launchers_that_the_command_line_names_are_shipped() -> None:
    assert sorted(shipped_launchers()) == LAUNCHERS


def launch_arguments(name: str) -> argparse.Namespace:
    """What `accelerate launch --config_file` makes of a launcher."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    parser = launch_command_parser()
    args = parser.parse_args(["--config_file", str(shipped_launchers()[name]), "-m", "hfrecipes", "tour/first"])
    return _validate_launch_command(args)[0]


@pytest.mark.parametrize("name", LAUNCHERS)
def test_accelerate_knows_every_key(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(shipped_launchers()[name]))
    known = {action.dest for action in launch_command_parser()._actions}
    # accelerate refuses unknown keys at the top, and takes any below it.
    inner = {**config.fsdp_config, **config.deepspeed_config}
    assert set(inner) <= known
    assert config.num_processes == {"cpu": 2, "multi-node": 16}.get(name, 8)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_precision_is_left_to_the_recipe(name: str) -> None:
    raw = yaml.safe_load(shipped_launchers()[name].read_text(encoding="utf-8"))
    assert raw["mixed_precision"] == "no", "quoted, or YAML 1.1 makes false of it"
    assert launch_arguments(name).mixed_precision == "no"


def test_the_cpu_launcher_takes_the_road_to_several_processes() -> None:
    args = launch_arguments("cpu")
    assert args.multi_gpu and not args.cpu and args.num_processes == 2


@pytest.mark.parametrize("name", ["fsdp2", "multi-node"])
def test_fsdp_writes_whole_models_and_leaves_recomputation_to_the_recipe(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    args = launch_arguments(name)
    for key, value in prepare_multi_gpu_env(args).items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.reshard_after_forward is True
    assert plugin.activation_checkpointing is False
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_deepspeed_takes_its_numbers_from_the_recipe(name: str, stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.utils import DeepSpeedPlugin

    args = launch_arguments(name)
    words = {
        "GRADIENT_ACCUMULATION_STEPS": args.gradient_accumulation_steps,
        "GRADIENT_CLIPPING": args.gradient_clipping,
        "DEEPSPEED_ZERO_STAGE": args.zero_stage,
        "DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": args.offload_optimizer_device,
        "DEEPSPEED_OFFLOAD_PARAM_DEVICE": args.offload_param_device,
        "DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": args.zero3_save_16bit_model,
    }
    for key, value in words.items():
        monkeypatch.setenv(f"ACCELERATE_{key}", str(value).lower())
    config: dict[str, Any] = DeepSpeedPlugin().deepspeed_config
    filled = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    assert [config[key] for key in filled] == ["auto"] * 4
    assert config["zero_optimization"]["stage"] == stage
    gathered = config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]
    assert gathered == (stage == 3), "a sharded model/ would load nowhere"
