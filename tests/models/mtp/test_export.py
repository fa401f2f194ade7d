"""Heads in DeepSeek's layout are the heads that transformers reads from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import MtpCache
from transformers.modeling_layers import MtpModel

from hfrecipes.models.mtp.attach import add_mtp_heads
from hfrecipes.models.mtp.export import export_chained

from .families import VOCABULARY, build, head_logits, shake

HEADS = 3


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mixtral"])
def test_transformers_drafts_with_the_same_heads(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = add_mtp_heads(build(family, torch.float32), HEADS, "chained")
    shake(model.mtp_heads.parameters(), 0.1)
    export_chained(model, tmp_path)
    loaded = _load(tmp_path, family, monkeypatch)
    ids = torch.randint(5, VOCABULARY, (1, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = head_logits(model, ids)
        drafter = MtpModel.from_pretrained(loaded)
        states = loaded(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        for head in range(HEADS - 1):
            # A head reads the tokens that it is ahead of; each has a cache of its own.
            given, states = ids[:, head + 1 :], states[:, : ids.shape[1] - head - 1]
            cache = MtpCache(config=loaded.config.get_mtp_config())
            places = torch.arange(head + 1, ids.shape[1])[None]
            states = drafter.forward_layer(head, states, places, cache, input_ids=given)
            got = loaded.lm_head(states)
            torch.testing.assert_close(got, expected[head + 1][:, : got.shape[1]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_generation_with_them_is_that_without(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = add_mtp_heads(build(family, torch.float32), HEADS, "chained")
    export_chained(model, tmp_path)
    loaded = _load(tmp_path, family, monkeypatch)
    ids = torch.randint(5, VOCABULARY, (1, 6), generator=torch.Generator().manual_seed(0))
    words: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(loaded.generate(ids, use_mtp=True, **words), loaded.generate(ids, **words))
    assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)


def test_what_has_no_place_in_the_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parallel heads have no place"):
        export_chained(add_mtp_heads(build("llama", torch.float32), 2, "parallel"), tmp_path)
    with pytest.raises(ValueError, match=r"this model under transformer\.h"):
        export_chained(add_mtp_heads(build("gpt2", torch.float32), 2, "chained"), tmp_path)


def _load(folder: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As a user of a class without such layers has to: they are named before the model is loaded."""
    cls = type(build(family, torch.float32))
    layers = [rf"model\.layers\.{number}\..*" for number in range(3, 3 + HEADS - 1)]
    monkeypatch.setattr(cls, "_keys_to_ignore_on_load_unexpected", layers)
    return AutoModelForCausalLM.from_pretrained(folder).eval()
