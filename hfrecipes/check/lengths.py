"""Whether rows fit the context: what is cut, and what is cut so far that nothing is left to learn from."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.check.rows import Scan, named_places
from hfrecipes.data.encode import EncodedExample
from hfrecipes.data.encode_comparisons import EncodedComparison
from hfrecipes.data.settings import leaves_out_long_rows, row_settings
from hfrecipes.data.streams import encode_rows
from hfrecipes.recipe.answer_words import ANSWER_LENGTHS, answer_length, answer_word
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.source_list import PROMPTED
from hfrecipes.tokenization.tokenizer import Tokenizer

# A few long rows are left out and counted by the run; more than this share means that the length is wrong.
TOLERATED_SHARE = 0.01

Encoded = list[tuple[str, EncodedExample | EncodedComparison]]


def length_problems(
    recipe: Recipe, tokenizer: Tokenizer, scans: list[Scan], positions: int | None = None
) -> list[Problem]:
    """Encodes the samples of all scans as the run would, and says what `training.max_length` does to them.

    Args:
        recipe: The recipe; pretraining cuts nothing, since it packs documents across rows.
        tokenizer: Its tokenizer.
        scans: With their samples.
        positions: Tokens that the model can read at most, where it is known.
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
        # Where nothing is trained, such prompts are passed over and counted.
        if recipe.kind in ANSWER_LENGTHS and positions is not None:
            problems += _without_room(recipe, scan, encoded, positions)
    return problems


def _without_room(recipe: Recipe, scan: Scan, encoded: Encoded, positions: int) -> Iterator[Problem]:
    """Prompts behind which no whole answer fits: one of them ends the run."""
    answer = answer_length(recipe)
    long = [(place, len(row.input_ids)) for place, row in encoded if len(row.input_ids) + answer > positions]
    if long:
        longest = max(length for _, length in long)
        named = named_places([place for place, _ in long])
        fault = f"{len(long):,} prompts of {scan.key} leave no room for an answer of {answer} tokens: {named}"
        fix = f"say training.max_prompt_length: {positions - answer} or less, or {answer_word(recipe)}; or shorten them"
        if positions <= answer:
            fix = f"lower {answer_word(recipe)}"
        more = f"the longest has {longest} tokens, and the model {positions} positions"
        yield Problem(recipe.where(scan.key), f"{fault}; {more}", fix)


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
        does = "leaves out sequences of" if leaves_out_long_rows(recipe.kind) else "cuts"
        places = named_places([place for place, _ in cut])
        fault = f"{word} {max_length} {does} {len(cut):,} of {looked_at} of {scan.key}: {places}"
        yield Problem(where, fault, f"the longest has {longest} tokens", "warning")
