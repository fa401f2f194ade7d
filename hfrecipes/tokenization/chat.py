"""Chat templates without transformers: rendering, the spans that an assistant wrote, TRL's training templates."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from hfrecipes.compat import trl_chat_templates

_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Brackets put around what stands inside {% generation %} while a template renders, then taken out again. Positions
# read off the finished text stay right inside macros and captured blocks, where counting the pieces rendered so far
# does not. A NUL byte has no place in a chat, so the brackets meet no user text.
_OPEN, _CLOSE = "\x00<generation>\x00", "\x00</generation>\x00"
_BRACKET = re.compile(f"({re.escape(_OPEN)}|{re.escape(_CLOSE)})")
# A template may repeat a text or a list to this length, fill a text up to it, and count this far in all of its loops. The
# sandbox of jinja2 bounds each range by itself, and nothing else that takes memory or time.
_LONGEST_REPETITION = 1_000_000
_LARGEST_EXPONENT = 1000
_CUT = "the chat template cuts off a part of what stands between {% generation %} and {% endgeneration %}"
_REASONING = ("reasoning_content", "thinking", "reasoning")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as the text a model reads.

    Args:
        text: The rendered conversation.
        assistant_spans: `(start, end)` in characters of each `{% generation %}` block, in order.
    """

    text: str
    assistant_spans: tuple[tuple[int, int], ...]


class _Generation(Extension):
    """The tags `{% generation %}` and `{% endgeneration %}`."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 reads a class attribute)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_bracket"), [], [], body).set_lineno(line)

    def _bracket(self, caller: jinja2.runtime.Macro) -> str:
        return bracketed(caller())


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja that reaches no object's insides, changes nothing that it is given, and builds nothing huge."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and abs(right) > _LARGEST_EXPONENT:
            raise SecurityError(f"an exponent of {right} is too large")
        sizes = [(len(a), b) for a, b in ((left, right), (right, left)) if hasattr(a, "__len__") and isinstance(b, int)]
        if operator == "*" and any(length * times > _LONGEST_REPETITION for length, times in sizes):
            raise SecurityError(f"repeating something {sizes[0][1]} times is too much")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, /, *args: Any, **words: Any) -> Any:
        fills = isinstance(getattr(function, "__self__", None), str)
        if fills and any(isinstance(size, int) and size > _LONGEST_REPETITION for size in args):
            raise SecurityError(f"filling a text up to {max(args)} characters is too much")
        return super().call(context, function, *args, **words)


class Counter:
    """`range` for one rendering, which counts so far and no further; loops inside loops go fast beyond any patience."""

    def __init__(self) -> None:
        self.left = _LONGEST_REPETITION

    def __call__(self, *limits: int) -> range:
        numbers = range(*limits)
        self.left -= len(numbers)
        if self.left < 0:
            raise SecurityError(f"counting further than {_LONGEST_REPETITION:,} is too much")
        return numbers


def bracketed(text: str) -> str:
    """A text as `render` tells where it lies: put in place of a message's, it counts as if `{% generation %}` stood around it."""
    return f"{_OPEN}{text}{_CLOSE}"


def has_generation_markers(template: str | None) -> bool:
    """Whether the template says which of its text the assistant wrote."""
    return template is not None and _MARKER.search(template) is not None


def render(template: str, messages: list[dict[str, Any]], **variables: Any) -> Rendered:
    """Renders messages as `transformers` does.

    Args:
        template: Jinja source. It comes from the Hub, so it runs in a sandbox that reaches no object's insides and
            cannot change what it is given.
        messages: Dictionaries with `role`, `content` and whatever else the template reads. Keys whose value is None
            count as absent, since many templates print "None" otherwise.
        variables: What the template sees beside `messages`: `tools`, `add_generation_prompt`, `bos_token`, ...

    Raises:
        ValueError: the template is not valid Jinja, fails, refuses the messages, is stopped by the sandbox, or cuts what stands
            inside `{% generation %}`.
    """
    chat = [
        _with_reasoning({key: value for key, value in message.items() if value is not None}) for message in messages
    ]
    try:
        text = _compiled(template).render(messages=chat, range=Counter(), **variables)
    except SecurityError as error:
        raise ValueError(f"the chat template refuses the messages, for the sandbox stopped it: {error}") from error
    except Exception as error:  # a template is somebody's program, and fails in any way that one can
        reason = str(error) or type(error).__name__
        raise ValueError(f"the chat template refuses the messages: {reason}") from error
    return _split_brackets(text)


def training_chat_template(template: str) -> str | None:
    """TRL's version of a known template with generation markers, or None where TRL has none for it.

    `SFTTrainer` makes this exchange by itself when `assistant_only_loss` meets a template without markers.
    """
    return _training_templates().get(template)


@lru_cache(maxsize=1)
def _training_templates() -> dict[str, str]:
    folder = trl_chat_templates()
    if folder is None:
        return {}
    pairs = {}
    for trained in sorted(folder.glob("*_training.jinja")):
        stock = trained.with_name(trained.name.replace("_training.jinja", ".jinja"))
        if stock.is_file():
            pairs[stock.read_text(encoding="utf-8")] = trained.read_text(encoding="utf-8")
    return pairs


@lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment.from_string(template)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which would reach the model.
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Gives a message's reasoning every name that templates look for."""
    reasoning = next((message[name] for name in _REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _split_brackets(text: str) -> Rendered:
    if _OPEN not in text and _CLOSE not in text:
        return Rendered(text, ())
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    opened: list[int] = []
    length = 0
    for piece in _BRACKET.split(text):
        if piece == _OPEN:
            opened.append(length)
        elif piece == _CLOSE:
            if not opened:
                raise ValueError(_CUT)
            spans.append((opened.pop(), length))
        else:
            pieces.append(piece)
            length += len(piece)
    if opened:
        raise ValueError(_CUT)
    return Rendered("".join(pieces), tuple(spans))
