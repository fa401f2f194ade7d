"""Named sources: `name: fineweb-edu` in a recipe stands for the words that load it, and for what its card says of it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError

_FILE = Path(__file__).with_suffix(".yaml")

CATEGORIES = (
    *("web", "books", "papers", "news", "reference", "code"),
    *("conversation", "instruction", "preference", "domain"),
)
# Lowest and highest share of the tokens of a general pretraining mix by category: the ranges that this project's mixes keep
# to. Conversation and domains come on top, by purpose.
TYPICAL_SHARES: dict[str, tuple[float, float]] = {
    "web": (0.60, 0.70),
    "books": (0.10, 0.15),
    "papers": (0.05, 0.10),
    "news": (0.05, 0.10),
    "reference": (0.02, 0.05),
    "code": (0.05, 0.10),
}
_LOADER_WORDS = ("subset", "split")


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueEntry:
    """A source that has a name of its own.

    Args:
        title: What it is, in a few words.
        category: One of `CATEGORIES`.
        license: The Hub's word for the licence.
        languages: ISO 639-1 codes; `code` for programs.
        name: The data set's id on the Hub, or an embedded source.
        subset: Its configuration.
        split: The split that is meant where a recipe names none.
        text: Their column with the text; None where rows are no plain text.
        columns: Ours: theirs, where theirs are named otherwise.
        rows: How many rows those words give, as published.
        bytes: How many bytes, as published.
        tokens: How many tokens, as published, by the tokenizer of those who published it.
        published: The month, or only the year, that the figures are of.
        license_note: What the licence's word leaves open.
        note: What else to know of its size.
        gated: Whether its terms have to be accepted on its page first.
        domain: The field, where the category is `domain`.
    """

    title: str
    category: str
    license: str
    languages: tuple[str, ...]
    name: str
    subset: str | None = None
    split: str | None = None
    text: str | None = None
    columns: dict[str, str] | None = None
    rows: int | None = None
    bytes: int | None = None
    tokens: int | None = None
    published: str | None = None
    license_note: str = ""
    note: str = ""
    gated: bool = False
    domain: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether it needs no network."""
        return "/" not in self.name

    @property
    def source(self) -> dict[str, Any]:
        """The words of a recipe's source that load it."""
        words: dict[str, Any] = {"name": self.name, "license": self.license}
        if not self.embedded:  # whose rows without a split are all there are
            words |= {word: getattr(self, word) for word in _LOADER_WORDS if getattr(self, word)}
        columns = dict(self.columns or {})
        if self.text not in (None, "text"):
            columns["text"] = self.text
        return words | ({"columns": columns} if columns else {})


def load_catalogue() -> dict[str, CatalogueEntry]:
    """All named sources, by name, in the order of the file."""
    return dict(_entries())


def lookup(name: str) -> CatalogueEntry | None:
    """The source of that name, whatever its case; None where there is none."""
    return _entries().get(name) or _entries().get(name.lower())


def expand(spec: dict[str, Any], where: str = "") -> dict[str, Any]:
    """A recipe's source with the words of the catalogue in place of a name from it. What the recipe says wins.

    Columns are merged by our names. Ours are left out that the recipe maps from elsewhere, or to which it gives another
    name; with a `format` function all of them, since it reads the rows as they are.

    Args:
        spec: A source of a recipe; one with a path, with a Hub id, or embedded comes back as it is.
        where: Its place in the recipe, for problems.

    Raises:
        RecipeError: the name is no id of a data set (`user/name`), and nearly that of a named source. Other names are left to
            the Hub, where some old data sets have one without a user.
    """
    name = spec.get("name")
    if not isinstance(name, str) or "/" in name:
        return spec
    entry = lookup(name)
    if entry is None and (near := get_close_matches(name.lower(), _entries(), n=1, cutoff=0.75)):
        message = f"{name!r} is no named source, and a data set of the Hub is named user/name"
        fix = f"did you mean {near[0]}? `hfrecipes data sources` lists all of them"
        raise RecipeError(Problem(where, message, fix))
    if entry is None or entry.embedded:
        return spec
    said = {word: value for word, value in spec.items() if word != "name" and value is not None}
    words = entry.source
    columns = _merged(words.pop("columns", {}), said) or said.pop("columns", None)
    return words | said | ({"columns": columns} if columns else {})


def _merged(listed: dict[str, str], said: dict[str, Any]) -> dict[str, str]:
    own = said.get("columns") or {}
    if said.get("format"):
        return own
    return {ours: theirs for ours, theirs in listed.items() if theirs not in own.values()} | own


@lru_cache(maxsize=1)
def _entries() -> dict[str, CatalogueEntry]:
    import yaml

    listed = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {name: _entry(fields) for name, fields in listed.items()}


def _entry(fields: dict[str, Any]) -> CatalogueEntry:
    counts = {word: int(fields[word]) for word in ("rows", "bytes", "tokens") if word in fields}
    return CatalogueEntry(**fields | counts | {"languages": tuple(fields["languages"])})
