"""Heads put onto a causal language model, and the loss of all of them inside its forward pass."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.cpu_packing import keep_unpacked
from hfrecipes.models.mtp.anatomy import Anatomy, AnatomyError, find_anatomy
from hfrecipes.models.mtp.beside import spoken
from hfrecipes.models.mtp.decode import DecodesWithHeads
from hfrecipes.models.mtp.heads import ChainedHeads, LayerCall, ParallelHeads
from hfrecipes.models.mtp.idle import warn_of_idle_heads
from hfrecipes.models.mtp.saving import read_heads, split_state, write_heads
from hfrecipes.models.mtp.watching import Seen, watched
from hfrecipes.models.pretrained import load_with_adapter
from hfrecipes.objectives.linear_cross_entropy import IGNORED, chunked_cross_entropy, linear_cross_entropy
from hfrecipes.objectives.mtp import head_sums, head_targets, row_weights
from hfrecipes.objectives.settings import HeadKind, MTPSettings

_LOSS_WEIGHT = MTPSettings().loss_weight


@dataclass
class MTPOutput(CausalLMOutputWithPast):
    """The output of a forward pass with labels.

    Args:
        head_losses: `(heads,)`, the sum of each head's cross-entropies over its own targets, without gradient.
        head_targets: `(heads,)`, how many targets each has; none where a head is not run.
    """

    head_losses: Tensor | None = None
    head_targets: Tensor | None = None


def add_mtp_heads(model: Any, num_future_tokens: int = 4, heads: HeadKind = "parallel") -> Any:
    """Gives a causal language model heads for the tokens after the next one.

    With `labels`, the forward pass returns one loss over all heads (`MTPOutput`) and makes no logits; without, it is as it was:
    the model's own head, its logits and its cache. The model stays of its class, and saves as one without heads. Each further
    head counts 0.3 beside the model's own; `model.mtp_weights` changes that, and trainers of ours set it in each step.

    Args:
        model: Of transformers, with weights; not wrapped yet.
        num_future_tokens: Tokens that are predicted at each position, the next one included.
        heads: `parallel`: all read the trunk; `chained`: each reads the one before.

    Returns:
        The same object.

    Raises:
        ValueError: it has heads already, or their number cannot be.
        AnatomyError: a part that they need is not found.
    """
    if num_future_tokens < 2:
        raise ValueError(f"num_future_tokens is {num_future_tokens}; the model itself predicts one, so it is 2 or more")
    if isinstance(model, MTPModel):
        raise ValueError(f"{type(model).__name__} has heads for {model.num_future_tokens} tokens already")
    quantised = getattr(model, "quantization_method", None)
    if quantised not in (None, "bitsandbytes"):
        fault = f"the last layer of {type(model).__name__} is quantised by {getattr(quantised, 'value', quantised)}"
        raise AnatomyError(f"{fault}; of such weights no heads can be made: take bitsandbytes, or the model as it was")
    keep_unpacked(model)
    anatomy = find_anatomy(model)
    layer = anatomy.last_layer(model)
    if heads == "parallel":
        made: nn.Module = ParallelHeads(layer, num_future_tokens - 1)
    elif heads == "chained":
        made = ChainedHeads(layer, _only_norm(model, anatomy), num_future_tokens - 1)
    else:
        raise ValueError(f"heads is {heads!r}; it is parallel or chained")
    model.__class__ = _with_heads(type(model))
    model.mtp_anatomy = anatomy
    # What they count where no trainer of ours says otherwise, step by step.
    model.mtp_weights = [1.0, *[_LOSS_WEIGHT] * (num_future_tokens - 1)]
    model.mtp_heads = made
    return model


def _only_norm(model: Any, anatomy: Anatomy) -> nn.Module:
    if len(anatomy.norms) != 1:
        path = " and ".join(anatomy.norms) or "nothing"
        fault = f"{type(model).__name__} has {path} between its last layer and its output embeddings"
        raise AnatomyError(f"{fault}; chained heads need one norm there: take parallel ones")
    width, embedded = model.get_output_embeddings().weight.shape[1], model.get_input_embeddings().weight.shape[1]
    if width != embedded:
        fault = f"{type(model).__name__} embeds tokens in {embedded} numbers and its output embeddings read {width}"
        raise AnatomyError(f"{fault}; chained heads need both alike: take parallel ones")
    return model.get_submodule(anatomy.norms[0])


def load_mtp(folder: str | Path, **kwargs: Any) -> Any:
    """Loads a model, or an adapter on its base, and the heads that were saved beside it.

    Args:
        folder: What `save_pretrained` wrote, or training with an adapter.
        kwargs: Those of `AutoModelForCausalLM.from_pretrained`, for an adapter those of its base.

    Returns:
        The model; the `PeftModel` around it for an adapter.

    Raises:
        ValueError: it holds no heads, or others than it says; or an adapter that is damaged or does not fit its base.
    """
    folder = Path(folder)
    _, facts = read_heads(folder)
    model = (
        _load_adapted(folder, kwargs) if is_adapter(folder) else AutoModelForCausalLM.from_pretrained(folder, **kwargs)
    )
    add_mtp_heads(inner_model(model), **facts).load_heads(folder)
    return model


def _load_adapted(folder: Path, words: dict[str, Any]) -> Any:
    def base(name: str, where: str | None, revision: str | None) -> Any:
        return AutoModelForCausalLM.from_pretrained(name, revision=revision, **words)

    return load_with_adapter(folder, trainable=False, loader=base)


def inner_model(model: Any) -> Any:
    """The model inside a `PeftModel`, which is what has heads; any other model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _with_heads(base: type) -> type:
    """The class of a model with heads. The name stays: config.architectures is read from it when the model is saved."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return MTPModel.forward(self, *args, **kwargs)

    # generate asks the forward pass for masks and positions, and feeds what it is said to take.
    forward.__signature__ = inspect.signature(base.forward)
    return type(base.__name__, (MTPModel, base), {"__module__": base.__module__, "forward": forward})


class MTPModel(DecodesWithHeads):
    """Comes before a model's class in the bases.

    Attributes:
        mtp_heads: The heads beside the model's own.
        mtp_weights: What the loss of each head counts, the model's own first; those of weight 0 are not run.
        mtp_anatomy: Where the model has its parts.
    """

    mtp_heads: ParallelHeads | ChainedHeads
    mtp_weights: list[float]
    mtp_anatomy: Anatomy

    @property
    def num_future_tokens(self) -> int:
        return len(self.mtp_heads) + 1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = super().__call__(*args, **kwargs)
        if kwargs.get("labels") is not None:
            warn_of_idle_heads(self, outputs)
        return outputs

    def forward(
        self,
        *args: Any,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """As that of the model; with `labels`, the loss of all heads.

        Args:
            args: Those of the model.
            labels: `(batch, tokens)`, not shifted, -100 where nothing is learnt.
            num_items_in_batch: Tokens with a loss in the whole optimizer step; None for those of this batch.
            kwargs: Those of the model.
        """
        if labels is None:
            return super().forward(*args, **kwargs)
        if kwargs.get("shift_labels") is not None:
            raise ValueError("shift_labels are those of one head alone: give labels")
        kwargs |= {"use_cache": False, "return_dict": True}
        with watched(self, self.mtp_anatomy.last_layer(self)) as seen:
            outputs = super().forward(*args, **kwargs)
        targets = head_targets(labels, self.num_future_tokens, kwargs.get("position_ids"))
        for head, weight in enumerate(self.mtp_weights):
            if head and not weight:
                targets[head] = IGNORED
        loss, losses = self._loss(seen, targets, kwargs.get("input_ids", args[0] if args else None), num_items_in_batch)
        sums, counts = head_sums(losses, targets)
        # A mixture of experts asks for balance among them where it was told to (output_router_logits).
        if getattr(outputs, "aux_loss", None) is not None:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss.to(loss.device)
        return MTPOutput(loss=loss, head_losses=sums, head_targets=counts)

    def save_pretrained(
        self, save_directory: str | Path, *args: Any, state_dict: dict[str, Tensor] | None = None, **kwargs: Any
    ) -> Any:
        """Saves the model as one without heads, and the heads beside it; `load_mtp` brings both back."""
        model, heads = split_state(self.state_dict() if state_dict is None else state_dict)
        saved = super().save_pretrained(save_directory, *args, state_dict=model, **kwargs)
        if kwargs.get("is_main_process", True):
            write_heads(Path(save_directory), heads, self.head_facts)
        return saved

    def load_heads(self, folder: str | Path) -> None:
        """Loads the weights of heads that were saved beside a model.

        Raises:
            ValueError: they are not there, of another kind or number, or not whole.
        """
        heads, facts = read_heads(Path(folder))
        if facts != self.head_facts:
            fault = f"{spoken(facts)}, and the model has {spoken(self.head_facts)}"
            raise ValueError(f"{folder} holds heads of another kind: {fault}")
        try:
            self.mtp_heads.load_state_dict(heads)
        except RuntimeError as error:
            raise ValueError(f"the heads in {folder} are not those of this model: {error}") from error

    def shared_parts(self) -> list[nn.Module]:
        """What heads use besides the model itself: embeddings, final norm, output matrix."""
        norms = [self.get_submodule(name) for name in self.mtp_anatomy.norms]
        return [self.get_input_embeddings(), *norms, self.get_output_embeddings()]

    @property
    def head_facts(self) -> dict[str, Any]:
        kind = "parallel" if isinstance(self.mtp_heads, ParallelHeads) else "chained"
        return {"heads": kind, "num_future_tokens": self.num_future_tokens}

    def _loss(
        self, seen: Seen, targets: Tensor, input_ids: Tensor | None, num_items: Tensor | int | None
    ) -> tuple[Tensor, Tensor]:
        """The loss of all heads in one; and that of each target, `(heads, batch, tokens)`."""
        active = [head for head, weight in enumerate(self.mtp_weights) if weight or head == 0]
        hidden = torch.stack(self._hidden_states(seen, max(active) + 1, input_ids))[active]
        fine = torch.promote_types(hidden.dtype, torch.float32)
        counts = row_weights(targets, self.mtp_weights, num_items, fine)[active]
        rows = hidden.flatten(0, 2), targets[active].flatten(), counts.flatten()
        loss, flat = self._cross_entropy(*rows)
        losses = flat.new_zeros(targets.shape)
        losses[active] = flat.reshape(len(active), *targets.shape[1:])
        return loss, losses

    def _hidden_states(self, seen: Seen, heads: int, input_ids: Tensor | None) -> list[Tensor]:
        """What the output matrix reads for each head, the model's own first."""
        found = [seen.output]
        for head in range(heads - 1):
            found.append(self._run_head(head, seen.call, found[-1], input_ids))
        return found

    def _run_head(self, head: int, call: LayerCall, before: Tensor, input_ids: Tensor | None) -> Tensor:
        """One head, whose inner states are made anew for the gradient instead of being kept."""
        if isinstance(self.mtp_heads, ParallelHeads):

            def run(hidden: Tensor) -> Tensor:
                shifted = LayerCall(hidden, call.args, call.kwargs, call.key)
                return self.mtp_anatomy.normalise(self, self.mtp_heads(head, shifted))

            return _lean(run, call.hidden)
        if input_ids is None:
            raise ValueError("chained heads read tokens: give input_ids, not inputs_embeds alone")
        # Behind the last token stands nothing; what is put there is a target of no head.
        ahead = head + 1
        embedded = self.get_input_embeddings()(input_ids.roll(-ahead, 1))
        return _lean(lambda *states: self.mtp_heads(head, call, *states), before, embedded)

    def _cross_entropy(self, hidden: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        output, anatomy = self.get_output_embeddings(), self.mtp_anatomy
        if type(output) is nn.Linear:
            return linear_cross_entropy(
                hidden, output.weight, targets, counts, bias=output.bias, softcap=anatomy.softcap, scale=anatomy.scale
            )
        # An adapter, or quantised weights: there is no one matrix to multiply with.
        return chunked_cross_entropy(hidden, lambda rows: anatomy.finish(output(rows)), targets, counts)


def _lean(run: Any, *inputs: Tensor) -> Tensor:
    return checkpoint(run, *inputs, use_reentrant=False) if torch.is_grad_enabled() else run(*inputs)
