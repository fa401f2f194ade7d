"""The rows that a source's examples become: labelled for fine-tuning, packed for pretraining; counted as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from hfrecipes.data.bfd_rows import Labelled, pack_examples
from hfrecipes.data.encode import IGNORED, EncodedExample, encode_examples
from hfrecipes.data.encode_comparisons import EncodedComparison, encode_comparisons
from hfrecipes.data.encode_prompts import EncodedPrompt, encode_prompts
from hfrecipes.data.faults import map_rows
from hfrecipes.data.formats import Example, example_texts
from hfrecipes.data.labelled import LABEL
from hfrecipes.data.packing import pack_documents, packed_bytes, token_bytes
from hfrecipes.data.row import Row
from hfrecipes.data.settings import CompareSettings, EncodeSettings, PackSettings, PromptSettings
from hfrecipes.data.store import load_rows, write_rows
from hfrecipes.data.tally import Tally
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

Found = tuple[Row, Example]
R = TypeVar("R")

_BATCH_ROWS, _BATCH_CHARACTERS = 512, 4_000_000


def encoded_rows(
    examples: Iterable[Found], tally: Tally, tokenizer: Tokenizer, settings: EncodeSettings
) -> Iterator[dict[str, Any]]:
    """Rows for fine-tuning: one for each example but for those of which `max_length` leaves nothing supervised.

    Raises:
        RecipeError: naming the first row that cannot be used, and how many have the same fault.
    """

    def encode(batch: list[Found]) -> list[EncodedExample]:
        return encode_examples([example for _, example in batch], tokenizer, settings, [row.where for row, _ in batch])

    for (row, example), result in _in_batches(examples, encode):
        supervised = result.supervised_tokens
        tally.add_example(row.where, example)
        tally.truncated_rows += result.truncated_tokens > 0
        tally.truncated_tokens += result.truncated_tokens
        if not supervised:
            tally.dropped.add(row.where)
            continue
        tally.add_row(example.get("kind"), len(result.input_ids), supervised, example.get(LABEL))
        row = {"input_ids": result.input_ids, "labels": result.labels, "num_bytes": result.num_bytes}
        yield row | {LABEL: int(example[LABEL])} if LABEL in example else row


def encode_rows(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    settings: EncodeSettings | CompareSettings | PromptSettings,
    wheres: Sequence[str] | None = None,
) -> list[EncodedExample] | list[EncodedComparison] | list[EncodedPrompt]:
    """The examples of any kind of recipe but pretraining as ids and labels, one result for each.

    Raises:
        RecipeError: naming an example that cannot be used.
    """
    if isinstance(settings, CompareSettings):
        return encode_comparisons(examples, tokenizer, settings, wheres)
    if isinstance(settings, PromptSettings):
        return encode_prompts(examples, tokenizer, settings, wheres)
    return encode_examples(examples, tokenizer, settings, wheres)


def compared_rows(
    examples: Iterable[Found], tally: Tally, tokenizer: Tokenizer, settings: CompareSettings
) -> Iterator[dict[str, Any]]:
    """Rows of a prompt and its answers: one for each example but for those from which nothing can be learnt.

    Raises:
        RecipeError: naming the first row that cannot be used, and how many have the same fault.
    """

    def encode(batch: list[Found]) -> list[EncodedComparison]:
        return encode_comparisons(
            [example for _, example in batch], tokenizer, settings, [row.where for row, _ in batch]
        )

    for (row, example), result in _in_batches(examples, encode):
        tally.add_example(row.where, example)
        tally.truncated_rows += result.truncated_tokens > 0
        tally.truncated_tokens += result.truncated_tokens
        if not result.teaches:
            (tally.dropped if result.truncated_tokens else tally.tied).add(row.where)
            continue
        tally.add_row(example.get("kind"), len(result.input_ids), result.supervised_tokens)
        yield result.row()


def prompted_rows(
    examples: Iterable[Found], tally: Tally, tokenizer: Tokenizer, settings: PromptSettings
) -> Iterator[dict[str, Any]]:
    """Rows of a prompt, one for each example.

    Raises:
        RecipeError: naming the first row that cannot be used, and how many have the same fault.
    """

    def encode(batch: list[Found]) -> list[EncodedPrompt]:
        return encode_prompts([example for _, example in batch], tokenizer, settings, [row.where for row, _ in batch])

    for (row, example), result in _in_batches(examples, encode):
        tally.add_example(row.where, example)
        tally.truncated_rows += result.truncated_tokens > 0
        tally.truncated_tokens += result.truncated_tokens
        tally.add_row(example.get("kind"), len(result.input_ids), 0)
        yield result.row()


def best_fit_rows(
    rows: Iterable[dict[str, Any]], tally: Tally, settings: EncodeSettings, draft: Path
) -> Iterator[dict[str, Any]]:
    """Packs the rows of one source, whole examples side by side. Neighbours in a file are alike, so they are shuffled before.

    Rows that come out as all prompt, of an example that is longer than a row, teach nothing and are left out.

    Args:
        rows: From `encoded_rows`.
        tally: Counts what is left out.
        settings: With `row_length`; what is longer is cut into pieces, nothing of it is lost.
        draft: A file to keep the rows in, so that they need not fit into memory. It is removed.
    """
    write_rows(draft, rows, ["input_ids", "labels"])
    dataset = load_rows(draft)
    if len(dataset):
        for row in pack_examples(Labelled.from_dataset(dataset).shuffled(settings.seed), settings.row_length):
            if (row["labels"] != IGNORED).any():
                yield row
            else:
                tally.silent_rows += 1
    del dataset
    draft.unlink()


def packed_rows(
    examples: Iterable[Found], measured: bool, tally: Tally, tokenizer: Tokenizer, settings: PackSettings
) -> Iterator[dict[str, Any]]:
    """Rows for pretraining.

    A document without text is an error, as its rows would teach nothing but that one EOS follows another, and many of them
    are the sign of a wrong column; nothing is left out silently.

    Args:
        examples: With text.
        measured: Whether rows say how many bytes of text they hold.
        tally: Counts what passes.
        tokenizer: Must have an EOS.
        settings: How rows are packed.

    Raises:
        RecipeError: naming the first row that cannot be used, and how many have the same fault.
    """
    eos_id = tokenizer.eos_token_id
    if eos_id is None:
        message = "has no eos_token, so documents could not be told apart"
        raise RecipeError(Problem(tokenizer.name, message, "set eos_token in tokenizer_config.json"))
    length, mask = settings.context_length, settings.document_mask
    found = _documents(examples, tally, tokenizer, eos_id, measured)
    sizes: Iterator[int | None] = repeat(None)
    if measured:
        # Bytes and ids are two streams over the same documents; sets to measure on are small enough to keep.
        pairs = list(found)
        found = iter(pairs)
        sizes = packed_bytes((lengths for _, lengths in pairs), length, mask)
    packed = pack_documents((ids for ids, _ in found), length, eos_id, mask)
    for row, num_bytes in zip(packed, sizes, strict=False):
        # A packed row holds documents of several kinds.
        tally.add_row(None, len(row.input_ids), int((row.labels >= 0).sum()))
        yield {
            "input_ids": row.input_ids,
            "labels": row.labels,
            "position_ids": row.position_ids,
            "num_bytes": num_bytes,
        }


def _documents(
    examples: Iterable[Found], tally: Tally, tokenizer: Tokenizer, eos_id: int, measured: bool
) -> Iterator[tuple[list[int], Any]]:
    """Ids of each document without its EOS, with BOS where the tokenizer puts one, and bytes under each token."""
    marks = {tokenizer.bos_token_id, eos_id}

    def encode(batch: list[Found]) -> list[tuple[list[int], Any]]:
        texts = [_text(row, example) for row, example in batch]
        if measured:
            encodings = tokenizer.encode_batch(texts)
            results = [(each.ids, token_bytes(text, each.offsets)) for text, each in zip(texts, encodings, strict=True)]
        else:
            results = [(ids, None) for ids in tokenizer.encode_ids(texts)]
        for (row, _), (ids, _) in zip(batch, results, strict=True):
            if marks.issuperset(ids):
                message = "has no token of text: the tokenizer drops all of it, or it is only marks of begin and end"
                raise RecipeError(Problem(row.where, message, "remove the row"))
        return results

    for (row, example), (ids, lengths) in _in_batches(examples, encode):
        tally.add_example(row.where, example)
        ended = len(ids) - 1 if ids[-1] == eos_id else len(ids)
        yield ids[:ended], lengths if lengths is None else lengths[:ended]


def _text(row: Row, example: Example) -> str:
    if "text" in example:
        return example["text"]
    message = f"pretraining reads text, and this row holds {' and '.join(example)}"
    raise RecipeError(Problem(row.where, message, "choose a column with columns: {text: ...}, or use kind: sft"))


def _in_batches(examples: Iterable[Found], encode: Callable[[list[Found]], list[R]]) -> Iterator[tuple[Found, R]]:
    """Each example with what `encode` makes of it, batch by batch, since tokenizers are fast on many texts.

    Raises:
        RecipeError: naming the first row that cannot be used, and how many have the same fault.
    """
    examples = iter(examples)
    for batch in _batches(examples):
        try:
            results = encode(batch)
        except RecipeError:
            # Once more, row by row and on to the end, so that the error says how many rows there are like it.
            for _ in map_rows(lambda found: encode([found]), chain(batch, examples)):
                pass
            raise
        yield from zip(batch, results, strict=True)


def _batches(examples: Iterable[Found]) -> Iterator[list[Found]]:
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
