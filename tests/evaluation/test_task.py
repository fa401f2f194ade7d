from __future__ import annotations

import pytest

from hfrecipes.evaluation.intervals import bootstrap_interval, proportion_interval
from hfrecipes.evaluation.metrics import load_metric
from hfrecipes.evaluation.task import measure_task

from .tiny import chat


@pytest.fixture(scope="module")
def f1():
    return load_metric("docstring_f1")


EXAMPLES = [chat(f"What is {number}", f"It is {number}") for number in range(12)]


class Answers:
    """Stands in for the generation of texts: fixed answers, and the prompts it was given."""

    def __init__(self, monkeypatch, answer):
        from hfrecipes.evaluation import task

        self.prompts = []
        monkeypatch.setattr(task, "generate_texts", self)
        self.answer = answer

    def __call__(self, model, tokenizer, prompts, max_new_tokens, batch_size):
        self.prompts = prompts
        return [self.answer(prompt) for prompt in prompts]


def test_a_real_model_is_measured(llama, tokenizer, f1):
    settings = {"num_rows": 5, "max_new_tokens": 6, "num_shots": 0}
    entries, samples = measure_task(llama, tokenizer, EXAMPLES, None, settings, f1, step=3, num_samples=2)
    assert set(entries[0]) == {"metric", "value", "low", "high", "n", "unit", "higher_is_better", "step"}
    assert (entries[0]["metric"], entries[0]["n"], entries[0]["step"]) == ("docstring_f1", 5, 3)
    assert len(samples) == 2
    assert set(samples[0]) == {"prompt", "completion", "reference"}
    assert entries == measure_task(llama, tokenizer, EXAMPLES, None, settings, f1, step=3)[0]


def test_the_mean_has_the_interval_of_its_rows(llama, tokenizer, f1, monkeypatch):
    Answers(monkeypatch, lambda prompt: "It is " + prompt[-1]["content"][-1])
    entries, samples = measure_task(llama, tokenizer, EXAMPLES, None, {}, f1)
    expected = bootstrap_interval([1.0] * 10 + [2 / 3] * 2)
    assert (entries[0]["value"], entries[0]["low"], entries[0]["high"]) == (expected.value, expected.low, expected.high)
    assert samples[0] == {"prompt": "What is 0", "completion": "It is 0", "reference": "It is 0"}


def test_rows_that_all_agree_still_have_an_interval(llama, tokenizer, f1, monkeypatch):
    Answers(monkeypatch, lambda prompt: "nothing like")
    entries, _ = measure_task(llama, tokenizer, EXAMPLES, None, {}, f1)
    assert (entries[0]["value"], entries[0]["low"], entries[0]["high"]) == (0.0, 0.0, proportion_interval(0, 12).high)
    assert entries[0]["high"] > 0.2


def test_all_models_get_the_same_rows(llama, tokenizer, f1, monkeypatch):
    answers = Answers(monkeypatch, lambda prompt: "It")
    measure_task(llama, tokenizer, EXAMPLES, None, {"num_rows": 4}, f1)
    asked = [prompt[-1]["content"] for prompt in answers.prompts]
    assert asked == sorted(asked, key=lambda text: int(text.split()[-1])) and len(set(asked)) == 4
    measure_task(llama, tokenizer, EXAMPLES, EXAMPLES, {"num_rows": 4, "num_shots": 1}, f1)
    assert [prompt[-1]["content"] for prompt in answers.prompts] == asked
    assert {len(prompt) for prompt in answers.prompts} == {3}


def test_samples_show_the_question_without_its_shots(llama, tokenizer, f1, monkeypatch):
    Answers(monkeypatch, lambda prompt: "It")
    _, samples = measure_task(llama, tokenizer, EXAMPLES[:1], EXAMPLES, {"num_shots": 2, "max_new_tokens": 8}, f1)
    assert samples[0]["prompt"] == "What is 0"


def test_what_does_not_fit_is_counted(llama, tokenizer, f1):
    long = chat("number of items " * 200, "It is 0")
    settings = {"max_new_tokens": 4}
    with pytest.warns(UserWarning, match="docstring_f1: 1 of 13 prompts were too long"):
        entries, samples = measure_task(llama, tokenizer, [long, *EXAMPLES], None, settings, f1)
    assert (entries[0]["n"], entries[0]["skipped"]) == (12, 1)
    assert samples[0]["prompt"] == "What is 0"
    with pytest.raises(ValueError, match="no prompt leaves room for 4 new tokens"):
        measure_task(llama, tokenizer, [long], None, settings, f1)


def test_missing_shots_are_said(llama, tokenizer, f1):
    with pytest.warns(UserWarning, match="12 of 12 prompts had room for fewer than 9 examples"):
        measure_task(llama, tokenizer, EXAMPLES, EXAMPLES, {"num_shots": 9, "max_new_tokens": 4}, f1)


def test_a_task_needs_examples(llama, tokenizer, f1):
    with pytest.raises(ValueError, match="at least one example"):
        measure_task(llama, tokenizer, [], None, {}, f1)
    with pytest.raises(ValueError, match="example 1: needs prompt and completion"):
        measure_task(llama, tokenizer, [EXAMPLES[0], {"text": "t"}], None, {}, f1)
