"""From a recipe to rows on disk: read, formatted, tokenised, labelled and packed once, then mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from hfrecipes.data.encode import encode_examples
from hfrecipes.data.formats import Example, example_texts, function_fingerprint, to_example
from hfrecipes.data.packing import pack_documents, packed_bytes, token_bytes
from hfrecipes.data.progress import track
from hfrecipes.data.row import Row, Source
from hfrecipes.data.settings import EncodeSettings, PackSettings, describe, pack_settings, sft_settings, text_column
from hfrecipes.data.sources import ROLES, open_sources
from hfrecipes.data.store import load_rows, make_once, write_rows
from hfrecipes.data.tally import Tally
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import cache_folder
from hfrecipes.tokenization.tokenizer import Tokenizer

# Counted up when the same inputs begin to give other rows, so that no old preparation is taken for a new one.
CODE_VERSION = 1

_BATCH_ROWS, _BATCH_CHARACTERS = 512, 4_000_000
_TOKENIZER_BYTES = 20_000_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """The rows of a run.

    Args:
        train: `datasets.Dataset` with `input_ids`, `labels` and, for packed rows kept apart, `position_ids`; None where
            the recipe names no training data.
        eval: The same by name (`python_docstrings/validation`), with `num_bytes` beside.
        test: As `eval`.
        facts: The entries under `data` in run.json.
        warnings: What was cut or left out.
        fingerprint: Changes with all that decides the rows.
        opened: The sources by role.
    """

    train: Any
    eval: dict[str, Any]
    test: dict[str, Any]
    facts: list[dict[str, Any]]
    warnings: list[str]
    fingerprint: str
    opened: dict[str, list[Source]]

    def sources(self, role: str) -> list[Source]:
        """The sources of `train`, `eval` or `test`, in the recipe's order."""
        return self.opened[role]


def prepare(recipe: Recipe, tokenizer: Tokenizer, cache: Path | None = None) -> Prepared:
    """Prepares the data of a recipe, or finds it prepared.

    Any number of processes may call this at once: one does the work and the others wait, so it is best called before
    processes are launched and collective timeouts begin to run.

    Args:
        recipe: Of kind `sft` or `pretrain`.
        tokenizer: The model's.
        cache: Folder for prepared rows; `cache_folder()` by default.

    Raises:
        RecipeError: naming the file and row that cannot be used.
    """
    opened = {role: open_sources(recipe, role) for role in ROLES}
    settings = sft_settings(recipe) if recipe.kind == "sft" else pack_settings(recipe)
    fingerprint = _fingerprint(recipe, opened, tokenizer, settings)
    folder = (cache or cache_folder()) / "prepared" / fingerprint
    make_once(folder, lambda draft: _write(draft, recipe, opened, tokenizer, settings))
    record = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    titles = {role: _unique([source.title for source in sources]) for role, sources in opened.items()}
    measured = {
        role: {title: load_rows(folder / f"{role}-{index}.arrow") for index, title in enumerate(titles[role])}
        for role in ("eval", "test")
    }
    train = load_rows(folder / "train.arrow") if opened["train"] else None
    return Prepared(train, measured["eval"], measured["test"], record["facts"], record["warnings"], fingerprint, opened)


def training_texts(recipe: Recipe, max_bytes: int = _TOKENIZER_BYTES) -> Iterator[str]:
    """Texts of `data.train` for training a tokenizer on, at most `max_bytes` in all and as much of each source.

    Raises:
        RecipeError: a row that cannot be used.
    """
    sources = open_sources(recipe, "train")
    for index, source in enumerate(sources):
        left = max_bytes // len(sources)
        for _, example in read_examples(recipe, "train", index, source):
            for text in example_texts(example):
                left -= len(text.encode("utf-8", "surrogatepass"))
                yield text
            if left <= 0:
                break


def read_examples(recipe: Recipe, role: str, index: int, source: Source) -> Iterator[tuple[Row, Example]]:
    """Rows of the source at `data.<role>.<index>` and the examples they make, lazily.

    Raises:
        RecipeError: at the first row that cannot be used.
    """
    spec = text_column(recipe, recipe.values["data"][role][index])
    return ((row, to_example(row.values, spec, row.where, recipe.path.parent)) for row in source.rows())


def _fingerprint(
    recipe: Recipe, opened: dict[str, list[Source]], tokenizer: Tokenizer, settings: EncodeSettings | PackSettings
) -> str:
    parts: list[Any] = [CODE_VERSION, recipe.kind, tokenizer.fingerprint, describe(settings)]
    for role in ROLES:
        for index, source in enumerate(opened[role]):
            spec = text_column(recipe, recipe.values["data"][role][index])
            function = spec.get("format")
            code = function_fingerprint(function, recipe.path.parent) if function else None
            parts.append([role, spec, source.revision, code])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _write(
    folder: Path,
    recipe: Recipe,
    opened: dict[str, list[Source]],
    tokenizer: Tokenizer,
    settings: EncodeSettings | PackSettings,
) -> None:
    """Writes the rows and facts of all sources into an empty folder."""
    facts, warnings = [], []
    for role, sources in opened.items():
        columns = ["input_ids", "labels"]
        if isinstance(settings, PackSettings) and settings.document_mask:
            columns.append("position_ids")
        columns += [] if role == "train" else ["num_bytes"]
        tallies = [Tally() for _ in sources]
        streams = [
            _rows(track(read_examples(recipe, role, index, source), source.title), role, tally, tokenizer, settings)
            for index, (source, tally) in enumerate(zip(sources, tallies, strict=True))
        ]
        if role == "train" and streams:
            write_rows(folder / "train.arrow", chain.from_iterable(streams), columns)
        elif role != "train":
            for index, stream in enumerate(streams):
                write_rows(folder / f"{role}-{index}.arrow", stream, columns)
        for source, tally in zip(sources, tallies, strict=True):
            _refuse_nothing(source, tally)
            limit = settings.max_length if isinstance(settings, EncodeSettings) else None
            warnings += tally.warnings(source.title, limit)
            facts.append(tally.entry(role, source.name, source.split, source.revision, source.license))
    (folder / "facts.json").write_text(json.dumps({"facts": facts, "warnings": warnings}, indent=1), encoding="utf-8")


def _refuse_nothing(source: Source, tally: Tally) -> None:
    if tally.rows == 0:
        message = f"no row of {source.title} is left: in all {tally.documents} the supervised part lies past max_length"
        raise RecipeError(Problem(source.where, message, "raise training.max_length, or shorten the prompts"))


def _rows(
    examples: Iterable[tuple[Row, Example]],
    role: str,
    tally: Tally,
    tokenizer: Tokenizer,
    settings: EncodeSettings | PackSettings,
) -> Iterator[dict[str, Any]]:
    if isinstance(settings, EncodeSettings):
        return _encoded_rows(examples, tally, tokenizer, settings)
    return _packed_rows(examples, role, tally, tokenizer, settings)


def _encoded_rows(
    examples: Iterable[tuple[Row, Example]], tally: Tally, tokenizer: Tokenizer, settings: EncodeSettings
) -> Iterator[dict[str, Any]]:
    for batch in _batches(examples):
        wheres = [row.where for row, _ in batch]
        encoded = encode_examples([example for _, example in batch], tokenizer, settings, wheres)
        for (_, example), result in zip(batch, encoded, strict=True):
            supervised = result.supervised_tokens
            tally.documents += 1
            tally.bytes += sum(len(text.encode()) for text in example_texts(example))
            tally.truncated_rows += result.truncated_tokens > 0
            tally.truncated_tokens += result.truncated_tokens
            if not supervised:
                tally.dropped_rows += 1
                continue
            tally.rows += 1
            tally.tokens += len(result.input_ids)
            tally.supervised_tokens += supervised
            yield {"input_ids": result.input_ids, "labels": result.labels, "num_bytes": result.num_bytes}


def _packed_rows(
    examples: Iterable[tuple[Row, Example]], role: str, tally: Tally, tokenizer: Tokenizer, settings: PackSettings
) -> Iterator[dict[str, Any]]:
    eos_id = tokenizer.eos_token_id
    if eos_id is None:
        message = "has no eos_token, so documents could not be told apart"
        raise RecipeError(Problem(tokenizer.name, message, "set eos_token in tokenizer_config.json"))
    length = settings.context_length
    if role == "train":
        documents = (ids for ids, _ in _documents(examples, tally, tokenizer, eos_id, measured=False))
        sizes: Iterator[int | None] = repeat(None)
    else:
        # Bytes and ids are two streams over the same documents; sets to measure on are small enough to keep.
        pairs = list(_documents(examples, tally, tokenizer, eos_id, measured=True))
        documents = (ids for ids, _ in pairs)
        sizes = packed_bytes((lengths for _, lengths in pairs), length)
    for row, num_bytes in zip(pack_documents(documents, length, eos_id, settings.document_mask), sizes, strict=False):
        tally.rows += 1
        tally.tokens += len(row.input_ids)
        tally.supervised_tokens += int((row.labels >= 0).sum())
        yield {
            "input_ids": row.input_ids,
            "labels": row.labels,
            "position_ids": row.position_ids,
            "num_bytes": num_bytes,
        }


def _documents(
    examples: Iterable[tuple[Row, Example]], tally: Tally, tokenizer: Tokenizer, eos_id: int, measured: bool
) -> Iterator[tuple[list[int], Any]]:
    """Ids of each document without its EOS, with BOS where the tokenizer puts one, and bytes under each token."""
    for batch in _batches(examples):
        texts = [_text(row, example) for row, example in batch]
        if measured:
            encodings = tokenizer.encode_batch(texts)
            results = [(each.ids, token_bytes(text, each.offsets)) for text, each in zip(texts, encodings, strict=True)]
        else:
            results = [(ids, None) for ids in tokenizer.encode_ids(texts)]
        tally.documents += len(texts)
        tally.bytes += sum(len(text.encode()) for text in texts)
        for ids, lengths in results:
            ended = len(ids) - 1 if ids and ids[-1] == eos_id else len(ids)
            yield ids[:ended], lengths if lengths is None else lengths[:ended]


def _text(row: Row, example: Example) -> str:
    if "text" in example:
        return example["text"]
    message = f"pretraining reads text, and this row holds {' and '.join(example)}"
    raise RecipeError(Problem(row.where, message, "choose a column with columns: {text: ...}, or use kind: sft"))


def _batches(examples: Iterable[tuple[Row, Example]]) -> Iterator[list[tuple[Row, Example]]]:
    """Groups examples so that a batch neither holds many long documents nor few short ones."""
    batch, characters = [], 0
    for row, example in examples:
        batch.append((row, example))
        characters += sum(map(len, example_texts(example)))
        if len(batch) == _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _unique(titles: list[str]) -> list[str]:
    """Titles with `#2`, `#3` ... behind those that were there before."""
    return [
        title if (nth := titles[: index + 1].count(title)) == 1 else f"{title}#{nth}"
        for index, title in enumerate(titles)
    ]
