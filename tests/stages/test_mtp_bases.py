"""What multi-token prediction starts from: quantised bases, adapters, heads that are there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes import RunOptions, build, load_recipe, run
from hfrecipes.check.objective import objective_problems
from hfrecipes.models.mtp.attach import add_mtp_heads, inner_model, load_mtp
from hfrecipes.models.mtp.beside import FILE
from hfrecipes.plan.plan import make_plan
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.tokenization.training import train_tokenizer
from tests.models.mtp.families import shake
from tests.trainers.test_resume import StopAt

RECIPE = """
kind: sft
model:
  name_or_path: {base}
objective: {{name: mtp, num_future_tokens: 3, curriculum: none}}
data:
  train: [{{path: rows.jsonl}}]
training: {{learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 4, logging_steps: 1, save_steps: 2, max_length: 128}}
evaluation: {{samples: 0}}
"""
LORA = "adapter={method: lora, r: 4, lora_alpha: 8}"
FOUR_BITS = "quantization={load_in_4bit: true, bnb_4bit_quant_type: nf4}"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without heads, in sizes that bitsandbytes packs."""
    folder = tmp_path_factory.mktemp("base")
    train_tokenizer(["def name(self):\n    return 'text'  # 1 + 1"] * 3, 320, folder)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **sizes, vocab_size=320, max_position_embeddings=256)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def headed(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with three heads, that are no copies of its last layer any more."""
    folder = tmp_path_factory.mktemp("headed")
    for file in plain.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    model = add_mtp_heads(AutoModelForCausalLM.from_pretrained(plain), 3, "parallel")
    shake(model.mtp_heads.parameters(), 0.1)
    model.save_pretrained(folder)
    return folder


def recipe_of(base: Path, folder: Path, *words: str) -> Any:
    rows = [{"prompt": f"{number} + {number} is", "completion": f" {2 * number}, of course."} for number in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.format(base=base))
    return load_recipe(file, list(words))


def heads_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in inner_model(model).mtp_heads.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("bits", [FOUR_BITS, "quantization={load_in_8bit: true}"])
def test_gradients_through_a_quantised_base_are_those_through_a_whole_one(
    bits: str, plain: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(plain, tmp_path, LORA, bits)
    trainer = build(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True)).trainer
    heads = heads_of(trainer.model)
    assert {weight.dtype for weight in heads.values()} == {torch.float32}
    trained = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "mtp_heads." in name for name in trained)
    assert sum("mtp_heads." in name for name in trained) == len(heads)
    _compare_with_the_whole_base(trainer)


def test_a_run_on_a_4_bit_base_is_saved_resumed_and_gone_on_with(plain: Path, tmp_path: Path) -> None:
    options = RunOptions(runs_dir=tmp_path / "runs", quiet=True)
    words = [LORA, FOUR_BITS, "training.save_total_limit=5"]
    session = build(recipe_of(plain, tmp_path, *words, "name=cut"), options=options)
    heads = heads_of(session.trainer.model)
    session.trainer.add_callback(StopAt(3))
    with pytest.raises(KeyboardInterrupt):
        session.train()
    run(
        recipe_of(plain, tmp_path, *words, "name=cut"),
        options=RunOptions(runs_dir=options.runs_dir, quiet=True, resume=True),
    )
    run(recipe_of(plain, tmp_path, *words, "name=whole"), options=options)
    cut, whole = (RunDir(options.runs_dir / name) for name in ("cut", "whole"))
    for file in ("adapter_model.safetensors", FILE):
        assert (cut.model / file).read_bytes() == (whole.model / file).read_bytes()
    loaded = load_mtp(whole.model)
    assert all(not torch.equal(weight, heads[name]) for name, weight in heads_of(loaded).items())
    # Gone on with from the adapter's folder: adapter and heads.
    further = build(recipe_of(whole.model, tmp_path, "name=further"), options=options).trainer
    assert same(heads_of(further.model), heads_of(loaded))
    assert {name.split(".")[-1] for name, weight in further.model.named_parameters() if weight.requires_grad} >= {
        "weight"
    }


def _compare_with_the_whole_base(trainer: Any) -> None:
    """Gradients of the first batch, beside those of the same model with its quantised layers written out as plain ones."""
    model = trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    got = _gradients(model, batch)
    quantised = {name: part for name, part in model.named_modules() if type(part).__module__.startswith("bitsandbytes")}
    for name, part in quantised.items():
        plain = torch.nn.Linear(part.in_features, part.out_features, bias=False)
        # What a layer does to each unit vector is its matrix.
        plain.weight = torch.nn.Parameter(part(torch.eye(part.in_features)).T.detach(), requires_grad=False)
        model.set_submodule(name, plain)
    wanted = _gradients(model, batch)
    for name, part in quantised.items():
        model.set_submodule(name, part)
    assert len(quantised) == 14
    assert got.keys() == wanted.keys()
    assert any("lora_B" in name for name in got) and any("mtp_heads." in name for name in got)
    for name, gradient in got.items():
        assert float((gradient - wanted[name]).norm()) <= 1e-4 * float(wanted[name].norm()) + 1e-9, name


def _gradients(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch).loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def test_heads_beside_a_model_are_gone_on_with(headed: Path, plain: Path, tmp_path: Path) -> None:
    options = RunOptions(runs_dir=tmp_path / "runs", quiet=True)
    begun = heads_of(build(recipe_of(headed, tmp_path), options=options).trainer.model)
    assert same(begun, heads_of(load_mtp(headed)))
    anew = heads_of(build(recipe_of(plain, tmp_path), options=options).trainer.model)
    assert not same(begun, anew)


def problems_of(recipe: Any) -> list[Any]:
    return list(objective_problems(recipe))


def test_heads_of_another_kind_or_number_are_named(headed: Path, tmp_path: Path) -> None:
    assert problems_of(recipe_of(headed, tmp_path)) == []
    (problem,) = problems_of(recipe_of(headed, tmp_path, "objective.heads=chained", "objective.num_future_tokens=4"))
    assert problem.severity == "error"
    assert "has parallel heads for 3 tokens, and the objective asks for chained heads for 4 tokens" in problem.message
    (file,) = headed.glob(FILE)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / FILE).write_bytes(file.read_bytes()[:200])
    (problem,) = problems_of(recipe_of(cut, tmp_path))
    assert problem.severity == "error" and "cut short or damaged" in problem.message
    assert problem.where.endswith("recipe.yaml:4")


def test_heads_that_are_left_behind_are_told_of(headed: Path, tmp_path: Path) -> None:
    (problem,) = problems_of(recipe_of(headed, tmp_path, "objective={name: clm}"))
    assert problem.severity == "warning"
    assert "has parallel heads for 3 tokens, which this run leaves behind" in problem.message
    assert "{name: mtp, heads: parallel, num_future_tokens: 3}" in problem.fix


@pytest.mark.parametrize(
    ("words", "told"),
    [([], True), ([LORA], False), (["objective.frozen_trunk=true"], False), (["objective={name: clm}"], False)],
)
def test_the_plan_tells_what_heads_do_to_a_small_model(
    words: list[str], told: bool, plain: Path, tmp_path: Path
) -> None:
    problems = make_plan(recipe_of(plain, tmp_path, *words), detect_hardware()).problems
    assert any("below a billion parameters" in problem.message for problem in problems) == told
