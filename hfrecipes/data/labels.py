"""The names of a classification's labels."""

from __future__ import annotations

from hfrecipes.data.cells import Cells
from hfrecipes.data.messages import kind_of

# A message lists no more labels than this.
_LISTED = 20


def label_names(labels: dict[str, str] | list[str] | None) -> list[str]:
    """The names that a recipe declares, each once and in its order; none where it declares none."""
    names = labels.values() if isinstance(labels, dict) else labels or []
    return list(dict.fromkeys(names))


def label_name(cells: Cells, labels: dict[str, str] | list[str] | None) -> str:
    """The name of a row's label.

    A label is a string, a whole number or a truth value, as the data has it; `1.0`, which a data frame makes of 1 where
    a column has gaps, is 1. Data that hold the declared names themselves are read, too.

    Args:
        cells: A row with the column `label`.
        labels: The declared names, by label or counted from 0. None takes each label as its own name.

    Raises:
        RecipeError: the label is missing, of no such type, or not among the declared ones.
    """
    value = cells.cell("label")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        value = cells.text("label").strip()
    elif not isinstance(value, bool | int):
        raise cells.error("label", f"is {kind_of(value)} where a string, a whole number, true or false is expected")
    written = str(value).lower() if isinstance(value, bool) else str(value)
    if labels is None:
        return written
    known = labels if isinstance(labels, dict) else {str(number): name for number, name in enumerate(labels)}
    if isinstance(value, bool):
        known = {key.lower(): name for key, name in known.items()}
    if written in known:
        return known[written]
    if written in known.values():
        return written
    listed = ", ".join(f"{key} ({name})" for key, name in list(known.items())[:_LISTED])
    rest = " …" if len(known) > _LISTED else ""
    fault = f"is {value!r}, which is none of {listed}{rest}"
    raise cells.error("label", fault, "add it to labels:, or correct the row")
