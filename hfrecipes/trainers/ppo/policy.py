"""A causal language model whose one forward pass also gives log-probabilities, entropies and values of completions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hfrecipes.models.mtp.anatomy import Anatomy, find_anatomy
from hfrecipes.trainers.ppo.token_scores import chunked_token_scores, linear_token_scores

# Where what makes values hangs in the model, and what its weights are called in its state.
VALUE_PREFIX = "ppo_value."
Wanted = Literal["logps", "values", "all", "hidden"]
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def make_policy(model: Any) -> Any:
    """Gives a model the forward pass of PPO, beside its own; the object and its class's name stay.

    Args:
        model: A causal language model of transformers, not wrapped.

    Raises:
        AnatomyError: what it does to its hidden states is not understood.
    """
    if not isinstance(model, PolicyModel):
        anatomy = find_anatomy(model)
        model.__class__ = _with_scores(type(model))
        model.ppo_anatomy = anatomy
        model.ppo_value = None
        model.ppo_second_pass = None
    return model


def _with_scores(base: type) -> type:
    """The class of a policy. The name stays: config.architectures is read from it when the model is saved."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return PolicyModel.forward(self, *args, **kwargs)

    # Generation asks the forward pass for masks and positions, and feeds what it is said to take.
    forward.__signature__ = inspect.signature(base.forward)
    return type(base.__name__, (PolicyModel, base), {"__module__": base.__module__, "forward": forward})


class PolicyModel:
    """Comes before a model's class in the bases.

    Attributes:
        ppo_anatomy: What the model does to the product with its output matrix.
        ppo_value: Makes values; None where none are asked for.
        ppo_second_pass: With an adapter of its own for values: a context in which that runs.
    """

    ppo_anatomy: Anatomy
    ppo_value: nn.Module | None
    ppo_second_pass: Callable[[], Any] | None

    def forward(
        self,
        *args: Any,
        responses: Tensor | None = None,
        temperature: float = 1.0,
        wanted: Wanted = "all",
        **kwargs: Any,
    ) -> Any:
        """As that of the model; with `responses`, what PPO needs of them.

        Args:
            args: Those of the model.
            responses: `(tokens,)` places in the flattened `input_ids`, of the token *before* each one that was chosen.
            temperature: Of sampling.
            wanted: `logps`: these and entropies; `all`: values, too; `values`: only these, where they have a forward pass of
                their own; `hidden`: only the states at these places.
            kwargs: Those of the model; rows are padded at the right, so no mask is needed.

        Returns:
            With `responses`, a dictionary of `logps`, `entropies` and `values`, each `(tokens,)`; or of `hidden`,
            `(tokens, width)`.
        """
        if responses is None:
            return super().forward(*args, **kwargs)
        if wanted == "hidden":
            return {"hidden": self._hidden(responses, kwargs)}
        tokens = kwargs["input_ids"].flatten().index_select(0, responses + 1)
        ids, responses = _without_last(kwargs["input_ids"], responses)
        kwargs = {**kwargs, "input_ids": ids}
        if wanted == "values":
            return {"values": self._values(None, responses, kwargs)}
        hidden = self._hidden(responses, kwargs)
        logps, entropies = self._token_scores(hidden, tokens, temperature)
        made = {"logps": logps, "entropies": entropies}
        if wanted == "all" and self.ppo_value is not None:
            made["values"] = self._values(hidden, responses, kwargs)
        return made

    def save_pretrained(self, *args: Any, state_dict: dict[str, Tensor] | None = None, **kwargs: Any) -> Any:
        """Saves the model as one that makes no values."""
        whole = self.state_dict() if state_dict is None else state_dict
        plain = {name: weight for name, weight in whole.items() if VALUE_PREFIX not in name}
        return super().save_pretrained(*args, state_dict=plain, **kwargs)

    def _hidden(self, places: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """What the output matrix would read, `(places, width)`; of its logits one position is made and thrown away."""
        seen: list[Tensor] = []

        def catch(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            seen.append(args[0])
            return (args[0][:, -1:], *args[1:])

        handle = self.get_output_embeddings().register_forward_pre_hook(catch)
        try:
            super().forward(**{**kwargs, "use_cache": False, "return_dict": True})
        finally:
            handle.remove()
        return seen[0].flatten(0, 1).index_select(0, places)

    def _token_scores(self, hidden: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        output, anatomy = self.get_output_embeddings(), self.ppo_anatomy
        # ZeRO-3 gathers a weight when its module is called, not when it is looked at.
        if type(output) is nn.Linear and not hasattr(output.weight, "ds_id"):
            words = {"softcap": anatomy.softcap, "scale": anatomy.scale, "temperature": temperature}
            return linear_token_scores(hidden, output.weight, tokens, bias=output.bias, **words)
        return chunked_token_scores(hidden, lambda rows: anatomy.finish(output(rows)), tokens, temperature)

    def _values(self, hidden: Tensor | None, responses: Tensor, kwargs: dict[str, Any]) -> Tensor:
        if self.ppo_second_pass is not None:
            with self.ppo_second_pass():
                hidden = self._hidden(responses, kwargs)
        return self.ppo_value(hidden, responses, kwargs)


def _without_last(ids: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Rows without their last token, and the places in them: it is drawn, and nothing is drawn behind it."""
    return ids[:, :-1].contiguous(), places - places.div(ids.shape[1], rounding_mode="floor")


def output_width(model: Any) -> int:
    """Numbers in each hidden state that the output matrix reads."""
    return model.get_output_embeddings().in_features


def disable_dropout(model: nn.Module) -> None:
    """Sets every rate of dropout to 0, those in attributes that attention hands to its kernel included."""
    for module in model.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or "pdrop" in name):
                setattr(module, name, 0.0)


def base_of(model: Any) -> Any:
    """The causal language model under an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
