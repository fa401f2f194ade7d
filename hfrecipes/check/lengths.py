"""Whether rows fit the context: what is cut, and what is cut so far that nothing is left to learn from."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.check.rows import Scan, named_places
from hfrecipes.data.encode import EncodedExample
from hfrecipes.data.encode_comparisons import EncodedComparison
from hfrecipes.data.settings import row_settings
from hfrecipes.data.streams import encode_rows
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.source_list import PROMPTED
from hfrecipes.tokenization.tokenizer import Tokenizer

# A few long rows are left out and counted by the run; more than this share means that the length is wrong.
TOLERATED_SHARE = 0.01

Encoded = list[tuple[str, EncodedExample | EncodedComparison]]


def length_problems(recipe: Recipe, tokenizer: Tokenizer, scans: list[Scan]) -> list[Problem]:
    """Encodes the samples of all scans as the run would, and says what `training.max_length` does to them.

    Args:
        recipe: The recipe; pretraining cuts nothing, since it packs documents across rows.
        tokenizer: Its tokenizer.
        scans: With their samples.
    """
    if recipe.kind == "pretrain":
        return []
    try:
        settings = row_settings(recipe)
    except RecipeError:
        return []  # said by the agreement of words
    problems: list[Problem] = []
    for scan in scans:
        encoded: Encoded = []
        refused: dict[str, list[str]] = {}
        for where, example in scan.sample:
            try:
                encoded += [(where, encode_rows([example], tokenizer, settings, [where])[0])]
            except RecipeError as error:
                problem = error.problems[0]
                refused.setdefault(f"{problem.message}\n{problem.fix}", []).append(where)
        problems += _refusals(refused, len(scan.sample))
        problems += _cuts(recipe, scan, encoded, settings.max_length)
    return problems


def _refusals(refused: dict[str, list[str]], num_rows: int) -> Iterator[Problem]:
    for text, places in refused.items():
        message, _, fix = text.partition("\n")
        count = f": {len(places):,} of {num_rows:,} rows, {named_places(places)}" if len(places) > 1 else ""
        yield Problem(places[0], message + count, fix)


def _cuts(recipe: Recipe, scan: Scan, encoded: Encoded, max_length: int | None) -> Iterator[Problem]:
    looked_at = f"{len(encoded):,} rows" + (" looked at" if len(encoded) < scan.num_rows else "")
    word = "max_prompt_length" if recipe.kind in PROMPTED else "max_length"
    where = recipe.where(f"training.{word}")
    # Answers that are all tied teach nothing either, whatever the length.
    emptied = [place for place, row in encoded if not row.supervised_tokens and row.truncated_tokens]
    if emptied:
        longest = max(row.longest for _, row in encoded if not row.supervised_tokens)
        fault = f"max_length {max_length} leaves nothing to learn from in {len(emptied):,} of {looked_at} of {scan.key}"
        filled = "their answers reach beyond it" if recipe.kind == "reward" else "their prompts alone fill it"
        fix = f"{filled}: {named_places(emptied)}; raise max_length to {longest}, or shorten them"
        few = len(emptied) <= TOLERATED_SHARE * len(encoded)
        yield Problem(where, fault, fix, "warning" if few else "error")
    cut = [(place, row) for place, row in encoded if row.truncated_tokens and row.supervised_tokens]
    if len(cut) > TOLERATED_SHARE * len(encoded):
        longest = max(row.longest for _, row in cut)
        fault = (
            f"{word} {max_length} cuts {len(cut):,} of {looked_at} of {scan.key}: {named_places([p for p, _ in cut])}"
        )
        yield Problem(where, fault, f"the longest has {longest} tokens", "warning")
