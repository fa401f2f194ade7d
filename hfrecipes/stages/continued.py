"""Continued pretraining in the facts of a run: old and new domain before and after, and what added pieces save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.data.examples import read_examples
from hfrecipes.data.formats import example_texts
from hfrecipes.data.passages import cut_passages, passage_rows
from hfrecipes.data.prepare import Prepared
from hfrecipes.data.settings import pack_settings
from hfrecipes.evaluation.forgetting import UNIT, Comparison, change_of, gain_and_forgetting
from hfrecipes.evaluation.intervals import bootstrap_interval
from hfrecipes.evaluation.language_modeling import RowLosses
from hfrecipes.models.extended_embeddings import input_rows
from hfrecipes.models.recipe_tokenizer import extension_of, obtain_tokenizer, without_extension
from hfrecipes.recipe.loader import Recipe
from hfrecipes.tokenization.compression import compression_figures
from hfrecipes.tokenization.tokenizer import Tokenizer

HELD_OUT = ("eval", "test")
# Compression is known from this much text of a set to more digits than anybody reads.
_CHARACTERS = 2_000_000

Losses = Callable[[list[dict[str, Any]], str], RowLosses]


@dataclass(frozen=True, slots=True)
class Reader:
    """A model with the tokenizer that it reads through.

    Args:
        losses: What rows of a named set cost it.
        tokenizer: Its tokenizer.
    """

    losses: Losses
    tokenizer: Tokenizer


def domains_of(recipe: Recipe, prepared: Prepared) -> dict[str, str | None]:
    """The held-out sets by name, and whether each is of the old or the new domain; None where the recipe does not say."""
    found = {}
    for role in HELD_OUT:
        for name, (_, spec) in zip(getattr(prepared, role), recipe.sources(role), strict=True):
            found[name] = spec.get("domain")
    return found


def compare_rows(
    domains: dict[str, str | None], before: dict[str, RowLosses], after: dict[str, RowLosses]
) -> list[Comparison]:
    """Comparisons of two models that read the same rows; sets without a byte of text to predict are left out."""
    found = []
    for name, domain in domains.items():
        one, other = before[name], after[name]
        counted = one.num_tokens > 0
        sizes = one.num_bytes[counted]
        if sizes.any():
            found.append(Comparison(name, domain, one.nll[counted], sizes, other.nll[counted], sizes))
    return found


def compare_passages(recipe: Recipe, prepared: Prepared, before: Reader, after: Reader) -> list[Comparison]:
    """Comparisons of two models that read the same passages through tokenizers of their own.

    Args:
        recipe: The recipe.
        prepared: Its data.
        before: The starting model; passages are as long as it can read at once.
        after: The trained one.
    """
    domains, length = domains_of(recipe, prepared), pack_settings(recipe).context_length
    found = []
    for name, texts in _held_out_texts(recipe, prepared):
        passages = cut_passages(texts, before.tokenizer, length)
        costs = [_costs(reader, name, passages, length) for reader in (before, after)]
        counted = np.logical_and.reduce([sizes > 0 for _, sizes in costs])
        (one, one_bytes), (other, other_bytes) = [(nll[counted], sizes[counted]) for nll, sizes in costs]
        found.append(Comparison(name, domains[name], one, one_bytes, other, other_bytes))
    return found


def continued_facts(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The `continued` entry of run.json: the sets that are of the old or the new domain; empty where none is."""
    told = [each for each in comparisons if each.domain is not None]
    if not told:
        return {}
    return {"continued": {"unit": UNIT, "changes": list(map(change_of, told)), **gain_and_forgetting(told)}}


def passage_entries(comparisons: Sequence[Comparison], step: int, base: str, tuned: str) -> list[dict[str, Any]]:
    """Bits per byte of both models, entries of `evaluations`."""
    entries = []
    for each in comparisons:
        costs = ((base, 0, each.before, each.before_bytes), (tuned, step, each.after, each.after_bytes))
        for model, at, nats, sizes in costs:
            figure = bootstrap_interval(nats / np.log(2), sizes)
            figures = {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}
            named = {"model": model, "dataset": each.dataset, "metric": "bits_per_byte"}
            entries.append({**named, **figures, "unit": UNIT, "higher_is_better": False, "step": at})
    return entries


def tokenizer_facts(recipe: Recipe, prepared: Prepared, model: Any) -> dict[str, Any]:
    """The `tokenizer` entry of run.json where pieces were added, with compression of held-out text before and after.

    Args:
        recipe: The recipe.
        prepared: Its data.
        model: The model that is trained.
    """
    extension = extension_of(recipe)
    if extension is None:
        return {}
    readers = [obtain_tokenizer(each)[0] for each in (without_extension(recipe), recipe)]
    domains = domains_of(recipe, prepared)
    entry = {
        "added": len(extension.spelled),
        "added_characters": extension.characters,
        "tokens": list(extension.tokens),
        "entries_before": readers[0].vocab_size,
        "entries": readers[1].vocab_size,
        "embedding_rows": input_rows(model),
        "trained": _trained_rows(model),
        # Named tokens are marks between texts, and change none of them.
        "compression": []
        if extension.tokens
        else [
            {"dataset": name, "domain": domains[name], **compression_figures(*readers, texts)}
            for name, texts in _held_out_texts(recipe, prepared, _CHARACTERS)
        ],
    }
    return {"tokenizer": entry}


def _trained_rows(model: Any) -> str:
    """Which rows of the embeddings are trained: those of the `new` tokens alone, or `all`."""
    configs = getattr(model, "peft_config", {}).values()
    return "new" if any(getattr(config, "trainable_token_indices", None) for config in configs) else "all"


def _held_out_texts(
    recipe: Recipe, prepared: Prepared, characters: int | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The texts of each held-out set; of a large one the first, up to some number of characters."""
    for role in HELD_OUT:
        for index, (name, source) in enumerate(zip(getattr(prepared, role), prepared.sources(role), strict=True)):
            texts, total = [], 0
            for _, example in read_examples(recipe, role, index, source):
                texts += example_texts(example)
                total += sum(map(len, example_texts(example)))
                if characters is not None and total >= characters:
                    break
            yield name, texts


def _costs(reader: Reader, name: str, passages: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Nats and bytes of each passage, as far as they are predicted."""
    read = passage_rows(passages, reader.tokenizer, length)
    losses = reader.losses(read.rows, name)
    return read.by_passage(losses.nll), read.by_passage(losses.num_bytes)
