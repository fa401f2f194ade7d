from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.yaml_reader import MAX_CHARACTERS, MAX_VALUES, dotted, parse_scalar, parse_yaml, read_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
# A key named << would be a merge key, however it is quoted; and YAML reads keys of no more than 1,024 characters, escapes
# included, without a mark of their own.
KEYS = st.text(max_size=80).filter(lambda key: key != "<<")
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=15
)


@given(VALUES)
def test_json_is_read_as_json_reads_it(value: object) -> None:
    # Escaped to ASCII, every JSON text is YAML 1.2 with the same meaning.
    assert parse_yaml(json.dumps(value), "x.yaml")[0] == value


@given(VALUES)
def test_every_part_has_the_line_it_stands_on(value: object) -> None:
    text = json.dumps(value, indent=1)
    read, lines = parse_yaml(text, "x.yaml")
    assert lines[()] == 1
    for keys, line in lines.items():
        part = read
        for key in keys:
            part = part[key]
        written = text.splitlines()[line - 1]
        if keys and isinstance(keys[-1], str):
            assert written.strip().startswith(json.dumps(keys[-1]))
        elif not isinstance(part, dict | list):
            assert written.strip().rstrip(",") == json.dumps(part)
    assert len(lines) == _parts(value)


def _parts(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_parts, inner))


@given(st.text())
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse_yaml(text, "x.yaml")
    except RecipeError as error:
        assert error.problems
        assert all(problem.where.startswith("x.yaml") for problem in error.problems)


@given(st.text(alphabet="&*!%@`|>-?:,[]{}#'\"<\\ \n\tab0.~", max_size=40))
def test_texts_of_indicators_are_read_or_refused(text: str) -> None:
    test_any_text_is_read_or_refused_with_a_place.hypothesis.inner_test(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("2.0e-4", 2.0e-4),
        (".5", 0.5),
        ("5.", 5.0),
        ("+3", 3),
        ("-0", 0),
        ("007", 7),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("2024-01-01", "2024-01-01"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nan", "nan"),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        ("e5", "e5"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)
    assert parse_yaml(f'{{key: !!str "{text}"}}', "x.yaml")[0] == {"key": text}


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_scalar(".nan"))


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_python_writes_them(number: float) -> None:
    assert parse_scalar(repr(number)) == number


def test_escapes_as_json_writes_them() -> None:
    assert parse_yaml('key: "\\ud83d\\ude00"', "x.yaml")[0] == {"key": "\U0001f600"}
    with pytest.raises(RecipeError, match=r"x.yaml:2.*half a character"):
        parse_yaml('a: 1\nkey: "\\ud83d"', "x.yaml")


@pytest.mark.parametrize(
    "text", ['"1e-4"', "'true'", '"null"', "'3'", "!!str 3", "!!str 1e-4", "!!str true", "|-\n  3"]
)
def test_what_is_quoted_is_a_string(text: str) -> None:
    value = parse_yaml(f"key: {text}", "x.yaml")[0]["key"]
    assert isinstance(value, str)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3", "a is said twice, first in line 1"),
        ("a:\n  b: 1\n  c: 2\n  b: 1\n", "x.yaml:4", "a.b is said twice, first in line 2"),
        ("- a: 1\n  a: 2\n", "x.yaml:2", "0.a is said twice, first in line 1"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "x.yaml:3", "merge keys"),
        ("? [a, b]\n: 1\n", "x.yaml:1", "a key must be a word"),
        ("a: 1\nb: !thing 2\n", "x.yaml:2", "the tag !thing"),
        ("a: !!python/object:os.system 2\n", "x.yaml:1", "python/object"),
        ("a: !!set {b}\n", "x.yaml:1", "the tag !!set"),
        ("a:\n- !thing [b]\n", "x.yaml:2", "the tag !thing"),
        ("a: !!binary aGk=\n", "x.yaml:1", "the tag !!binary"),
        ("a:\n\tb: 1\n", "x.yaml:2", "a tab indents this line"),
        ("a: [1, 2\n", "x.yaml:2", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2", "is not valid YAML"),
        ("a: *nothing\n", "x.yaml:1", "is not valid YAML"),
        ("a: b: c\n", "x.yaml:1", "is not valid YAML"),
        ("a: \x07\n", "x.yaml", "is not YAML"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(text: str, place: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "x.yaml")
    (problem,) = caught.value.problems
    assert problem.where == place
    assert message in problem.message


def test_all_duplicates_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\n", "x.yaml")
    assert [problem.where for problem in caught.value.problems] == ["x.yaml:2", "x.yaml:3"]


def test_aliases_repeat_a_value() -> None:
    value, _ = parse_yaml("a: &x [1, 2]\nb: *x\n", "x.yaml")
    assert value == {"a": [1, 2], "b": [1, 2]}


def test_aliases_that_expand_without_end_are_refused() -> None:
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(RecipeError, match=f"{MAX_VALUES:,} values"):
        parse_yaml("\n".join(["l0: &l0 [x]", *levels]), "x.yaml")


def test_aliases_of_a_long_text_are_refused() -> None:
    text = f'a: &a "{"x" * 10**6}"\nb: [{", ".join(["*a"] * 2000)}]\n'
    with pytest.raises(RecipeError, match=f"x.yaml: error: holds more than {MAX_CHARACTERS:,} characters"):
        parse_yaml(text, "x.yaml")


def test_an_alias_of_itself_is_refused() -> None:
    with pytest.raises(RecipeError):
        parse_yaml("a: &x [*x]\n", "x.yaml")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RecipeError):
        parse_yaml("[" * 5000 + "]" * 5000, "x.yaml")


def test_files_in_other_encodings(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes("\ufeffname: für\n".encode())
    assert read_yaml(file)[0] == {"name": "für"}
    file.write_bytes("name: für\n".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"is not UTF-8 text \(byte 7\)"):
        read_yaml(file)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_yaml(tmp_path)


def test_an_empty_file_holds_nothing() -> None:
    assert parse_yaml("# words\n", "x.yaml") == (None, {})


@given(st.dictionaries(st.text(alphabet="abc_", min_size=1), SCALARS, min_size=1))
def test_what_pyyaml_writes_is_read_back_where_the_two_versions_agree(values: dict[str, object]) -> None:
    def agree(value: object) -> bool:
        return not isinstance(value, str) or isinstance(parse_scalar(value), str)

    kept = {key: value for key, value in values.items() if agree(value)}
    if kept:
        written = yaml.safe_dump(kept, allow_unicode=False)
        assert parse_yaml(written, "x.yaml")[0] == kept


def test_keys_are_shown_with_dots() -> None:
    assert dotted(("data", "train", 0, "name")) == "data.train.0.name"
