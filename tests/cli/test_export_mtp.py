"""The verb by which a model with chained heads becomes one that transformers drafts with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfrecipes.cli.main import main
from hfrecipes.models.mtp.attach import add_mtp_heads, inner_model
from hfrecipes.models.mtp.saving import FILE, write_heads
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.tokenization.training import train_tokenizer
from tests.models.mtp.families import build, shake

IDS = torch.randint(5, 300, (1, 6), generator=torch.Generator().manual_seed(0))


def saved(folder: Path, kind: str = "chained", family: str = "llama") -> Any:
    model = add_mtp_heads(build(family, torch.float32, vocab_size=320), 3, kind)
    shake(model.mtp_heads.parameters(), 0.1)
    model.save_pretrained(folder)
    train_tokenizer(["some text to learn from"] * 3, 300, folder)
    return model


def decoded(
    out: Path, told: str, monkeypatch: pytest.MonkeyPatch, ids: torch.Tensor = IDS, **words: Any
) -> torch.Tensor:
    """What a user who follows the printed lines gets."""
    name, patterns = re.search(r"(\w+)\._keys_to_ignore_on_load_unexpected = (\[.*\])", told).groups()
    import transformers

    monkeypatch.setattr(getattr(transformers, name), "_keys_to_ignore_on_load_unexpected", eval(patterns))
    model, found = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    return model.eval().generate(ids, max_new_tokens=16, do_sample=False, pad_token_id=0, **words)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_folder_decodes_with_its_heads_token_by_token_as_without(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model", family=family)
    assert main(["export-mtp", str(tmp_path / "model"), str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    expected = model.eval().generate(IDS, max_new_tokens=16, do_sample=False, pad_token_id=0)
    assert torch.equal(decoded(tmp_path / "out", told, monkeypatch, use_mtp=True), expected)
    assert torch.equal(decoded(tmp_path / "out", told, monkeypatch), expected)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("text")["input_ids"]
    assert not list(tmp_path.glob(".*.part"))


def test_the_shortest_prompt_that_drafts_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "model")
    assert main(["export-mtp", str(tmp_path / "model"), str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "With fewer than 2 tokens in the prompt leave use_mtp out" in told
    decoded(tmp_path / "out", told, monkeypatch, IDS[:, :2], use_mtp=True)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        decoded(tmp_path / "out", told, monkeypatch, IDS[:, :1], use_mtp=True)
    decoded(tmp_path / "out", told, monkeypatch, IDS[:, :1])


def test_an_adapter_is_merged_into_its_base(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build("llama", torch.float32, vocab_size=320)
    base.save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = get_peft_model(base, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    shake((weight for name, weight in model.named_parameters() if "lora_" in name), 0.1)
    inner = add_mtp_heads(inner_model(model), 3, "chained")
    folder = tmp_path / "run" / "model"
    model.save_pretrained(folder)
    write_heads(folder, inner.mtp_heads.state_dict(), inner.head_facts)
    train_tokenizer(["some text to learn from"] * 3, 300, folder)
    assert main(["export-mtp", str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    expected = model.eval().generate(input_ids=IDS, max_new_tokens=16, do_sample=False, pad_token_id=0)
    found = decoded(tmp_path / "out", capsys.readouterr().out, monkeypatch, use_mtp=True)
    assert torch.equal(found, expected)


def test_what_cannot_be_exported_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def told(source: Path, out: Path = tmp_path / "out") -> str:
        assert main(["export-mtp", str(source), str(out)]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    saved(tmp_path / "parallel", "parallel")
    assert "parallel heads for 3 tokens" in told(tmp_path / "parallel")
    assert "exists already" in told(tmp_path / "parallel", tmp_path / "parallel")
    (tmp_path / "file").write_text("")
    under = tmp_path / "file" / "deep" / "out"
    assert f"cannot be made: {tmp_path / 'file'} is a file" in told(tmp_path / "parallel", under)
    assert "has a name of 300 characters" in told(tmp_path / "parallel", tmp_path / ("x" * 300))
    assert "there is no such folder" in told(tmp_path / "nowhere")
    (tmp_path / "parallel" / FILE).unlink()
    assert f"holds no {FILE}" in told(tmp_path / "parallel")
    saved(tmp_path / "changed")
    write_manifest(tmp_path / "changed")
    config = tmp_path / "changed" / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 1'))
    assert "config.json" in told(tmp_path / "changed")
    saved(tmp_path / "elsewhere", family="gpt2")
    assert "this model under transformer.h" in told(tmp_path / "elsewhere")
