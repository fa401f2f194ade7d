"""What gives scores: reward models with tokenizers of their own, Python functions, adapters on the policy's base."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from hfrecipes.data.functions import failure_of
from hfrecipes.data.messages import kind_of
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.trainers.ppo.prompts import Prompt


@dataclass
class Completed:
    """Prompts with their completions.

    Args:
        prompts: One for each completion.
        texts: Of the completions.
        ids: Of the completions, the token that ends one included.
        finished: Whether each ended.
        extra: Further keywords for functions.
    """

    prompts: list[Prompt]
    texts: list[str]
    ids: list[list[int]]
    finished: list[bool]
    extra: dict[str, Any]

    @property
    def completions(self) -> list[Any]:
        """As reward functions take them: texts, or for a conversation its next message in a list."""
        return [
            [{"role": "assistant", "content": text}] if prompt.conversational else text
            for prompt, text in zip(self.prompts, self.texts, strict=True)
        ]


# Scores of completions, `(rows,)`, nan where there is none; and of their tokens, a list for each row, or None.
Scores = tuple[Tensor, list[list[float]] | None]
Scorer = Callable[[Completed], Scores]


class ModelReward:
    """A sequence classifier with one label. Texts are tokenised anew, by its own tokenizer.

    Args:
        model: The classifier.
        tokenizer: Its own.
        batch_size: Texts at a time.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        if getattr(model.config, "num_labels", 1) != 1:
            fault = f"{type(model).__name__} gives {model.config.num_labels} scores"
            raise RecipeError(Problem("reward_funcs", fault, "give a reward model: num_labels=1"))
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        # The classifier looks for the last token that is no padding.
        model.config.get_text_config().pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
        self.model = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.__name__ = (getattr(model.config, "_name_or_path", "") or type(model).__name__).rstrip("/").split("/")[-1]

    def __call__(self, completed: Completed) -> Scores:
        texts = self._texts(completed)
        words = {"padding": True, "padding_side": "right", "add_special_tokens": False, "return_tensors": "pt"}
        scores = torch.empty(len(texts))
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        device = next(self.model.parameters()).device
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            inputs = self.tokenizer([texts[row] for row in rows], **words).to(device)
            inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                scores[rows] = self.model(**inputs).logits[:, 0].float().cpu()
        return scores, None

    def _texts(self, completed: Completed) -> list[str]:
        rows = zip(completed.prompts, completed.completions, completed.finished, strict=True)
        end = self.tokenizer.eos_token or ""
        return [
            self.tokenizer.apply_chat_template([*prompt.given, *completion], tokenize=False)
            if prompt.conversational
            # What it was trained on ends where the text does.
            else prompt.given + completion + (end if finished else "")
            for prompt, completion, finished in rows
        ]


class AdapterReward:
    """A reward model that is an adapter of the policy's base: it costs its adapter alone. It reads the policy's tokens.

    Args:
        hidden: From ids `(rows, tokens)`, padded at the right, and places in them, flattened, to the hidden states
            `(places, width)` there with the reward's adapter.
        head: `(width,)`.
        name: Of the adapter.
        batch_size: Rows at a time.
        pad_id: What stands behind the end.
    """

    def __init__(
        self, hidden: Callable[[Tensor, Tensor], Tensor], head: Tensor, name: str, batch_size: int, pad_id: int
    ) -> None:
        self.hidden, self.head, self.batch_size, self.pad_id = hidden, head, batch_size, pad_id
        self.__name__ = name

    def __call__(self, completed: Completed) -> Scores:
        texts = [prompt.ids + ids for prompt, ids in zip(completed.prompts, completed.ids, strict=True)]
        scores = torch.empty(len(texts))
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            width = max(len(texts[row]) for row in rows)
            ids = torch.tensor([texts[row] + [self.pad_id] * (width - len(texts[row])) for row in rows])
            last = torch.tensor([place * width + len(texts[row]) - 1 for place, row in enumerate(rows)])
            states = self.hidden(ids, last).float()
            scores[rows] = (states @ self.head.to(states.device)).cpu()
        return scores, None


class FunctionReward:
    """A Python function, sync or async: `fn(prompts, completions, completion_ids, **columns)`.

    It gives a number for each completion (None for none), or for each of its tokens.

    Args:
        function: Takes keywords; those it does not name need `**kwargs`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        parameters = inspect.signature(function).parameters.values()
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self.words = None if takes_all else {parameter.name for parameter in parameters}

    def __call__(self, completed: Completed) -> Scores:
        columns = {name: [prompt.columns.get(name) for prompt in completed.prompts] for name in _columns(completed)}
        # What was said goes before columns of the data that are called the same.
        words = {
            **columns,
            **completed.extra,
            "prompts": [prompt.given for prompt in completed.prompts],
            "completions": completed.completions,
            "completion_ids": completed.ids,
        }
        words = words if self.words is None else {name: value for name, value in words.items() if name in self.words}
        return self._numbers(self._listed(words), completed)

    def _listed(self, words: dict[str, Any]) -> list[Any]:
        """What the function returns, waited for and told from what is no list of scores."""
        try:
            given = self.function(**words)
            given = _await(given) if inspect.isawaitable(given) else given
            given = given.tolist() if hasattr(given, "tolist") else given
            if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | Set):
                return list(given)
        except (Exception, SystemExit) as error:  # a user's function can fail in any way
            raise self._fault(failure_of(self.function, error), "correct the function, or the data") from error
        raise self._fault(f"returns {kind_of(given)}", "return a list with one number for each completion")

    def _numbers(self, given: list[Any], completed: Completed) -> Scores:
        if len(given) != len(completed.texts):
            raise self._fault(f"gave {_scores(len(given))} for {len(completed.texts)} completions", "give one for each")
        given = [value.tolist() if hasattr(value, "tolist") else value for value in given]
        by_token = [isinstance(value, Sequence) and not isinstance(value, str) for value in given]
        if any(by_token):
            return self._of_tokens(given, completed)
        for row, value in enumerate(given):
            if value is not None and not isinstance(value, Real):
                raise self._fault(f"gave {value!r} for completion {row}", "give a number, or None for none")
        return torch.tensor([math.nan if value is None else _float(value) for value in given]), None

    def _of_tokens(self, given: list[Any], completed: Completed) -> Scores:
        for row, (values, ids) in enumerate(zip(given, completed.ids, strict=True)):
            if not isinstance(values, Sequence) or len(values) != len(ids):
                count = len(values) if isinstance(values, Sequence) else 1
                fault = f"gave {_scores(count)} for the {len(ids)} tokens of completion {row}"
                raise self._fault(fault, "give one for each token of each completion")
            for token, value in enumerate(values):
                if not isinstance(value, Real) or value != value:
                    raise self._fault(f"gave {value!r} for token {token} of completion {row}", "give a number")
        return torch.zeros(len(given)), [[_float(value) for value in values] for values in given]

    def _fault(self, says: str, fix: str) -> RecipeError:
        return RecipeError(Problem(f"reward function {self.__name__}", says, fix))


def _columns(completed: Completed) -> list[str]:
    return list(completed.prompts[0].columns) if completed.prompts else []


def _float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _await(awaitable: Any) -> Any:
    """In a thread of its own: notebooks run a loop already, in which none can be waited for."""

    async def wait() -> Any:
        return await awaitable

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, wait()).result()


def _scores(count: int) -> str:
    return f"{count} score{'' if count == 1 else 's'}"
