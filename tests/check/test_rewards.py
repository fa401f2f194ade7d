"""What `check` says of the rewards of a policy: their words, their columns, their models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hfrecipes.check.check import check_recipe
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.training import train_tokenizer

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
RECIPE = """\
kind: ppo
model:
  config: {model_type: llama, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}
  tokenizer: {vocab_size: 300}
rewards:
  - {function: "hfrecipes.rewards:ExactAnswer", column: solution}
  - REWARD
data: {train: [{path: rows.jsonl}]}
training: {max_steps: 4}
"""
# Importing it would end the process.
MINE = """\
def polite(prompts, completions, solution, **columns):
    return [0.0] * len(completions)

class Terse:
    def __init__(self, words, *, unit="tokens"):
        self.words = words

    def __call__(self, completions, **columns):
        return [0.0] * len(completions)

def short_of(completions, grade):
    return [0.0] * len(completions)

def made(**words):
    return polite

made_later = staticmethod(made)
raise SystemExit
"""


def found(tmp_path: Path, reward: str, *overrides: str) -> list[Problem]:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("REWARD", reward))
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "half.py").write_text("def fine(completions):\n    return [\n")
    rows = [{"prompt": f"{n} + 1?", "solution": str(n + 1)} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = check_recipe(load_recipe(tmp_path / "r.yaml", list(overrides)), CPU, runs_dir=tmp_path)
    return [problem for problem in problems if problem.severity == "error"]


@pytest.mark.parametrize(
    "reward",
    [
        "{function: 'hfrecipes.rewards:Length', target: 12, slope: 0.1, weight: 0.2}",
        "{function: 'mine:polite'}",
        "{function: 'mine:Terse', words: 3}",
        "{function: 'mine:made', anything: 3}",
        "{function: 'mine:made_later', anything: 3}",
        "{model: some/reward-model, revision: main, weight: -1}",
    ],
)
def test_what_is_right_is_passed_over(reward: str, tmp_path: Path) -> None:
    assert found(tmp_path, reward) == []


@pytest.mark.parametrize(
    ("reward", "line", "says"),
    [
        ("{function: 'hfrecipes.rewards:Lenght'}", 7, "did you mean Length?"),
        ("{function: 'mine:polit'}", 7, "did you mean polite?"),
        ("{function: 'hfrecipes.rewards:Length', target: 3, slope: 1, untt: words}", 7, "did you mean unit?"),
        ("{function: 'hfrecipes.rewards:Length', slope: 1}", 7, "needs target"),
        ("{function: 'hfrecipes.rewards:RegexMatch', pattern: '('}", 7, "is no regular expression"),
        ("{function: 'hfrecipes.rewards:ExactAnswer'}", 7, "reads the column answer, and data.train.0 has solution"),
        ("{weight: 2.0}", 7, "names neither a function nor a model"),
        ("{function: 'half:fine'}", 7, "half.py:2 is not valid Python: '[' was never closed"),
        ("{function: 'mine:polite', strictness: 3}", 7, "is a reward itself, which takes no words"),
        ("{function: 'mine:Terse'}", 7, "mine:Terse needs words"),
        ("{function: 'mine:Terse', words: 3, unti: w}", 7, "did you mean unit?"),
        ("{function: 'mine:short_of'}", 7, "reads the column grade, and data.train.0 has solution"),
        ("{model: some/model, dtype: float99}", 7, "dtype is 'float99'"),
        ("{model: some/model, weight: 1e300}", 7, "weight is 1e+300"),
        ("{function: 'mine:polite', model: some/model}", 7, "says both function and model"),
        ("{function: 'mine:polite', weight: much}", 7, "weight is 'much'"),
        ("{function: 'mine:polite', weight: 0}", 7, "counts nothing"),
        ("{model: ./nowhere}", 7, "there is no folder ./nowhere"),
        ("{model: some/model, wieght: 1}", 7, "did you mean weight?"),
    ],
)
def test_what_is_wrong_has_its_line_and_its_mend(reward: str, line: int, says: str, tmp_path: Path) -> None:
    problems = found(tmp_path, reward)
    (problem,) = [problem for problem in problems if says in f"{problem.message} {problem.fix}"]
    assert problem.where == f"{tmp_path / 'r.yaml'}:{line}"
    assert len(problems) == 1


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.json").write_text('{"model_type": "llama"}')
    (problem,) = found(tmp_path, "{model: cut}")
    assert problem.where == f"{tmp_path / 'r.yaml'}:7"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["training.total_episodes=8"], "stands beside training.max_steps"),
        (["training.value=adapter"], "needs a policy with an adapter"),
        (["data.train=[{name: python_code, split: train}]"], "nothing says where a prompt ends"),
        (["data.train=[{name: python_docstrings, split: train}]"], "reads the column solution"),
        (["data.augment=[{method: noise, share: 0.1}]"], "data.augment makes answers that nobody learns from"),
    ],
)
def test_words_that_do_not_go_together(words: list[str], says: str, tmp_path: Path) -> None:
    problems = found(tmp_path, "{function: 'mine:polite'}", *words)
    assert [problem for problem in problems if says in problem.message], problems


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("rewards=null", "rewards is missing"),
        ("training.reward_weights=[1.0]", "say weight: beside each of rewards"),
        ("training.max_length=64", "training.max_length is not a known key"),
        ("training.cliprange=0", "it is more than 0"),
        ("training.kl_estimator=k4", "one of k1, k2, k3"),
        ("training.num_mini_batches=0", "it is at least 1"),
        ("training.max_prompt_length=0", "it is at least 1"),
        ("training.stop_token_id=-1", "it is at least 0"),
        ("training.missing_eos_penalty=-1", "it is at least 0"),
        ("training.value_learning_rate=-1", "it is at least 0"),
        ("training.target_kl=-1", "it is more than 0"),
        ("training.temperature=1.0e-9", "it is at least 0.001"),
    ],
)
def test_words_that_no_recipe_has(word: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        found(tmp_path, "{function: 'mine:polite'}", word)


def test_no_reward_at_all_is_told(tmp_path: Path) -> None:
    problems = found(tmp_path, "{function: 'mine:polite'}", "rewards=[]")
    assert [problem.message for problem in problems] == ["rewards names nothing that scores answers"]


def test_prompts_that_leave_no_room_for_an_answer_are_told(tmp_path: Path) -> None:
    folder = train_tokenizer(["1 + 1? 2 + 1?"], 300, tmp_path / "tokenizer")
    words = (f"model.tokenizer={folder}", "model.config.max_position_embeddings=40", "training.response_length=30")
    reward = "{function: 'mine:polite'}"
    assert found(tmp_path, reward, *words) == []
    (problem,) = found(tmp_path, reward, *words, "training.response_length=38")
    assert problem.message.startswith("4 prompts of data.train.0 leave no room for an answer of 38 tokens")
    assert "training.max_prompt_length: 2 or less" in problem.fix
    assert found(tmp_path, reward, *words, "training.response_length=38", "training.max_prompt_length=2") == []


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "is a LlamaForCausalLM, which has no head that scores"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "gives 2 numbers, and a reward is one"),
        ({"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "good"}}, None),
    ],
)
def test_a_model_without_one_score_is_told_before_it_is_loaded(
    config: dict[str, object], says: str | None, tmp_path: Path
) -> None:
    (tmp_path / "scorer").mkdir()
    (tmp_path / "scorer" / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    save_file({"score.weight": np.zeros((1, 4), dtype=np.float32)}, tmp_path / "scorer" / "model.safetensors")
    problems = found(tmp_path, "{model: scorer}")
    assert [says in problem.message for problem in problems] == ([] if says is None else [True])


def test_a_run_that_is_missing_is_told_with_the_recipe_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "scorer.yaml").write_text("kind: reward\nname: judged\n")
    (problem,) = found(tmp_path, "{model: runs/judged/model}")
    assert f"run `hfrecipes run {tmp_path / 'scorer.yaml'}` first" in problem.fix
    (problem,) = found(tmp_path, "{model: runs/reward/model}")
    assert "run `hfrecipes run tour/reward` first" in problem.fix
