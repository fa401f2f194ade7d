"""Merging runs: the folder that is left, what it is compared with, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import bitsandbytes
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.cli.main import main
from hfrecipes.recipe.manifest import faults_of, read_manifest, write_manifest
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.stages.merge import merge_run

BASE = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 1, num_attention_heads: 4,
           tie_word_embeddings: true, initializer_range: 0.15}
  tokenizer: {vocab_size: 320}
data:
  train: [{name: python_prose, split: train, limit: 16}]
  context_length: 512
training: {learning_rate: 1.0e-2, global_batch_size: 4, max_steps: 4, save_strategy: "no"}
evaluation: {samples: 1}
"""
TUNED = """
kind: sft
model: {name_or_path: runs/base/model}
quantization: {load_in_4bit: true, bnb_4bit_quant_type: nf4, bnb_4bit_use_double_quant: true}
adapter: {method: lora, r: 4, lora_alpha: 8, target_modules: all-linear}
data:
  train: [{name: python_docstrings, split: train, limit: 8}]
  test: [{name: python_docstrings, split: test, limit: 4}]
training: {learning_rate: 3.0e-2, global_batch_size: 4, max_steps: 3, save_steps: 3, max_length: 512}
evaluation: {samples: 1, compare_base: false}
"""
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
# As anyone would: no hfrecipes, every warning an error, whatever the libraries log on stderr.
PLAIN = """
import sys, warnings
warnings.simplefilter("error")
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
assert "hfrecipes" not in sys.modules and "peft" not in sys.modules
assert tokenizer.chat_template
ends = model.generation_config.eos_token_id
assert tokenizer.convert_tokens_to_ids("<|im_end|>") in ends and tokenizer.eos_token_id in ends, ends
import torch
torch.save(model(torch.arange(4, 40)[None]).logits.detach(), sys.argv[2])
"""
IDS = torch.arange(4, 40)[None]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs `base`, `quantised` (QLoRA) and `plain` (LoRA), each a few steps on real text. Tests do not change them."""
    folder = tmp_path_factory.mktemp("merge")
    (folder / "base.yaml").write_text(BASE)
    (folder / "quantised.yaml").write_text(TUNED)
    (folder / "plain.yaml").write_text(TUNED)
    options = RunOptions(runs_dir=folder / "runs", quiet=True)
    run(load_recipe(folder / "base.yaml"), options=options)
    base = f"model.name_or_path={folder / 'runs' / 'base' / 'model'}"
    run(load_recipe(folder / "quantised.yaml", overrides=[base]), options=options)
    run(load_recipe(folder / "plain.yaml", overrides=[base, "quantization=null"]), options=options)
    return folder / "runs"


@torch.no_grad()
def logits_of(model) -> torch.Tensor:
    return model.eval()(IDS).logits


def trained_model(runs: Path, name: str, **words) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(runs / "base" / "model", **words)
    return PeftModel.from_pretrained(base, runs / name / "model").eval()


def test_a_merged_run_loads_in_a_plain_process_without_a_word_and_says_the_same(runs: Path, tmp_path: Path) -> None:
    done = merge_run(runs / "plain", tmp_path / "merged")
    assert done.drift.kl < 1e-6 < done.drift.effect and done.text == "data.test"
    assert faults_of(done.folder) == [] and read_manifest(done.folder)["merge"]["kl"] == done.drift.kl
    logits = tmp_path / "logits.pt"
    found = subprocess.run(
        [sys.executable, "-c", PLAIN, done.folder, logits], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert found.returncode == 0, found.stderr
    assert not found.stderr.replace("Loading weights", "").strip(" \r\n:%|█0123456789/it<>[]?.,s")
    assert torch.allclose(torch.load(logits), logits_of(trained_model(runs, "plain")), atol=2e-5)


def test_qlora_is_merged_into_the_weights_that_training_saw(runs: Path, tmp_path: Path) -> None:
    done = merge_run(runs / "quantised", tmp_path / "merged")
    model = trained_model(runs, "quantised", quantization_config=BitsAndBytesConfig(**NF4), device_map={"": "cpu"})
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    seen = bitsandbytes.functional.dequantize_4bit(layer.base_layer.weight.data, layer.base_layer.weight.quant_state)
    update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * layer.scaling["default"]
    found = load_file(done.folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert torch.allclose(found, seen.float() + update, atol=1e-6)
    original = load_file(runs / "base" / "model" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert (found - original - update).abs().max() > 1e-3
    assert "quantization_config" not in json.loads((done.folder / "config.json").read_text())


def test_the_original_weights_are_refused_with_figures_and_merged_where_that_is_allowed(
    runs: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as raised:
        merge_run(runs / "quantised", tmp_path / "merged", tolerance=1e-3, base="original")
    assert all(part in str(raised.value) for part in ("nats per token", "0.1% is allowed", "leave out --base original"))
    assert list(tmp_path.iterdir()) == []
    done = merge_run(runs / "quantised", tmp_path / "merged", tolerance=10.0, base="original")
    assert done.drift.kl > 1e-5
    original = load_file(runs / "base" / "model" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    layer = trained_model(runs, "quantised").base_model.model.model.layers[0].mlp.up_proj
    update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * layer.scaling["default"]
    found = load_file(done.folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert torch.allclose(found, original + update, atol=1e-6)


def test_a_checkpoint_knows_from_its_run_that_the_base_was_quantised(runs: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    merge_run(runs / "quantised", whole)
    merge_run(runs / "quantised" / "checkpoints" / "checkpoint-3", part)
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, part))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def copied(runs: Path, tmp_path: Path) -> Path:
    """The runs at another place, where a test may change them."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    config = copy / "plain" / "model" / "adapter_config.json"
    config.write_text(config.read_text().replace(str(runs), str(copy)))
    write_manifest(config.parent)
    return copy


def test_another_base_at_the_same_place_is_refused(runs: Path, tmp_path: Path) -> None:
    copy = copied(runs, tmp_path)
    base = copy / "base" / "model"
    weights = load_file(base / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(RecipeError, match="safetensors"):  # not what its manifest says
        merge_run(copy / "plain")
    write_manifest(base)
    with pytest.raises(RecipeError, match="not those that the adapter was trained on"):
        merge_run(copy / "plain")
    assert not (copy / "plain" / "merged").exists()


def test_what_cannot_be_merged_or_written_is_said_before_anything_is_loaded(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to merge"):
        merge_run(runs / "base")
    with pytest.raises(RecipeError, match="nothing to merge"):
        merge_run(tmp_path / "nowhere")
    (tmp_path / "there").mkdir()
    with pytest.raises(RecipeError, match="exists already"):
        merge_run(runs / "plain", tmp_path / "there")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="file is a file"):
        merge_run(runs / "plain", tmp_path / "file" / "out")


def test_the_verb_tells_the_figures_and_ends_in_error_where_it_refuses(runs: Path, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "merged")
    assert main(["merge", str(runs / "quantised"), "--out", out, "--base", "original", "--tolerance", "0"]) == 2
    assert "nats per token" in capsys.readouterr().err
    assert main(["merge", str(runs / "plain"), "--out", out, "--dtype", "bfloat16", "--tolerance", "1"]) == 0
    assert "bfloat16, compared with the trained model on" in capsys.readouterr().out
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    with pytest.raises(SystemExit):
        main(["merge", str(runs / "plain"), "--tolerance", "-1"])


def test_an_adapter_without_a_run_is_compared_on_prose_and_written_beside_itself(runs: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(runs / "plain" / "model", adapter)
    done = merge_run(adapter)
    assert done.folder == tmp_path / "adapter-merged" and "prose" in done.text
    assert torch.allclose(
        logits_of(AutoModelForCausalLM.from_pretrained(done.folder)), logits_of(trained_model(runs, "plain")), atol=2e-5
    )


def test_tokens_that_were_added_with_the_adapter_are_in_the_merged_model(runs: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(runs / "base" / "model")
    tokenizer = AutoTokenizer.from_pretrained(runs / "base" / "model")
    tokenizer.add_tokens(["<call>", "<result>"])
    model.resize_token_embeddings(len(tokenizer))
    trained = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter) if parameter.requires_grad else 0)
    trained.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    folder = merge_run(tmp_path / "adapter").folder
    ids = AutoTokenizer.from_pretrained(folder)("<call> x <result>", return_tensors="pt")["input_ids"]
    assert ids.max() == len(tokenizer) - 1
    merged = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, trained.eval()(ids).logits, atol=2e-5)
