"""Policies, references and what makes values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes import PPOConfig, PPOTrainer
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.trainers.ppo.policy import make_policy
from hfrecipes.trainers.ppo.setup import open_policy
from tests.trainers.ppo.test_resume import tuned
from tests.trainers.ppo.tiny import LORA, SIZES, VOCABULARY, classifier, even_share, policy, prompts, tokenizer, trainer

# Models that scale or cap their logits, tie, or norm in ways of their own.
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 5.0},
    "granite": {"logits_scaling": 3.0},
    "cohere": {"logit_scale": 0.5},
    "qwen3": {"head_dim": 8},
    "gpt_neox": {},
    "phi3": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 4},
}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_log_probabilities_are_those_of_the_models_own_logits(model_type: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**SIZES, **FAMILIES[model_type]})
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        # Large enough for a cap to be felt.
        model.get_output_embeddings().weight.mul_(20)
        ids = torch.randint(3, VOCABULARY, (3, 9))
        expected = (model(input_ids=ids).logits.float() / 0.7).log_softmax(2)
        places = torch.tensor([2, 3, 9 + 5, 18 + 0])
        made = make_policy(model)(input_ids=ids, responses=places, temperature=0.7)
    chosen = ids.flatten()[places + 1]
    assert torch.allclose(made["logps"], expected.flatten(0, 1)[places, chosen], atol=1e-4)
    assert torch.allclose(made["entropies"], -(expected.exp() * expected).sum(2).flatten()[places], atol=1e-3)


def test_the_tokenizer_is_the_one_that_lies_with_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    policy().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    words = {"args": PPOConfig(output_dir=str(tmp_path / "out"), use_cpu=True), "reward_funcs": even_share}
    for model in (str(folder), AutoModelForCausalLM.from_pretrained(folder)):
        made = PPOTrainer(model=model, train_dataset=prompts(), **words)
        assert made.processing_class.get_vocab() == tokenizer().get_vocab()
    with pytest.raises(RecipeError, match=r"processing_class.* comes from no folder"):
        PPOTrainer(model=policy(), train_dataset=prompts(), **words)


def test_the_models_own_forward_pass_stays(tmp_path: Path) -> None:
    ids = torch.tensor([[5, 9, 7]])
    before = policy()(input_ids=ids, labels=ids)
    made = trainer(tmp_path)
    after = made.policy(input_ids=ids, labels=ids)
    assert torch.equal(before.logits, after.logits) and torch.equal(before.loss, after.loss)
    assert type(made.policy).__name__ == "LlamaForCausalLM"


def test_models_may_be_given_by_their_folders(tmp_path: Path) -> None:
    policy().save_pretrained(tmp_path / "policy")
    classifier().save_pretrained(tmp_path / "reward")
    tokenizer().save_pretrained(tmp_path / "reward")
    tuned().save_pretrained(tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(tmp_path / "policy")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    for name in ("policy", "adapter"):
        made = trainer(tmp_path / "run", model=str(tmp_path / name), rewards=str(tmp_path / "reward"), max_steps=4)
        made.train()
        assert made.rewards.names == ["reward"]
        assert (made.reference.adapter == "reference") == (name == "adapter")


def test_a_second_training_goes_on_from_the_first(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=4, learning_rate=1e-2)
    made.train()
    made.train()
    assert made.state.log_history[0]["objective/kl"] != 0


def test_the_reference_of_a_fresh_adapter_is_the_base(tmp_path: Path) -> None:
    made = trainer(tmp_path, lora=True, learning_rate=1e-2)
    made.train()
    assert made.reference.model is None and made.reference.adapter is None
    ids, places = torch.tensor([[5, 9, 7, 8]]), torch.tensor([0, 1, 2])
    with torch.no_grad():
        expected = make_policy(policy().eval())(input_ids=ids, responses=places)["logps"]
        moved = made.policy.eval()(input_ids=ids, responses=places)["logps"]
        kept = made._score_by_reference(ids, places)["logps"]
    assert torch.allclose(kept, expected, atol=1e-6)
    assert not torch.allclose(moved, expected, atol=1e-3)


def test_the_reference_of_an_incoming_adapter_is_that_adapter_not_the_base(tmp_path: Path) -> None:
    """TRL took the base (trl#536, trl#4723)."""
    ids, places = torch.tensor([[5, 9, 7, 8]]), torch.tensor([0, 1, 2])
    model = tuned()
    open_policy(model, PPOConfig(output_dir=str(tmp_path), use_cpu=True), None)
    with torch.no_grad():
        expected = model(input_ids=ids, responses=places)["logps"].clone()
        base = make_policy(policy().eval())(input_ids=ids, responses=places)["logps"]
    made = trainer(tmp_path, model=model, learning_rate=1e-2, max_steps=8)
    made.train()
    with torch.no_grad():
        kept = made._score_by_reference(ids, places)["logps"]
    assert torch.allclose(kept, expected, atol=1e-6)
    assert not torch.allclose(kept, base, atol=1e-2)
    first = next(entry for entry in made.state.log_history if "loss" in entry)
    assert first["objective/kl"] == pytest.approx(0, abs=1e-5)


def test_a_given_reference_may_be_far_away(tmp_path: Path) -> None:
    other = policy(seed=9)
    other.lm_head.weight.data *= 20
    made = trainer(tmp_path, ref_model=other, max_steps=4)
    made.train()
    assert next(entry for entry in made.state.log_history if "loss" in entry)["objective/kl"] > 0.1


def test_without_a_cost_of_divergence_no_reference_is_kept(tmp_path: Path) -> None:
    made = trainer(tmp_path, kl_coef=0.0, max_steps=4)
    made.train()
    assert made.reference is None
    entry = next(entry for entry in made.state.log_history if "loss" in entry)
    assert "objective/kl" not in entry and "objective/scores" in entry


def test_values_learn_without_moving_the_policy_where_they_are_detached(tmp_path: Path) -> None:
    gradients = []
    for detach in (True, False):
        made = trainer(tmp_path, detach_value=detach)
        made.policy.ppo_value.weight.data.normal_()
        hidden = torch.randn(4, 32, requires_grad=True)
        made.policy.ppo_value(hidden).sum().backward()
        gradients.append(hidden.grad)
        assert made.policy.ppo_value.weight.grad is not None
    assert gradients[0] is None and gradients[1] is not None


def test_a_head_is_single_precision_on_a_model_that_is_not(tmp_path: Path) -> None:
    made = trainer(tmp_path, model=policy().bfloat16(), max_steps=4)
    assert {weight.dtype for weight in made.policy.ppo_value.parameters()} == {torch.float32}
    made.train()
    assert made.state.global_step == 4


def test_values_have_a_learning_rate_of_their_own_where_one_is_asked_for(tmp_path: Path) -> None:
    made = trainer(tmp_path, lora=True, value="adapter", value_learning_rate=0.5)
    made.create_optimizer()
    named = {id(weight): name for name, weight in made.policy.named_parameters()}
    rates = {named[id(weight)]: group["lr"] for group in made.optimizer.param_groups for weight in group["params"]}
    assert rates.keys() == {name for name, weight in made.policy.named_parameters() if weight.requires_grad}
    assert {rate for name, rate in rates.items() if "ppo_value" in name or ".value." in name} == {0.5}
    assert {rate for name, rate in rates.items() if ".default." in name} == {1e-3}


def lora(**words: Any) -> LoraConfig:
    return LoraConfig(**{**LORA, **words})


@pytest.mark.parametrize(
    ("peft", "says"),
    [
        (lora(init_lora_weights="pissa"), "init_lora_weights 'pissa' rewrites the weights under the adapter"),
        (lora(init_lora_weights="olora"), "init_lora_weights 'olora' rewrites the weights under the adapter"),
        (lora(bias="all"), "bias 'all' trains weights that stay when the adapter is off"),
        (PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"), "puts learnt tokens before each prompt"),
    ],
)
def test_an_adapter_whose_base_is_no_reference_is_refused(peft: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        args = PPOConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none")
        PPOTrainer(policy(), args, even_share, prompts(), tokenizer(), peft)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"value": "adapter"}, "is adapter, and the policy has none"),
        ({"value_model": policy()}, "stands beside value head"),
        ({"model": "tuned", "lora": True}, "stands beside a model that has an adapter already"),
        ({"train_dataset": Dataset.from_dict({"text": ["w5"]})}, "has no prompts; its columns are text"),
        ({"train_dataset": Dataset.from_dict({"prompt": []})}, "train_dataset: error: has no rows"),
        ({"value": "adapter", "gradient_checkpointing": True, "lora": True}, "would compute anew with the wrong one"),
        ({"kl_estimator": "k9"}, "PPOConfig.kl_estimator: error: is 'k9'"),
        ({"temperature": 0.0}, "PPOConfig.temperature: error: is 0.0"),
        ({"stop_token_id": 99_999}, "PPOConfig.stop_token_id: error: is 99999, and the tokenizer has"),
        ({"stop_strings": ["w5", ""]}, "stop_strings: error: has an empty text"),
        ({"num_mini_batches": 0}, "PPOConfig.num_mini_batches: error: is 0"),
        ({"missing_eos_score": -1.0}, "stands beside missing_eos_penalty"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_runs(
    words: dict[str, Any], says: str, tmp_path: Path
) -> None:
    if words.get("model") == "tuned":
        words = {**words, "model": get_peft_model(policy(), lora())}
    with pytest.raises(RecipeError, match=says):
        trainer(tmp_path, **words)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["w5", "", "w6"], "row 1, prompt: error: is empty"),
        (
            ["w5", " ".join(["w6"] * 60)],
            "row 1, prompt: error: has 60 tokens, and with a completion of 6 more than the 64",
        ),
        ([[{"role": "user", "content": "w5"}]], "is a conversation, and the tokenizer has no chat template"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_told_with_its_row(rows: list[Any], says: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, train_dataset=Dataset.from_list([{"prompt": each} for each in rows]))
    with pytest.raises(RecipeError, match=says):
        made.train()
