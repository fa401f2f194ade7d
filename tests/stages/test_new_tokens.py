"""New tokens under an adapter: from a recipe to a run, its card, a merge, and the trainings that go on from it."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfrecipes import RecipeError, RunDir, load_recipe
from hfrecipes.check.check import check_recipe
from hfrecipes.cli.chat import _load_base
from hfrecipes.models.extended_embeddings import input_rows
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.of_run import load_run_model, load_run_tokenizer
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.plan.plan import make_plan
from hfrecipes.publish.lint import lint_card
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.stages.merge import merge_run
from tests.stages.preference_runs import trained, write_all

TOKENS = ("<|user|>", "<|assistant|>", "<|done|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|done|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SFT = f"""
kind: sft
model:
  name_or_path: runs/base/model
  tokenizer: {{extend: {list(TOKENS)}}}
adapter: {{method: lora, r: 4, target_modules: all-linear}}
data: {{train: [{{path: turns.jsonl}}], test: [{{path: held-out-turns.jsonl}}]}}
training: {{learning_rate: 5.0e-2, global_batch_size: 4, max_steps: 4, logging_steps: 1, save_steps: 2, max_length: 64,
            chat_template_path: marks.jinja, eos_token: "<|done|>"}}
evaluation: {{samples: 1}}
"""
CPU = Hardware("cpu", "a CPU", 1, 2**34, bf16=False, flash_attention=False)
ROW_KEY = "trainable_tokens_delta"


def turns(number: int) -> list[dict[str, str]]:
    asked, said = f"What is {number} times 3?", f"It is {number * 3}."
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a base without the tokens was trained, and a LoRA with them. Tests do not change these two."""
    folder = tmp_path_factory.mktemp("tokens")
    write_all(folder)
    for name, numbers in (("turns", range(16)), ("held-out-turns", range(20, 26))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"messages": turns(n)}) + "\n" for n in numbers))
    (folder / "marks.jinja").write_text(TEMPLATE)
    (folder / "sft.yaml").write_text(SFT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        trained("sft.yaml")
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def rows_of(model_folder: Path) -> dict[str, torch.Tensor]:
    saved = load_file(model_folder / "adapter_model.safetensors")
    return {name: tensor for name, tensor in saved.items() if ROW_KEY in name}


def logits_of(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer("<|user|>What is 4 times 3?<|done|><|assistant|>It is", return_tensors="pt")["input_ids"]
    assert {int(token) for token in ids[0]} >= {tokenizer.convert_tokens_to_ids(token) for token in TOKENS}
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def test_run_plan_and_card_say_what_was_added_and_trained() -> None:
    run = RunDir(Path("runs/sft"))
    facts, card = run.facts(), run.card.read_text()
    tokens = facts["tokenizer"]
    assert tokens["tokens"] == list(TOKENS) and tokens["entries"] == tokens["entries_before"] + 3
    assert tokens["trained"] == "new" and tokens["embedding_rows"] == tokens["entries"]
    saved = load_file(run.model / "adapter_model.safetensors")
    assert facts["plan"]["parameters"]["trainable"] == sum(tensor.numel() for tensor in saved.values())
    plan = make_plan(load_recipe("sft.yaml"), CPU)
    assert plan.parameters.trainable == facts["plan"]["parameters"]["trainable"]
    # A copy of the output matrix with the new rows, and its gradient: two matrices in float32.
    assert plan.memory.parts["new tokens"] == 2 * tokens["entries"] * 32 * 4
    assert "`<|user|>`, `<|assistant|>`, `<|done|>`" in card and "3 special tokens" in run.report.read_text()
    assert not [str(problem) for problem in lint_card(card, facts) if problem.severity == "error"]
    for text in ("tuned", "base"):
        assert any(entry["model"] == text for entry in facts["evaluations"])


def test_the_code_of_the_card_gives_the_model_that_was_trained(capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir(Path("runs/sft"))
    expected = logits_of(*load_run_model(run))
    code = next(part for part in re.findall(r"```python\n(.*?)```", run.card.read_text(), re.S) if "PeftModel" in part)
    told = re.search(r"model_id = (.*)", code)
    names: dict[str, Any] = {}
    exec(code.replace(told.group(0), f"model_id = {str(run.model)!r}"), names)
    assert torch.equal(logits_of(names["model"], names["tokenizer"]), expected)
    assert capsys.readouterr().out.strip()


def test_answers_end_with_the_new_end() -> None:
    tokenizer = load_run_tokenizer(RunDir(Path("runs/sft")))
    done = tokenizer.convert_tokens_to_ids("<|done|>")
    assert tokenizer.eos_token == "<|done|>" and done == len(tokenizer) - 1
    base = AutoModelForCausalLM.from_pretrained("runs/base/model")
    assert done >= base.get_input_embeddings().num_embeddings
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)["input_ids"]
    assert [ids[0], *ids[-2:]] == [
        tokenizer.convert_tokens_to_ids(each) for each in ("<|user|>", "<|done|>", "<|assistant|>")
    ]


def test_a_run_that_was_cut_off_ends_with_the_same_rows(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    run = RunDir(Path("runs/sft"))
    shutil.rmtree(run.model)
    shutil.rmtree(run.checkpoints / "checkpoint-4")
    run.write_facts({**run.facts(), "status": "interrupted"})
    resumed = trained("sft.yaml", resume=True)
    assert resumed.facts()["sessions"][-1]["first_step"] == 2
    before, after = (
        load_file(each / "model" / "adapter_model.safetensors") for each in (folder / "runs/sft", run.path)
    )
    assert before.keys() == after.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_a_merge_has_the_tokens_in_its_vocabulary(tmp_path: Path) -> None:
    run = RunDir(Path("runs/sft"))
    done = merge_run(run.path, tmp_path / "merged")
    merged, tokenizer = AutoModelForCausalLM.from_pretrained(done.folder), AutoTokenizer.from_pretrained(done.folder)
    model, theirs = load_run_model(run)
    assert merged.config.vocab_size == len(tokenizer) == len(theirs)
    assert tokenizer.get_vocab() == theirs.get_vocab() and tokenizer.chat_template == theirs.chat_template
    assert torch.allclose(logits_of(merged, tokenizer), logits_of(model, theirs), atol=1e-4)


REWARDED = """
model: {name_or_path: runs/sft/model}
rewards: [{function: "hfrecipes.rewards:Length", target: 8, slope: 0.1}]
data: {train: [{path: turns.jsonl}]}
evaluation: {samples: 0, num_prompts: 4}
"""
COMMON = "learning_rate: 1.0e-2, logging_steps: 1"
ON_TOP = {
    "ppo": f"{{{COMMON}, global_batch_size: 4, num_ppo_epochs: 1, total_episodes: 8, response_length: 8}}",
    "grpo": f"{{{COMMON}, global_batch_size: 8, num_generations: 4, max_completion_length: 8, max_steps: 2}}",
}


@pytest.mark.parametrize("kind", ["dpo", "ppo", "grpo"])
def test_a_policy_that_goes_on_keeps_the_rows_and_trains_them(kind: str) -> None:
    if kind in ON_TOP:
        Path(f"{kind}.yaml").write_text(f"kind: {kind}{REWARDED}training: {ON_TOP[kind]}\n")
    words = ["training.max_steps=3"] if kind == "dpo" else []
    on = trained(f"{kind}.yaml", f"name=on-{kind}", "model.name_or_path=runs/sft/model", *words)
    before, after = rows_of(Path("runs/sft/model")), rows_of(on.model)
    assert before.keys() == after.keys() and len(before) == 2
    assert any(not torch.equal(before[name], after[name]) for name in before)
    model, tokenizer = load_run_model(on)
    assert logits_of(model, tokenizer).shape[-1] == len(tokenizer)
    shown = on.facts()["model"]
    assert shown["adapter"] == {"method": "lora"} and shown["adapter_base"] == str(Path("runs/base/model").resolve())
    card = on.card.read_text()
    assert "library_name: peft" in card and f"resize_token_embeddings({len(tokenizer)}," in card
    assert f'model_id = "runs/on-{kind}/model"' in card and "starting from the adapter of `sft`" in card
    # The reference has the rows, too: nothing has moved before the first step.
    if kind == "dpo":
        assert on.metrics()[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    if kind == "ppo":
        assert on.metrics()[0]["objective/kl"] == pytest.approx(0.0, abs=1e-5)


def test_a_reward_model_on_top_begins_with_the_merged_rows() -> None:
    rewards = trained(
        "reward.yaml", "model.name_or_path=runs/sft/model", "training.max_steps=1", "training.learning_rate=0.0"
    )
    model, _ = load_run_model(RunDir(Path("runs/sft")))
    plain = model.merge_and_unload()
    saved = load_file(rewards.model / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(saved, plain.get_input_embeddings().weight)


def test_a_quantised_base_trains_the_rows_too() -> None:
    words = [
        "quantization={load_in_4bit: true}",
        "name=quantised",
        "training.max_steps=2",
        "evaluation.compare_base=false",
    ]
    # bitsandbytes wants matrices wider than a block of its weights.
    wide = trained("base.yaml", "model.config.hidden_size=64", "name=wide", "training.max_steps=1")
    run = trained("sft.yaml", *words, f"model.name_or_path={wide.model}")
    (start, end) = (rows_of(each) for each in (run.checkpoints / "checkpoint-2", run.model))
    assert len(end) == 2 and all(torch.equal(start[name], end[name]) for name in end)
    done = merge_run(run.path)
    assert AutoModelForCausalLM.from_pretrained(done.folder).config.vocab_size == run.facts()["tokenizer"]["entries"]


def test_whole_weights_learn_the_tokens_without_an_adapter() -> None:
    run = trained("sft.yaml", "adapter=null", "name=whole", "training.max_steps=2", "training.learning_rate=1.0e-3")
    assert run.facts()["tokenizer"]["trained"] == "all"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(run.model), AutoTokenizer.from_pretrained(run.model)
    assert logits_of(model, tokenizer).shape[-1] % 64 == 0


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["adapter={method: prefix}"], "prefix keeps all of its base as it is"),
        (["adapter={method: bottleneck}"], "saves its own layers alone"),
        (["adapter.trainable_token_indices=[1]"], "says which rows are trained"),
        (["model.tokenizer={extend: []}"], "names no token"),
        (["model.tokenizer={extend: ['<|user|>', '<|user|>']}"], "'<|user|>' is named twice"),
        (["model.tokenizer={extend: ['a']}"], "'a' is a token of"),
        (["model.name_or_path=runs/sft/model"], "is an adapter, whose base has no rows"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_its_place(words: list[str], fault: str) -> None:
    found = [str(each) for each in check_recipe(load_recipe("sft.yaml", words), CPU)]
    assert any(fault in each for each in found), found


def test_frozen_embeddings_with_new_rows_are_refused() -> None:
    with pytest.raises(RecipeError, match="leave the embeddings out"):
        trained("sft.yaml", "adapter=null", "model.freeze={names: ['*.embed_tokens.*']}", "name=frozen")


def test_marks_that_are_no_tokens_are_told_of_before_the_run() -> None:
    words = ["model.tokenizer=null", "training.eos_token=null"]
    found = [str(each) for each in check_recipe(load_recipe("sft.yaml", words), CPU) if "in pieces" in each.message]
    assert len(found) == 1 and "extend: ['<|done|>', '<|assistant|>']" in found[0] and "warning" in found[0]
    assert not [each for each in check_recipe(load_recipe("sft.yaml"), CPU) if "in pieces" in each.message]


def test_the_base_is_asked_with_the_rows_that_the_training_began_with() -> None:
    model, tokenizer, _ = _load_base(Path("runs/sft"))
    recipe = load_recipe("sft.yaml")
    location = obtain_tokenizer(recipe)[1]
    began = load_model(recipe, load_tokenizer(location, recipe))
    assert len(tokenizer) == input_rows(model)
    assert torch.equal(model.get_input_embeddings().weight, began.get_input_embeddings().weight)
