"""Every method on every precision: it trains, is saved, and gives the same logits when peft alone loads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hfrecipes.check.adapters import adapter_problems
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe
from tests.adapters.methods import (
    IMPOSSIBLE,
    METHODS,
    POSSIBLE,
    PRECISIONS,
    UNSOUND,
    load_base,
    logits,
    reload,
    save_base,
    train,
)

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
# One of each row and of each column, which runs in every test session; all others are `make test-all`.
DIAGONAL = [
    ("lora", "nf4"),
    ("dora", "fp32"),
    ("pissa", "fp32"),
    ("ia3", "8-bit"),
    ("prefix", "bf16"),
    ("prompt", "nf4 stored in bf16"),
    ("p_tuning", "8-bit"),
    ("bottleneck", "bf16"),
]
# Run where hfrecipes cannot be imported.
ALONE = """
import sys
sys.modules["hfrecipes"] = None
import torch
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1]).eval()
ids = torch.tensor([[7, 70, 31, 200, 12, 99]])
torch.save(model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float().detach(), sys.argv[2])
"""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("adapters") / "base")


def holds(base: Path, method: str, precision: str, folder: Path) -> None:
    trained = logits(train(base, method, precision, folder))
    again = logits(reload(base, method, precision, folder))
    torch.testing.assert_close(again, trained, rtol=0, atol=_tolerance(precision))
    # The base with nothing on it is another model; prompts put logits of their own in front.
    plain = logits(load_base(base, precision))
    assert not torch.allclose(trained[:, -plain.shape[1] :], plain, atol=1e-4)


def _tolerance(precision: str) -> float:
    """None, but for four bits: where a processor has bfloat16, bitsandbytes packs them anew at each change between training
    and evaluation, and rounds their scales to bfloat16 (and quantizes these again) on the way."""
    return 1e-2 if precision.startswith("nf4") else 0.0


@pytest.mark.parametrize(("method", "precision"), DIAGONAL)
def test_the_diagonal(method: str, precision: str, base: Path, tmp_path: Path) -> None:
    holds(base, method, precision, tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize(("method", "precision"), [pair for pair in POSSIBLE if pair not in DIAGONAL])
def test_all_others(method: str, precision: str, base: Path, tmp_path: Path) -> None:
    holds(base, method, precision, tmp_path)


def test_the_diagonal_goes_through_all_of_them() -> None:
    assert {METHODS[method]["method"] for method, _ in DIAGONAL} == {words["method"] for words in METHODS.values()}
    assert {precision for _, precision in DIAGONAL} == set(PRECISIONS)
    assert set(DIAGONAL) <= set(POSSIBLE)


def test_one_of_them_in_a_process_that_has_no_hfrecipes(base: Path, tmp_path: Path) -> None:
    model = train(base, "p_tuning", "fp32", tmp_path)
    config = tmp_path / "model" / "adapter_config.json"
    assert f'"base_model_name_or_path": "{base}"' in config.read_text()
    command = [sys.executable, "-c", ALONE, str(tmp_path / "model"), str(tmp_path / "logits.pt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert torch.equal(torch.load(tmp_path / "logits.pt"), logits(model))


@pytest.mark.parametrize(
    ("method", "precision"),
    [pair if pair[1] == "8-bit" else pytest.param(*pair, marks=pytest.mark.matrix) for pair in IMPOSSIBLE],
)
def test_what_cannot_be_is_a_limit_of_the_libraries(method: str, precision: str, base: Path, tmp_path: Path) -> None:
    """Should one of these work one day, its refusal in `check` and its line in docs/adapters.md are to go."""
    with pytest.raises(Exception) as caught:
        train(base, method, precision, tmp_path)
        logits(reload(base, method, precision, tmp_path))
    assert IMPOSSIBLE[method, precision] in str(caught.value)


@pytest.mark.parametrize(("method", "precision"), [*IMPOSSIBLE, *UNSOUND, *POSSIBLE])
def test_the_check_refuses_the_same(method: str, precision: str, tmp_path: Path) -> None:
    words = PRECISIONS[precision]
    file = tmp_path / "r.yaml"
    file.write_text(
        f"kind: sft\nmodel: {{name_or_path: me/it, dtype: {words['dtype']}}}\nadapter: {METHODS[method]}\n"
        f"quantization: {words.get('quantization', 'null')}\n"
        "data: {train: [{name: python_docstrings, split: train}]}\ntraining: {max_steps: 1}\n".replace("True", "true")
    )
    text = file.read_text().replace("True", "true")
    file.write_text(text)
    errors = [problem for problem in adapter_problems(load_recipe(file), CPU, {}) if problem.severity == "error"]
    assert bool(errors) == ((method, precision) not in POSSIBLE)


def test_a_random_start_comes_out_otherwise_when_it_is_loaded(base: Path) -> None:
    """Why `pissa_niter_N` is refused: peft decomposes the base again as it loads the adapter, and draws for that."""
    from peft import LoraConfig, get_peft_model

    def start(name: str, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=name)
        model = get_peft_model(load_base(base, "fp32"), config)
        with model.disable_adapter():
            return logits(model)

    assert torch.equal(start("pissa", 0), start("pissa", 1))
    assert not torch.allclose(start("pissa_niter_2", 0), start("pissa_niter_2", 1), atol=1e-5)


def test_prefixes_are_lost_under_recomputation(base: Path) -> None:
    """Why `gradient_checkpointing` is refused beside a prefix."""
    from peft import PrefixTuningConfig, get_peft_model

    model = get_peft_model(load_base(base, "fp32"), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    model.train().base_model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.tensor([[5, 6, 7, 8]])
    with pytest.raises((RuntimeError, ValueError)):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False).loss.backward()
