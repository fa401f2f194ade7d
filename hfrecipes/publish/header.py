"""The YAML header of a card: what the Hub indexes."""

from __future__ import annotations

from typing import Any

import yaml

from hfrecipes.publish.escaping import one_line
from hfrecipes.publish.evaluations import TUNED, EvaluationRow, evaluation_rows
from hfrecipes.publish.figures import dig
from hfrecipes.publish.naming import is_hub_id
from hfrecipes.publish.origin import name_of
from hfrecipes.publish.tables import data_name, is_hub_dataset
from hfrecipes.publish.terms import metric_title
from hfrecipes.recipe.adapter_words import BOTTLENECK
from hfrecipes.recipe.licenses import LICENSES

TASK = "text-generation"
_TASKS = {"reward": "text-classification"}


def languages_of(facts: dict[str, Any]) -> list[str]:
    """The languages that the recipe declares under `publish.language`."""
    declared = dig(facts, "recipe.publish.language")
    if not declared:
        return []
    return [declared] if isinstance(declared, str) else [str(language) for language in declared]


def license_of(facts: dict[str, Any]) -> str | None:
    """The licence that the recipe declares for the model; None where it declares none."""
    declared = dig(facts, "recipe.publish.license")
    return str(declared) if declared else None


def task_of(facts: dict[str, Any]) -> str:
    """What the Hub files the model under."""
    return _TASKS.get(str(facts.get("kind")), TASK)


def base_on_hub(facts: dict[str, Any], base_model: str | None = None) -> str | None:
    """The Hub id of what the weights started from; a folder has none unless the publisher names one."""
    if base_model:
        return base_model
    # An adapter that was trained further stands on the base that it stood on before.
    base = dig(facts, "model.adapter_base") or dig(facts, "model.base")
    return base if is_hub_id(base) else None


def is_adapter(facts: dict[str, Any]) -> bool:
    """Whether the run left an adapter rather than whole weights."""
    return bool(dig(facts, "model.adapter"))


def is_bottleneck(facts: dict[str, Any]) -> bool:
    """Whether it left adapters that peft does not know."""
    return dig(facts, "model.adapter.method") == BOTTLENECK


def render_header(facts: dict[str, Any], base_model: str | None = None) -> str:
    """The YAML between the two `---` lines, without them."""
    header: dict[str, Any] = {}
    license = license_of(facts)
    if license:
        known = license.lower() in LICENSES
        header["license"] = license.lower() if known else "other"
        if not known:
            header["license_name"] = license.lower().replace(" ", "-")
    if languages_of(facts):
        header["language"] = languages_of(facts)
    library = "hfrecipes" if is_bottleneck(facts) else "peft"
    header["library_name"] = library if is_adapter(facts) else "transformers"
    header["pipeline_tag"] = task_of(facts)
    base = base_on_hub(facts, base_model)
    if base:
        header["base_model"] = base
        header["base_model_relation"] = "adapter" if is_adapter(facts) else "finetune"
    datasets = [data_name(entry) for entry in facts.get("data") or [] if is_hub_dataset(entry)]
    if datasets:
        header["datasets"] = list(dict.fromkeys(datasets))
    header["tags"] = _tags(facts)
    index = model_index(facts)
    if index:
        header["model-index"] = index
    return yaml.safe_dump(_on_lines(header), sort_keys=False, allow_unicode=True, width=1000).rstrip()


def _tags(facts: dict[str, Any]) -> list[str]:
    adapter = dig(facts, "model.adapter.method") or ("lora" if is_adapter(facts) else None)
    quantized = "quantized-training" if dig(facts, "model.quantization") else None
    tags = ["hfrecipes", facts.get("kind"), adapter, quantized, dig(facts, "model.model_type")]
    return list(dict.fromkeys(str(tag) for tag in tags if tag))


def model_index(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the trained model in the Hub's `model-index` form; empty where nothing was measured."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [EvalResult(**_result(row, facts)) for row in evaluation_rows(facts) if TUNED in row.by_model]
    return _on_lines(eval_results_to_model_index(name_of(facts), results)) if results else []


def _on_lines(value: Any) -> Any:
    """Every string of nested dicts and lists on one line, in which nothing is told to a terminal or an editor."""
    if isinstance(value, dict):
        return {key: _on_lines(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_on_lines(entry) for entry in value]
    return one_line(value) if isinstance(value, str) else value


def _result(row: EvaluationRow, facts: dict[str, Any]) -> dict[str, Any]:
    tuned = row.by_model[TUNED]
    name, split = _name_and_split(row.dataset, facts)
    bounds = {"low": tuned.low, "high": tuned.high} if tuned.has_interval else {}
    arguments = bounds | ({"n": tuned.n} if tuned.n is not None else {})
    return {
        "task_type": task_of(facts),
        "dataset_type": name,
        "dataset_name": row.dataset,
        "dataset_split": split,
        "metric_type": row.metric,
        "metric_name": metric_title(row.metric),
        "metric_value": tuned.value,
        "metric_args": arguments or None,
    }


def _name_and_split(title: str, facts: dict[str, Any]) -> tuple[str, str | None]:
    """The data set's name and split behind a title; a name may hold slashes of its own, so the data entries decide."""
    plain = title.partition("#")[0]
    for entry in facts.get("data") or []:
        name, split = str(entry.get("name")), entry.get("split")
        if plain == (f"{name}/{split}" if split else name):
            return name, split
    return plain, None
