"""What card and report show first, in which folder, of which adapter, and what they explain."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hfrecipes import RunDir
from hfrecipes.publish.card import render_card
from hfrecipes.publish.headlines import headline_rows, telling_rows
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.report import render_report
from hfrecipes.publish.terms import explanations
from tests.publish.facts import BITS, FACTS, evaluation, make_facts

SETS = ({"dataset": "pairs/test"}, {"dataset": "other/test"})
DPO = make_facts(
    kind="dpo",
    evaluations=[
        *(evaluation("base", "likelier_by_token", 1.0, 0.9, 1.0, step=0, **each) for each in SETS),
        *(evaluation("tuned", "likelier_by_token", 1.0, 0.9, 1.0, **each) for each in SETS),
        *(evaluation("tuned", "pair_accuracy", 0.1734, 0.1, 0.3, **each) for each in SETS),
        evaluation("tuned", "win_rate", 0.0, 0.0, 0.1, **SETS[0]),
    ],
)


def headlines(facts: dict[str, Any]) -> list[str]:
    beginning = render_card(facts, []).split("\n# ")[1].split("\n## ")[0]
    return [line for line in beginning.splitlines() if line.startswith("- ")]


def test_a_preference_training_leads_with_what_it_was_for(tmp_path: Path) -> None:
    metrics = [row.metric for row in headline_rows(DPO)]
    assert metrics == ["win_rate", "pair_accuracy", "pair_accuracy", "likelier_by_token", "likelier_by_token"]
    assert headlines(DPO)[0].startswith("- win rate") and "0.1734" in headlines(DPO)[1]
    assert [row.metric for row in telling_rows(DPO, 2)] == ["win_rate", "pair_accuracy"]
    (tmp_path / "run.json").write_text(json.dumps(DPO))
    tiles = render_report([RunDir(tmp_path)]).split('<dl class="tiles">')[1].split("</dl>")[0]
    assert tiles.count("on pairs/test") == 2 and "likelier" not in tiles


def test_a_training_from_random_weights_leads_with_what_was_held_out() -> None:
    alone = [evaluation("tuned", "bits_per_byte", 1.5, 1.4, 1.6, **BITS)]
    facts = make_facts(kind="pretrain", evaluations=[*alone, evaluation("tuned", "token_loss", 2.0, 1.9, 2.1)])
    assert "1.500 [1.400, 1.600] (n = 1,024)" in headlines(facts)[0]
    assert len([line for line in headlines(facts) if "python_docstrings/test" in line]) == 1


@pytest.mark.parametrize(("value", "is_bold"), [(0.9, True), (1.36, False), (1.9, False)])
def test_bold_is_only_what_is_clearly_better(value: float, is_bold: bool) -> None:
    pair = [
        evaluation("base", "bits_per_byte", 1.364, 1.3, 1.4, step=0, **BITS),
        evaluation("tuned", "bits_per_byte", value, value - 0.05, value + 0.05, **BITS),
    ]
    assert ("**" in headlines(make_facts(evaluations=pair))[0]) == is_bold


def test_code_loads_from_where_the_run_lies() -> None:
    for kind, expected in (("dpo", "runs/own/dpo/model"), ("sample", "runs/own/dpo/pairs.jsonl")):
        facts = {**copy.deepcopy(FACTS), "kind": kind, "name": "dpo", "samples": []}
        assert f'"{expected}"' in render_card(facts | {"folder": "runs/own/dpo"}, [])
        assert f'"{expected}"' in render_card(facts | {"folder": "/home/ada/work/runs/own/dpo"}, [])
        assert f'"{expected.replace("own/", "")}"' in render_card(facts, [])


def test_an_adapter_that_was_trained_further_is_one_in_header_lead_and_code() -> None:
    model = FACTS["model"] | {"adapter": {"method": "lora"}, "adapter_base": "ada/base", "embedding_rows": 303}
    card = render_card(make_facts(kind="dpo", model=model, recipe={"kind": "dpo"}), [])
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "peft" and "lora" in header["tags"]
    assert (header["base_model"], header["base_model_relation"]) == ("ada/base", "adapter")
    assert "An adapter with" in card and "starting from the adapter of `tiny-base`" in card
    assert "base.resize_token_embeddings(303," in card and "PeftModel.from_pretrained(base, model_id)" in card


def test_what_a_name_does_not_say_is_explained_where_it_stands() -> None:
    told = [evaluation("tuned", metric, 0.5, 0.4, 0.6) for metric in ("own_8_grams", "reward_reward", "cut_answers")]
    facts = make_facts(kind="ppo", evaluations=[*told, evaluation("tuned", "exact_match", 0.5, 0.4, 0.6)])
    card = render_card(facts, [])
    assert "own 8 grams" not in card and "reward reward" not in card
    lines = [line for line in card.split("## Evaluation")[1].splitlines() if line.startswith("- *")]
    assert len(lines) == 3 and "stand in no other answer" in lines[0]
    assert [problem for problem in lint_card(card, facts) if problem.severity == "error"] == []
    assert explanations(["pair_accuracy"], "dpo") != explanations(["pair_accuracy"], "reward")


def test_a_card_of_answers_may_say_what_a_data_set_says_and_is_cited_as_one() -> None:
    facts = {**copy.deepcopy(FACTS), "kind": "sample", "samples": []}
    card = render_card(facts, [])
    assert "Answers of a language model" in card.split("## Citation")[1]
    assert not [problem for problem in lint_card(card, facts) if "configs" in problem.message]
    with_configs = render_card(FACTS, []).replace("---\n", "---\nconfigs: [{config_name: x}]\n", 1)
    assert [problem for problem in lint_card(with_configs, FACTS) if "configs" in problem.message]
    assert "Reward model, trained" in render_card(make_facts(kind="reward"), []).split("## Citation")[1]
