"""Examples taken apart into prompt and reference, and prompts turned into tokens. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]
# Plain text to continue, or a conversation whose next turn is the assistant's.
Prompt = str | list[Message]


class ChatTemplateError(ValueError):
    """A chat template that fails by itself, refuses messages, or is stopped by its sandbox."""


def split_example(example: dict[str, Any], where: str) -> tuple[Prompt, str]:
    """What a model is given, and what it should have said.

    Args:
        example: One of TRL's types: `{"prompt", "completion"}`, each a text or messages, or `{"messages"}`, whose last
            assistant turn is the reference.
        where: Names the example in errors.

    Raises:
        ValueError: where there is no reference in it.
    """
    if "prompt" in example and "completion" in example:
        prompt, completion = example["prompt"], example["completion"]
        if isinstance(prompt, str) != isinstance(completion, str):
            raise ValueError(f"{where}: prompt and completion are both texts or both messages, not one of each")
        return prompt, completion if isinstance(completion, str) else _last_answer(completion, where)[1]
    if "messages" in example:
        return _last_answer(example["messages"], where)
    columns = ", ".join(example)
    raise ValueError(f"{where}: needs prompt and completion, or messages, to be a task (its columns: {columns})")


def _last_answer(messages: list[Message], where: str) -> tuple[list[Message], str]:
    """The turns before the last assistant turn, and that turn's text."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index]["role"] == "assistant":
            return messages[:index], _text_of(messages[index], where)
    raise ValueError(f"{where}: has no assistant turn that could be the reference")


def _text_of(message: Message, where: str) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "".join(part["text"] for part in content)
    raise ValueError(f"{where}: the assistant turn holds no text, but {content!r}")


def show_prompt(prompt: Prompt) -> str:
    """The prompt as a reader wants it: without the template's marks, and roles only where there are several turns."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Tokens of a prompt, ready for the model to go on from.

    Conversations are rendered by the chat template, which writes a beginning-of-sequence token where the model has
    one, so none is added to them; texts get the tokenizer's own. An end-of-sequence token that a tokenizer puts behind
    every text is taken off again, since nothing follows it. A prompt without any token becomes the token that stands
    between documents.

    Raises:
        ValueError: for a conversation where the tokenizer has no chat template, or where an empty prompt has no token
            to stand for it.
    """
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt, verbose=False)["input_ids"])
        if ids and ids[-1] == tokenizer.eos_token_id and not prompt.endswith(tokenizer.eos_token):
            ids.pop()
    else:
        text = _render(tokenizer, prompt, add_generation_prompt=True)
        ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if not ids:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise ValueError("the prompt is empty, and the tokenizer has no bos_token or eos_token to start from")
        ids = [start]
    return ids


def end_of_turn_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The special token with which the chat template closes an assistant turn (`<|im_end|>`, `<|eot_id|>`), if any."""
    answer = "answer"
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}]
    tail = _render(tokenizer, turns, add_generation_prompt=False).rpartition(answer)[2]
    ids = tokenizer(tail, add_special_tokens=False, verbose=False)["input_ids"]
    special = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    return set(ids[:1]) & special


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[Message], add_generation_prompt: bool) -> str:
    if tokenizer.chat_template is None:
        raise ValueError(
            "the prompt is a conversation, but the tokenizer has no chat template: "
            "use a tokenizer with one, or prompts that are plain text"
        )
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    except (TemplateError, ArithmeticError, LookupError, TypeError) as error:
        raise ChatTemplateError(f"the chat template fails: {error}") from error
