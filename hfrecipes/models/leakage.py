"""Whether packed documents see each other, found out by running the model on a batch that the trainer's collator made.

transformers keeps documents apart where positions start anew, but only where it is given no attention mask and no cache; where
one of the three is wrong, one document conditions the next and nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from hfrecipes.models.leak_causes import FAULTS, Cause, find_causes
from hfrecipes.models.leak_check import COLUMNS, Check
from hfrecipes.models.mode import eval_mode


class LeakageError(ValueError):
    """Packed documents depend on each other. `causes` says by what; `fixes` how to mend each."""

    def __init__(self, model: Any, causes: Collection[Cause], moved: float) -> None:
        self.causes = tuple(causes)
        self.fixes = tuple(FAULTS[cause][1] for cause in causes)
        faults = "; ".join(FAULTS[cause][0] for cause in causes)
        self.fault = f"{type(model).__name__} does not keep packed documents apart: {faults}"
        super().__init__(
            f"{self.fault}; a document's logits move by {moved:.2g} of their spread ({'; '.join(self.fixes)})"
        )


def check_no_leakage(
    model: Any,
    collator: Callable[[list[dict[str, Any]]], Mapping[str, Any]],
    columns: Collection[str] = COLUMNS,
    *,
    packed: bool = True,
    **added: Any,
) -> None:
    """Refuses a model and collator that let packed documents see each other.

    A batch of two rows, one of which holds two documents, goes through the collator and the model. The second document has to
    come out as it does when the first is another one, and as it does alone; the latter also finds positions that go on from
    one document to the next. Three forward passes of some twenty tokens; where they show a leak, a few more say by what.

    A model whose layers pass nothing on from token to token yet, such as one whose output projections are zero, shows no leak.

    Args:
        model: A causal language model, possibly with adapters, on any device. It runs in evaluation mode, without gradients;
            the mode of every module is put back.
        collator: The trainer's own.
        columns: Those of the training set. Of `input_ids`, `labels`, `position_ids` and `seq_lengths` the collator is given
            what is among them; position_ids only to a model whose `forward` names them, as the stock trainer does.
        packed: Whether a row of the training set holds several documents; where it holds one, the collator may still join rows.
        added: What the trainer gives to the model beside the batch, such as TRL's `use_cache=False`.

    Raises:
        LeakageError: they do, with the causes and what to do about each.
        Exception: whatever the collator or the model's forward raises.
    """
    check = Check.of(model, collator, columns, packed, added)
    with eval_mode(model):
        if not check.leaks():
            return
        causes = find_causes(check)
        moved = check.moved()
    raise LeakageError(model, causes, moved)
