"""`hfrecipes merge`: an adapter into its base."""

from __future__ import annotations

import argparse
from pathlib import Path

_EPILOG = """\
A run keeps its adapter apart; merging is never done unasked. The merged folder is a plain model with tokenizer, chat template
and generation config, for serving engines and converters. Before it is kept, it is read back and compared with the trained
model on the run's own held-out text (the standard library's prose where that cannot be read); refused where it is further off
than --tolerance says, with the figures.

  hfrecipes merge runs/my-run
  hfrecipes merge runs/my-run --out merged/my-model --dtype bfloat16

QLoRA trains beside weights in four bits, so these, turned back into the precision of the computation, are what its adapter fits:
that is the default. To merge into the weights before they were quantised, which the adapter has never seen:
  hfrecipes merge runs/my-qlora --base original
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "merge",
        help="merge an adapter into its base: a plain model for serving",
        description="Merge a run's adapter (LoRA, rsLoRA, DoRA, PiSSA, IA3) into the base it was trained on.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, or an adapter's folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write (RUN/merged)")
    parser.add_argument(
        "--tolerance",
        type=_share,
        metavar="X",
        help="how far off the merged model may be: a share of what the adapter changes, both as KL divergence (0.05)",
    )
    parser.add_argument(
        "--base",
        choices=("trained", "original"),
        default="trained",
        help="of a quantised base: the weights that training saw (default), or those before quantisation",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of the merged weights (as the base; as the computation, of a quantised base)",
    )
    parser.set_defaults(command=merge)


def merge(args: argparse.Namespace) -> int:
    from hfrecipes.stages.quiet import quiet_libraries

    quiet_libraries()
    from hfrecipes.models.mtp.beside import spoken
    from hfrecipes.recipe.visible import visible
    from hfrecipes.stages.merge import TOLERANCE, merge_run

    tolerance = TOLERANCE if args.tolerance is None else args.tolerance
    done = merge_run(args.run, args.out, tolerance, args.base, args.dtype)
    drift = done.drift
    print(
        visible(
            f"{done.folder}: {done.dtype}, compared with the trained model on {drift.num_tokens} tokens of {done.text}"
        )
    )
    print(
        f"  {drift.kl:.2g} nats per token from it; the adapter moves its base by {drift.effect:.2g}; "
        f"the same next token at {drift.same_token:.1%}; largest difference of a log-probability {drift.largest:.2g}"
    )
    if done.heads:
        print(f"  with its {spoken(done.heads)} beside it: load_mtp reads both, mtp_generate decodes with them")
    return 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value
