"""Our PPO beside TRL's GRPO and RLOO, which have no critic, at equal generated tokens on a task whose reward is exact.

    python benchmarks/ppo_against_grpo.py [--updates 15] [--rates 1e-3 3e-3] [--seeds 0 1 2] [--json FILE]

The model and the task of `ppo_task.py`. An update of each is 64 completions of 32 tokens, learnt from four times in
minibatches of 16: PPO completes 64 prompts once, GRPO and RLOO 8 prompts eight times. Temperature 1, clipping at .2, KL
coefficient .005 (for PPO and RLOO part of the reward, for GRPO of the loss), linear decay, AdamW; all else as each side has it
where nothing is said, but that TRL's gradient checkpointing and bfloat16 are off. PPO's critic is a head (`lam` 1, `vf_coef` 1).
One thread, a process of its own for each run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ppo_task

SIDES = ("PPO", "GRPO", "RLOO")
MICRO, GENERATIONS, KL_COEF = 16, 8, 0.005
_SETTINGS = ("side", "rate", "updates")


def _prompts(seed: int) -> Any:
    from datasets import Dataset

    rows = [" ".join(f"w{token}" for token in ids) for ids in ppo_task.make_prompts(seed)]
    return Dataset.from_dict({"prompt": rows})


def ppo(settings: dict[str, Any], folder: str) -> tuple[Callable[..., Any], Callable[[], dict[str, Any]]]:
    """What makes the trainer, and what gives the parts that it is made of."""
    from transformers import LlamaForCausalLM

    from hfrecipes import PPOConfig, PPOTrainer

    args = PPOConfig(
        num_mini_batches=ppo_task.PROMPTS // MICRO,
        num_ppo_epochs=ppo_task.EPOCHS,
        total_episodes=ppo_task.PROMPTS * settings["updates"],
        response_length=ppo_task.RESPONSE,
        stop_token=None,
        kl_coef=KL_COEF,
        lam=1.0,
        vf_coef=1.0,
        **common_words(settings, folder),
    )
    return PPOTrainer, lambda: {
        "model": ppo_task.make_model(LlamaForCausalLM, 0),
        "args": args,
        "reward_funcs": ppo_task.even,
        "train_dataset": _prompts(settings["seed"]),
        "processing_class": ppo_task.make_tokenizer(),
    }


def groups(settings: dict[str, Any], folder: str) -> tuple[Callable[..., Any], Callable[[], dict[str, Any]]]:
    """The same of TRL's."""
    from transformers import LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    config, trainer = {"GRPO": (GRPOConfig, GRPOTrainer), "RLOO": (RLOOConfig, RLOOTrainer)}[settings["side"]]
    args = config(
        max_steps=settings["updates"] * ppo_task.EPOCHS * ppo_task.PROMPTS // MICRO,
        steps_per_generation=ppo_task.PROMPTS // MICRO,
        num_iterations=ppo_task.EPOCHS,
        num_generations=GENERATIONS,
        max_completion_length=ppo_task.RESPONSE,
        beta=KL_COEF,
        bf16=False,
        gradient_checkpointing=False,
        **common_words(settings, folder),
    )
    # It loads its reference from where the policy was loaded.
    start = str(Path(folder, "start"))
    ppo_task.make_model(LlamaForCausalLM, 0).save_pretrained(start)
    return trainer, lambda: {
        "model": LlamaForCausalLM.from_pretrained(start),
        "reward_funcs": ppo_task.even,
        "args": args,
        "train_dataset": _prompts(settings["seed"]),
        "processing_class": ppo_task.make_tokenizer(),
    }


def common_words(settings: dict[str, Any], folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "learning_rate": settings["rate"],
        "lr_scheduler_type": "linear",
        "per_device_train_batch_size": MICRO,
        "logging_steps": ppo_task.EPOCHS * ppo_task.PROMPTS // MICRO,
        "temperature": 1.0,
        "seed": settings["seed"],
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
    }


def compare(settings: dict[str, Any]) -> dict[str, Any]:
    """One run in this process."""
    with tempfile.TemporaryDirectory() as folder:
        make, parts = (ppo if settings["side"] == "PPO" else groups)(settings, folder)
        made, _ = ppo_task.run(make, parts, lambda trainer: trainer.model, settings["updates"], settings["seed"])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--updates", type=int, default=15)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="what came out; runs that are in it are not run again")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(compare(args.one)))
        return
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    results = ppo_task.Results(args.json, ["python", "benchmarks/ppo_against_grpo.py"])
    for seed in args.seeds:
        for rate in args.rates:
            for side in args.sides:
                settings = {"side": side, "rate": rate, "updates": args.updates, "seed": seed}
                if results.find(settings) is None:
                    results.add(ppo_task.start(sys.executable, __file__, settings))
    ppo_task.print_runs(results.runs, _SETTINGS)


if __name__ == "__main__":
    main()
