"""A run's adapter merged into its base, compared with what was trained, and written as a plain model."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM

from hfrecipes.evaluation.merge_drift import Drift, drift_between, log_probabilities
from hfrecipes.models.adapters import adapter_base
from hfrecipes.models.integrity import refuse_damaged_model
from hfrecipes.models.merge import merge_adapter, refuse_unmergeable
from hfrecipes.models.mtp.beside import FILE, heads_beside
from hfrecipes.models.of_run import load_run_tokenizer
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.outputs import refuse_unwritable
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir, sync_folder
from hfrecipes.stages.fingerprints import starting_weights
from hfrecipes.stages.merge_loading import ORIGINAL, TRAINED, MergeLoader, cannot_merge
from hfrecipes.stages.merge_text import merge_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Share of what the adapter does to the base that a merge may be off by. LoRA in float32 is off by 1e-6 of it and less.
TOLERANCE = 0.05
# Nats per token. Below this, two ways to add up the same numbers differ too.
NOISE = 1e-5


@dataclass(frozen=True, slots=True)
class Merge:
    """A finished merge.

    Args:
        folder: The merged model.
        drift: How far it is from the model that was trained.
        dtype: Of its weights.
        text: What it was compared on.
        heads: Kind and number of the heads of multi-token prediction that lie beside it as they lay beside the adapter; None
            where there were none.
    """

    folder: Path
    drift: Drift
    dtype: str
    text: str
    heads: dict[str, Any] | None = None


def merge_run(
    path: Path, out: Path | None = None, tolerance: float = TOLERANCE, base: str = TRAINED, dtype: str | None = None
) -> Merge:
    """Merges an adapter, reads the result back as anyone would, and keeps it where it says what the trained model says.

    Args:
        path: A run that trained an adapter, or an adapter's folder.
        out: The folder to write, which does not exist; `RUN/merged`, or `FOLDER-merged`, by default.
        tolerance: Share of what the adapter changes that the merge may be off by, both as mean KL divergence per token.
        base: "trained" merges into the weights that training saw, which of a quantised base are the quantised ones, turned back;
            "original" into those before quantisation.
        dtype: Of the merged weights; by default that of the base, or of the computation where the base was quantised.

    Raises:
        RecipeError: where there is nothing to merge, it cannot be merged, the base is damaged or not the one that the adapter was
            trained on, or the merged model is further from the trained one than `tolerance`. Nothing is left in `out` then.
    """
    run, folder = _place(path)
    refuse_unmergeable(folder)
    heads = _heads_of(folder)
    recipe = _recipe_of(run, folder)
    out = out or _default_out(run, folder)
    refuse_unwritable(out)
    tokenizer = load_run_tokenizer(RunDir(folder))
    text, rows = merge_rows(recipe, tokenizer)
    loader = MergeLoader(folder, recipe, tokenizer, rows)

    trained = loader.load()
    before, quantised, own_dtype = log_probabilities(trained, rows), loader.is_quantised, loader.dtype
    if quantised:
        # What was measured is not what can be merged into, and two of them need not fit into the memory.
        del trained
        gc.collect()
        trained = loader.load_unquantised(base)
    target = getattr(torch, dtype) if dtype else own_dtype
    with cannot_merge(folder):
        merged = merge_adapter(trained, target)
    with _draft_of(out) as draft:
        merged.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        if heads:
            # They were trained whole, and read what the adapted trunk gives: what the merged one gives too.
            shutil.copyfile(folder / FILE, draft / FILE)
        del merged, trained
        gc.collect()
        drift = drift_between(before, loader.alone, log_probabilities(_read_back(draft), rows))
        if not drift.is_within(tolerance, NOISE):
            raise RecipeError(Problem(str(folder), _figures(drift, tolerance), _way_out(base, quantised, target)))
        name, revision = adapter_base(folder)
        # A folder's name alone: the merged model may be given away.
        name = Path(name).name if Path(name).is_absolute() else name
        facts = {"base": name, "revision": revision, "weights": base, "compared_on": text, "tolerance": tolerance}
        write_manifest(draft, merge={**facts, **asdict(drift)})
        draft.rename(out)
    sync_folder(out.parent)
    return Merge(out, drift, _name_of(target), text, heads)


def _place(path: Path) -> tuple[RunDir, Path]:
    """The run and the folder of its adapter, where either is given; also of a checkpoint, whose run knows how it was trained."""
    run, folder = RunDir(path), path.resolve()
    if run.model.is_dir():
        return run, run.model
    around = [RunDir(parent) for parent in (folder.parent, folder.parent.parent)]
    return next(
        (each for each in around if folder.parent in (each.path, each.checkpoints) and _is_run(each)), run
    ), path


def _is_run(run: RunDir) -> bool:
    return run.facts_file.is_file()


def _default_out(run: RunDir, folder: Path) -> Path:
    if folder == run.model or folder.resolve() == run.model:
        return run.path / "merged"
    return run.path / f"merged-{folder.name}" if _is_run(run) else folder.resolve().with_name(f"{folder.name}-merged")


def _heads_of(folder: Path) -> dict[str, Any] | None:
    try:
        return heads_beside(folder)
    except ValueError as error:
        raise RecipeError(Problem(str(folder), str(error), "restore it from a copy, or run it again")) from None


def _recipe_of(run: RunDir, folder: Path) -> Recipe | None:
    """The run's recipe with the adapter's base as its model; None for an adapter that is not of a run.

    Raises:
        RecipeError: where the base's files are others than those that the adapter was trained on.
    """
    if not run.recipe.is_file():
        return None
    recipe = load_recipe(run.recipe)
    name, revision = adapter_base(folder)
    pinned = revision or recipe.get("model.revision")
    based = recipe.replace(model={**recipe.get("model"), "name_or_path": name, "revision": pinned})
    fingerprint = (run.facts().get("fingerprint") or {}).get("model")
    # A run that went on with an adapter of another has no section of its own, and trained on that one's base.
    if fingerprint and recipe.get("adapter") and starting_weights(based) != fingerprint:
        fault = "its files are not those that the adapter was trained on"
        raise RecipeError(Problem(name, fault, "put the base back as it was; another base would make another model"))
    return based


@contextlib.contextmanager
def _draft_of(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write into; what is left of it afterwards is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _read_back(draft: Path) -> PreTrainedModel:
    """The merged model as others load it."""
    refuse_damaged_model(draft)
    return AutoModelForCausalLM.from_pretrained(draft, use_safetensors=True).eval()


def _figures(drift: Drift, tolerance: float) -> str:
    return (
        f"the merged model is {drift.kl:.3g} nats per token from the trained one, {drift.share:.1%} of the {drift.effect:.3g} "
        f"by which the adapter moves its base ({tolerance:.1%} is allowed); at {drift.same_token:.1%} of {drift.num_tokens} "
        "tokens both expect the same next one"
    )


def _way_out(base: str, quantised: bool, dtype: torch.dtype) -> str:
    fix = "use the adapter as it is, beside its base"
    if base == ORIGINAL and quantised:
        fix = "merge into the weights that it was trained on: leave out --base original"
    elif dtype != torch.float32:
        fix = f"keep more digits: --dtype float32; or {fix}"
    return f"{fix}; or allow more with --tolerance"


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
