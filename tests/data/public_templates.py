"""Chat templates of eight public families as they are published, none with markers, and what each writes, in Python.

Of every piece of text stands whether the assistant is to be learned from it: its turns with the mark that ends them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
Pieces = list[tuple[str, bool]]

_ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)


@dataclass(frozen=True)
class Public:
    """One family.

    Args:
        template: Its chat template.
        specials: Its marks, the end of a text first.
        write: What the template makes of a conversation.
        bos: What a text begins with, where the template writes such a thing.
        system: Whether it takes a system message.
    """

    template: str
    specials: tuple[str, ...]
    write: Callable[[list[Message]], Pieces]
    bos: str | None = None
    system: bool = True


def _plain(turn: Callable[[Message], tuple[str, str, str]]) -> Callable[[list[Message]], Pieces]:
    """From header, body and what follows of one turn; the body of the assistant's is learned."""

    def write(messages: list[Message]) -> Pieces:
        pieces: Pieces = []
        for message in messages:
            head, body, tail = turn(message)
            pieces += [(head, False), (body, message["role"] == "assistant"), (tail, False)]
        return pieces

    return write


CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _chatml(message: Message) -> tuple[str, str, str]:
    return f"<|im_start|>{message['role']}\n", f"{message['content']}<|im_end|>", "\n"


LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    + _ALTERNATE
    + "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def _llama_2(messages: list[Message]) -> Pieces:
    system = f"<<SYS>>\n{messages[0]['content']}\n<</SYS>>\n\n" if messages[0]["role"] == "system" else ""
    pieces: Pieces = []
    for message in messages[1:] if system else messages:
        if message["role"] == "user":
            said = system + message["content"] if not pieces else message["content"]
            pieces += [(f"<s>[INST] {said.strip()} [/INST] ", False)]
        else:
            pieces += [(f"{message['content'].strip()} </s>", True)]
    return pieces


LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def _llama_3(messages: list[Message]) -> Pieces:
    def turn(message: Message) -> tuple[str, str, str]:
        header = f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n"
        return header, f"{message['content'].strip()}<|eot_id|>", ""

    return [("<|begin_of_text|>", False), *_plain(turn)(messages)]


MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    + _ALTERNATE
    + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


def _mistral(messages: list[Message]) -> Pieces:
    pieces: Pieces = [("<s>", False)]
    for message in messages:
        mine = message["role"] == "assistant"
        pieces += [(f"{message['content']}</s>" if mine else f"[INST] {message['content']} [/INST]", mine)]
    return pieces


GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    + _ALTERNATE
    + "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)


def _gemma(messages: list[Message]) -> Pieces:
    def turn(message: Message) -> tuple[str, str, str]:
        role = "model" if message["role"] == "assistant" else message["role"]
        return f"<start_of_turn>{role}\n", f"{message['content'].strip()}<end_of_turn>", "\n"

    return [("<bos>", False), *_plain(turn)(messages)]


PHI_3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def _phi_3(messages: list[Message]) -> Pieces:
    def turn(message: Message) -> tuple[str, str, str]:
        return f"<|{message['role']}|>\n", f"{message['content']}<|end|>", "\n"

    return [*_plain(turn)(messages), ("<|endoftext|>", False)]


# Each line ends in a new line that is written, but for those that end in a tag.
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)


def _zephyr(message: Message) -> tuple[str, str, str]:
    return f"<|{message['role']}|>\n", f"{message['content']}</s>", "\n"


QWEN_3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n'
                    + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""


def _qwen_3(messages: list[Message]) -> Pieces:
    """Thoughts of earlier rounds are not shown; the last turn has a place for them even where it has none."""

    def turn(message: Message) -> tuple[str, str, str]:
        thought, _, answer = message["content"].rpartition("</think>")
        thought = message.get("reasoning_content") or thought.removeprefix("<think>")
        answer = answer.lstrip("\n") if thought or message is messages[-1] else answer
        shown = f"<think>\n{thought.strip(chr(10))}\n</think>\n\n" if message is messages[-1] else ""
        if message["role"] != "assistant":
            shown, answer = "", message["content"]
        return f"<|im_start|>{message['role']}\n", f"{shown}{answer}<|im_end|>", "\n"

    return _plain(turn)(messages)


PUBLIC: dict[str, Public] = {
    "ChatML": Public(CHATML, ("<|im_end|>", "<|im_start|>"), _plain(_chatml)),
    "Llama 2": Public(LLAMA_2, ("</s>", "<s>"), _llama_2, "<s>"),
    "Llama 3": Public(
        LLAMA_3,
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        _llama_3,
        "<|begin_of_text|>",
    ),
    "Mistral": Public(MISTRAL, ("</s>", "<s>"), _mistral, "<s>", system=False),
    "Gemma": Public(GEMMA, ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), _gemma, "<bos>", system=False),
    "Phi 3": Public(PHI_3, ("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"), _phi_3),
    "Zephyr": Public(ZEPHYR, ("</s>", "<s>"), _plain(_zephyr)),
    "Qwen 3": Public(QWEN_3, ("<|im_end|>", "<|im_start|>", "<|endoftext|>"), _qwen_3),
}
