"""What may give scores, and what is said of what may not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hfrecipes.recipe.problem import RecipeError
from hfrecipes.trainers.ppo.prompts import Prompt
from hfrecipes.trainers.ppo.rewards import Rewards
from hfrecipes.trainers.ppo.scorers import Completed, FunctionReward, ModelReward
from tests.trainers.ppo.tiny import classifier, even_share, policy, tokenizer, trainer

CHAT = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"


def completed(conversational: bool = False) -> Completed:
    given: list[Any] = [[{"role": "user", "content": "w5"}]] * 3 if conversational else ["w5 ", "w6 ", "w7 "]
    prompts = [Prompt(row, [5], prompt, {"answer": str(row)}) for row, prompt in enumerate(given)]
    ids = [[8, 9], [10], [11, 12, 2]]
    return Completed(prompts, ["w8 w9", "w10", "w11 w12"], ids, [False, False, True], {})


def score(function: Any, rows: Completed | None = None, weights: list[float] | None = None) -> Any:
    functions = function if isinstance(function, list) else [function]
    return Rewards([FunctionReward(each) for each in functions], weights)(rows or completed(), 4)


def test_functions_get_prompts_completions_ids_and_columns() -> None:
    seen: dict[str, Any] = {}

    def reward(prompts: Any, completions: Any, completion_ids: Any, answer: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completions, ids=completion_ids, answer=answer)
        return [1.0, 2.0, 3.0]

    assert score(reward)[0].tolist() == [1.0, 2.0, 3.0]
    assert seen == {
        "prompts": ["w5 ", "w6 ", "w7 "],
        "completions": ["w8 w9", "w10", "w11 w12"],
        "ids": [[8, 9], [10], [11, 12, 2]],
        "answer": ["0", "1", "2"],
    }


def test_columns_of_the_data_do_not_take_the_place_of_what_was_said() -> None:
    rows = completed()
    prompts = [replace(prompt, columns={"completions": "zz", "prompts": 1}) for prompt in rows.prompts]
    rows = replace(rows, prompts=prompts)
    scores = score(lambda prompts, completions, **_: [float(len(text)) for text in completions], rows)[0]
    assert scores.tolist() == [5.0, 3.0, 7.0]


def test_a_conversations_completion_is_its_next_message() -> None:
    seen: list[Any] = []
    score(lambda completions, **_: seen.extend(completions) or [0.0] * 3, completed(True))
    assert seen[1] == [{"role": "assistant", "content": "w10"}]


def test_async_functions_are_waited_for_also_where_a_loop_runs_already() -> None:
    async def reward(completions: list[str], **_: Any) -> list[float]:
        await asyncio.sleep(0)
        return [float(len(text)) for text in completions]

    async def notebook() -> Any:
        return score(reward)

    assert score(reward)[0].tolist() == [5.0, 3.0, 7.0]
    assert asyncio.run(notebook())[0].tolist() == [5.0, 3.0, 7.0]


def test_several_rewards_are_weighted_and_none_counts_nothing() -> None:
    rewards = [lambda **_: [1.0, 2.0, None], lambda **_: [10, None, 30]]
    total, tokens, table = score(rewards, weights=[1.0, 0.5])
    assert total.tolist() == [6.0, 2.0, 15.0]
    assert tokens is None
    assert table.isnan().tolist() == [[False, False], [False, True], [True, False]]


def test_tokens_can_have_scores_of_their_own() -> None:
    rewards = [lambda **_: [[1.0, 2.0], torch.tensor([3.0]), [0.0, 0.0, 5.0]], lambda **_: [7.0, 8.0, 9.0]]
    total, tokens, table = score(rewards, weights=[2.0, 1.0])
    assert tokens.tolist() == [[2.0, 4.0, 0.0, 0.0], [6.0, 0.0, 0.0, 0.0], [0.0, 0.0, 10.0, 0.0]]
    assert total.tolist() == [7.0, 8.0, 9.0]
    assert table[:, 0].tolist() == [3.0, 3.0, 5.0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1.0, 2.0], "gave 2 scores for 3 completions"),
        ([1.0, "good", 2.0], "gave 'good' for completion 1"),
        ([[1.0], [1.0], [1.0]], "gave 1 score for the 2 tokens of completion 0"),
        ([1.0, None, 1.0], "no function gave completion 1 a score"),
        ([1.0, float("inf"), 1.0], "gave an infinite score"),
        ([1.0, 10**400, 1.0], "gave an infinite score"),
        ([[1.0, None], [1.0], [1.0, 1.0, 1.0]], "gave None for token 1 of completion 0"),
        ([[1.0, 1.0], [1.0], [1.0, float("nan"), 1.0]], "gave nan for token 1 of completion 2"),
        (None, "returns None"),
        (1.0, "returns a float"),
        ({0: 1.0, 1: 1.0, 2: 1.0}, "returns a dict"),
        ("123", "returns a str"),
    ],
)
def test_what_is_no_score_is_told(given: list[Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        score(lambda **_: given)


def _raises(**_: Any) -> list[float]:
    raise KeyError("gold")


async def _raises_later(**_: Any) -> list[float]:
    raise KeyError("gold")


def _ends(**_: Any) -> list[float]:
    raise SystemExit(0)


def _raises_on_the_way(**_: Any) -> Any:
    yield 1.0
    raise KeyError("gold")


@pytest.mark.parametrize("function", [_raises, _raises_later, _ends, _raises_on_the_way])
def test_a_function_that_fails_is_told_with_its_line(function: Any) -> None:
    with pytest.raises(RecipeError, match=r"fails at test_rewards\.py:\d+: (KeyError: 'gold'|SystemExit: 0)"):
        score(function)


def test_a_function_that_lacks_a_column_is_told() -> None:
    def asks(completions: Any, gold: Any) -> list[float]:
        return [1.0] * len(completions)

    with pytest.raises(RecipeError, match="missing 1 required positional argument: 'gold'"):
        score(asks)


def other_tokenizer() -> PreTrainedTokenizerFast:
    """The same words under other numbers."""
    words = {"<end>": 0, "<none>": 1} | {f"w{token}": 46 - token for token in range(3, 45)}
    made = Tokenizer(models.WordLevel(words, unk_token="<none>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", unk_token="<none>")


def test_a_reward_model_reads_the_text_in_tokens_of_its_own() -> None:
    model = classifier()
    scores, _ = ModelReward(model, other_tokenizer(), 2)(completed())
    for row, words in enumerate((["w5", "w8", "w9"], ["w6", "w10"], ["w7", "w11", "w12"])):
        ids = torch.tensor([[46 - int(word[1:]) for word in words]])
        with torch.no_grad():
            expected = model.score(model.model(input_ids=ids).last_hidden_state)[0, -1, 0]
        assert float(scores[row]) == pytest.approx(float(expected), abs=1e-5)


def test_a_reward_model_reads_conversations_by_its_own_template() -> None:
    model, other = classifier(), other_tokenizer()
    other.chat_template = CHAT.replace("m['role'] + ' ' + ", "")
    scores, _ = ModelReward(model, other, 2)(completed(True))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[41, 36]])).logits[0, 0]
    assert float(scores[1]) == pytest.approx(float(expected), abs=1e-5)


def test_a_reward_that_is_an_adapter_costs_its_adapter_alone_and_scores_as_the_whole_model(tmp_path: Path) -> None:
    base, start = policy(), classifier()
    start.model.load_state_dict(base.model.state_dict())
    config = LoraConfig(r=2, target_modules="all-linear", task_type=TaskType.SEQ_CLS, modules_to_save=["score"])
    whole = get_peft_model(start, config)
    with torch.no_grad():
        for name, weight in whole.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    whole.save_pretrained(tmp_path / "reward")
    made = trainer(tmp_path, model=base, rewards=str(tmp_path / "reward"), lora=True, value="adapter")
    made.get_train_dataloader()
    rollout, texts = made._complete(made.train_dataset, range(8), torch.rand(8, 6))
    whole.eval()
    for row, (prompt, ids) in enumerate(zip(texts.prompts, texts.ids, strict=True)):
        with torch.no_grad():
            # At the last token itself: the classifier would pass over one that happens to be the padding.
            states = whole.get_base_model().model(input_ids=torch.tensor([prompt.ids + ids])).last_hidden_state
            expected = whole.get_base_model().score(states[:, -1])
        assert float(rollout.scores[row]) == pytest.approx(float(expected), abs=1e-5)
    # One base for policy, reference, values and reward.
    names = [name for name, _ in made.policy.named_parameters()]
    assert sum(name.endswith("embed_tokens.weight") for name in names) == 1
    assert made.reference.model is None
    assert made.policy.active_adapter == "default"
    trained = {name for name, weight in made.policy.named_parameters() if weight.requires_grad}
    assert all(".default." in name or ".value." in name or "ppo_value" in name for name in trained)


def test_scores_of_tokens_reach_the_rewards_of_their_tokens(tmp_path: Path) -> None:
    def second_token(completion_ids: list[list[int]], **_: Any) -> list[list[float]]:
        return [[1.0 if place == 1 else 0.0 for place in range(len(ids))] for ids in completion_ids]

    words = {"stop_token": None, "lam": 1.0, "whiten_advantages": False}
    made = trainer(tmp_path, rewards=second_token, **words)
    made.get_train_dataloader()
    rollout = made.make_rollout(0)
    assert rollout.returns[0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"rewards": []}, "reward_funcs: error: is empty"),
        ({"rewards": 3}, "3 gives no scores"),
        ({"reward_weights": [1.0, 2.0]}, "2 weights for 1 reward functions"),
        ({"rewards": [even_share], "reward_processing_classes": [None, None]}, "2 tokenizers for 1 reward functions"),
    ],
)
def test_rewards_that_cannot_be_used_are_told_before_anything_runs(
    words: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=says):
        trainer(tmp_path, **words)


def test_a_classifier_of_several_classes_is_no_reward_model() -> None:
    model = classifier()
    model.config.num_labels = 3
    with pytest.raises(RecipeError, match="gives 3 scores"):
        ModelReward(model, tokenizer(), 2)


def test_prompts_of_conversations_go_through_the_whole_loop(tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": f"w{5 + row}"}], "answer": row} for row in range(8)]
    seen: list[Any] = []

    def reward(prompts: Any, completions: Any, answer: Any, **_: Any) -> list[float]:
        seen.append((prompts[0], completions[0], answer[0]))
        return [0.5] * len(prompts)

    made = trainer(tmp_path, rewards=reward, train_dataset=Dataset.from_list(rows), max_steps=4)
    made.reader.tokenizer.chat_template = CHAT
    made.train()
    prompt, completion, answer = seen[0]
    assert prompt[0]["content"] == f"w{5 + answer}"
    assert completion[0]["role"] == "assistant"
