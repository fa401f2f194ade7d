"""`hfrecipes export-mtp`: chained heads in the layout from which transformers itself drafts."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

_EPILOG = """\
OUT holds the model with its heads as further decoder layers, as DeepSeek-V3 has them, and its tokenizer. Then

  model = AutoModelForCausalLM.from_pretrained("OUT")
  model.generate(**inputs, use_mtp=True, do_sample=False)

drafts with the heads and gives the tokens that generate gives without them; a prompt needs at least as many tokens as there are
further heads, or transformers stops with "Sizes of tensors must match". Classes that know no such layers (Llama, Qwen2 …)
are told their names before they load; the line for it is printed. Adapters are merged into their base. Parallel heads have no
such layout: decode with them by mtp_generate (docs/mtp-decoding.md).

  hfrecipes export-mtp runs/my-run exported
  hfrecipes export-mtp runs/my-run/model exported
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "export-mtp",
        help="write a model with chained heads so that transformers drafts with them",
        description="Write a model and its chained heads (objective: {name: mtp, heads: chained}) so that transformers' own "
        "generate(use_mtp=True) drafts with them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN_OR_FOLDER", help="a run directory, or a folder with mtp_heads.safetensors"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write, which is not there yet")
    parser.set_defaults(command=export)


def export(args: argparse.Namespace) -> int:
    folder = _model_folder(args.run, args.out)
    from hfrecipes.stages.quiet import quiet_libraries

    quiet_libraries()
    from transformers import AutoTokenizer

    from hfrecipes.models.mtp.attach import inner_model, load_mtp
    from hfrecipes.models.mtp.export import export_chained, layer_names
    from hfrecipes.models.pretrained import refused_loads
    from hfrecipes.recipe.problem import Problem, RecipeError

    with refused_loads(folder, None):
        model, tokenizer = load_mtp(folder), AutoTokenizer.from_pretrained(folder)
    if inner_model(model) is not model:
        model = model.merge_and_unload()
    draft = args.out.with_name(f".{args.out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        export_chained(model, draft)
    except ValueError as error:
        raise RecipeError(Problem(str(folder), str(error), "decode with mtp_generate instead")) from error
    tokenizer.save_pretrained(draft)
    draft.rename(args.out)
    _tell(model, args.out, layer_names(model))
    return 0


def _model_folder(run: Path, out: Path) -> Path:
    """The folder that holds the heads, found fit before anything heavy is imported.

    Raises:
        RecipeError: there is none, it is damaged, its heads are not chained, or what is to be written is there already.
    """
    from hfrecipes.models.adapters import is_adapter, refuse_damaged_adapter
    from hfrecipes.models.integrity import refuse_damaged_model
    from hfrecipes.models.mtp.beside import FILE, heads_beside, spoken
    from hfrecipes.recipe.outputs import refuse_unwritable
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.rundir import RunDir

    folder = RunDir(run).model if RunDir(run).model.is_dir() else run
    if not folder.is_dir():
        raise RecipeError(Problem(str(run), "there is no such folder", "give a run directory, or a model's folder"))
    refuse_unwritable(out)
    try:
        facts = heads_beside(folder)
    except ValueError as error:
        raise RecipeError(Problem(str(folder), str(error), "restore it from a copy, or train it again")) from None
    if facts is None:
        fault, fix = (
            f"holds no {FILE}: the model has no further heads",
            "train it with objective: {name: mtp, heads: chained}",
        )
        raise RecipeError(Problem(str(folder), fault, fix))
    if facts["heads"] != "chained":
        fault = f"has {spoken(facts)}, and the layout is one of heads behind each other"
        fix = "decode with mtp_generate, or train with objective: {name: mtp, heads: chained}"
        raise RecipeError(Problem(str(folder), fault, fix))
    (refuse_damaged_adapter if is_adapter(folder) else refuse_damaged_model)(folder)
    return folder


def _tell(model: Any, out: Path, names: list[str]) -> None:
    cls = type(model).__name__
    print(f"{out}: {cls} with {len(names)} further layers")
    print(f"""
  from transformers import AutoModelForCausalLM, {cls}
  {cls}._keys_to_ignore_on_load_unexpected = {names}
  model = AutoModelForCausalLM.from_pretrained("{out}")
  model.generate(**inputs, use_mtp=True, do_sample=False)

With fewer than {len(names)} tokens in the prompt leave use_mtp out: transformers stops there.""")
