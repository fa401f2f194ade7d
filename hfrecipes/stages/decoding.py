"""What the heads of a run are worth: its own held-out texts, continued with them and without."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from rich.console import Console
from rich.table import Table

from hfrecipes.data.examples import read_examples
from hfrecipes.data.formats import Example
from hfrecipes.data.sources import open_sources
from hfrecipes.evaluation.decoding import Decoding, measure_decoding
from hfrecipes.evaluation.prompts import prompt_ids, split_example
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.recipe.loader import Recipe

PROMPTS = 8
MAX_NEW_TOKENS = 64
# Of a held-out document, so many tokens are read before it is gone on with.
_READ = 64


def decoding_facts(recipe: Recipe, model: Any, tokenizer: Any, console: Console) -> dict[str, Any]:
    """`decoding` for the facts of a run whose model has heads; empty for others, and where nothing is held out.

    Args:
        recipe: A resolved recipe.
        model: As it was trained, with its heads.
        tokenizer: Its transformers tokenizer.
        console: Where progress and the table are shown.
    """
    number = recipe.get("evaluation.decoding_prompts", PROMPTS)
    if mtp_settings(recipe) is None or number == 0:
        return {}
    examples = list(islice(_held_out(recipe), number))
    if not examples:
        return {}
    console.print(f"decoding {len(examples)} held-out prompts with the heads, and without", highlight=False)
    prompts = [_prompt(tokenizer, example) for example in examples]
    conversation = any(not isinstance(example.get("text") or example.get("prompt"), str) for example in examples)
    found = measure_decoding(model, tokenizer, prompts, MAX_NEW_TOKENS, conversation)
    if found is None:
        return {}
    console.print(decoding_line(found), highlight=False)
    console.print(decoding_table(found))
    return {"decoding": found.to_facts()}


def decoding_line(found: Decoding) -> str:
    """Tokens a pass, speed and agreement. A line of its own: as the table's title it would be broken to the table's width."""
    facts = found.to_facts()
    same = f"{found.identical} of {found.prompts} prompts token for token as without"
    return f"{facts['tokens_per_pass']:.2f} tokens a pass, {facts['times_generate']:.2f} times the speed of generate; {same}"


def decoding_table(found: Decoding) -> Table:
    """Heads down: what became of their drafts."""
    facts = found.to_facts()
    table = Table()
    for title in ("token ahead", "drafted", "accepted when judged", "written of all drafts"):
        table.add_column(title, justify="right")
    shares = zip(found.drafted, facts["accepted_by_head"], facts["written_by_place"], strict=True)
    for ahead, (drafted, accepted, written) in enumerate(shares, start=2):
        table.add_row(str(ahead), f"{drafted:,}", _share(accepted), _share(written))
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _held_out(recipe: Recipe) -> Any:
    role = "test" if recipe.get("data.test") else "eval"
    if not recipe.sources(role):
        return iter(())
    sources = open_sources(recipe, role)
    rows = chain.from_iterable(read_examples(recipe, role, index, source) for index, source in enumerate(sources))
    return (example for _, example in rows)


def _prompt(tokenizer: Any, example: Example) -> list[int]:
    if "text" in example:
        return tokenizer(example["text"])["input_ids"][:_READ]
    return prompt_ids(tokenizer, split_example(example, "a held-out row")[0])
