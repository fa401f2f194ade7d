"""What the model will see: rows that come out of the functions that prepare the training data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from hfrecipes.data.encode import IGNORED
from hfrecipes.data.formats import example_texts
from hfrecipes.data.packing import pack_documents
from hfrecipes.data.settings import leaves_out_long_rows, pack_settings
from hfrecipes.plan.sample import SampledSource, encode_sample, sample_examples, tokenize_sample
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.secrets import redact
from hfrecipes.recipe.source_list import PROMPTED, SAMPLE
from hfrecipes.recipe.visible import visible
from hfrecipes.tokenization.tokenizer import Tokenizer

# A run of tokens longer than this is shown by its beginning and end.
LONGEST_RUN = 120
LONGEST_TEXT = 1200
_SUPERVISED, _CONTEXT = "bold green", "dim"
_REDACTED = re.compile("(<redacted: [^>]*>)")


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row of training data.

    Args:
        source: `name/split`.
        where: The place of the row, of its first document where documents are packed.
        tokens: Text of each token and whether the loss looks at it; a row's first token is never predicted.
        truncated_tokens: Tokens that the longest allowed row cut off.
    """

    source: str
    where: str
    tokens: list[tuple[str, bool]]
    truncated_tokens: int = 0

    @property
    def supervised_share(self) -> float:
        """The share of tokens that carry loss."""
        return sum(carries for _, carries in self.tokens) / max(len(self.tokens), 1)


@dataclass(frozen=True, slots=True)
class SourcePreview:
    """A few rows of a source, and what holds for a sample of it.

    Args:
        source: `name/split`.
        rows: The rows to show.
        sampled: Rows in the sample.
        supervised_share: Share of its tokens that carry loss.
        truncated_share: Share of its tokens that were cut off.
        truncated_rows: Rows of the sample that were cut.
        dropped_rows: Those of them that lost all that carries loss; training leaves them out.
        prompts: Whether rows are prompts, whose answers the run draws.
        only_asked: Whether nothing is learnt from these answers as they are drawn.
        leaves_out: Whether sequences that are too long are left out whole, rather than cut.
    """

    source: str
    rows: list[PreviewRow]
    sampled: int
    supervised_share: float
    truncated_share: float
    truncated_rows: int
    dropped_rows: int = 0
    prompts: bool = False
    only_asked: bool = False
    leaves_out: bool = False


def preview_sources(
    recipe: Recipe, sampled: Sequence[SampledSource], tokenizer: Tokenizer, count: int
) -> list[SourcePreview]:
    """Encodes a sample of each source and keeps the first `count` rows of it to show.

    Args:
        recipe: A resolved recipe.
        sampled: From `sample_sources`.
        tokenizer: The recipe's.
        count: Rows of each source to show.

    Raises:
        RecipeError: where a row cannot be used.
    """
    preview = _preview_packed if recipe.kind == "pretrain" else _preview_examples
    return [preview(recipe, part, tokenizer, count) for part in sampled]


def _preview_examples(recipe: Recipe, sampled: SampledSource, tokenizer: Tokenizer, count: int) -> SourcePreview:
    encoded = encode_sample(recipe, sampled, tokenizer)
    title = sampled.source.title
    # Rows that training leaves out, such as pairs that are too long for a reward model, are shown where there are no others.
    pairs = list(zip(sampled.rows, encoded, strict=False))
    seen = [(row, result) for row, result in pairs if result.supervised_tokens] or pairs
    rows = [
        PreviewRow(title, row.where, label_tokens(result.input_ids, result.labels, tokenizer), result.truncated_tokens)
        for row, result in seen[:count]
    ]
    kept = [result for result in encoded if result.supervised_tokens]
    tokens = sum(len(result.input_ids) for result in kept)
    truncated = sum(result.truncated_tokens for result in encoded)
    supervised = sum(result.supervised_tokens for result in kept)
    return SourcePreview(
        source=title,
        rows=rows,
        sampled=len(encoded),
        supervised_share=0.0 if recipe.kind in PROMPTED else supervised / max(tokens, 1),
        truncated_share=truncated / (truncated + sum(len(result.input_ids) for result in encoded)),
        truncated_rows=sum(result.truncated_tokens > 0 for result in encoded),
        dropped_rows=len(encoded) - len(kept),
        prompts=recipe.kind in PROMPTED,
        only_asked=recipe.kind == SAMPLE,
        leaves_out=leaves_out_long_rows(recipe.kind),
    )


def _preview_packed(recipe: Recipe, sampled: SampledSource, tokenizer: Tokenizer, count: int) -> SourcePreview:
    settings, eos_id = pack_settings(recipe), tokenizer.eos_token_id
    documents = tokenize_sample(recipe, sampled, tokenizer)
    packed = list(pack_documents(documents, settings.context_length, eos_id or 0, settings.document_mask))
    starts = _first_documents(documents, settings.context_length)
    title = sampled.source.title
    rows = [
        PreviewRow(title, sampled.rows[start].where, label_tokens(row.input_ids, row.labels, tokenizer))
        for row, start in zip(packed[:count], starts, strict=False)
    ]
    tokens = sum(len(row.input_ids) for row in packed)
    # The first token of a row is never a target, whatever its label.
    supervised = sum(int((row.labels[1:] != IGNORED).sum()) for row in packed)
    return SourcePreview(title, rows, len(documents), supervised / tokens, 0.0, 0)


def _first_documents(documents: Sequence[Sequence[int]], context_length: int) -> Iterator[int]:
    """For each packed row, the document in which it begins."""
    position = 0
    for index, document in enumerate(documents):
        end = position + len(document) + 1
        yield from (index for _ in range(-(-position // context_length), -(-end // context_length)))
        position = end


def label_tokens(ids: Sequence[int], labels: Sequence[int], tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """The text of each token and whether it carries loss.

    A character that is spread over several tokens stands with the first of them, and the others are empty.
    """
    ids = [int(token) for token in ids]
    texts: list[str] = []
    begin = 0  # of the tokens whose text is not complete yet
    for index in range(len(ids)):
        context = ids[max(0, begin - 1) : begin]
        text = tokenizer.decode(context + ids[begin : index + 1])[len(tokenizer.decode(context)) :]
        unfinished = text.endswith("\ufffd") and index - begin < 3 and index + 1 < len(ids)
        texts.append("")
        if not unfinished:
            texts[begin] = text
            begin = index + 1
    carries = [index > 0 and label != IGNORED for index, label in enumerate(labels)]
    return list(zip(texts, carries, strict=True))


# To the terminal.


def colours(console: Console) -> bool:
    """Whether colour can tell tokens apart; else brackets do."""
    return console.is_terminal and not console.no_color and not os.environ.get("NO_COLOR")


def print_previews(console: Console, previews: Sequence[SourcePreview], max_length: int | None) -> None:
    """Shows the rows: tokens that carry loss bold and green, or between 【 and 】 where there are no colours."""
    legend = Text("tokens that carry loss", _SUPERVISED) if colours(console) else Text("【tokens that carry loss】")
    if any(preview.only_asked for preview in previews):
        console.print("What the model is asked. The run draws its answers.")
    elif any(preview.prompts for preview in previews):
        console.print("What the model is asked. The answers, which carry loss, are drawn by the training.")
    else:
        console.print(Text.assemble("What the model sees. ", legend, "; the others are context."))
    for preview in previews:
        for row in preview.rows:
            fate = "left out, being too long" if preview.leaves_out else "cut off"
            cut = f", {row.truncated_tokens:,} {fate}" if row.truncated_tokens else ""
            loss = "" if preview.prompts else f", {row.supervised_share:.0%} carry loss"
            share = f"{len(row.tokens):,} tokens{loss}{cut}"
            console.print(f"\n[bold]{escape(_shown(row.where))}[/bold] ({share})", highlight=False)
            console.print(render_row(row, brackets=not colours(console)), highlight=False, soft_wrap=True)
        console.print("\n" + escape(_shown(_summary(preview, max_length))), highlight=False)


def render_row(row: PreviewRow, *, brackets: bool) -> Text:
    """A row as styled text; secrets are left out, line ends and control characters made visible, long runs shortened."""
    text = Text()
    for carries, group in groupby(without_secrets(row.tokens), key=lambda token: token[1]):
        shown = visible(_shorten([token for token, _ in group])).replace("\n", "⏎\n")
        text.append(f"【{shown}】" if brackets and carries else shown, _SUPERVISED if carries else _CONTEXT)
    return text


def without_secrets(tokens: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """The same tokens, with what looks like a secret left out of their texts: its first token says what stood there."""
    text = "".join(token for token, _ in tokens)
    first, *others = _REDACTED.split(redact(text))
    if not others:
        return tokens
    *between, last = others[1::2]
    shown, place = list(text), len(first)
    for mark, follows in zip(others[::2], [*between, None], strict=True):
        # What is left of a secret before the last piece would be shown if that were looked for.
        end = len(text) - len(last) if follows is None else text.index(follows, place + 1)
        shown[place:end] = [mark, *[""] * (end - place - 1)]
        place = end + len(follows or "")
    ends = list(accumulate(len(token) for token, _ in tokens))
    return [("".join(shown[end - len(t) : end]), carries) for (t, carries), end in zip(tokens, ends, strict=True)]


def _shown(text: str) -> str:
    """What a recipe or its data named, for the terminal."""
    return visible(redact(text))


def _shorten(tokens: list[str]) -> str:
    if len(tokens) <= LONGEST_RUN:
        return "".join(tokens)
    half = LONGEST_RUN // 2
    left_out = len(tokens) - 2 * half
    return "".join(tokens[:half]) + f"\n… {left_out:,} more tokens …\n" + "".join(tokens[-half:])


def _summary(preview: SourcePreview, max_length: int | None) -> str:
    share = f"{preview.source}: "
    share += "prompts" if preview.prompts else f"{preview.supervised_share:.1%} of the tokens carry loss"
    cut = ""
    if max_length is not None:
        what = "have sequences that are left out, being longer" if preview.leaves_out else "are longer"
        cut = f"; {preview.truncated_rows} rows {what} than {max_length:,} tokens"
        cut += f" and lose {preview.truncated_share:.1%} of all tokens" if preview.truncated_rows else ""
        cut += f"; {preview.dropped_rows} of them keep nothing to learn from" if preview.dropped_rows else ""
    return f"{share}{cut} (sample of {preview.sampled} rows)"


def print_texts(console: Console, recipe: Recipe, sampled: Sequence[SampledSource], count: int) -> None:
    """Shows rows as text, where there is no tokenizer yet."""
    for part in sampled:
        few = part.first(count)
        for row, example in zip(few.rows, sample_examples(recipe, few), strict=True):
            console.print(f"\n[bold]{escape(_shown(row.where))}[/bold]", highlight=False)
            text = _shown("\n".join(example_texts(example)))
            shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + f" … {len(text) - LONGEST_TEXT:,} more"
            console.print(Text(shown), highlight=False, soft_wrap=True)
