from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.recipe.schema import load_schema
from hfrecipes.recipe.validate import nearest, validate

ROOT = load_schema()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def faults(value: object, schema: dict, root: dict | None = None) -> list[str]:
    problems = validate(value, schema, root or {"$defs": {}}, lambda keys: ".".join(map(str, keys)))
    return [
        f"{problem.where}: {problem.message} ({problem.fix})" for problem in problems if problem.severity == "error"
    ]


def _fits(value: object, schema: dict) -> bool:
    """JSON Schema's own meaning of the few words used below, written a second time and in another way."""
    kinds = {
        type(None): "null",
        bool: "boolean",
        str: "string",
        list: "array",
        dict: "object",
        int: "integer",
        float: "number",
    }
    if "anyOf" in schema:
        return any(_fits(value, branch) for branch in schema["anyOf"])
    if "enum" in schema:
        return json.dumps(value) in [json.dumps(choice) for choice in schema["enum"]]
    kind = kinds[type(value)]
    if kind not in schema["type"] and not (kind == "integer" and "number" in schema["type"]):
        return False
    if kind in ("integer", "number"):
        return abs(value) < 2**63 and schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if kind == "array":
        return all(_fits(item, schema["items"]) for item in value)
    if kind == "object":
        known = schema["properties"]
        return all(key in known and _fits(item, known[key]) for key, item in value.items())
    return True


LEAF = st.one_of(
    st.lists(st.sampled_from(["boolean", "string", "null"]), min_size=1, max_size=3, unique=True).map(
        lambda t: {"type": t}
    ),
    st.integers(-5, 5).map(lambda low: {"type": ["number"], "minimum": low, "maximum": low + 3}),
    st.just({"type": ["integer"]}),
    st.lists(st.text(max_size=3), min_size=1, max_size=4).map(lambda choices: {"enum": choices}),
)
SCHEMAS = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": ["array"], "items": items}),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(
            lambda properties: {"type": ["object"], "properties": properties, "additionalProperties": False}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=5,
)


@given(JSON, SCHEMAS)
def test_a_value_has_faults_where_it_does_not_fit(value: object, schema: dict) -> None:
    assert (faults(value, schema) == []) == _fits(value, schema)


@given(SCHEMAS, st.data())
def test_a_value_made_to_fit_has_none(schema: dict, data: st.DataObject) -> None:
    assert faults(data.draw(_fitting(schema)), schema) == []


def _fitting(schema: dict) -> st.SearchStrategy:
    if "anyOf" in schema:
        return st.one_of([_fitting(branch) for branch in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = {
        "null": st.none(),
        "boolean": st.booleans(),
        "string": st.text(max_size=4),
        "integer": st.integers(-3, 3),
        "number": st.floats(schema.get("minimum", -3), schema.get("maximum", 3)),
        "array": st.lists(_fitting(schema["items"]), max_size=3) if "items" in schema else st.just([]),
        "object": st.fixed_dictionaries(
            {}, optional={key: _fitting(item) for key, item in schema.get("properties", {}).items()}
        ),
    }
    return st.one_of([kinds[kind] for kind in schema["type"]])


@given(JSON)
def test_nothing_that_stands_in_a_recipe_breaks_the_validator(value: object) -> None:
    for kind in ("sft", "pretrain", "pipeline"):
        found = faults(
            {"kind": kind, "training": value, "model": value, "data": value, "steps": value},
            {"$ref": f"#/$defs/{kind}"},
            ROOT,
        )
        assert found


@given(st.sampled_from(sorted(ROOT["$defs"]["training-sft"]["properties"])), st.data())
def test_a_word_with_one_letter_missing_is_guessed(word: str, data: st.DataObject) -> None:
    known = ROOT["$defs"]["training-sft"]["properties"]
    place = data.draw(st.integers(0, len(word) - 1))
    misspelt = word[:place] + word[place + 1 :]
    guess = nearest(misspelt, known)
    if misspelt not in known and len(word) > 5:
        # Another word may be as near (log_level and its kin), but never none.
        assert guess is not None
        assert _distance(misspelt, guess) <= max(3, len(word) // 2)


def _distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        row, above = [i], row
        for j, b in enumerate(other, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@pytest.mark.parametrize(
    ("word", "known", "guess"),
    [
        ("Learning_Rate", ["learning_rate", "seed"], "learning_rate"),
        ("pack", ["packing_strategy", "packing"], "packing_strategy"),
        ("zzz", ["learning_rate"], None),
        ("", ["learning_rate"], None),
        ("lr", ["learning_rate"], None),
    ],
)
def test_guesses(word: str, known: list[str], guess: str | None) -> None:
    assert nearest(word, known) == guess


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        (True, {"type": "integer"}, "x is true (it is a whole number)"),
        (1.0, {"type": "integer"}, "x is 1.0 (it is a whole number)"),
        ("3", {"type": ["integer", "null"]}, "x is '3' (it is a whole number; remove the quotes)"),
        (None, {"type": "string"}, "x is empty (it is a string)"),
        (1, {"enum": [True, "1"]}, "x is 1, which it cannot be (did you mean 1? It is one of True, 1)"),
        (5, {"type": "integer", "maximum": 4}, "x is 5 (it is at most 4)"),
        (10**299, {"type": "integer"}, "… (it is below 9.2e+18 in size)"),
        (-1e300, {"type": "number"}, "x is -1e+300 (it is below 9.2e+18 in size)"),
        (
            0,
            {"anyOf": [{"type": "integer", "minimum": 1}, {"enum": [-1]}]},
            "x is 0 (it is at least 1, or -1)",
        ),
        (5, {"type": "integer", "minimum": 6}, "x is 5 (it is at least 6)"),
        (5, {"type": "number", "minimum": 0, "maximum": 1}, "x is 5 (it is between 0 and 1)"),
        ("b", {"type": "string", "pattern": "^a"}, "x is 'b' (it has the form ^a)"),
        (
            {"b": 1},
            {"type": "object", "properties": {}, "additionalProperties": False},
            "x.b is not a known key (known here: )",
        ),
        ({}, {"type": "object", "required": ["a"]}, "x.a is missing (add it)"),
        (["a"] * 40, {"type": "string"}, "…"),
    ],
)
def test_what_is_said(value: object, schema: dict, fault: str) -> None:
    (problem,) = validate(value, schema, {"$defs": {}}, lambda keys: "here", ("x",))
    assert fault in f"{problem.message} ({problem.fix})"


def test_what_a_schema_does_not_judge_is_unchecked() -> None:
    (problem,) = validate({"a": 1, "b": None}, {"type": "object"}, {"$defs": {}}, lambda keys: "here")
    assert (problem.severity, problem.message) == ("unchecked", "a is passed on as it is")


def test_the_nearest_branch_speaks() -> None:
    inner = {"type": "object", "properties": {"vocab_size": {"type": "integer"}}, "additionalProperties": False}
    schema = {"anyOf": [{"type": "string"}, inner]}
    assert faults({"vocab_sise": 3}, schema) == ["vocab_sise: vocab_sise is not a known key (did you mean vocab_size?)"]
    assert "a string or a mapping" in faults(3, schema)[0]


@pytest.mark.parametrize("rule", [["pii"], {"pii": 1}, 3, True])
def test_a_rule_that_is_no_word_is_told_of(rule: object) -> None:
    recipe = {"kind": "pretrain", "model": {}, "training": {}, "data": {"clean": [{"rule": rule}]}}
    assert any("data.clean.0.rule is" in fault for fault in faults(recipe, {"$ref": "#/$defs/pretrain"}, ROOT))
