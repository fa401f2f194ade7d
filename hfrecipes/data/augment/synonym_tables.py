"""Where synonyms come from: a user's file, nltk's WordNet, or the short tables of our own in English and Chinese."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError

Table = dict[str, tuple[str, ...]]
_TABLES = Path(__file__).parent


@cache
def own_table(language: str) -> Table:
    """Our own table of a language: `en` or `zh`. Entries are exact forms, each with forms that fit in its place."""
    return read_table(_TABLES / f"synonyms_{language}.tsv")


def read_table(path: Path) -> Table:
    """A user's table: JSON `{"word": ["synonym", ...]}`, or lines of word, tab, synonyms with commas between.

    Raises:
        RecipeError: at the line or word that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        message = f"the synonyms cannot be read: {reason}"
        raise RecipeError(Problem(str(path), message, "name a JSON or TSV file in UTF-8")) from error
    table = _from_json(text, path) if path.suffix.lower() == ".json" else _from_lines(text, path)
    if not table:
        raise RecipeError(Problem(str(path), "there are no synonyms in it", "write word, tab, synonyms on each line"))
    return table


def wordnet_synonyms(word: str) -> tuple[str, ...]:
    """Other words of the synsets in which an English word stands, in the order of WordNet; the word as it is, uninflected.

    Only words that are in one synset alone are taken: of the others, nobody here knows which sense is meant. WordNet has to be
    installed, which `refuse_missing_wordnet` looks at.
    """
    return _wordnet_lookup()(word)


def refuse_missing_wordnet(where: str) -> None:
    """Says at once that WordNet is not there, which would else be seen at the first English word.

    Args:
        where: The place in the recipe that asks for it.

    Raises:
        RecipeError: nltk or the data of its WordNet is not installed.
    """
    try:
        from nltk.corpus import wordnet

        wordnet.ensure_loaded()
    except (ImportError, LookupError) as error:
        message = "WordNet is not installed"
        fix = "pip install nltk, then python -m nltk.downloader wordnet; or say file: with synonyms of your own"
        raise RecipeError(Problem(where, message, fix)) from error


@cache
def _wordnet_lookup() -> Any:
    from nltk.corpus import wordnet

    @cache
    def look_up(word: str) -> tuple[str, ...]:
        synsets = wordnet.synsets(word)
        lemmas = synsets[0].lemma_names() if len(synsets) == 1 else []
        # WordNet looks up `dogs` as `dog`; a synonym of the one does not fit in place of the other.
        if word not in lemmas:
            return ()
        return tuple(lemma.replace("_", " ") for lemma in lemmas if lemma != word)

    return look_up


def _from_json(text: str, path: Path) -> Table:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise RecipeError(Problem(str(path), f"it is not JSON: {error}", "correct the file")) from error
    if not isinstance(values, dict):
        raise RecipeError(Problem(str(path), "it holds no mapping", 'write {"word": ["synonym", ...]}'))
    table: Table = {}
    for word, synonyms in values.items():
        listed = [synonyms] if isinstance(synonyms, str) else synonyms
        if not isinstance(listed, list) or not all(isinstance(one, str) and one.strip() for one in listed):
            message = f"the synonyms of {word!r} are no list of words"
            raise RecipeError(Problem(str(path), message, 'write {"word": ["synonym", ...]}'))
        _add(table, word, listed)
    return table


def _from_lines(text: str, path: Path) -> Table:
    table: Table = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, tab, listed = line.partition("\t")
        synonyms = [one for one in listed.replace("，", ",").replace("\t", ",").split(",") if one.strip()]
        if not tab or not word.strip() or not synonyms:
            message = f"{line.strip()!r} is no word with synonyms"
            raise RecipeError(Problem(f"{path}:{number}", message, "write word, tab, synonyms with commas between"))
        _add(table, word, synonyms)
    return table


def _add(table: Table, word: str, synonyms: list[str]) -> None:
    word = word.strip()
    listed = (*table.get(word, ()), *(one.strip() for one in synonyms))
    if others := tuple(dict.fromkeys(one for one in listed if one != word)):
        table[word] = others
