"""Templates are judged before any row is read, drawn row by row for good, and never lose or run what a row holds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hfrecipes.data.formats import example_texts, to_example, to_examples
from hfrecipes.data.tasks import task_problems
from hfrecipes.data.templates import shipped_templates, template_problems
from hfrecipes.recipe.problem import RecipeError

CLASSIFY = {"prompt": "Judge: {{ text }}", "completion": "{{ label }}"}
THREE = [{"prompt": f"{number} {{{{ text }}}}", "completion": " {{ label }}"} for number in range(3)]
PLAIN = {"conversational": False}


def classification(templates: Any, **others: Any) -> dict[str, Any]:
    return {"task": "classification", "templates": templates, **others}


def rows(count: int) -> list[dict[str, Any]]:
    return [{"text": f"text {number}", "label": "up" if number % 3 else "down"} for number in range(count)]


def prompts(spec: dict[str, Any], values: list[dict[str, Any]]) -> list[str]:
    return [to_example(row, spec | PLAIN)["prompt"] for row in values]


def test_a_row_keeps_its_template_when_rows_are_added_or_shuffled() -> None:
    some, spec = rows(200), classification(THREE)
    drawn = dict(zip([row["text"] for row in some], prompts(spec, some), strict=True))
    more = [*reversed(rows(400))]
    again = dict(zip([row["text"] for row in more], prompts(spec, more), strict=True))
    assert {text: again[text] for text in drawn} == drawn
    # so does a column that the task does not read
    assert prompts(spec, [{**row, "id": number} for number, row in enumerate(some)]) == list(drawn.values())


def test_templates_are_drawn_evenly_and_anew_with_another_seed() -> None:
    values = rows(3000)
    first, second = (prompts(classification(THREE, template_seed=seed), values) for seed in (0, 1))
    counts = Counter(prompt[0] for prompt in first)
    assert all(abs(count - 1000) < 5 * (3000 * 2 / 9) ** 0.5 for count in counts.values()) and len(counts) == 3
    same = sum(one == other for one, other in zip(first, second, strict=True))
    assert abs(same - 1000) < 5 * (3000 * 2 / 9) ** 0.5
    assert first == prompts(classification(THREE), values)  # no seed is seed 0


def test_an_added_template_takes_rows_over_and_moves_none_between_the_others() -> None:
    values = rows(600)
    before = prompts(classification(THREE), values)
    new = {"prompt": "new {{ text }}", "completion": "{{ label }}"}
    after = prompts(classification([new, *THREE]), values)
    moved = [one for one, other in zip(before, after, strict=True) if one != other]
    assert 90 < len(moved) < 220
    assert all(other == one or other.startswith("new") for one, other in zip(before, after, strict=True))


def test_what_a_column_holds_is_written_as_it_is_and_never_run() -> None:
    evil = "  {{ 7 * 7 }} {% raw %} {# gone #} <b>&amp;</b>\n\n"
    example = to_example({"text": evil, "label": "x"}, classification([{**CLASSIFY, "prompt": "\n {{ text }} \n"}]))
    assert example["prompt"] == [{"role": "user", "content": evil}]
    example = to_example(
        {"text": evil, "label": "x"}, classification([{**CLASSIFY, "prompt": "\n {{ text }} \n"}]) | PLAIN
    )
    assert example["prompt"] == f"\n {evil} \n"


def test_a_template_reads_other_columns_labels_and_writes_a_system_message() -> None:
    template = {
        "system": "You know {{ topic }}.",
        "prompt": "{{ text }} ({{ labels | join('/') }}) {{ meta | tojson }}",
        "completion": "{{ label }}",
    }
    values = {"text": "x", "label": 1, "topic": "law", "meta": {"a": "<学>"}}
    example = to_example(values, classification([template], labels={"0": "no", "1": "yes"}))
    assert example == {
        "prompt": [
            {"role": "system", "content": "You know law."},
            {"role": "user", "content": 'x (no/yes) {"a": "<学>"}'},
        ],
        "completion": [{"role": "assistant", "content": "yes"}],
    }


def test_templates_put_any_columns_into_words() -> None:
    spec = {"templates": [{"prompt": "{{ title }}\n", "completion": "{{ body }}"}]}
    assert task_problems(spec) == []
    expected = {"prompt": [{"role": "user", "content": "t"}], "completion": [{"role": "assistant", "content": "b"}]}
    assert to_example({"title": "t", "body": "b"}, spec) == expected
    assert to_example({"title": "t", "body": "b"}, spec | PLAIN) == {"prompt": "t\n", "completion": "b"}


@pytest.mark.parametrize("title", [{}, {"title": None}, {"title": float("nan")}])
def test_a_missing_column_is_told_by_template_row_and_column(title: dict[str, Any]) -> None:
    spec = classification([CLASSIFY | {"prompt": "{{ title }}: {{ text }}"}])
    with pytest.raises(RecipeError) as caught:
        to_example({"text": "x", "label": "y", **title}, spec, "a.jsonl:3")
    message = str(caught.value)
    assert message.startswith("a.jsonl:3: error: templates.0.prompt reads what this row lacks: 'title' is undefined; ")
    asking = classification([CLASSIFY | {"prompt": "{% if title is defined %}{{ title }}: {% endif %}{{ text }}"}])
    assert to_example({"text": "x", "label": "y", **title}, asking)["prompt"][0]["content"] == "x"


def test_a_template_that_fails_or_writes_nothing_is_told_by_row() -> None:
    values = {"text": "x", "label": "y", "n": 0, "note": " "}
    for prompt, message in [
        ("{{ text }}{{ 1 / n }}", "templates.0.prompt fails on this row: ZeroDivisionError"),
        ("{{ text.__class__ }}", "templates.0.prompt fails on this row: SecurityError: .*unsafe"),
        ("{% if false %}{{ text }}{% endif %}{{ note }}", "what templates.0.prompt writes for this row is empty"),
    ]:
        with pytest.raises(RecipeError, match=f"^r: error: {message}"):
            to_example(values, classification([CLASSIFY | {"prompt": prompt}]), "r")


def test_a_row_with_an_input_draws_a_template_that_reads_it() -> None:
    short = {"prompt": "{{ instruction }}", "completion": "{{ output }}"}
    long = {"prompt": "{{ instruction }} / {{ input }}", "completion": "{{ output }}"}
    spec = {"task": "instruction", "templates": [short, long]}
    texts = [
        example_texts(to_example({"instruction": f"do {number}", "input": "this", "output": "x"}, spec))[0]
        for number in range(30)
    ]
    assert texts == [f"do {number} / this" for number in range(30)]
    with pytest.raises(RecipeError, match="no template reads input, which this row has, so it would be lost"):
        to_example({"instruction": "do", "input": "this", "output": "x"}, {"task": "instruction", "templates": [short]})
    (warning,) = template_problems({"task": "instruction", "templates": [short]}, "my.yaml:7")
    assert warning.severity == "warning" and "does not read input" in warning.message


def test_a_row_s_system_message_is_kept_once() -> None:
    row = {"text": "x", "label": "y", "system": "s"}
    roles_and_texts = {
        "alone": (CLASSIFY, [("system", "s"), ("user", "Judge: x")]),
        "in the prompt": (CLASSIFY | {"prompt": "{{ system }} {{ text }}"}, [("user", "s x")]),
        "in its own": (CLASSIFY | {"system": "{{ system }}!"}, [("system", "s!"), ("user", "Judge: x")]),
    }
    for template, expected in roles_and_texts.values():
        prompt = to_example(row, classification([template]))["prompt"]
        assert [(message["role"], message["content"]) for message in prompt] == expected
    for spec in (classification([CLASSIFY | {"system": "other"}]), classification([CLASSIFY]) | PLAIN):
        with pytest.raises(RecipeError, match="no template reads system"):
            to_example(row, spec)


def test_prompts_of_preferences_and_rankings_are_put_into_words() -> None:
    templates = [{"system": "Be kind.", "prompt": "Q: {{ prompt }}\nA:"}]
    for task, values in (
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}),
        ("ranking", {"prompt": "q", "answers": ["a", "b"]}),
    ):
        (example,) = to_examples(values, {"task": task, "templates": templates})
        assert [message["content"] for message in example["prompt"]] == ["Be kind.", "Q: q\nA:"]
    with pytest.raises(RecipeError, match="prompt is a conversation, and templates: puts texts into words"):
        row = {"prompt": [{"role": "user", "content": "q"}], "chosen": "a", "rejected": "b"}
        to_examples(row, {"task": "preference", "templates": templates})


FAULTS = [
    ("classification", [{"prompt": "{{ text }}", "completion": "yes"}], "templates.0 ignores label"),
    ("classification", [{"prompt": "Judge.", "completion": "{{ label }}"}], "templates.0 ignores text"),
    (
        "classification",
        [CLASSIFY, {"prompt": "{{ text }}{{ label }}", "completion": "{{ label }}"}],
        "templates.1 shows",
    ),
    ("classification", [{"prompt": "{{ text }} {{ label }}", "completion": "yes"}], "completion is the same for all"),
    ("classification", [{"prompt": "{{ text }}"}], "templates.0 has no completion"),
    ("classification", [{"prompt": " ", "completion": "{{ label }}"}], "templates.0 has no prompt"),
    ("classification", [{**CLASSIFY, "prompt": "{{ text "}], r"templates.0.prompt is no Jinja (line 1 of it)"),
    ("classification", [{**CLASSIFY, "prompt": "{{ text | lipsum }}"}], "templates.0.prompt is no Jinja"),
    ("classification", [{**CLASSIFY, "promt": "x"}], "templates.0 has promt, which a classification cannot take"),
    ("classification", [], "templates is an empty list"),
    ("classification", "reviews", "templates: reviews is no shipped set for task: classification"),
    (None, "classification_en", "is no shipped set for rows without a task"),
    ("instruction", [{"prompt": "{{ instruction }}", "completion": "x"}], "templates.0 ignores output"),
    ("preference", [{"prompt": "x"}], "templates.0 ignores prompt"),
    ("ranking", [{"prompt": "{{ prompt }}", "completion": "x"}], "has completion, which a ranking cannot take"),
    (None, [{"prompt": "{{ a }}", "completion": "yes"}], "templates.0.completion is the same for all rows"),
]


@pytest.mark.parametrize(("task", "templates", "message"), FAULTS)
def test_faulty_templates_are_found_without_a_row(task: str | None, templates: Any, message: str) -> None:
    spec = {"task": task, "templates": templates}
    problems = [problem for problem in template_problems(spec, "my.yaml:7") if problem.severity == "error"]
    assert len(problems) == 1 and message in problems[0].message
    assert problems[0].where == "my.yaml:7" and problems[0].fix


def test_a_faulty_template_stops_the_first_row_too() -> None:
    with pytest.raises(RecipeError, match=r"templates\.0 ignores label"):
        to_example({"text": "x", "label": "y"}, classification([{"prompt": "{{ text }}", "completion": "yes"}]))


def test_plain_text_takes_no_system_message() -> None:
    (problem,) = template_problems(classification([CLASSIFY | {"system": "s"}]) | PLAIN)
    assert "has a system message, and plain text has none" in problem.message


def test_a_template_may_ask_for_the_text_of_a_label() -> None:
    inverse = [{"prompt": "Write a {{ label }} review.", "completion": "{{ text }}"}]
    assert template_problems(classification(inverse)) == []


ROWS = {
    "classification": {"text": "It is 好 {{ text }}", "label": 1},
    "instruction": {"instruction": "Translate 翻译", "input": "to {{ input }}", "output": "done 完"},
    "preference": {"prompt": "why 为何?", "chosen": "a", "rejected": "b"},
    "ranking": {"prompt": "why 为何?", "answers": ["a", "b"]},
}


@pytest.mark.parametrize("conversational", [True, False])
@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name, one in shipped_templates().items() for task in one["tasks"]]
)
def test_shipped_templates_say_all_that_a_row_says(name: str, task: str, conversational: bool) -> None:
    row = ROWS[task]
    labels = {"labels": ["bad", "good"]} if task == "classification" else {}
    spec = {"task": task, "templates": name, "conversational": conversational, **labels}
    assert task_problems(spec) == []
    said = {key: value for key, value in row.items() if isinstance(value, str)}
    for template in shipped_templates()[name]["templates"]:
        (example,) = to_examples(row, spec | {"templates": [template]})
        prompt, *answers = example_texts(example)
        text = "\n".join([prompt, *answers])
        assert all(value in text for value in said.values())
        if task == "classification":
            assert "bad" in prompt or "labels" not in template["prompt"]
            assert answers[0].strip() == "good"
        bare = {key: value for key, value in row.items() if key != "input"}
        assert "None" not in "".join(example_texts(to_examples(bare, spec | {"templates": [template]})[0]))
    assert to_examples(row, spec)


def test_shipped_sets_are_in_english_and_chinese_for_each_task_and_hold_several() -> None:
    for task in ROWS:
        sets = [one for one in shipped_templates().values() if task in one["tasks"]]
        assert {one["language"] for one in sets} == {"en", "zh"}
    for one in shipped_templates().values():
        written = [template["prompt"] for template in one["templates"]]
        assert len(set(written)) == len(written) >= 3
