"""A model that learnt from preferences against the one it began as: who wins, by whom, and what general text costs both."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from hfrecipes import RecipeError, RunDir, load_recipe
from hfrecipes.check.win_rate import win_rate_problems
from hfrecipes.stages.win_rates import WinRates
from tests.stages.preference_runs import trained, write_all

JUDGES = """
def brevity(prompts, completions):
    return [-len(text) for text in completions]

def first(prompts, first, second):
    return [1.0] * len(prompts)

def two_tokens(prompts, completions, completion_ids, **_):
    return [float(len(ids) == 2) for ids in completion_ids]

def each_token(prompts, completions, completion_ids, **_):
    return [[1.0] * len(ids) for ids in completion_ids]

def silent(prompts, first, second):
    return [None] * len(prompts)

def nothing(prompts, first, second):
    return None

def failing(prompts, first, second):
    raise KeyError("gold")

async def later(prompts, first, second):
    return [1.0] * len(prompts)

def shorter(prompts, first, second):
    return [0.5 + (len(b) > len(a)) / 2 - (len(b) < len(a)) / 2 for a, b in zip(first, second, strict=True)]
"""
EVALUATION = (
    "evaluation={samples: 1, win_rate: {num_prompts: 6, max_new_tokens: 9, judges: [{model: runs/reward}, "
    "{function: 'judges:brevity'}, {compare: 'judges:shorter'}, {compare: 'judges:first'}]}, "
    "alignment_tax: [{path: general.jsonl}]}"
)
PROSE = [f"General text number {number}, about {'nothing much ' * (number % 3)}at all." for number in range(5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a reward model, and policies trained on preferences: whole, and through an adapter."""
    folder = tmp_path_factory.mktemp("win-rates")
    write_all(folder)
    (folder / "judges.py").write_text(JUDGES)
    (folder / "general.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PROSE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        trained("reward.yaml")
        trained("dpo.yaml", "name=full", EVALUATION, "training.learning_rate=0.02")
        trained("dpo.yaml", "name=lora", EVALUATION, "adapter={method: lora, r: 4, target_modules: all-linear}")
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def facts_of(name: str) -> dict[str, Any]:
    return RunDir(Path("runs", name)).facts()


def answers_of(model: str, prompts: list[str]) -> list[str]:
    """The likeliest answers, one prompt at a time."""
    policy, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    found = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            given = policy.eval().generate(ids, max_new_tokens=9, do_sample=False, eos_token_id=tokenizer.eos_token_id)
        found.append(tokenizer.decode(given[0, ids.shape[1] :], skip_special_tokens=True))
    return found


def rewards_of(prompts: list[str], answers: list[str]) -> list[float]:
    folder = "runs/reward/model"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [prompt + answer + tokenizer.eos_token for prompt, answer in zip(prompts, answers, strict=True)]
    with torch.no_grad():
        return [float(model.eval()(**tokenizer(text, return_tensors="pt")).logits) for text in texts]


def test_wins_are_those_that_a_loop_over_the_prompts_counts() -> None:
    prompts = [json.loads(line)["prompt"] for line in Path("held-out.jsonl").read_text().splitlines()][:6]
    tuned, base = answers_of("runs/full/model", prompts), answers_of("runs/base/model", prompts)
    assert tuned != base
    by_judge = {entry["judge"]: entry for entry in facts_of("full")["win_rates"]}
    rewards = list(zip(rewards_of(prompts, tuned), rewards_of(prompts, base), strict=True))
    lengths = [(-len(one), -len(other)) for one, other in zip(tuned, base, strict=True)]
    for judge, scores in (("reward", rewards), ("brevity", lengths)):
        assert by_judge[judge]["wins"] == sum(one > other for one, other in scores)
        assert by_judge[judge]["losses"] == sum(one < other for one, other in scores)
        assert by_judge[judge]["ties"] == 6 - by_judge[judge]["wins"] - by_judge[judge]["losses"]
    words = by_judge["reward"]["words"]["tuned"]["value"]
    assert words == pytest.approx(sum(len(answer.split()) for answer in tuned) / 6)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_who_sees_both_answers_is_asked_in_both_orders(name: str) -> None:
    by_judge = {entry["judge"]: entry for entry in facts_of(name)["win_rates"]}
    figures = ("value", "wins", "ties", "losses")
    assert [by_judge["shorter"][key] for key in figures] == [by_judge["brevity"][key] for key in figures]
    assert by_judge["first"]["value"] == 0.5 and by_judge["first"]["first_preferred"] == 1.0
    assert by_judge["first"]["ties"] == 6 and by_judge["first"]["agreeing"]["value"] == 0


@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_price_is_what_the_text_costs_more_than_the_model_it_began_as(name: str) -> None:
    entries = {
        (entry["model"], entry["metric"]): entry["value"]
        for entry in facts_of(name)["evaluations"]
        if entry["dataset"] == "general.jsonl"
    }
    before, after = (entries[model, "bits_per_byte"] for model in ("base", "tuned"))
    assert entries["tuned", "alignment_tax"] == pytest.approx(after - before) and after != before
    model, tokenizer = (auto.from_pretrained("runs/base/model") for auto in (AutoModelForCausalLM, AutoTokenizer))
    nats = size = 0.0
    for text in PROSE:
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            log_probabilities = model.eval()(ids).logits[0, :-1].double().log_softmax(-1)
        nats -= float(log_probabilities[torch.arange(ids.shape[1] - 1), ids[0, 1:]].sum())
        size += len(tokenizer.decode(ids[0, 1:]).encode())
    assert before == pytest.approx(nats / math.log(2) / size, rel=1e-4)


def test_card_and_table_show_who_judged(folder: Path) -> None:
    run = RunDir(Path("runs", "full"))
    text = (run.path / "README.md").read_text()
    assert "Judged by `reward`, a reward model, on `held-out.jsonl` the trained model wins" in text
    assert "win rate by brevity" in text and "alignment tax" in text
    assert "the judge prefers what stands first in 1.000" in text


def judged(judge: str) -> tuple[Any, list[dict[str, Any]]]:
    """What one judge says of two pairs of answers."""
    rates = WinRates(
        load_recipe("dpo.yaml", [f"evaluation={{win_rate: {{judges: [{judge}]}}}}"]),
        AutoTokenizer.from_pretrained("runs/base/model"),
        2,
    )
    rates.answers = {"tuned": ["ab", "ab"], "base": ["a", "abcdefghijk"]}
    return rates, rates.judge("tuned", "base", ["x", "y"], "cpu", 1)[1]


def test_functions_that_judge_are_given_the_tokens_of_answers() -> None:
    sizes = [len(ids) for ids in AutoTokenizer.from_pretrained("runs/base/model")(["ab", "a"])["input_ids"]]
    assert sizes == [2, 1]
    (found,) = judged("{function: 'judges:two_tokens'}")[1]
    assert (found["wins"], found["ties"], found["losses"]) == (2, 0, 0)
    (found,) = judged("{function: 'judges:each_token'}")[1]
    assert (found["wins"], found["ties"], found["losses"]) == (1, 0, 1)


def test_a_judge_without_a_verdict_is_said() -> None:
    rates, facts = judged("{compare: 'judges:silent'}")
    assert facts == [] and rates.warnings == ["silent judged no pair of answers, so that there is no win rate by it"]


@pytest.mark.parametrize(
    ("judge", "fault"),
    [
        ("nothing", "the judge returns NoneType instead of a list"),
        ("later", "the judge returns coroutine"),
        ("failing", r"fails at judges.py:\d+: KeyError: 'gold'"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_judge_that_fails_has_its_line_in_the_recipe(judge: str, fault: str) -> None:
    with pytest.raises(RecipeError, match=f"^override evaluation=.*judges:{judge} .*{fault}"):
        judged(f"{{compare: 'judges:{judge}'}}")


@pytest.mark.parametrize(
    ("evaluation", "fault"),
    [
        ("{win_rate: {num_prompts: 4}}", "has nobody who judges"),
        ("{win_rate: {}}", "has nobody who judges"),
        ("{win_rate: {judges: [{compare: 'judges:brevity'}]}}", "cannot be given three lists"),
        ("{win_rate: {judges: [{model: ./runs/base}]}}", "is a LlamaForCausalLM, which has no head that scores"),
        ("{win_rate: {judges: [{}]}}", "names nobody"),
        ("{win_rate: {judges: [{model: runs/reward, function: 'judges:brevity'}]}}", "says model and function"),
        ("{win_rate: {judges: [{model: runs/reward, revison: main}]}}", "did you mean revision"),
        ("{win_rate: {judges: [{compare: 'judges:first'}], temperature: 1.0e-9}}", "by which no logits can be divided"),
        ("{win_rate: {judges: [{compare: 3}]}}", "compare is 3 (it is a string)"),
        ("{win_rate: {judges: [{model: ./runs/nothing}]}}", "there is no folder ./runs/nothing"),
        ("{win_rate: {judges: [{compare: 'judges:longest'}]}}", "judges has no longest"),
        ("{win_rate: {judges: [{function: 'hfrecipes.rewards:ExactAnswer'}]}}", "reads the column answer"),
        ("{win_rate: {judges: [{function: 'hfrecipes.rewards:Length', target: 3}]}}", "needs slope"),
        ("{alignment_tax: [{path: nowhere.jsonl}]}", "nowhere.jsonl"),
        ("{alignment_tax: [{name: python_prose, split: tset}]}", "no split 'tset'"),
    ],
)
def test_what_cannot_be_judged_is_an_error_with_its_line(evaluation: str, fault: str) -> None:
    try:
        problems = win_rate_problems(load_recipe("dpo.yaml", [f"evaluation={evaluation}"]), ())
    except RecipeError as error:
        problems = error.problems
    assert len(problems) == 1 and fault in str(problems[0])
    assert str(problems[0]).startswith("override evaluation=")
