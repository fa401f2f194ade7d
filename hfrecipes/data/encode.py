"""From examples to ids and labels, as `SFTTrainer` would make them, row by row and with every loss of text counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from tokenizers import Encoding

from hfrecipes.data.formats import Example, is_conversational
from hfrecipes.data.rendering import Renderer, ended
from hfrecipes.data.settings import EncodeSettings
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.chat import has_generation_markers
from hfrecipes.tokenization.tokenizer import Tokenizer, training_chat_template

IGNORED = -100

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One row as a model trains on it.

    Args:
        input_ids: Token ids.
        labels: The same ids where the loss looks, -100 elsewhere; not shifted.
        num_bytes: UTF-8 bytes of the text whose tokens have a label. Special tokens are marks rather than text and count
            none, so that bits per byte compares across tokenizers.
        truncated_tokens: How many tokens `max_length` cut off.
    """

    input_ids: list[int]
    labels: list[int]
    num_bytes: int
    truncated_tokens: int = 0

    @property
    def supervised_tokens(self) -> int:
        return len(self.labels) - self.labels.count(IGNORED)

    @property
    def longest(self) -> int:
        """Tokens that it had before it was cut."""
        return len(self.input_ids) + self.truncated_tokens


def encode_examples(
    examples: Sequence[Example], tokenizer: Tokenizer, settings: EncodeSettings, wheres: Sequence[str] | None = None
) -> list[EncodedExample]:
    """Tokenises and labels examples, one result for each, in their order.

    The ids and labels are those of `trl.SFTTrainer`: EOS is appended to plain texts and completions that do not end in
    it; the completion begins where the tokens of prompt and of prompt + completion part; assistant turns are those that
    the chat template marks. A result without any label lost its supervised part to `max_length`; leave it out.
    A label on a row's first token alone is none: labels are shifted by one, and nothing comes before it to predict it.

    Args:
        examples: From `to_example`.
        tokenizer: Its chat template renders messages, and its post-processor adds BOS to plain text where it has one.
        settings: The recipe's `training` section, as far as it concerns data.
        wheres: The place of each example, for problems.

    Raises:
        RecipeError: an example in which, before truncation, nothing is supervised; a template that is missing, refuses
            the messages, or does not mark assistant turns when these alone are wanted.
    """
    wheres = wheres or [f"example {number}" for number in range(1, len(examples) + 1)]
    drafts = [_draft(example, tokenizer, settings, where) for example, where in zip(examples, wheres, strict=True)]
    encodings = _encode([(draft.text, draft.add_special_tokens) for draft in drafts], tokenizer)
    with_prompt = [index for index, draft in enumerate(drafts) if draft.prompt is not None]
    prompts = _encode_prompts([drafts[index] for index in with_prompt], tokenizer)
    prompt_ids = dict(zip(with_prompt, prompts, strict=True))
    results = []
    for index, (draft, encoding, where) in enumerate(zip(drafts, encodings, wheres, strict=True)):
        spans = _supervised(draft, encoding, prompt_ids.get(index))
        if not _carrying_loss(spans, len(encoding.ids)):
            raise RecipeError(Problem(where, "has no token that the loss looks at", _why_unsupervised(draft)))
        results.append(_finish(draft.text, encoding, spans, tokenizer, settings.max_length))
    return results


@dataclass(frozen=True, slots=True)
class _Draft:
    """An example as text. `prompt` is set where only the completion is supervised; `assistant` where turns are."""

    text: str
    add_special_tokens: bool
    prompt: str | None = None
    assistant: tuple[Span, ...] | None = None


def _draft(example: Example, tokenizer: Tokenizer, settings: EncodeSettings, where: str) -> _Draft:
    if "chosen" in example:
        fix = "give prompt and completion; with columns: {prompt: prompt, completion: chosen} the better answer is learned"
        raise RecipeError(Problem(where, "compares two answers, and one has to be learned here", fix))
    completion_only = settings.completion_only_loss is not False and "completion" in example
    if settings.completion_only_loss and not completion_only:
        fix = "remove completion_only_loss, or give prompt and completion"
        raise RecipeError(Problem(where, "completion_only_loss needs a completion, and this row has none", fix))
    if is_conversational(example):
        return _draft_chat(example, tokenizer, settings, where, completion_only)
    if settings.assistant_only_loss:
        fix = "remove assistant_only_loss, or give messages"
        raise RecipeError(Problem(where, "assistant_only_loss needs messages, and this row holds plain text", fix))
    prompt = example.get("prompt", "")
    body = example["text"] if "text" in example else example["completion"]
    return _Draft(prompt + ended(body, tokenizer, where), True, prompt if completion_only else None)


def _draft_chat(
    example: Example, tokenizer: Tokenizer, settings: EncodeSettings, where: str, completion_only: bool
) -> _Draft:
    template = _template(tokenizer, settings)
    renderer = Renderer(example, tokenizer, where, template)
    messages = example.get("messages") or example["prompt"] + example["completion"]
    unmarked = settings.assistant_only_loss and not has_generation_markers(template or tokenizer.chat_template)
    rendered = renderer.render_turns(messages) if unmarked else renderer.render(messages)
    prompt = renderer.render(example["prompt"], add_generation_prompt=True).text if completion_only else None
    spans = rendered.assistant_spans if settings.assistant_only_loss else None
    # The template writes BOS and the ends of turns itself.
    return _Draft(rendered.text, False, prompt, spans)


def _template(tokenizer: Tokenizer, settings: EncodeSettings) -> str | None:
    """The template to use instead of the tokenizer's own: TRL's marked version, where turns must be told apart."""
    template = tokenizer.chat_template
    if not settings.assistant_only_loss or template is None or tokenizer.has_generation_markers:
        return None
    return training_chat_template(template)


def _encode(texts: list[tuple[str, bool]], tokenizer: Tokenizer) -> list[Encoding]:
    """Encodes texts in two batches, one with and one without the tokenizer's own special tokens."""
    results: dict[int, Encoding] = {}
    for add in (True, False):
        chosen = [index for index, (_, wanted) in enumerate(texts) if wanted is add]
        encodings = tokenizer.encode_batch([texts[index][0] for index in chosen], add_special_tokens=add)
        results.update(zip(chosen, encodings, strict=True))
    return [results[index] for index in range(len(texts))]


def _encode_prompts(drafts: list[_Draft], tokenizer: Tokenizer) -> list[list[int]]:
    """Ids of the prompts. Few-shot and instruction sets repeat prompts, so each different one is encoded once."""
    different = list(dict.fromkeys((draft.prompt or "", draft.add_special_tokens) for draft in drafts))
    ids: dict[tuple[str, bool], list[int]] = {}
    for add in (True, False):
        texts = [text for text, wanted in different if wanted is add]
        encoded = tokenizer.encode_ids(texts, add_special_tokens=add)
        ids.update({(text, add): tokens for text, tokens in zip(texts, encoded, strict=True)})
    return [ids[draft.prompt or "", draft.add_special_tokens] for draft in drafts]


def _supervised(draft: _Draft, encoding: Encoding, prompt_ids: list[int] | None) -> list[Span]:
    """Spans of tokens, in order and apart, that the loss looks at."""
    ids = encoding.ids
    start = 0 if prompt_ids is None else common_prefix(prompt_ids, ids)
    if draft.assistant is None:
        return [(start, len(ids))] if start < len(ids) else []
    spans = [span for turn in draft.assistant if (span := _token_span(encoding, turn))]
    return [(max(start, first), end) for first, end in spans if end > max(start, first)]


def common_prefix(ids: list[int], others: list[int]) -> int:
    """How many tokens two sequences begin with in common."""
    if others[: len(ids)] == ids:  # nearly always, and far faster than pair by pair
        return len(ids)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, others, strict=False)))


def _token_span(encoding: Encoding, characters: Span) -> Span | None:
    """The tokens that touch a span of characters; None where none does.

    Some tokenizers leave whitespace outside every token. A span that begins or ends in such is drawn in to the nearest
    character that has a token; transformers 5.23 there supervises the whole rest of the conversation. It also leaves out
    all but the first token of a span's last character, where that has several.
    """
    start, end = characters
    tokens = (encoding.char_to_token(position) for position in range(start, end))
    first = next((token for token in tokens if token is not None), None)
    if first is None:
        return None
    tokens = (encoding.char_to_token(position) for position in range(end - 1, start - 1, -1))
    last = next(token for token in tokens if token is not None)
    # The last character may be several tokens, as an emoji is in bytes, of which the first is known by now.
    while (around := _characters(encoding, last + 1)) and around[0] < end:
        last += 1
    return first, last + 1


def _characters(encoding: Encoding, token: int) -> Span | None:
    """The characters under a token; None behind the last one, and for tokens that stand for no text."""
    return encoding.token_to_chars(token) if token < len(encoding) else None


def _finish(
    text: str, encoding: Encoding, spans: list[Span], tokenizer: Tokenizer, max_length: int | None
) -> EncodedExample:
    """Cuts to `max_length`, writes labels, counts bytes."""
    ids: list[int] = encoding.ids
    length = len(ids) if max_length is None else min(len(ids), max_length)
    kept = _carrying_loss(spans, length)
    labels = [IGNORED] * length
    for start, end in kept:
        labels[start:end] = ids[start:end]
    num_bytes = sum(_bytes_of(text, encoding, ids, span, tokenizer) for span in kept)
    return EncodedExample(ids[:length], labels, num_bytes, len(ids) - length)


def _carrying_loss(spans: list[Span], length: int) -> list[Span]:
    """The spans as far as they lie in a row of `length` tokens; none where no more than its first token is left."""
    kept = [(start, min(end, length)) for start, end in spans if start < length]
    return kept if any(end > 1 for _, end in kept) else []


def _bytes_of(text: str, encoding: Encoding, ids: list[int], span: Span, tokenizer: Tokenizer) -> int:
    """UTF-8 bytes of the text under a span of tokens, special tokens left out."""
    texts = tokenizer.special_token_texts
    marks = {index for index in range(*span) if ids[index] in texts and _is_written(text, encoding, index, texts)}
    inner = [index for index in range(*span) if index not in marks]
    if not inner:
        return 0
    first, last = encoding.token_to_chars(inner[0]), encoding.token_to_chars(inner[-1])
    if first is None or last is None:
        return 0
    written = sum(len(texts[ids[index]].encode()) for index in marks if inner[0] < index < inner[-1])
    return len(text[first[0] : last[1]].encode()) - written


def _is_written(text: str, encoding: Encoding, index: int, texts: dict[int, str]) -> bool:
    """Whether a special token stands in the text as such; the one for unknown words stands for words."""
    characters = encoding.token_to_chars(index)
    return characters is None or text[slice(*characters)].strip() == texts[encoding.ids[index]]


def _why_unsupervised(draft: _Draft) -> str:
    if draft.assistant is not None:
        return "give the conversation an assistant turn, or remove assistant_only_loss"
    if draft.prompt is not None:
        return "give the row a completion that is more than its prompt"
    return "remove it, or give it more text: one token alone has none before it to be predicted from"
