"""`from_pretrained` that gives the model that was saved, or says why it cannot.

The stock one fills a tensor that the files lack with random numbers, asks on the terminal whether code may run, and fetches
a kernel that a config names.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig

from hfrecipes.models.adapters import adapter_base, refuse_damaged_adapter
from hfrecipes.models.extended_embeddings import input_rows
from hfrecipes.models.foreign_code import refuse_config_code
from hfrecipes.models.integrity import ADAPTER_WEIGHTS, listed, refuse_damaged_model, tensor_names
from hfrecipes.models.new_rows import complete_wrappers, needed_rows, settle_rows
from hfrecipes.recipe.problem import Problem, RecipeError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_AGAIN = "fetch or save it again"
_REASON_CHARACTERS = 300


def load_pretrained(
    name: str | Path,
    where: str | None = None,
    *,
    auto: Any = AutoModelForCausalLM,
    may_lack: Collection[str] = (),
    may_exceed: Collection[str] = (),
    **words: Any,
) -> PreTrainedModel:
    """A model of which every weight comes out of its files, which are safetensors.

    Tensors that the model has no place for are a Python warning. `model.lacking` names those of `may_lack` that are random.

    Args:
        name: A folder or Hub id.
        where: The place that named it; the folder or id itself where nothing did.
        auto: The class that loads it.
        may_lack: Weights that the files need not hold.
        may_exceed: Tensors for which the model needs no place.
        words: Further keywords of `from_pretrained`; `trust_remote_code` is off unless said.

    Raises:
        RecipeError: where files are damaged, weights are missing or of another shape, or code would have to run.
    """
    words = {"trust_remote_code": False, **words}
    subfolder = words.get("subfolder", "")
    if Path(name).is_dir():
        refuse_damaged_model(Path(name) / subfolder, where)
    with refused_loads(name, where):
        hub = {"revision": words.get("revision"), "subfolder": subfolder}
        config, _ = PreTrainedConfig.get_config_dict(name, **hub)
        refuse_config_code(config, str(name), where)
        # Other shapes raise without a name; so they are let in, and refused with one.
        model, found = auto.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True, **words
        )
    model.lacking = sorted(set(found["missing_keys"]) & set(may_lack))
    found = {**found, "missing_keys": set(found["missing_keys"]) - set(may_lack)}
    _refuse_random_weights(type(model).__name__, found, name, where)
    if unexpected := sorted(set(found["unexpected_keys"]) - set(may_exceed)):
        unused = f"{name} holds tensors that {type(model).__name__} has no place for: {listed(unexpected)}"
        warnings.warn(unused, stacklevel=2)
    return model


def load_with_adapter(
    folder: Path, where: str | None = None, *, trainable: bool, loader: Callable[..., PreTrainedModel] = load_pretrained
) -> PeftModel:
    """An adapter on the base that it names; code of the base is not run.

    Args:
        folder: The adapter's.
        where: The place that named it.
        trainable: Whether it is to be trained further.
        loader: Loads the base.

    Raises:
        RecipeError: where either is damaged, or the adapter does not fit the base.
    """
    from peft import PeftModel

    refuse_damaged_adapter(folder, where)
    name, revision = adapter_base(folder)
    base = loader(name, where, revision=revision)
    with refused_loads(folder, where):
        if (rows := needed_rows(folder, base)) > input_rows(base):
            # Tokens were added when the adapter was trained; what is in their rows comes with it.
            base.resize_token_embeddings(rows, mean_resizing=False)
        model = PeftModel.from_pretrained(base, folder, is_trainable=trainable)
    _refuse_other_tensors(model, folder, where)
    complete_wrappers(model)
    if trainable:
        settle_rows(model)
    return model


def load_pretrained_tokenizer(name: str | Path, where: str | None = None, **words: Any) -> PreTrainedTokenizerBase:
    """As `load_pretrained`, for the tokenizer; a folder's files are looked at by the caller.

    Raises:
        RecipeError: where there is none, or code would have to run.
    """
    with refused_loads(name, where):
        return AutoTokenizer.from_pretrained(name, **{"trust_remote_code": False, **words})


@contextlib.contextmanager
def refused_loads(name: str | Path, where: str | None) -> Iterator[None]:
    """Turns what a library raises while it loads something into an error about that.

    Raises:
        RecipeError: in place of any other error.
    """
    try:
        yield
    except RecipeError:
        raise
    except Exception as error:
        subject = "" if where is None else f"{name}: "
        if "use_safetensors" in str(error):
            # Its own advice is to read a pickle instead.
            fault = f"{subject}has no weights as safetensors, and pickled ones can run code as they load"
            fix = "take a revision that has them (the Hub's conversion opens refs/pr/N), or save it anew as safetensors"
        elif "trust_remote_code" in str(error):
            fault = f"{subject}can only be loaded by running code that comes with it"
            fix = "read that code, then set model.trust_remote_code: true and model.revision: COMMIT; or take another"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
            fault = f"{subject}cannot be loaded: {reason[:_REASON_CHARACTERS]}"
            fix = "check the folder, or the name and the network"
        raise RecipeError(Problem(where or str(name), fault, fix)) from error


def _refuse_random_weights(kind: str, found: dict[str, Any], name: str | Path, where: str | None) -> None:
    subject = "" if where is None else f"{name}: "
    faults = []
    if missing := sorted(found["missing_keys"]):
        faults.append(f"lacks weights of {kind}, which would be random: {listed(missing)}")
    shapes = sorted(f"{key} is {list(saved)}, not {list(built)}" for key, saved, built in found["mismatched_keys"])
    if shapes:
        faults.append(f"holds weights of other shapes than its config says: {listed(shapes)}")
    faults += [f"does not load: {message}" for message in found.get("error_msgs", ())]
    if faults:
        raise RecipeError([Problem(where or str(name), f"{subject}{fault}", _AGAIN) for fault in faults])


def _refuse_other_tensors(model: PeftModel, folder: Path, where: str | None) -> None:
    """peft, too, leaves at random what an adapter's file lacks, and passes over what it has in excess."""
    from peft import get_peft_model_state_dict

    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    saved = tensor_names(folder / ADAPTER_WEIGHTS)
    # Embeddings that grew are saved whole beside the adapter.
    embeddings = [module.weight for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module]
    state = model.state_dict(keep_vars=True).items()
    allowed = {name for name, tensor in state if any(tensor is weight for weight in embeddings)}
    place = str(folder / ADAPTER_WEIGHTS)
    subject = "" if where is None else f"{place}: "
    faults = []
    if missing := sorted(expected - saved):
        faults.append(f"lacks tensors of the adapter, which would be random: {listed(missing)}")
    if excess := sorted(saved - expected - allowed):
        faults.append(f"holds tensors that this adapter has no place for: {listed(excess)}")
    if faults:
        raise RecipeError([Problem(where or place, f"{subject}{fault}", _AGAIN) for fault in faults])
