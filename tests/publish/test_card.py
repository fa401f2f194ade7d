"""Cards: what they must say, and what they must never."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from hfrecipes.publish.card import render_card
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.markdown import body_lines, section_table, split_header

from .facts import evaluation, make_facts, make_metrics

ADAPTER = {
    "model__base": "Qwen/Qwen3-0.6B-Base",
    "model__name_or_path": "Qwen/Qwen3-0.6B-Base",
    "model__revision": "a" * 40,
    "model__adapter": {"method": "lora", "r": 8},
    "model__parameters": {"total": 601_000_000, "trainable": 5_000_000},
    "recipe__adapter": {"method": "lora", "r": 8},
}


def header_of(card: str) -> dict[str, Any]:
    return yaml.safe_load(split_header(card)[0])


def errors(card: str, facts: dict[str, Any] | None = None) -> list[str]:
    return [problem.message for problem in lint_card(card, facts) if problem.severity == "error"]


VARIANTS: dict[str, dict[str, Any]] = {
    "complete": make_facts(),
    "only a name": {"name": "bare"},
    "everything null": dict.fromkeys(make_facts()) | {"name": "null"},
    "no evaluations, no samples": make_facts(evaluations=[], samples=[], warnings=[]),
    "no plan": {key: value for key, value in make_facts().items() if key != "plan"},
    "failed": make_facts(status="failed", training={"steps": 3}, evaluations=[]),
    "nan": make_facts(
        training__final_loss=float("nan"), evaluations=[evaluation("tuned", "x", float("nan"), 0.0, 1.0)]
    ),
    "no intervals": make_facts(evaluations=[evaluation("tuned", "accuracy", 0.5, None, None, n=None)]),
    "an integer": make_facts(evaluations=[evaluation("tuned", "solved", 17, 12, 22)]),
    "hub base": make_facts(model__base="Qwen/Qwen3-0.6B-Base"),
    "adapter": make_facts(**ADAPTER),
    "pretrained": make_facts(kind="pretrain", model__base=None, model__name_or_path=None),
    "odd names": make_facts(name='a|b <script> `x` "quoted"', warnings=["None of the rows | <b>"]),
    "own licence": make_facts(recipe__publish={"license": "PSF-2.0", "language": "no"}),
    "fences in a sample": make_facts(
        samples=[{"model": "tuned", "prompt": "p", "completion": "````\n## Evaluation\n````"}]
    ),
}


@pytest.mark.parametrize("facts", VARIANTS.values(), ids=VARIANTS)
def test_every_card_is_clean(facts: dict[str, Any]) -> None:
    card = render_card(facts, make_metrics())
    assert errors(card, facts) == []
    lines = body_lines(card, split_header(card)[1])
    prose = "\n".join(line.prose for line in lines)
    assert not re.search(r"\bNone\b|\bnan\b|More Information Needed|/home/", prose)
    assert "/home/ada" not in card
    headings = [line for line in lines if line.level]
    assert len({line.title for line in headings}) == len(headings)
    assert header_of(card)["tags"][0] == "hfrecipes"


def test_an_empty_log_is_no_obstacle() -> None:
    assert errors(render_card(make_facts(), []), make_facts()) == []


def test_the_evaluation_table_holds_the_measured_values() -> None:
    facts = make_facts()
    card = render_card(facts, make_metrics())
    rows, _ = section_table(body_lines(card, 1), "Evaluation")
    assert rows[0] == ["Data set", "Metric", "base", "base, 3 examples", "tuned", "n"]
    found = [[float(x) for x in re.findall(r"[\d.]+", cell)] for row in rows[1:] for cell in row[2:5]]
    order = [("bits_per_byte", "base"), ("bits_per_byte", "base, 3 examples"), ("bits_per_byte", "tuned")]
    order += [("docstring_f1", "base"), ("docstring_f1", "base, 3 examples"), ("docstring_f1", "tuned")]
    entries = {(e["metric"], e["model"]): e for e in facts["evaluations"]}
    for key, values in zip(order, found, strict=True):
        wanted = [entries[key][name] for name in ("value", "low", "high")] if key in entries else []
        assert values == pytest.approx(wanted, abs=6e-4)
    assert [row[-1] for row in rows[1:]] == ["1,024", "200"]
    # Both tuned intervals lie on the better side: lower bits, higher F1.
    assert all(row[4].startswith("**") for row in rows[1:])


def test_bold_means_that_the_intervals_do_not_overlap() -> None:
    entries = [evaluation("base", "f1", 0.30, 0.25, 0.35), evaluation("tuned", "f1", 0.34, 0.30, 0.38)]
    card = render_card(make_facts(evaluations=entries), [])
    assert "**0.34" not in card.split("## Evaluation")[1]


def test_a_loss_against_the_base_is_said() -> None:
    entries = [evaluation("base", "f1", 0.50, 0.45, 0.55), evaluation("tuned", "f1", 0.30, 0.25, 0.35)]
    assert "worse than what it started from" in render_card(make_facts(evaluations=entries), [])


def test_what_was_better_is_named() -> None:
    entries = [evaluation("length alone", "f1", 0.50, 0.45, 0.55), evaluation("tuned", "f1", 0.30, 0.25, 0.35)]
    card = render_card(make_facts(evaluations=entries), [])
    assert "It is worse than `length alone` in f1 on" in card and "what it started from" not in card


def test_many_figures_of_few_rows_are_named_by_their_data_set() -> None:
    entries = [evaluation("tuned", name, 0.5, 0.4, 0.6, n=8) for name in ("f1", "f2", "f3")]
    card = render_card(make_facts(evaluations=entries), [])
    assert "Fewer than 100 rows stand behind all figures on `python_docstrings/test`: read" in card


def test_rows_that_are_left_out_were_not_cut() -> None:
    facts = make_facts()
    assert "12 of 4,321 training rows were cut at the context length." in render_card(facts, [])
    facts["data"][0]["dropped_rows"] = 12
    assert "12 of 4,333 training rows are longer than the context length and were left out." in render_card(facts, [])


def test_model_index_holds_the_tuned_results_with_their_intervals() -> None:
    results = header_of(render_card(make_facts(), []))["model-index"][0]["results"]
    metrics = {metric["type"]: metric for result in results for metric in result["metrics"]}
    assert metrics["bits_per_byte"]["value"] == 1.2345
    assert metrics["bits_per_byte"]["args"] == {"low": 1.2011, "high": 1.2679, "n": 1024}
    assert metrics["docstring_f1"]["value"] == 0.3127


def test_a_local_base_is_named_by_its_run_and_never_by_its_path() -> None:
    card = render_card(make_facts(), [])
    assert "base_model" not in header_of(card)
    assert "starting from the run `tiny-base`" in card
    named = header_of(render_card(make_facts(), [], base_model="ada/tiny-base"))
    assert (named["base_model"], named["base_model_relation"]) == ("ada/tiny-base", "finetune")


def test_an_adapters_card() -> None:
    card = render_card(make_facts(**ADAPTER), [])
    header = header_of(card)
    assert (header["library_name"], header["base_model"]) == ("peft", "Qwen/Qwen3-0.6B-Base")
    assert header["base_model_relation"] == "adapter"
    assert "AutoPeftModelForCausalLM" in card
    assert "a" * 40 in card


def test_licences_that_the_hub_does_not_know_are_other() -> None:
    header = header_of(render_card(make_facts(recipe__publish={"license": "PSF-2.0"}), []))
    assert (header["license"], header["license_name"]) == ("other", "psf-2.0")


def test_hub_data_sets_are_listed_and_local_ones_are_not() -> None:
    data = [
        {"role": "train", "name": "trl-lib/Capybara", "split": "train", "rows": 5, "revision": "b" * 40},
        {"role": "train", "name": "data/own.jsonl", "rows": 5, "revision": "sha256:" + "c" * 64},
        {"role": "eval", "name": "python_code", "rows": 5, "revision": "sha256:" + "d" * 64},
    ]
    assert header_of(render_card(make_facts(data=data), []))["datasets"] == ["trl-lib/Capybara"]


def test_the_snippet_asks_in_the_form_that_the_model_knows() -> None:
    assert "apply_chat_template" in render_card(make_facts(), [])
    assert "apply_chat_template" not in render_card(make_facts(kind="pretrain"), [])
    assert "apply_chat_template" not in render_card(make_facts(model__chat_template=False), [])


CARD = render_card(make_facts(), make_metrics())
FAULTS = {
    "a changed figure": ("0.3127", "0.4127", "docstring_f1|docstring f1"),
    "a changed interval": ("0.2801", "0.3001", "column tuned"),
    "a missing section": ("## Limitations", "## Other", "no section"),
    "a placeholder": ("A 1.23M-parameter", "A None", "`None`"),
    "another placeholder": ("A 1.23M-parameter", "[More Information Needed]", "More Information"),
    "a path": ("A 1.23M-parameter", "From /home/ada/x, a", "/home/ada/x"),
    "a path in code": ("hfrecipes run sft", "hfrecipes run /root/sft", "/root/sft"),
    "a token": ("A 1.23M-parameter", "hf_" + "a1" * 17, "Hugging Face token"),
    "a misspelt licence": ("license: apache-2.0", "license: apache2.0", "apache2.0"),
    "a misspelt key": ("license: apache-2.0", "licence: apache-2.0", "licence"),
    "broken YAML": ("license: apache-2.0", "license: [", "not valid YAML"),
    "an empty key": ("license: apache-2.0", "license:", "empty"),
    "no header": ("---\nlicense", "license", "no YAML header"),
    "a bare no": ("- en\n", "- no\n", "language"),
    "a local base": ("pipeline_tag", "base_model: /x/y\npipeline_tag", "base_model"),
    "an empty section": ("## Citation", "## Empty\n\n## Citation", "Empty is empty"),
    "a row too many": (
        "| python_docstrings/test | docstring f1",
        "| a | b | c | d | e | f |\n| x | docstring f1",
        "other rows",
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), FAULTS.values(), ids=FAULTS)
def test_the_linter_finds(old: str, new: str, said: str) -> None:
    assert old in CARD
    found = errors(CARD.replace(old, new), make_facts())
    assert any(re.search(said, message) for message in found), found


def test_problems_point_at_their_line() -> None:
    broken = CARD.replace("0.3127 [", "0.9999 [").replace("A 1.23M-parameter", "A None")
    for problem in lint_card(broken, make_facts()):
        line = broken.splitlines()[int(problem.where.rpartition(":")[2]) - 1]
        assert "None" in line or "0.9999" in line or "model-index" in line


def test_without_facts_figures_are_not_compared() -> None:
    assert errors(CARD.replace("0.3127", "0.4127")) == []


def test_paths_in_samples_are_the_models_words() -> None:
    facts = make_facts(samples=[{"model": "tuned", "prompt": "p", "completion": "open('/home/user/x.txt') or None"}])
    assert errors(render_card(facts, []), facts) == []


def test_a_model_that_wrote_nothing_is_shown_to_have_written_nothing() -> None:
    card = render_card(make_facts(samples=[{"model": "tuned", "prompt": "p", "completion": ""}]), [])
    assert "Completion:\n\n```text\n(empty)\n```" in card


def test_a_sample_is_shown_line_by_line_as_it_was_written() -> None:
    text = "def a():\n    pass\n\n\n\ndef b():\n    pass"
    card = render_card(make_facts(samples=[{"model": "tuned", "prompt": "p", "completion": text}]), [])
    assert f"```text\n{text}\n```" in card
    assert "\n\n\n" not in card.replace(text, "")
