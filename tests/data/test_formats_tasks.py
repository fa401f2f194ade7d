"""Rows of a declared task become TRL's own types, or say which column is wrong and how to mend it."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import trl.data_utils as trl_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.formats import example_texts, is_conversational, to_example, to_examples
from hfrecipes.data.tasks import task_problems
from hfrecipes.recipe.problem import RecipeError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CHAT = {"task": "conversation"}
PREFERENCE = {"task": "preference"}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


Q, A, B = user("q"), assistant("a"), assistant("b")
LABELS = {"task": "classification", "labels": {"0": "negative", "1": "positive"}}
PLAIN = {"conversational": False}


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        ({"text": "x", "label": 1, "id": 3}, LABELS, {"prompt": [user("x")], "completion": [assistant("positive")]}),
        ({"text": "x", "label": 0}, LABELS | PLAIN, {"prompt": "x\n\n", "completion": "negative"}),
        (
            {"review": "x", "stars": "up"},
            {"task": "classification", "columns": {"text": "review", "label": "stars"}},
            {"prompt": [user("x")], "completion": [assistant("up")]},
        ),
        (
            {"instruction": "do", "input": "this", "output": "  done\n"},
            {"task": "instruction"},
            {"prompt": [user("do\n\nthis")], "completion": [assistant("  done\n")]},
        ),
        (
            {"instruction": "do", "output": "done", "system": "Be brief."},
            {"task": "instruction"},
            {"prompt": [system("Be brief."), user("do")], "completion": [assistant("done")]},
        ),
        (
            {"instruction": "do", "input": None, "output": "done", "system": "Be brief."},
            {"task": "instruction"} | PLAIN,
            {"prompt": "Be brief.\n\ndo\n\n", "completion": "done"},
        ),
        ({"messages": [Q, A], "system": " "}, CHAT, {"messages": [Q, A]}),
        ({"messages": [Q, A], "system": "s"}, CHAT, {"messages": [system("s"), Q, A]}),
        ({"messages": [system("s"), Q, A], "system": "s"}, CHAT, {"messages": [system("s"), Q, A]}),
        ({"messages": [system(""), Q, A]}, CHAT, {"messages": [system(""), Q, A]}),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": None}]},
            CHAT,
            {"messages": [Q, A]},
        ),
        (
            {"chat": [{"role": "Human", "content": "q"}, A]},
            CHAT | {"columns": {"messages": "chat"}},
            {"messages": [Q, A]},
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            PREFERENCE,
            {"prompt": [Q], "chosen": [A], "rejected": [B]},
        ),
        (
            {"prompt": "q", "chosen": " a", "rejected": " b"},
            PREFERENCE | PLAIN,
            {"prompt": "q", "chosen": " a", "rejected": " b"},
        ),
        (
            {"prompt": [system("s"), Q], "chosen": [A], "rejected": [B]},
            PREFERENCE,
            {"prompt": [system("s"), Q], "chosen": [A], "rejected": [B]},
        ),
        # the prompt beside answers that hold it (UltraFeedback), as a text and as messages
        (
            {"prompt": "q", "chosen": [Q, A], "rejected": [Q, B]},
            PREFERENCE,
            {"prompt": [Q], "chosen": [A], "rejected": [B]},
        ),
        (
            {"prompt": [Q], "chosen": [Q, A], "rejected": [Q, B]},
            PREFERENCE,
            {"prompt": [Q], "chosen": [A], "rejected": [B]},
        ),
        ({"prompt": "q", "chosen": [A], "rejected": [B]}, PREFERENCE, {"prompt": [Q], "chosen": [A], "rejected": [B]}),
        # dialogues in one text (Anthropic's HH); the answers begin alike
        (
            {
                "chosen": "\n\nHuman: q\n\nAssistant: It is red.\n\nHuman: Sure?\n\nAssistant: It is.",
                "rejected": "\n\nHuman: q\n\nAssistant: It is red.\n\nHuman: Sure?\n\nAssistant: It is not.",
            },
            PREFERENCE,
            {
                "prompt": [Q, assistant("It is red."), user("Sure?")],
                "chosen": [assistant("It is.")],
                "rejected": [assistant("It is not.")],
            },
        ),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: a b", "rejected": "\n\nHuman: q\n\nAssistant: a c"},
            PREFERENCE | PLAIN,
            {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a b", "rejected": " a c"},
        ),
        # a common prefix of texts, which is not cut within a word
        (
            {"chosen": "The sky is clear", "rejected": "The sky is clean"},
            PREFERENCE | PLAIN,
            {"prompt": "The sky is", "chosen": " clear", "rejected": " clean"},
        ),
        (
            {"chosen": "天空是蓝色", "rejected": "天空是绿色"},
            PREFERENCE | PLAIN,
            {"prompt": "天空是", "chosen": "蓝色", "rejected": "绿色"},
        ),
    ],
)
def test_rows_become_the_types_of_trl(values: dict[str, Any], spec: dict[str, Any], expected: dict[str, Any]) -> None:
    before = json.dumps(values)
    example = to_example(values, spec)
    assert example == expected and json.dumps(values) == before
    assert (
        is_conversational(example)
        == trl_utils.is_conversational(example)
        == (spec.get("conversational", True) is not False)
    )


@pytest.mark.parametrize(
    ("label", "labels", "name"),
    [
        (0, ["neg", "pos"], "neg"),
        (1.0, ["neg", "pos"], "pos"),  # a data frame's, of a column with gaps
        ("1", ["neg", "pos"], "pos"),  # a CSV's
        ("pos", ["neg", "pos"], "pos"),
        (True, {"true": "yes", "false": "no"}, "yes"),
        (False, {"True": "yes", "False": "no"}, "no"),
        ("B", {"A": "first", "B": "second"}, "second"),
        (-1, {"-1": "against", "1": "for"}, "against"),
        (4, {"1": "bad", "4": "good", "5": "good"}, "good"),
        (5, None, "5"),
        (True, None, "true"),
        (" 正面 ", None, "正面"),
    ],
)
def test_labels_get_their_names(label: Any, labels: Any, name: str) -> None:
    spec = {"task": "classification"} | ({"labels": labels} if labels else {})
    assert to_example({"text": "x", "label": label}, spec)["completion"] == [assistant(name)]


@pytest.mark.parametrize("label", [2, -1, "neutral", True, "01"])
def test_an_unknown_label_is_told_with_the_known_ones(label: Any) -> None:
    spec = {"task": "classification", "columns": {"label": "stars"}, "labels": ["neg", "pos"]}
    with pytest.raises(RecipeError) as caught:
        to_example({"text": "x", "stars": label}, spec, "a.csv:7")
    assert str(caught.value) == (
        f"a.csv:7: error: label (their column 'stars') is {label!r}, which is none of 0 (neg), 1 (pos) "
        "(add it to labels:, or correct the row)"
    )


# Task -> a good row, and the columns that have to be there.
GOOD: dict[str, dict[str, Any]] = {
    "classification": {"text": "x", "label": "up"},
    "instruction": {"instruction": "do", "output": "done"},
    "conversation": {"messages": [Q, A]},
    "preference": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "ranking": {"prompt": "q", "answers": ["a", "b", "c"]},
}
OPTIONAL = [
    ("classification", "system"),
    ("instruction", "input"),
    ("instruction", "system"),
    ("conversation", "system"),
]
BAD_CELLS: dict[str, Any] = {
    "None": None,
    "NaN": float("nan"),
    "empty": "",
    "blank": " \n\t",
    "a number": 3.5,
    "a dictionary": {"role": "user"},
    "an empty list": [],
    "a list of numbers": [1, 2],
    "half a character": "x\ud800",
    "NUL": "a\x00b",
}


@pytest.mark.parametrize("bad", BAD_CELLS)
@pytest.mark.parametrize(("task", "column"), [(task, column) for task, row in GOOD.items() for column in row])
@pytest.mark.parametrize("renamed", [False, True])
def test_every_bad_cell_is_told_by_row_and_column(task: str, column: str, bad: str, renamed: bool) -> None:
    theirs = f"their_{column}" if renamed else column
    row = {**GOOD[task], column: BAD_CELLS[bad]}
    values = {theirs if name == column else name: value for name, value in row.items()}
    spec = {"task": task} | ({"columns": {column: theirs}} if renamed else {})
    with pytest.raises(RecipeError) as caught:
        to_examples(values, spec, "train.jsonl:7")
    (problem,) = caught.value.problems
    shown = f"{column} (their column {theirs!r}) " if renamed else f"{column} "
    assert problem.where == "train.jsonl:7" and problem.fix and problem.message.startswith(shown)


@pytest.mark.parametrize(
    ("task", "column"),
    [(task, column) for task, row in GOOD.items() for column in row if (task, column) != ("preference", "prompt")],
)
def test_every_missing_column_is_told_with_those_there_are(task: str, column: str) -> None:
    values = {name: value for name, value in GOOD[task].items() if name != column} | {"other": 1}
    with pytest.raises(RecipeError) as caught:
        to_examples(values, {"task": task}, "train.jsonl:7")
    (problem,) = caught.value.problems
    assert problem.where == "train.jsonl:7" and f"{{{column}: theirs}}" in problem.fix
    assert problem.message == (
        f"there is no column {column!r}, which task: {task} needs; the columns are {', '.join(values)}"
    )


@pytest.mark.parametrize(("task", "column"), OPTIONAL)
def test_columns_that_may_be_empty_may_not_be_of_a_wrong_type(task: str, column: str) -> None:
    plain = to_examples(GOOD[task], {"task": task})
    for empty in (None, float("nan"), "", " \n"):
        assert to_examples({**GOOD[task], column: empty}, {"task": task}) == plain
    for bad in (3, ["x"], "x\ud800"):
        with pytest.raises(RecipeError, match=f"^r: error: {column} "):
            to_examples({**GOOD[task], column: bad}, {"task": task}, "r")


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        ({"messages": [Q]}, CHAT, "messages has no turn of the assistant's"),
        (
            {"messages": [{"role": "narrator", "content": "x"}, A]},
            CHAT,
            "message 1 has the role 'narrator'; the roles are",
        ),
        ({"messages": [Q, {"role": "assistant"}]}, CHAT, "messages message 2 has no content"),
        (
            {"messages": [system("t"), Q, A], "system": "s"},
            CHAT,
            "system says something else than the conversation's own",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, PREFERENCE, "rejected is the same as chosen"),
        ({"prompt": "q", "chosen": [A], "rejected": "b"}, PREFERENCE, "rejected is a str and chosen a list"),
        ({"chosen": [Q, A], "rejected": [user("r"), B]}, PREFERENCE, "rejected shares no message with chosen"),
        ({"chosen": [Q, A], "rejected": [Q]}, PREFERENCE, "rejected ends where the other goes on"),
        (
            {"chosen": [Q, user("x"), A], "rejected": [Q, B]},
            PREFERENCE,
            "chosen goes its own way from a turn of user on",
        ),
        ({"chosen": "yes", "rejected": "no"}, PREFERENCE, "begins otherwise than chosen, so there is no prompt"),
        ({"prompt": [Q], "chosen": "a", "rejected": "b"}, PREFERENCE | PLAIN, "conversational: false wants plain text"),
        ({"prompt": "q", "answers": ["a"]}, {"task": "ranking"}, "answers is a list of 1, and a ranking compares two"),
        ({"prompt": "q", "answers": ["a", " "]}, {"task": "ranking"}, "answers is empty (answer 2)"),
        ({"prompt": "q", "answers": ["a", None]}, {"task": "ranking"}, "answers is None where a string or messages"),
        ({"prompt": "q", "answers": ["a", "b", "a"]}, {"task": "ranking"}, "the same answer twice, as 1 and 3"),
        ({"prompt": "q", "answers": ["a", [Q]]}, {"task": "ranking"}, "answers goes its own way from a turn of user"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(
    values: dict[str, Any], spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        to_examples(values, spec, "train.jsonl:7")
    (problem,) = caught.value.problems
    assert problem.where == "train.jsonl:7" and message in problem.message and problem.fix


def test_implicit_prompts_are_those_of_trl() -> None:
    rows = [
        {"chosen": [Q, A, user("r"), A], "rejected": [Q, A, user("r"), B]},
        {"chosen": [system("s"), Q, A], "rejected": [system("s"), Q, B]},
        {"chosen": [Q, A, user("r"), B], "rejected": [Q, B]},
    ]
    texts = [{"chosen": "The sky is blue.", "rejected": "The sky is green."}]
    for row in rows:
        assert to_example(row, PREFERENCE) == trl_utils.extract_prompt(row)
    for row in texts:
        assert to_example(row, PREFERENCE | PLAIN) == trl_utils.extract_prompt(row)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
    answers=st.lists(st.text("ab学🦊", min_size=1), min_size=2, max_size=6, unique=True),
    prompt=st.text("xy?", min_size=1),
)
def test_a_ranking_holds_the_pairs_that_were_asked_for(answers: list[str], prompt: str) -> None:
    row = {"prompt": prompt, "answers": answers}
    pairs = {
        name: [
            (answers.index(example["chosen"]), answers.index(example["rejected"]))
            for example in to_examples(row, {"task": "ranking", "pairs": name, "conversational": False})
        ]
        for name in ("all", "adjacent", "best_worst")
    }
    count = len(answers)
    assert sorted(pairs["all"]) == [(i, j) for i in range(count) for j in range(count) if i < j]
    assert pairs["adjacent"] == [(i, i + 1) for i in range(count - 1)]
    assert pairs["best_worst"] == [(0, count - 1)]
    assert len(to_examples(row, {"task": "ranking"})) == len(list(combinations(answers, 2)))


def test_pairs_of_one_prompt_share_a_group_and_those_of_others_do_not() -> None:
    def groups(prompt: Any, answers: list[str]) -> set[str]:
        return {
            example["group"] for example in to_examples({"prompt": prompt, "answers": answers}, {"task": "ranking"})
        }

    first, again, other = groups("q", ["a", "b", "c"]), groups("q", ["d", "e"]), groups("r", ["a", "b"])
    assert len(first) == 1 and first == again and not first & other
    assert len(groups([Q], ["a", "b"])) == 1


def test_answers_of_a_ranking_may_be_messages() -> None:
    examples = to_examples({"prompt": [Q], "answers": [A, [B], "c"]}, {"task": "ranking", "pairs": "adjacent"})
    assert [(example["chosen"], example["rejected"]) for example in examples] == [([A], [B]), ([B], [assistant("c")])]


def test_a_row_of_several_examples_is_not_one() -> None:
    with pytest.raises(RecipeError, match=r"^r: error: makes 3 examples"):
        to_example(GOOD["ranking"], {"task": "ranking"}, "r")
    assert "group" in to_example(GOOD["ranking"], {"task": "ranking", "pairs": "best_worst"}, "r")


@pytest.mark.parametrize("task", [*GOOD, None])
def test_kinds_stand_beside_the_example_and_not_in_its_texts(task: str | None) -> None:
    row = GOOD[task] if task else {"text": "x"}
    spec = {"task": task} if task else {}
    plain = to_examples(row, spec)
    by_source = to_examples(row, spec | {"kind": "refusal"})
    by_row = to_examples({**row, "tag": " clarification "}, spec | {"columns": {"kind": "tag"}})
    untagged = to_examples({**row, "tag": None}, spec | {"columns": {"kind": "tag"}})
    unread = to_examples({**row, "kind": "a column of that name that nobody declared"}, spec)
    assert by_source == [example | {"kind": "refusal"} for example in plain]
    assert by_row == [example | {"kind": "clarification"} for example in plain]
    assert untagged == unread == plain
    assert [example_texts(example) for example in by_source] == [example_texts(example) for example in plain]


def test_a_kind_that_is_no_word_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"r: error: kind \(their column 'tag'\) is an int where a string"):
        to_examples({"text": "x", "tag": 3}, {"columns": {"kind": "tag", "text": "text"}}, "r")


def test_a_preference_can_be_unpaired_and_templated_by_trl(tokenizer_folder: Path) -> None:
    import datasets
    from transformers import AutoTokenizer

    examples = to_examples(GOOD["ranking"], {"task": "ranking"})
    unpaired = trl_utils.unpair_preference_dataset(datasets.Dataset.from_list(examples))
    assert unpaired["label"] == [True] * 3 + [False] * 3 and set(unpaired["group"]) == {examples[0]["group"]}
    texts = trl_utils.maybe_apply_chat_template(examples[0], AutoTokenizer.from_pretrained(tokenizer_folder))
    assert texts["prompt"].endswith("<|im_start|>assistant\n") and texts["chosen"] == "a<|im_end|>\n"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"task": "instruction", "labels": ["a"]}, "labels: is for task: classification"),
        ({"task": "preference", "pairs": "all"}, "pairs: is for task: ranking"),
        ({"conversational": False}, "conversational: is for sources with a task or templates"),
        ({"task": "instruction", "template_seed": 1}, "template_seed: has no templates"),
        ({"kind": "refusal", "columns": {"kind": "tag"}}, "kind is said twice"),
        ({"task": "conversation", "templates": [{"system": "x"}]}, "templates: is not for task: conversation"),
        ({"task": "conversation", "conversational": False}, "conversational: false is not for task: conversation"),
        ({"task": "classification", "labels": []}, "labels: has a name that is empty, or has none"),
        ({"task": "classification", "labels": ["a", "a"]}, "labels: lists 'a' twice"),
        ({"task": "classification", "labels": {"0": " "}}, "labels: has a name that is empty"),
        ({"task": "classification", "templates": "instruction_en"}, "no shipped set for task: classification"),
    ],
)
def test_words_of_a_source_that_contradict_each_other(spec: dict[str, Any], message: str) -> None:
    (problem,) = task_problems(spec, "my.yaml:9")
    assert problem.where == "my.yaml:9" and message in problem.message and problem.fix


@pytest.mark.parametrize("spec", [{}, LABELS, *({"task": task, "kind": "refusal"} for task in GOOD)])
def test_sources_without_contradictions(spec: dict[str, Any]) -> None:
    assert task_problems(spec) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not here")
def test_real_rows_of_english_and_chinese_become_instructions_and_preferences() -> None:
    spec = {"task": "instruction", "columns": {"instruction": "question", "output": "answer"}}
    lines = (SHARED / "gsm8k_train_2500.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines[:300]):
        (example,) = to_examples(row, spec)
        assert example_texts(example) == [row["question"], row["answer"]]
    chapters = json.loads((SHARED / "zh_classics" / "lunyu.json").read_text(encoding="utf-8"))
    for chapter in chapters:
        said = list(dict.fromkeys(chapter["paragraphs"]))
        examples = to_examples(
            {"prompt": chapter["chapter"], "answers": said}, {"task": "ranking", "pairs": "adjacent"}
        )
        assert [example["chosen"][0]["content"] for example in examples] == said[:-1]
