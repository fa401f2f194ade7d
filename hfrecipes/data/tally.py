"""What is counted while a source is prepared: its entry under `data` in run.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hfrecipes.data.faults import Places
from hfrecipes.data.formats import Example, example_texts

# What pandas and its kin write where a value is missing. "None" and "null" are not here: they are answers, too.
_MISSING = frozenset({"nan", "NaN", "<NA>", "NaT"})
_COUNTS = (
    "documents",
    "rows",
    "tokens",
    "supervised_tokens",
    "truncated_rows",
    "truncated_tokens",
    "dropped_rows",
    "bytes",
)


@dataclass(slots=True)
class Tally:
    """Counts of one source.

    Args:
        documents: Rows of the source.
        rows: Rows that are trained or measured on.
        tokens: Tokens in these.
        supervised_tokens: Those of them that have a label.
        truncated_rows: Rows that `max_length` cut, dropped ones included.
        truncated_tokens: What it cut.
        bytes: UTF-8 bytes of the text, without what a chat template adds.
        dropped: Rows of which the cut left nothing supervised.
        tied: Rows whose answers are all equally good, which are left out.
        missing: Rows of which a text is only the mark of a missing value.
        silent_rows: Packed rows that were left out because they hold no more than prompts.
        kinds: Rows, tokens and supervised tokens by what the rows are tagged with: refusal, chain_of_thought …
        families: Rows of the source by the family of their task.
        labels: Rows that are trained or measured on, by whether their answer is good, where they say it.
    """

    documents: int = 0
    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    truncated_rows: int = 0
    truncated_tokens: int = 0
    bytes: int = 0
    dropped: Places = field(default_factory=Places)
    tied: Places = field(default_factory=Places)
    missing: Places = field(default_factory=Places)
    silent_rows: int = 0
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    families: dict[str, int] = field(default_factory=dict)
    labels: dict[bool, int] = field(default_factory=dict)

    @property
    def dropped_rows(self) -> int:
        return self.dropped.count

    def add_example(self, where: str, example: Example) -> None:
        """Counts what one row of the source says."""
        texts = example_texts(example)
        self.documents += 1
        if family := example.get("family"):
            self.families[family] = self.families.get(family, 0) + 1
        self.bytes += sum(len(text.encode()) for text in texts)
        if any(text.strip() in _MISSING for text in texts):
            self.missing.add(where)

    def add_row(self, kind: str | None, tokens: int, supervised_tokens: int, label: bool | None = None) -> None:
        """Counts a row that is trained or measured on."""
        if label is not None:
            self.labels[label] = self.labels.get(label, 0) + 1
        counts = {"rows": 1, "tokens": tokens, "supervised_tokens": supervised_tokens}
        self.rows += 1
        self.tokens += tokens
        self.supervised_tokens += supervised_tokens
        if kind is not None:
            earlier = self.kinds.get(kind, {})
            self.kinds[kind] = {name: earlier.get(name, 0) + count for name, count in counts.items()}

    def warnings(
        self, title: str, max_length: int | None, word: str = "max_length", leaves_out: bool = False
    ) -> list[str]:
        """What was lost or looks wrong, in words; empty where nothing was.

        Args:
            title: Of the source.
            max_length: The bound of a row.
            word: What says so in the recipe.
            leaves_out: Whether sequences beyond it were left out whole, rather than cut.
        """
        found = self._losses(title, f"{word} {max_length}", leaves_out)
        if self.tied.count:
            found.append(
                f"{title}: {self.tied.count} of {self.documents} rows were left out, as no answer is better than another: "
                f"{self.tied}"
            )
        if self.silent_rows:
            found.append(f"{title}: {self.silent_rows} packed rows were left out, as they hold no more than prompts")
        if self.missing.count:
            found.append(
                f"{title}: in {self.missing.count} of {self.documents} rows a text is only the word for a missing value, "
                f"such as nan, and is learned as text: {self.missing}"
            )
        return found

    def _losses(self, title: str, bound: str, leaves_out: bool) -> list[str]:
        """What became of rows that are too long: one sentence for those that lost some of it, one for those that lost all."""
        found = []
        if self.truncated_rows > self.dropped_rows:
            fate = "were left out with their sequences" if leaves_out else "were cut"
            what = "have sequences longer" if leaves_out else "are longer"
            found.append(
                f"{title}: {self.truncated_rows} of {self.documents} rows {what} than {bound}; "
                f"{self.truncated_tokens} tokens {fate}"
            )
        if self.dropped_rows:
            why = (
                f"too few of their answers fit into {bound}"
                if leaves_out
                else f"the cut to {bound} leaves no supervised token in them"
            )
            found.append(
                f"{title}: {self.dropped_rows} of {self.documents} rows were left out, as {why}: {self.dropped}"
            )
        return found

    def entry(self, role: str, name: str, split: str | None, revision: str, license: str | None) -> dict[str, Any]:
        """The entry of run.json."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        kinds = {"kinds": dict(sorted(self.kinds.items()))} if self.kinds else {}
        families = {"families": dict(sorted(self.families.items()))} if self.families else {}
        named = {"role": role, "name": name, "split": split}
        return {**named, **counts, **kinds, **families, "revision": revision, "license": license}
