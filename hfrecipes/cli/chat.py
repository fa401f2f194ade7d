"""`hfrecipes chat`: talk to a run's model in the terminal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfrecipes.evaluation.conversation import Conversation

DEFAULT_MAX_NEW_TOKENS = 256
_EPILOG = """\
Say /reset to start afresh and /exit (or Ctrl-D) to leave; Ctrl-C stops an answer. A model that was only pretrained, or has no
chat template, continues each line. Lines from a pipe are answered one by one; only answers go to standard output.

  hfrecipes chat runs/my-run
  hfrecipes chat runs/my-run --base --temperature 0
  echo "What does len() do?" | hfrecipes chat runs/my-run
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "chat",
        help="talk to a run's model in the terminal",
        description="Talk to the model of a run, to an adapter on its base, or to any model's folder.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, or a model's folder")
    parser.add_argument(
        "--max-new-tokens",
        type=_positive_int,
        metavar="N",
        help=f"length at which an answer is cut ({DEFAULT_MAX_NEW_TOKENS}, or half the context where that is less)",
    )
    parser.add_argument(
        "--temperature",
        type=_temperature,
        default=0.7,
        metavar="T",
        help="of the drawing of tokens; 0 draws none (0.7)",
    )
    parser.add_argument("--base", action="store_true", help="talk to the model that the run started from")
    parser.set_defaults(command=chat)


def chat(args: argparse.Namespace) -> int:
    from hfrecipes.stages.quiet import quiet_libraries

    quiet_libraries()
    from hfrecipes.evaluation.conversation import Conversation
    from hfrecipes.evaluation.prompts import ChatTemplateError
    from hfrecipes.recipe.problem import Problem, RecipeError

    _refuse_reward_models(args.run)
    model, tokenizer, mode = _load_base(args.run) if args.base else _load(args.run)
    has_turns = tokenizer.chat_template is not None and not _is_pretrained_only(args.run)
    max_new_tokens = args.max_new_tokens or _default_length(model)
    try:
        conversation = Conversation(model, tokenizer, max_new_tokens, args.temperature, has_turns)
    except ChatTemplateError as error:
        fix = "correct its chat template, or save another with the tokenizer"
        raise RecipeError(Problem(str(args.run), str(error), fix)) from error
    except ValueError as error:
        raise RecipeError(Problem("--max-new-tokens", str(error), "give a smaller number")) from None
    if not has_turns:
        _note("This model was not made for conversations: it continues each line.")
    with mode:
        _talk(conversation)
    return 0


def _positive_int(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def _load(path: Path) -> tuple[Any, Any, AbstractContextManager]:
    """The model that the run trained, and its tokenizer."""
    from hfrecipes.models.of_run import load_run_model
    from hfrecipes.recipe.hardware import detect_hardware
    from hfrecipes.recipe.rundir import RunDir

    model, tokenizer = load_run_model(RunDir(path))
    return model.to(detect_hardware().device), tokenizer, nullcontext()


def _load_base(path: Path) -> tuple[Any, Any, AbstractContextManager]:
    """The model that the run started from, asked with the run's own tokenizer, so that both hear the same."""
    from hfrecipes.models.adapters import adapter_base, is_adapter, is_bottleneck
    from hfrecipes.models.of_run import load_run_tokenizer
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.rundir import RunDir

    run = RunDir(path)
    trained = run.model if run.model.is_dir() else path
    if is_adapter(trained) or is_bottleneck(trained):
        # Loaded anew: an adapter that began as a part of the base's weights cannot be turned off.
        return _base_of(*adapter_base(trained), load_run_tokenizer(run))
    facts = run.facts()["model"]
    if facts["base"] is None:
        fault = "started from random weights: it has no base to talk to"
        raise RecipeError(Problem(str(path), fault, "leave --base out"))
    return _base_of(facts["base"], facts.get("revision"), load_run_tokenizer(run))


def _refuse_reward_models(path: Path) -> None:
    """A reward model has learnt to score texts, and what its base would say is none of its own words.

    Raises:
        RecipeError: where the run trained one.
    """
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.rundir import RunDir

    run = RunDir(path)
    if run.facts_file.is_file() and run.facts()["kind"] == "reward":
        fault = "is a reward model: it scores answers and writes none"
        fix = "ask it with load_reward_model, as docs/preferences.md shows"
        raise RecipeError(Problem(str(path), fault, fix))


def _is_pretrained_only(path: Path) -> bool:
    """Whether the run is a pretraining: its tokenizer has a chat template for later, which the model has never read."""
    from hfrecipes.recipe.rundir import RunDir

    run = RunDir(path)
    return run.facts_file.is_file() and run.facts()["kind"] == "pretrain"


def _base_of(base: str, revision: str | None, tokenizer: Any) -> tuple[Any, Any, AbstractContextManager]:
    """The base, which reads tokens that its run has added as the training began with them."""
    from hfrecipes.models.extended_embeddings import extend_embeddings, extension_since, input_rows
    from hfrecipes.models.pretrained import load_pretrained, load_pretrained_tokenizer
    from hfrecipes.recipe.hardware import detect_hardware

    if Path(base).is_dir():
        model = _load(Path(base))[0]
    else:
        model = load_pretrained(base, revision=revision).eval().to(detect_hardware().device)
    if len(tokenizer) > input_rows(model):
        before = load_pretrained_tokenizer(base, revision=revision)
        extend_embeddings(model, extension_since(before, tokenizer), filled=False)
    return model, tokenizer, nullcontext()


def _default_length(model: Any) -> int:
    from hfrecipes.evaluation.generation import max_prompt_tokens

    context = max_prompt_tokens(model, 0)
    return DEFAULT_MAX_NEW_TOKENS if context is None else max(1, min(DEFAULT_MAX_NEW_TOKENS, context // 2))


def _talk(conversation: Conversation) -> None:
    for line in _lines():
        text = line.strip()
        if text == "/exit":
            return
        if text == "/reset":
            conversation.reset()
            _note("(forgotten)")
        elif text:
            _reply(conversation, text if conversation.has_turns else line)


def _reply(conversation: Conversation, text: str) -> None:
    try:
        forgotten = conversation.ask(text)
    except ValueError as error:
        _note(f"({error})")
        return
    if forgotten:
        _note(f"(the oldest {forgotten} turns no longer fit the context and are forgotten)")
    conversation.answer(lambda piece: print(piece, end="", flush=True))
    print(flush=True)


def _lines() -> Iterator[str]:
    """What the user types, or what comes through the pipe, without the ends of lines."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    with suppress(ImportError):
        import readline  # noqa: F401  (gives input() its history and line editing)
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
