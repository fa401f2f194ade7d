"""How many rows and tokens a recipe trains on: of prepared data, or estimated from a sample of rows."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hfrecipes.data.formats import example_texts
from hfrecipes.data.mixture.schedule import SourceSize
from hfrecipes.models.recipe_tokenizer import (
    extends,
    names_tokens,
    number_added,
    obtain_tokenizer,
    tokenizer_location,
    without_extension,
)
from hfrecipes.plan.sample import SampledSource, encode_sample, sample_examples, sample_sources, tokenize_sample
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import OfflineError, Tokenizer, train_tokenizer


@dataclass(frozen=True, slots=True)
class DataCounts:
    """One epoch of training data; None stands for what could not be known.

    Args:
        rows: Rows that the Trainer sees, packed ones where rows are packed.
        tokens: Tokens in them.
        supervised_tokens: Those that carry loss.
        truncated_tokens: Tokens that the longest allowed row cut off.
        documents: Rows of the sources.
        sampled: Rows that an estimate rests on; 0 for counts of prepared data.
        vocab_size: Size of the tokenizer.
        kinds: Supervised tokens by what the rows are tagged with; those without a tag are in none.
        sizes: Rows and tokens of each source, in the recipe's order.
        problems: Why something is not known.
    """

    rows: int | None
    tokens: int | None
    supervised_tokens: int | None = None
    truncated_tokens: int | None = None
    documents: int | None = None
    sampled: int = 0
    vocab_size: int | None = None
    kinds: dict[str, int] = field(default_factory=dict)
    sizes: tuple[SourceSize, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def estimated(self) -> bool:
        return self.sampled > 0

    @classmethod
    def from_facts(
        cls,
        facts: list[dict[str, Any]],
        rows: int,
        vocab_size: int | None = None,
        sizes: tuple[SourceSize, ...] = (),
    ) -> DataCounts:
        """The counts of prepared data.

        Args:
            facts: The `data` entries of run.json.
            rows: Rows that the Trainer sees, which are fewer than those of the facts where examples are packed later.
            vocab_size: Size of the tokenizer.
            sizes: Of each source, in the recipe's order.
        """
        train = [entry for entry in facts if entry["role"] == "train"]
        names = ("tokens", "supervised_tokens", "truncated_tokens", "documents")
        kinds: Counter[str] = Counter()
        for entry in train:
            kinds.update({kind: counts["supervised_tokens"] for kind, counts in entry.get("kinds", {}).items()})
        sums = {name: sum(entry[name] for entry in train) for name in names}
        return cls(rows=rows, **sums, vocab_size=vocab_size, kinds=dict(kinds), sizes=sizes)


def estimate_counts(recipe: Recipe, tokenizer_of: Recipe | None = None) -> DataCounts:
    """Estimates rows and tokens from an even sample of each source.

    A tokenizer that is yet to be trained is stood in for by one that is trained on the sample.

    Args:
        recipe: A resolved recipe.
        tokenizer_of: The recipe whose tokenizer reads the data, where it is an earlier step's.

    Raises:
        RecipeError: for local data that is missing or malformed. What only the Hub has is reported as unchecked instead.
    """
    owner = tokenizer_of or recipe
    size = _stated_vocabulary(owner)
    try:
        sampled = sample_sources(recipe)
        tokenizer = plan_tokenizer(owner)
    except OfflineError as error:
        return DataCounts(None, None, vocab_size=size, problems=unchecked(error))
    added = number_added(owner) if extends(owner) and ready_tokenizer(owner) is None else 0
    counts = estimate_sampled(recipe, sampled, tokenizer, size or tokenizer.vocab_size + added)
    if not added:
        return counts
    fault, fix = "tokens are counted before pieces are added to the tokenizer", "`hfrecipes data preview` adds them"
    problem = Problem(recipe.where("model.tokenizer.extend"), fault, fix, "unchecked")
    return replace(counts, problems=(*counts.problems, problem))


def vocabulary_size(recipe: Recipe) -> int | None:
    """Entries of the recipe's tokenizer as it will be; None where it is out of reach."""
    if size := _stated_vocabulary(recipe):
        return size
    try:
        added = number_added(recipe) if extends(recipe) and ready_tokenizer(recipe) is None else 0
        return plan_tokenizer(recipe).vocab_size + added
    except OfflineError:
        return None


def unchecked(error: RecipeError) -> tuple[Problem, ...]:
    """The problems of something out of reach: not faults of the recipe, but things that nobody looked at."""
    return tuple(replace(problem, severity="unchecked") for problem in error.problems)


def plan_tokenizer(recipe: Recipe) -> Tokenizer:
    """The recipe's tokenizer; where it is yet to be trained, one trained on a sample of its data in its place; where it is yet
    to be extended, the one that it is made from.

    Raises:
        RecipeError: where it can neither be loaded nor fetched.
    """
    if tokenizer := ready_tokenizer(recipe):
        return tokenizer
    if extends(recipe):
        return obtain_tokenizer(without_extension(recipe))[0]
    samples = (sample_examples(recipe, part) for part in sample_sources(recipe))
    texts = (text for examples in samples for example in examples for text in example_texts(example))
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer(texts, recipe.get("model.tokenizer.vocab_size"), folder)
        return Tokenizer.load(folder)


def ready_tokenizer(recipe: Recipe) -> Tokenizer | None:
    """The recipe's tokenizer; None where it is yet to be trained or extended.

    Raises:
        RecipeError: where it can neither be loaded nor fetched.
    """
    if names_tokens(recipe):
        return obtain_tokenizer(recipe)[0]
    location = tokenizer_location(recipe)
    if isinstance(recipe.get("model.tokenizer"), dict):
        return Tokenizer.load(str(location)) if Path(location).is_dir() else None
    revision = None if recipe.get("model.tokenizer") else recipe.get("model.revision")
    return Tokenizer.load(str(location), revision=revision)


def estimate_sampled(recipe: Recipe, sampled: list[SampledSource], tokenizer: Tokenizer, vocab_size: int) -> DataCounts:
    """Estimates rows and tokens from samples that are at hand.

    Args:
        recipe: A resolved recipe.
        sampled: Of each source that it trains on.
        tokenizer: Reads them.
        vocab_size: Of the tokenizer that the recipe will have.
    """
    totals: dict[str, float] = {}
    kinds: Counter[str] = Counter()
    sizes = []
    for part in sampled:
        if part.total is None:
            fault = f"{part.source.title} has too many rows to count here"
            problem = Problem(part.source.where, fault, "a run counts them as it prepares the data", "unchecked")
            return DataCounts(None, None, vocab_size=vocab_size, problems=(problem,))
        by_row = part.total / len(part.rows)
        counts, tagged = _sample_counts(recipe, part, tokenizer)
        by_token = 1 / part.share if part.share else by_row
        whole = {
            name: value * (by_row if name in ("rows", "documents") else by_token) for name, value in counts.items()
        }
        for name, value in whole.items():
            totals[name] = totals.get(name, 0) + value
        tokens = round(whole["tokens"])
        sizes.append(SourceSize(_packed_rows(recipe, tokens) or round(whole["rows"]), tokens))
        kinds.update({kind: round(value * by_token) for kind, value in tagged.items()})
    rounded = {name: round(value) for name, value in totals.items()}
    rounded["rows"] = _packed_rows(recipe, rounded["tokens"]) or rounded["rows"]
    return DataCounts(
        **rounded,
        sampled=sum(len(part.rows) for part in sampled),
        vocab_size=vocab_size,
        kinds=dict(kinds),
        sizes=tuple(sizes),
        problems=_changed_later(recipe),
    )


def _changed_later(recipe: Recipe) -> tuple[Problem, ...]:
    """What becomes of the rows before they are trained on, and is not in an estimate made of the sources."""
    said = [key for key in ("data.clean", "data.augment") if recipe.get(key)]
    if not said:
        return ()
    fault = f"rows and tokens are counted before {' and '.join(said)}"
    fix = "`hfrecipes data clean` says what is left" if "data.clean" in said else "a run counts what is added"
    return (Problem(recipe.where(said[0]), fault, fix, "unchecked"),)


def _sample_counts(recipe: Recipe, part: SampledSource, tokenizer: Tokenizer) -> tuple[dict[str, int], Counter[str]]:
    """The counts of a sample, and its supervised tokens by kind."""
    if recipe.kind == "pretrain":
        tokens = sum(len(document) + 1 for document in tokenize_sample(recipe, part, tokenizer))
        return {"rows": 0, "tokens": tokens, "supervised_tokens": tokens, "documents": len(part.rows)}, Counter()
    examples = sample_examples(recipe, part)
    encoded = encode_sample(recipe, part, tokenizer)
    # A row whose supervised part was cut off altogether is left out of training.
    kept = [row for row in encoded if row.supervised_tokens]
    kinds: Counter[str] = Counter()
    for example, row in zip(examples, encoded, strict=True):
        if example.get("kind"):
            kinds[example["kind"]] += row.supervised_tokens
    counts = {
        "rows": len(kept),
        "tokens": sum(len(row.input_ids) for row in kept),
        "supervised_tokens": sum(row.supervised_tokens for row in kept),
        "truncated_tokens": sum(row.truncated_tokens for row in encoded),
        "documents": len(encoded),
    }
    return counts, kinds


def _packed_rows(recipe: Recipe, tokens: int) -> int | None:
    """Rows after packing, taken as full: best-fit packing leaves a few percent of them empty at most."""
    if recipe.kind == "pretrain":
        return math.ceil(tokens / recipe.get("data.context_length"))
    if recipe.get("training.packing"):
        return math.ceil(tokens / recipe.get("training.max_length"))
    return None


def _stated_vocabulary(recipe: Recipe) -> int | None:
    named = recipe.get("model.tokenizer")
    return recipe.get("model.config.vocab_size") or (named.get("vocab_size") if isinstance(named, dict) else None)
