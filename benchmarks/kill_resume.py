"""Kills real trainings at random moments, resumes them, and compares what comes out with the uninterrupted run.

    python benchmarks/kill_resume.py [--kills 50] [--seed 0] [--trainings pretrain sft-lora sft-full pipeline] [--json FILE]

Each training is killed several times by SIGKILL, resumed by `--resume` each time, then let finish. About half of the kills are
aimed into a save, which a slow disk (a preloaded library, where there is a C compiler) makes long enough to be hit anywhere.
Exit status 1 where any run ends with other weights, losses or measures, repeats more than the steps since its last valid
checkpoint, or cannot be resumed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kills.campaign import Campaign, Grounds, Kill, draw_aims
from kills.session import build_slow_disk
from kills.trainings import TRAININGS, write_trainings

# Kills of one training, before it is let finish.
KILLS_EACH = 6
HEADER = (
    "training",
    "killed",
    "newest file there",
    "valid",
    "resumed",
    "first step",
    "repeated",
    "weights",
    "all else",
)
WIDTHS = (10, 36, 24, 6, 8, 11, 9, 8, 8)


def run_campaigns(folder: Path, names: list[str], count: int, seed: int) -> list[Campaign]:
    """Kills trainings in turn until `count` kills have hit."""
    chance, campaigns = random.Random(seed), []
    disk = build_slow_disk(folder, folder / "runs")
    if disk is None:
        print("no C compiler, or not Linux: files are written at the disk's own speed")
    write_trainings(folder)
    all_grounds = [Grounds(folder, name, TRAININGS[name], disk) for name in names]
    for grounds in all_grounds:
        print(f"{grounds.training}: uninterrupted in {grounds.run_reference():.0f} s", flush=True)
    print(*(text.ljust(width) for text, width in zip(HEADER, WIDTHS, strict=True)))
    while (left := count - sum(kill.counts for campaign in campaigns for kill in campaign.kills)) > 0:
        grounds = all_grounds[len(campaigns) % len(all_grounds)]
        campaigns.append(grounds.campaign(draw_aims(chance, grounds.parts, min(left, KILLS_EACH))))
        print_campaign(campaigns[-1])
    return campaigns


def print_campaign(campaign: Campaign) -> None:
    for kill in campaign.kills:
        place = f"{kill.sight.part}: {kill.sight.place}" if kill.sight.part else kill.sight.place
        figures = (place, newest_file(kill), kill.valid or "none", said(kill), trained(kill), kill.repeated)
        cells = (
            kill.training,
            *figures,
            "same" if campaign.same_weights else "other",
            "differs" if campaign.differences else "same",
        )
        print(*(str(cell).ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)), flush=True)
        for fault in kill.faults:
            print(f"    fault: {fault}")
    for difference in campaign.differences:
        print(f"  differs: {difference}", flush=True)


def said(kill: Kill) -> str:
    return ", ".join(map(str, kill.said)) or "-"


def trained(kill: Kill) -> str:
    if kill.first is not None:
        return str(kill.first)
    return "killed" if kill.left else "none left"


def newest_file(kill: Kill) -> str:
    return f"{kill.sight.files[-1]} ({len(kill.sight.files)})" if kill.sight.files else "-"


def summary(campaigns: list[Campaign]) -> dict[str, Any]:
    resumes = [kill for campaign in campaigns for kill in campaign.kills]
    kills = [kill for kill in resumes if kill.counts]
    inside = [kill.sight.inside for kill in kills]
    return {
        "kills": len(kills),
        "trainings": len(campaigns),
        **{f"inside_{name}": inside.count(name) for name in ("save", "rotation", "model", "facts", "pages")},
        "before_the_first_step_of_all": sum(not kill.sight.step for kill in resumes),
        "not_counted_before_a_session's_first_step": len(resumes) - len(kills),
        "sessions_that_trained_nothing": sum(not kill.trained for kill in kills),
        "most_steps_repeated": max(kill.repeated for kill in resumes),
        "faults": sum(len(kill.faults) for kill in resumes),
        "trainings_with_other_weights": sum(not campaign.same_weights for campaign in campaigns),
        "trainings_that_differ": sum(bool(campaign.differences) for campaign in campaigns),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainings", nargs="+", choices=TRAININGS, default=list(TRAININGS), metavar="NAME")
    parser.add_argument("--json", type=Path, help="write the table and the summary there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and leave what was written")
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if args.keep:
            args.keep.mkdir(parents=True)
        campaigns = run_campaigns((args.keep or Path(folder)).resolve(), args.trainings, args.kills, args.seed)
    facts = {"seed": args.seed, **summary(campaigns), "seconds": round(time.monotonic() - began)}
    print(json.dumps(facts, indent=1))
    if args.json:
        rows = [dataclasses.asdict(campaign) for campaign in campaigns]
        args.json.write_text(json.dumps({"summary": facts, "campaigns": rows}, indent=1) + "\n", encoding="utf-8")
    return 1 if facts["faults"] or facts["trainings_that_differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
