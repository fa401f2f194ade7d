"""What is counted while a source is prepared: its entry under `data` in run.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
        dropped_rows: Rows of which the cut left nothing supervised.
        bytes: UTF-8 bytes of the text, without what a chat template adds.
    """

    documents: int = 0
    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    truncated_rows: int = 0
    truncated_tokens: int = 0
    dropped_rows: int = 0
    bytes: int = 0

    def warnings(self, title: str, max_length: int | None) -> list[str]:
        """What was lost, in words; empty where nothing was."""
        found = []
        if self.truncated_rows:
            found.append(
                f"{title}: {self.truncated_rows} of {self.documents} rows are longer than max_length {max_length}; "
                f"{self.truncated_tokens} tokens were cut"
            )
        if self.dropped_rows:
            found.append(
                f"{title}: {self.dropped_rows} of {self.documents} rows were left out, as the cut to max_length "
                f"{max_length} leaves no supervised token in them"
            )
        return found

    def entry(self, role: str, name: str, split: str | None, revision: str, license: str | None) -> dict[str, Any]:
        """The entry of run.json."""
        counts = {field: getattr(self, field) for field in self.__slots__}
        return {"role": role, "name": name, "split": split, **counts, "revision": revision, "license": license}
