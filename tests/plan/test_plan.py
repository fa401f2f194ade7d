"""Plans of whole recipes: what is counted, what is estimated, what is left unchecked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from hfrecipes.data.prepare import prepare
from hfrecipes.models.load import load_model, model_config
from hfrecipes.plan.counts import DataCounts, estimate_counts
from hfrecipes.plan.devices import DEVICES, find_device, measured_flops, recognise
from hfrecipes.plan.model import planned_config, trained_adapter
from hfrecipes.plan.pipeline import plan_pipeline
from hfrecipes.plan.plan import make_plan
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.resolve import resolve
from hfrecipes.tokenization.tokenizer import Tokenizer

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
H100 = find_device("h100").hardware
WriteRecipe = Callable[..., Recipe]


@pytest.fixture
def sft(tiny_configs: dict[str, dict], tokenizer_folder: Path, data_file: Path) -> dict:
    config = {name: value for name, value in tiny_configs["llama"].items() if name != "vocab_size"}
    return {
        "kind": "sft",
        "model": {"config": config, "tokenizer": str(tokenizer_folder)},
        "data": {"train": [{"path": data_file.name}]},
        "training": {"global_batch_size": 16, "num_train_epochs": 2, "max_length": 64},
    }


@pytest.fixture
def pretrain(tiny_configs: dict[str, dict], tmp_path: Path, data_file: Path) -> dict:
    (tmp_path / "text.jsonl").write_text(
        "".join(json.dumps({"text": f"Line {n} of the text. " * (n % 7 + 1)}) + "\n" for n in range(150)),
        encoding="utf-8",
    )
    config = {name: value for name, value in tiny_configs["llama"].items() if name != "vocab_size"}
    return {
        "kind": "pretrain",
        "model": {"config": config, "tokenizer": {"vocab_size": 320}},
        "data": {"train": [{"path": "text.jsonl"}], "context_length": 32},
        "training": {"global_batch_size": 4, "max_steps": 50},
    }


def test_small_data_is_counted_whole(sft: dict, write_recipe: WriteRecipe, tokenizer_folder: Path) -> None:
    """Where the sample is the whole, the estimate is what preparation counts."""
    recipe = resolve(write_recipe(sft), CPU)
    tokenizer = Tokenizer.load(tokenizer_folder)
    prepared = prepare(recipe, tokenizer)
    real = DataCounts.from_facts(prepared.facts, len(prepared.train), tokenizer.vocab_size)
    estimate = estimate_counts(recipe)
    assert (estimate.rows, estimate.tokens, estimate.supervised_tokens) == (60, real.tokens, real.supervised_tokens)
    assert estimate.sampled == 60 and not real.estimated
    plan = make_plan(recipe, CPU)
    assert plan.steps == 2 * 4  # ceil(60 / 16) in each of two epochs
    assert plan.epochs == pytest.approx(2 * 4 * 16 / 60)
    assert plan.tokens == pytest.approx(plan.steps * 16 * real.tokens / 60)
    assert make_plan(recipe, CPU, data_counts=real).tokens == plan.tokens


def test_pretraining_counts_packed_rows(pretrain: dict, write_recipe: WriteRecipe, tokenizer_folder: Path) -> None:
    pretrain["model"]["tokenizer"] = str(tokenizer_folder)
    pretrain["training"] = {"global_batch_size": 4, "num_train_epochs": 1}
    recipe = resolve(write_recipe(pretrain), CPU)
    prepared = prepare(recipe, Tokenizer.load(tokenizer_folder))
    plan = make_plan(recipe, CPU)
    assert plan.data.rows == len(prepared.train)
    assert plan.data.tokens == sum(len(row) for row in prepared.train["input_ids"])
    assert plan.steps == -(-len(prepared.train) // 4)
    assert plan.tokens == plan.steps * 4 * 32


def test_an_estimate_is_close(
    pretrain: dict, write_recipe: WriteRecipe, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """Documents whose lengths differ a hundredfold, of which a small sample is drawn."""
    lines = [json.dumps({"text": f"Line {n} of the text. " * (1 + (n * n) % 101)}) for n in range(2000)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pretrain["model"]["tokenizer"] = str(tokenizer_folder)
    recipe = resolve(write_recipe(pretrain), CPU)
    tokenizer = Tokenizer.load(tokenizer_folder)
    (fact,) = prepare(recipe, tokenizer).facts
    estimate = estimate_counts(recipe)
    assert estimate.sampled == 200 and estimate.documents == 2000
    assert estimate.tokens == pytest.approx(fact["tokens"], rel=0.02)


def test_parameters_are_those_of_the_model_that_will_be_trained(
    sft: dict, write_recipe: WriteRecipe, tokenizer_folder: Path
) -> None:
    recipe = resolve(write_recipe(sft), CPU)
    model = load_model(recipe, AutoTokenizer.from_pretrained(tokenizer_folder))
    assert make_plan(recipe, CPU).parameters.total == model.num_parameters()


@pytest.mark.parametrize(
    ("kind", "task", "trained"),
    [("reward", "CAUSAL_LM", False), ("reward", "SEQ_CLS", True), ("dpo", "CAUSAL_LM", True)],
)
def test_a_reward_model_takes_an_adapter_of_a_language_model_into_its_base(
    kind: str, task: str, trained: bool, sft: dict, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "task_type": task, "r": 4}))
    recipe = write_recipe(sft | {"kind": kind, "model": {"name_or_path": "adapter"}})
    assert trained_adapter(recipe) == ({"method": "lora", "r": 4} if trained else None)


def test_gpt2_positions_follow_the_context(
    pretrain: dict, tiny_configs: dict[str, dict], write_recipe: WriteRecipe, tokenizer_folder: Path
) -> None:
    """The config is filled in as `models.load` fills it in."""
    without = ("vocab_size", "n_positions")
    pretrain["model"] = {
        "config": {name: value for name, value in tiny_configs["gpt2"].items() if name not in without},
        "tokenizer": str(tokenizer_folder),
    }
    recipe = resolve(write_recipe(pretrain), CPU)
    real = model_config(recipe, AutoTokenizer.from_pretrained(tokenizer_folder))
    planned = planned_config(recipe, Tokenizer.load(tokenizer_folder).vocab_size)
    assert planned.n_positions == real.n_positions == 32
    assert planned.vocab_size == real.vocab_size


def test_a_tokenizer_that_is_yet_to_be_trained(pretrain: dict, write_recipe: WriteRecipe) -> None:
    plan = make_plan(write_recipe(pretrain), CPU)
    assert plan.parameters.unembedding == 320 * 64
    assert plan.steps == 50 and not plan.steps_estimated
    assert plan.tokens == 50 * 4 * 32
    assert plan.data.estimated and plan.epochs == pytest.approx(50 * 4 / plan.data.rows)


def test_a_batch_larger_than_the_data_reads_it_more_than_once(sft: dict, write_recipe: WriteRecipe) -> None:
    sft["training"] |= {"global_batch_size": 100, "max_steps": 6}
    plan = make_plan(resolve(write_recipe(sft), CPU), CPU)
    assert plan.epochs == pytest.approx(600 / 60)


def test_memory_by_hand(sft: dict, write_recipe: WriteRecipe) -> None:
    """Full training in float32 on a CPU: 4 + 4 + 8 bytes a parameter, and 36-byte layers of a gated MLP."""
    plan = make_plan(write_recipe(sft), CPU)
    parts, total = plan.memory.parts, plan.parameters.total
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (4 * total, 4 * total, 8 * total)
    assert parts["logits"] == parts["16-bit copies"] == parts["gradient buckets"] == 0
    assert parts["activations"] == 2 * (8 * 64) * (18 * 64 + 8 * 112) * 2
    assert plan.memory.checkpoint - plan.memory.model == pytest.approx(8 * total, abs=20_000)
    assert plan.memory.model == pytest.approx(4 * total + 128 * plan.shape.vocab_size, abs=20_000)


def test_the_models_own_loss_builds_logits(pretrain: dict, write_recipe: WriteRecipe) -> None:
    plan = make_plan(write_recipe(pretrain), CPU)
    assert plan.memory.parts["logits"] == plan.batch.micro_batch_size * 32 * 320 * 8
    on_gpu = make_plan(write_recipe(pretrain), H100)
    assert on_gpu.memory.parts["logits"] == on_gpu.batch.micro_batch_size * 32 * 320 * 6
    assert on_gpu.memory.parts["16-bit copies"] == 2 * on_gpu.parameters.matmul


def test_qlora(sft: dict, write_recipe: WriteRecipe) -> None:
    sft["adapter"] = {"method": "lora", "r": 4}
    sft["quantization"] = {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}
    plan = make_plan(write_recipe(sft), H100, 2)
    counts, parts = plan.parameters, plan.memory.parts
    frozen = counts.total - counts.trainable - counts.quantized
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    assert parts["weights"] == pytest.approx(counts.quantized * bits / 8 + 2 * frozen + 2 * counts.trainable)
    assert parts["optimizer"] == 4 * counts.trainable
    assert parts["gradient buckets"] == parts["gradients"] == 2 * counts.trainable
    assert plan.memory.checkpoint - plan.memory.model == pytest.approx(4 * counts.trainable, abs=40_000)
    assert plan.memory.model == pytest.approx(2 * counts.trainable + 128 * plan.shape.vocab_size, abs=20_000)
    base = counts.matmul - counts.trainable_matmul
    assert plan.compute.model_flops / plan.tokens > 4 * base + 6 * counts.trainable_matmul
    # Checkpointing is on by default on a GPU.
    assert plan.compute.hardware_flops > plan.compute.model_flops


def test_too_large_for_the_device(sft: dict, write_recipe: WriteRecipe) -> None:
    small = Hardware("cuda", "a small GPU", 1, 2**20, True, False)
    plan = make_plan(write_recipe(sft), small, 4)
    (warning,) = [problem for problem in plan.problems if problem.severity == "warning"]
    assert "will not fit" in warning.message and "a small GPU" in warning.message
    assert "adapter" in warning.fix
    assert not [problem for problem in make_plan(write_recipe(sft), CPU).problems if problem.severity == "warning"]


def test_the_remedy_is_what_helps(sft: dict, write_recipe: WriteRecipe) -> None:
    """Where activations are most of it, the advice is to keep fewer of them."""
    sft["training"]["gradient_checkpointing"] = False
    needed = make_plan(write_recipe(sft), CPU).memory_bytes
    device = Hardware("cuda", "a GPU", 1, int(needed), False, False)
    (warning,) = [problem for problem in make_plan(write_recipe(sft), device).problems if problem.severity == "warning"]
    assert warning.fix.startswith("try training.gradient_checkpointing: true; training.per_device_train_batch_size: 4")


def test_what_only_the_hub_has_is_unchecked(write_recipe: WriteRecipe) -> None:
    values = {
        "kind": "sft",
        "model": {"name_or_path": "someone/a-model-that-is-not-cached", "model_type": "qwen3"},
        "data": {"train": [{"name": "someone/data-that-is-not-cached", "split": "train"}]},
        "training": {"global_batch_size": 8, "max_length": 64},
    }
    plan = make_plan(write_recipe(values), CPU)
    assert plan.parameters is plan.steps is plan.tokens is plan.memory is plan.compute is plan.disk is None
    assert {problem.severity for problem in plan.problems} == {"unchecked"}
    assert "someone/a-model-that-is-not-cached" in " ".join(problem.message for problem in plan.problems)
    assert "someone/data-that-is-not-cached" in " ".join(problem.message for problem in plan.problems)
    assert plan.to_dict()["parameters"] is None
    json.dumps(plan.to_dict())


def test_local_faults_are_raised(sft: dict, write_recipe: WriteRecipe, data_file: Path) -> None:
    data_file.write_text('{"prompt": "a", "completion": null}\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"sums\.jsonl:1"):
        make_plan(write_recipe(sft), CPU)


def test_a_model_that_cannot_be_built(sft: dict, write_recipe: WriteRecipe) -> None:
    sft["adapter"] = {"method": "lora", "target_modules": ["no_such_module"]}
    with pytest.raises(RecipeError, match="no_such_module"):
        make_plan(write_recipe(sft), CPU)
    sft["model"]["config"] |= {"hidden_size": 63}
    del sft["adapter"]
    with pytest.raises(RecipeError, match=r"mine\.yaml:\d+"):
        make_plan(write_recipe(sft), CPU)


def test_a_pipeline_hands_its_model_on(pretrain: dict, sft: dict, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    write_recipe(pretrain, "base")
    sft["model"] = {"name_or_path": "."}
    write_recipe(sft, "tuned")
    pipeline = {
        "kind": "pipeline",
        "steps": [
            {"name": "base", "recipe": "base.yaml", "with": {"training.max_steps": 10}},
            {"name": "tuned", "recipe": "tuned.yaml", "with": {"model.name_or_path": "${steps.base.model}"}},
        ],
    }
    plan = plan_pipeline(write_recipe(pipeline, "both"), CPU)
    (first, base), (second, tuned) = plan.steps
    assert (first, second) == ("base", "tuned")
    assert base.steps == 10
    assert tuned.parameters == base.parameters
    assert plan.flops == base.compute.model_flops + tuned.compute.model_flops
    assert plan.memory_bytes == max(base.memory_bytes, tuned.memory_bytes)
    assert json.loads(json.dumps(plan.to_dict()))["steps"]["tuned"]["steps"] == tuned.steps


def test_devices() -> None:
    assert recognise(Hardware("cuda", "NVIDIA H100 80GB HBM3", 1, 85 * 10**9, True, True)).name == "h100"
    assert recognise(Hardware("cuda", "NVIDIA H100 PCIe", 1, 85 * 10**9, True, True)).name == "h100-pcie"
    assert recognise(Hardware("cuda", "NVIDIA A100-SXM4-40GB", 1, 42 * 10**9, True, True)).name == "a100-40gb"
    assert recognise(Hardware("cuda", "NVIDIA L40S", 1, 48 * 10**9, True, True)).name == "l40s"
    assert recognise(Hardware("cuda", "NVIDIA GeForce RTX 4090", 1, 24 * 10**9, True, True)).name == "rtx4090"
    assert recognise(CPU) is None
    assert find_device("h200").peak_flops == find_device("H100").peak_flops == 989e12
    assert all(recognise(device.hardware) == device for device in DEVICES)
    with pytest.raises(RecipeError, match="did you mean h100"):
        find_device("h10")
    assert measured_flops(128, 2) > 1e8
