from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from hfrecipes.recipe import schema
from hfrecipes.recipe.field_schema import hint_schema
from hfrecipes.recipe.schema import installed_versions, load_schema
from hfrecipes.recipe.sections import words


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(kw_only=True)
class Inner:
    size: int = words("How large.", minimum=1)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (bool, {"type": "boolean"}),
        (int | None, {"type": ["integer", "null"]}),
        (Optional[float], {"type": ["number", "null"]}),  # noqa: UP045
        (Literal["a", 3], {"enum": ["a", 3]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[float, float], {"type": "array", "items": {"type": "number"}}),
        (tuple[int, str], {"type": "array"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (dict, {"type": "object"}),
        (Colour, {"enum": ["red", "blue"]}),
        (Colour | str, {"enum": ["red", "blue"]}),
        (dict | str | None, {"type": ["object", "null"]}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("SomethingElse", {}),
        (Any, {}),
        (int | Any, {}),
    ],
)
def test_hints_become_schemas(hint: Any, expected: dict) -> None:
    made = hint_schema(hint)
    assert made == expected or _flat(made) == _flat(expected)


def _flat(made: dict) -> Any:
    """`anyOf` of bare types is the same as a list of types."""
    branches = made.get("anyOf", [])
    return [branch["type"] for branch in branches] if branches else made.get("type", made)


def test_dataclasses_are_closed_objects() -> None:
    made = hint_schema(Inner)
    assert made["additionalProperties"] is False
    assert made["properties"]["size"]["minimum"] == 1
    assert made["properties"]["size"]["description"] == "How large."
    # Where a dict is allowed beside the class, its keys are still the class's.
    assert hint_schema(Inner | dict | str | None)["anyOf"][0] == made


def test_other_versions_get_a_schema_of_their_own_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make() -> dict:
        made.append(1)
        versions = {"edition": schema.EDITION, **schema.installed_versions()}
        return {"x-versions": versions, "$defs": {"configs": {"llama": {}}}}

    monkeypatch.setenv("HFRECIPES_CACHE", str(tmp_path))
    monkeypatch.setattr(schema, "installed_versions", lambda: {"transformers": "9.9"})
    monkeypatch.setattr(schema, "make_schema", make)
    for _ in range(2):
        load_schema.cache_clear()
        assert load_schema()["x-versions"]["transformers"] == "9.9"
    load_schema.cache_clear()
    assert made == [1]
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["$defs"]["configs"] == {"llama": {}}


def test_the_shipped_schema_is_used_where_it_fits() -> None:
    load_schema.cache_clear()
    assert load_schema()["x-versions"] == {"edition": schema.EDITION, **installed_versions()}


def test_every_reference_leads_somewhere() -> None:
    whole = load_schema()

    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            here = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return here + [name for item in part.values() for name in references(item)]
        return [name for item in part for name in references(item)] if isinstance(part, list) else []

    names = set(references(whole))
    assert names
    assert all(name.removeprefix("#/$defs/") in whole["$defs"] for name in names)


def test_what_the_project_decides_is_no_word() -> None:
    for kind in ("sft", "pretrain"):
        known = load_schema()["$defs"][f"training-{kind}"]["properties"]
        assert "learning_rate" in known
        assert "global_batch_size" in known
        assert not {"output_dir", "hub_token", "push_to_hub", "fsdp", "deepspeed", "data_seed"} & set(known)
