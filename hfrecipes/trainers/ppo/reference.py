"""What the policy may not leave: its base without an adapter, a copy of its adapter, or a copy of all of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from peft import PeftModel

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.trainers.ppo.adapters import REFERENCE, add_reference_copy, refuse_unfit_base, running
from hfrecipes.trainers.ppo.policy import base_of, disable_dropout, make_policy


@dataclass
class Reference:
    """Scores texts as the policy does, by weights that stay.

    Args:
        model: A model of its own; None where it shares the policy's.
        adapter: Of a shared one, the adapter that runs; None for the base alone.
        is_start: Whether the policy begins as it: then their divergence is 0 before the first step.
    """

    model: Any | None = None
    adapter: str | None = None
    is_start: bool = True

    def score(self, policy: Any, call: Any, **inputs: Any) -> Any:
        """One forward pass.

        Args:
            policy: The model without wrappers, whose adapters are switched.
            call: What is called: the same, or what wraps it.
            inputs: Of the forward pass.
        """
        if self.model is not None:
            return self.model(**inputs)
        with running(policy, self.adapter):
            return call(**inputs)


def make_reference(policy: Any, given: Any | None, fresh_adapter: bool, is_sharded: bool) -> Reference:
    """The reference of a training that begins.

    Args:
        policy: With its adapter, before anything is wrapped.
        given: A model to take; None for the policy as it is now.
        fresh_adapter: Whether its adapter has just been put onto a finished model.
        is_sharded: Whether weights are not here yet, so that nothing can be copied (ZeRO-3).

    Raises:
        RecipeError: the policy cannot be its own reference.
    """
    if given is not None:
        disable_dropout(given)
        make_policy(base_of(given))
        return Reference(given.requires_grad_(False).eval(), is_start=False)
    if isinstance(policy, PeftModel):
        if fresh_adapter:
            refuse_unfit_base(policy, "peft_config")
            return Reference(adapter=None)
        add_reference_copy(policy)
        return Reference(adapter=REFERENCE)
    if is_sharded:
        fault = "the weights are split over processes, so no copy of them can be made"
        raise RecipeError(Problem("ref_model", fault, "give it, or train an adapter (peft_config)"))
    return Reference(copy.deepcopy(policy).requires_grad_(False).eval())
