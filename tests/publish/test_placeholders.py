"""What was left blank is an error; what is called like something left blank is not."""

from __future__ import annotations

import pytest

from hfrecipes.publish.card import render_card
from hfrecipes.publish.upload import plan_upload
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .facts import make_facts, make_metrics
from .test_card import errors

ODD = [
    "None",
    "TODO list",
    "NaN",
    "{{7*7}}",
    "FIXME",
    "More Information Needed",
    "<your model>",
    "a_None_b",
    "None|TBD",
]


@pytest.mark.parametrize("name", ODD)
def test_runs_data_and_settings_may_be_called_anything(name: str) -> None:
    facts = make_facts(name=name, model__base=f"/home/ada/runs/{name}/model", model__name_or_path=None)
    facts["data"][0]["name"] = facts["data"][1]["name"] = f"/home/ada/{name}.jsonl"
    facts["evaluations"] = [entry | {"dataset": f"{name}.jsonl", "metric": name} for entry in facts["evaluations"][3:4]]
    facts["recipe"]["training"] |= {"run_name": name, "output_dir": f"/home/ada/{name}"}
    facts["cleaning"] = {"rules": [{"rule": name, "reasons": {name: 3}}], "documents": {"before": 2, "after": 1}}
    facts["augmentation"] = {f"{name}.jsonl": {"methods": {name: {"chosen": 1}}}}
    assert errors(render_card(facts, make_metrics()), facts) == []


@pytest.mark.parametrize("left", ["None", "nan", "TODO", "[More Information Needed]", "{{ x }}", "<your text>"])
@pytest.mark.parametrize("place", ["## Limitations\n\n{}\n", "## Limitations\n\n- It has {} of it.\n"])
def test_what_was_left_blank_is_found(left: str, place: str) -> None:
    card = render_card(make_facts(), [])
    found = errors(card.replace("## Limitations\n", place.format(left)), make_facts())
    assert len(found) >= 1 and all("stands where a value should" in message for message in found)


def test_a_name_does_not_hide_what_was_left_blank_in_a_sentence(run: RunDir) -> None:
    run.write_facts(make_facts(name="None"))
    assert plan_upload(run, "ada/x")
    card = render_card(run.facts(), run.metrics())
    run.card.write_text(card.replace("## Limitations\n", "## Limitations\n\nThe accuracy is None.\n"))
    with pytest.raises(RecipeError, match="`None` stands where a value should"):
        plan_upload(run, "ada/x")
