from __future__ import annotations

import pytest

from hfrecipes.evaluation.intervals import bootstrap_interval, proportion_interval
from hfrecipes.evaluation.metrics import load_metric
from hfrecipes.evaluation.task import Answer, answer_task, draw_evenly
from hfrecipes.evaluation.task_scores import group_entries, task_entries, unlike_their_kind

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
    answers, skipped = answer_task(llama, tokenizer, EXAMPLES, None, settings)
    entry = task_entries(answers, f1, step=3)[0]
    assert set(entry) == {"metric", "value", "low", "high", "n", "unit", "higher_is_better", "step"}
    assert (entry["metric"], entry["n"], entry["step"], skipped) == ("docstring_f1", 5, 3, 0)
    assert set(answers[0].sample) == {"prompt", "completion", "reference"}
    assert answers == answer_task(llama, tokenizer, EXAMPLES, None, settings)[0]


def test_the_mean_has_the_interval_of_its_rows(llama, tokenizer, f1, monkeypatch):
    Answers(monkeypatch, lambda prompt: "It is " + prompt[-1]["content"][-1])
    answers, _ = answer_task(llama, tokenizer, EXAMPLES, None, {})
    entry = task_entries(answers, f1)[0]
    expected = bootstrap_interval([1.0] * 10 + [2 / 3] * 2)
    assert (entry["value"], entry["low"], entry["high"]) == (expected.value, expected.low, expected.high)
    assert answers[0].sample == {"prompt": "What is 0", "completion": "It is 0", "reference": "It is 0"}


def test_rows_that_all_agree_still_have_an_interval(llama, tokenizer, f1, monkeypatch):
    Answers(monkeypatch, lambda prompt: "nothing like")
    entry = task_entries(answer_task(llama, tokenizer, EXAMPLES, None, {})[0], f1)[0]
    assert (entry["value"], entry["low"], entry["high"]) == (0.0, 0.0, proportion_interval(0, 12).high)
    assert entry["high"] > 0.2


def test_all_models_get_the_same_rows(llama, tokenizer, monkeypatch):
    answers = Answers(monkeypatch, lambda prompt: "It")
    answer_task(llama, tokenizer, EXAMPLES, None, {"num_rows": 4})
    asked = [prompt[-1]["content"] for prompt in answers.prompts]
    assert asked == sorted(asked, key=lambda text: int(text.split()[-1])) and len(set(asked)) == 4
    answer_task(llama, tokenizer, EXAMPLES, EXAMPLES, {"num_rows": 4, "num_shots": 1})
    assert [prompt[-1]["content"] for prompt in answers.prompts] == asked
    assert {len(prompt) for prompt in answers.prompts} == {3}


def test_a_draw_takes_as_many_of_each_family_as_there_are():
    rows = [
        {"family": name, "number": number} for name, size in (("a", 40), ("b", 3), ("c", 20)) for number in range(size)
    ]
    drawn = draw_evenly(rows, 21)
    assert [sum(row["family"] == name for row in drawn) for name in "abc"] == [9, 3, 9]
    assert drawn == [row for row in rows if row in drawn] == draw_evenly(rows, 21)
    assert draw_evenly(rows, 100) == rows


def test_samples_show_the_question_without_its_shots(llama, tokenizer, monkeypatch):
    Answers(monkeypatch, lambda prompt: "It")
    answers, _ = answer_task(llama, tokenizer, EXAMPLES[:1], EXAMPLES, {"num_shots": 2, "max_new_tokens": 8})
    assert answers[0].sample["prompt"] == "What is 0"


def test_what_does_not_fit_is_counted(llama, tokenizer):
    long = chat("number of items " * 200, "It is 0")
    settings = {"max_new_tokens": 4}
    with pytest.warns(UserWarning, match="1 of 13 prompts were too long"):
        answers, skipped = answer_task(llama, tokenizer, [long, *EXAMPLES], None, settings)
    assert (len(answers), skipped) == (12, 1)
    assert answers[0].sample["prompt"] == "What is 0"
    with pytest.raises(ValueError, match="no prompt leaves room for 4 new tokens"):
        answer_task(llama, tokenizer, [long], None, settings)


def test_missing_shots_are_said(llama, tokenizer):
    with pytest.warns(UserWarning, match="12 of 12 prompts had room for fewer than 9 examples"):
        answer_task(llama, tokenizer, EXAMPLES, EXAMPLES, {"num_shots": 9, "max_new_tokens": 4})


def test_a_task_needs_examples(llama, tokenizer):
    with pytest.raises(ValueError, match="at least one example"):
        answer_task(llama, tokenizer, [], None, {})
    with pytest.raises(ValueError, match="example 1: needs prompt and completion"):
        answer_task(llama, tokenizer, [EXAMPLES[0], {"text": "t"}], None, {})


# Family, kind, reference, answer.
ANSWERED = [
    ("sums", None, "4", "4"),
    ("sums", "chain_of_thought", "2 + 2 is 4. #### 4", "It is 3 and 1. #### 4"),
    ("sums", "chain_of_thought", "3 + 2 is 5. #### 5", "#### 6"),
    ("names", None, "Ada", "I cannot say."),
    ("names", None, "Bob", "bob."),
    ("names", "refusal", "I cannot tell: there is none.", "I'm sorry, but there is none."),
    ("names", "refusal", "I cannot tell: there is none.", "Carol"),
    (None, "clarification", "Which list do you mean?", "Please show me the list."),
]


@pytest.fixture
def answered():
    return [Answer("q", reference, text, family, kind) for family, kind, reference, text in ANSWERED]


def test_refusals_and_questions_are_counted_apart_and_where_they_are_wrong(answered):
    found = {entry["metric"]: entry for entry in task_entries(answered, load_metric("answer_match"), ["names"])}
    values = {name: (entry["value"], entry["n"], entry["higher_is_better"]) for name, entry in found.items()}
    assert values == {
        "answer_match": (3 / 5, 5, True),
        "answer_match_seen_families": (2 / 3, 3, True),
        "answer_match_unseen_families": (1 / 2, 2, True),
        "refused": (1 / 2, 2, True),
        "wrongly_refused": (1 / 5, 5, False),
        "asked_back": (1.0, 1, True),
        "wrongly_asked_back": (0.0, 5, False),
    }


def test_families_and_kinds_have_figures_of_their_own(answered):
    groups = group_entries(answered, load_metric("answer_match"), ["names"])
    assert [(entry["by"], entry["group"], entry.get("trained_on"), entry["value"], entry["n"]) for entry in groups] == [
        ("family", "names", False, 1 / 2, 2),
        ("family", "sums", True, 2 / 3, 3),
        ("kind", "chain_of_thought", None, 1 / 2, 2),
    ]


def test_answers_that_are_all_declined_have_no_other_metric(answered, f1):
    entries = task_entries([each for each in answered if each.kind == "refusal"], f1)
    assert [entry["metric"] for entry in entries] == ["refused"]


def test_references_that_the_rule_does_not_see_are_told():
    references = [("refusal", "I can't."), ("refusal", "Nope."), (None, "x"), ("clarification", "Which one?")]
    (told,) = unlike_their_kind(references)
    assert told == (
        "1 of 2 references of kind refusal are not recognised as such by their words, such as 'Nope.': refused cannot reach 1"
    )
