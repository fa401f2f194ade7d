"""Decoding with heads, beside `generate` and prompt-lookup decoding, on held-out code in one process.

    OMP_NUM_THREADS=1 python benchmarks/mtp_decode.py [--json FILE] [--model FOLDER | --recipe NAME] [--prompts 200]

Trains by a shipped recipe (10 minutes of CPU time), or takes the `model` folder of such a run. Then continues prompts from files
that the model has not seen, greedily: tokens per CPU second of each way, the ways taking turns at each prompt; how many outputs
are those of `generate`, token for token, and how many of the others are in float64; and how many drafts were accepted, by
head (of those that were reached) and by position (of all). A small model falls into loops, in which every draft is right. So
outputs are reported apart where more than half of the 8-grams have been there before, and beside acceptance stands what it is on
held-out text itself: how often a head, reading the file, says what the model says when it has read on. Prompt lookup knows no
batches.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.data.embedded import open_embedded
from hfrecipes.models.mtp.acceptance import Acceptance
from hfrecipes.models.mtp.attach import load_mtp
from hfrecipes.models.mtp.decode import mtp_generate
from hfrecipes.models.mtp.drafting import watched
from hfrecipes.models.mtp.heads import ChainedHeads, LayerCall
from hfrecipes.recipe.rundir import RunDir

RECIPE = "pretrain/python-bytes-mtp"
# Of held-out text, in rows as long as those the recipe trains on.
TOKENS, ROWS = 256, 200
PROMPT, NEW = 96, 128
GRAM, LOOPING = 8, 0.5
LOOKUP = 3
PARTS = ("batch 1", "batch 1, looping", "batch 1, not looping", "batch 8", "batch 8, not looping", "held-out text")


def documents(split: str) -> list[str]:
    return [row.values["text"] for row in open_embedded({"name": "python_code", "split": split}, "").rows()]


def train(recipe: str, folder: Path) -> Path:
    """Runs a recipe; returns the folder of its model."""
    before = time.process_time()
    done = RunDir(run(load_recipe(recipe), options=RunOptions(runs_dir=folder)))
    print(f"trained in {(time.process_time() - before) / 60:.1f} minutes of CPU time", flush=True)
    return done.model


def encode(folder: Path, texts: list[str]) -> Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return torch.tensor([token for text in texts for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])


def prompts_of(folder: Path, number: int) -> Tensor:
    """From places that are spread over all held-out files, `(number, PROMPT)`."""
    ids = encode(folder, documents("validation") + documents("test"))
    return torch.stack(
        [ids[int(place) : int(place) + PROMPT] for place in torch.linspace(0, len(ids) - PROMPT, number).tolist()]
    )


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.process_time()
    return call(), time.process_time() - begun


def repeated_share(tokens: Tensor) -> float:
    """The share of n-grams that have been there before."""
    grams = [tuple(gram) for gram in tokens.unfold(0, GRAM, 1).tolist()]
    return 1 - len(set(grams)) / len(grams)


def one_by_one(model: Any, prompts: Tensor) -> list[dict[str, Any]]:
    found = []
    for prompt in prompts:
        ids = prompt[None]
        plain, plain_time = timed(lambda: model.generate(**settings(ids)))  # noqa: B023 (called at once)
        ours, our_time = timed(lambda: mtp_generate(model, return_dict_in_generate=True, **settings(ids)))  # noqa: B023
        lookup, lookup_time = timed(lambda: model.generate(prompt_lookup_num_tokens=LOOKUP, **settings(ids)))  # noqa: B023
        found.append(
            {
                "seconds": {"generate": plain_time, "prompt lookup": lookup_time, "mtp_generate": our_time},
                "exact": torch.equal(plain, ours.sequences),
                "lookup exact": torch.equal(plain, lookup),
                "share": repeated_share(plain[0, PROMPT:]),
                "acceptance": ours.acceptance,
            }
        )
    return found


def in_batches(model: Any, prompts: Tensor, size: int) -> dict[str, Any]:
    seconds, exact, acceptances = {"generate": 0.0, "mtp_generate": 0.0}, [], []
    for rows in prompts.split(size):
        plain, plain_time = timed(lambda: model.generate(**settings(rows)))  # noqa: B023
        ours, our_time = timed(lambda: mtp_generate(model, return_dict_in_generate=True, **settings(rows)))  # noqa: B023
        seconds["generate"] += plain_time
        seconds["mtp_generate"] += our_time
        exact += (plain == ours.sequences).all(1).tolist()
        acceptances.append(ours.acceptance)
    rates = speeds(seconds, len(prompts))
    return {"prompts": len(prompts), **rates, "exact": sum(exact), "not exact": _false(exact), **accepted(acceptances)}


def _false(flags: list[bool]) -> list[int]:
    return [place for place, flag in enumerate(flags) if not flag]


def settings(rows: Tensor) -> dict[str, Any]:
    return {"inputs": rows, "attention_mask": torch.ones_like(rows), "max_new_tokens": NEW, "do_sample": False}


def speeds(seconds: dict[str, float], rows: int) -> dict[str, Any]:
    rates = {name: rows * NEW / spent for name, spent in seconds.items()}
    return {
        "tokens_per_second": rates,
        "times_generate": {name: rate / rates["generate"] for name, rate in rates.items()},
    }


def accepted(parts: list[Acceptance]) -> dict[str, Any]:
    total = Acceptance.of(len(parts[0].drafted))
    for part in parts:
        for name in ("drafted", "reached", "accepted"):
            setattr(
                total, name, [one + other for one, other in zip(getattr(total, name), getattr(part, name), strict=True)]
            )
        total.tokens, total.forwards = total.tokens + part.tokens, total.forwards + part.forwards
    return {"by_head": total.by_head, "by_position": total.by_position, "tokens_per_pass": total.tokens_per_forward}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        return {"prompts": 0}
    seconds = {name: sum(each["seconds"][name] for each in found) for name in found[0]["seconds"]}
    exact = {name: sum(each[name] for each in found) for name in ("exact", "lookup exact")}
    return {
        "prompts": len(found),
        **speeds(seconds, len(found)),
        **exact,
        "not exact": _false([each["exact"] for each in found]),
        **accepted([each["acceptance"] for each in found]),
    }


@torch.no_grad()
def teacher_forced(model: Any, ids: Tensor) -> dict[str, list[float]]:
    """How often a head agrees with the model's own choice at that place, both reading `(rows, tokens)` of held-out text."""
    heads, said = model.mtp_heads, []
    with watched(model) as seen:
        own = model(input_ids=ids, use_cache=False).logits.argmax(-1)
        call, before = LayerCall.of(*seen.call), seen.output
    for head in range(len(heads)):
        if isinstance(heads, ChainedHeads):
            before = heads(head, call, before, model.get_input_embeddings()(ids.roll(-head - 1, 1)))
        else:
            before = model.mtp_anatomy.normalise(model, heads(head, call))
        said.append(model.mtp_anatomy.finish(model.get_output_embeddings()(before)).argmax(-1))
    end = ids.shape[1] - len(heads)
    right = torch.stack([each[:, :end] == own[:, head + 1 : head + 1 + end] for head, each in enumerate(said)])
    all_before = right.cumprod(0).float()
    reached = torch.cat([torch.ones_like(all_before[:1]), all_before[:-1]]).sum((1, 2))
    return {
        "by_head": (all_before.sum((1, 2)) / reached).tolist(),
        "by_position": all_before.mean((1, 2)).tolist(),
        "tokens_per_pass": float(1 + all_before.mean((1, 2)).sum()),
    }


def exact_in_float64(model: Any, prompts: Tensor, size: int, rows: list[int]) -> int:
    """Of some rows, how many are those of `generate` where rounding decides less; each in the batch in which it was."""
    model.double()
    exact = 0
    for batch in sorted({row // size for row in rows}):
        ids = prompts[batch * size : (batch + 1) * size]
        same = (model.generate(**settings(ids)) == mtp_generate(model, **settings(ids))).all(1)
        exact += sum(bool(same[row % size]) for row in rows if row // size == batch)
    model.float()
    return exact


def measure(model: Any, folder: Path, number: int) -> dict[str, Any]:
    # Files go on where they end: without an end-of-sequence token all ways write as much.
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    prompts = prompts_of(folder, number)
    held_out = encode(folder, documents("test"))
    one_by_one(model, prompts[:2])
    found = one_by_one(model, prompts)
    plain = prompts[torch.tensor([each["share"] <= LOOPING for each in found])]
    result = {
        "prompts": number,
        "prompt_tokens": PROMPT,
        "new_tokens": NEW,
        "heads": model.head_facts,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "batch 1": summary(found),
        "batch 1, looping": summary([each for each in found if each["share"] > LOOPING]),
        "batch 1, not looping": summary([each for each in found if each["share"] <= LOOPING]),
        "batch 8": in_batches(model, prompts, 8),
        "batch 8, not looping": in_batches(model, plain, 8) if len(plain) else {"prompts": 0},
        "held-out text": teacher_forced(model, held_out[: len(held_out) // TOKENS * TOKENS].reshape(-1, TOKENS)[:ROWS]),
    }
    # Where float32 broke a tie the other way, float64 tells that it was one.
    result["exact in float64"] = {
        f"batch {size}": exact_in_float64(model, prompts, size, result[f"batch {size}"]["not exact"]) for size in (1, 8)
    }
    return result


def show(found: dict[str, Any]) -> None:
    print(f"\n{found['parameters'] / 1e6:.1f} M parameters, {found['heads']}; {found['prompts']} prompts")
    print(f"{'':24}{'prompts':>8}{'exact':>7}{'tokens/pass':>13}   tokens per CPU second (times generate)")
    for name in PARTS:
        part = found[name]
        rates = part.get("tokens_per_second", {})
        speed = "  ".join(f"{way} {rate:.0f} ({part['times_generate'][way]:.2f})" for way, rate in rates.items())
        tokens = part.get("tokens_per_pass", math.nan)
        print(f"{name:24}{part.get('prompts', ''):>8}{part.get('exact', ''):>7}{tokens:>13.2f}   {speed}")
    print("\naccepted, by head of those reached | by position of all")
    for name in PARTS:
        shares = [
            " ".join("   -" if share is None else f"{share:.2f}" for share in found[name].get(kind, []))
            for kind in ("by_head", "by_position")
        ]
        print(f"{name:24}{' | '.join(shares)}")
    for name, count in found["exact in float64"].items():
        print(f"{name}: of {len(found[name]['not exact'])} that are not exact, {count} are in float64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path, help="a folder with a model, its heads and its tokenizer")
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--prompts", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = args.model or train(args.recipe, Path(place))
        found = measure(load_mtp(folder).eval(), folder, args.prompts)
    show(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
