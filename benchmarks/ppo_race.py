"""PPO against the last TRL that had one (1.12.0), on a task whose reward is exact: the share of even tokens in a completion.

    python benchmarks/ppo_race.py [--peer-python /path/to/python] [--updates 20] [--rates 1e-4 1e-3] [--words JSON] [--json FILE]

The peer runs in an environment of its own:

    python -m venv peer && peer/bin/pip install trl==1.12.0 torch==2.13.0 transformers==5.23.0 peft==0.21.2 datasets==5.2.0

Both sides: the model and the task of `ppo_task.py`, 64 prompts of 12 to 20 tokens for each update, 32 new tokens, 4 epochs,
minibatches of 16 asked for (of which TRL makes one of 64), temperature 1, KL coefficient .05, linear decay, one thread, a process
of its own for each run, one side after the other. With `--micro 64`, both sides make one step of each epoch. At a KL coefficient
of .05 the best that can be had is near .66. The task is solved (.9) with `--rates 3e-3 --updates 30 --words
'{"kl_coef": 0.005, "lam": 1.0, "vf_coef": 1.0}'`: the score comes at the end alone.
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

OURS = ("head", "head+lora", "adapter+lora", "model", "model+lora")
THEIRS = ("model", "model+lora")
_SETTINGS = ("side", "kind", "rate", "updates", "micro", "words")


def ours(settings: dict[str, Any], folder: str) -> tuple[Callable[..., Any], Callable[[], dict[str, Any]]]:
    """What makes the trainer, and what gives the parts that it is made of."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import LlamaForCausalLM

    from hfrecipes import PPOConfig, PPOTrainer

    value, _, lora = settings["kind"].partition("+")
    steps = ppo_task.EPOCHS * ppo_task.PROMPTS // settings["micro"]
    args = PPOConfig(output_dir=folder, value=value, stop_token=None, logging_steps=steps, **common_words(settings))
    return PPOTrainer, lambda: {
        "model": ppo_task.make_model(LlamaForCausalLM, 0),
        "args": args,
        "reward_funcs": ppo_task.even,
        "train_dataset": Dataset.from_dict({"input_ids": ppo_task.make_prompts(settings["seed"])}),
        "processing_class": ppo_task.make_tokenizer(),
        "peft_config": LoraConfig(**ppo_task.LORA) if lora else None,
    }


def theirs(settings: dict[str, Any], folder: str) -> tuple[Callable[..., Any], Callable[[], dict[str, Any]]]:
    """The same of the peer."""
    import copy

    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    lora = settings["kind"].endswith("lora")

    class Even(torch.nn.Module):
        """A reward model by the contract of TRL 1.12: hidden states of a backbone, and a score of each."""

        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.score = Share(), torch.nn.Identity()

    class Share(torch.nn.Module):
        def forward(self, input_ids: Any, **_: Any) -> Any:
            share = (input_ids[:, -ppo_task.RESPONSE :] % 2 == 0).float().mean(1)
            states = share[:, None, None].expand(*input_ids.shape, 1)
            return type("Output", (), {"hidden_states": (states,)})()

    args = PPOConfig(
        output_dir=folder,
        logging_steps=1,
        num_sample_generations=0,
        # Its rollouts are so many micro-batches, and its optimizer steps once for so many: four times each update.
        gradient_accumulation_steps=ppo_task.PROMPTS // settings["micro"],
        **common_words(settings),
    )

    def parts() -> dict[str, Any]:
        policy = ppo_task.make_model(LlamaForCausalLM, 0)
        value = ppo_task.make_model(LlamaForSequenceClassification, 1, num_labels=1)
        # Its value model begins as the policy does, under a zero head.
        value.model.load_state_dict(policy.model.state_dict())
        value.score.weight.data.zero_()
        return {
            "args": args,
            "processing_class": ppo_task.make_tokenizer(),
            "model": policy,
            "ref_model": None if lora else copy.deepcopy(policy),
            "reward_model": Even(),
            "train_dataset": Dataset.from_dict({"input_ids": ppo_task.make_prompts(settings["seed"])}),
            "value_model": value,
            "peft_config": LoraConfig(**ppo_task.LORA) if lora else None,
        }

    return PPOTrainer, parts


def common_words(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "learning_rate": settings["rate"],
        "per_device_train_batch_size": settings["micro"],
        "num_mini_batches": ppo_task.PROMPTS // settings["micro"],
        "num_ppo_epochs": ppo_task.EPOCHS,
        "total_episodes": ppo_task.PROMPTS * settings["updates"],
        "response_length": ppo_task.RESPONSE,
        "local_rollout_forward_batch_size": ppo_task.PROMPTS,
        "temperature": 1.0,
        "kl_coef": 0.05,
        "missing_eos_penalty": None,
        "seed": settings["seed"],
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        **settings["words"],
    }


def race(settings: dict[str, Any]) -> dict[str, Any]:
    """One run in this process."""
    policy = "model" if settings["side"] == "ours" else "policy_model"
    with tempfile.TemporaryDirectory() as folder:
        make, parts = (ours if settings["side"] == "ours" else theirs)(settings, folder)
        updates, seed = settings["updates"], settings["seed"]
        made, trainer = ppo_task.run(make, parts, lambda trainer: getattr(trainer, policy), updates, seed)
    logs = [entry for entry in trainer.state.log_history if "objective/scores" in entry]
    return {**made, "logged_scores": [entry["objective/scores"] for entry in logs]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="of an environment with trl 1.12.0; without it, only our side runs")
    parser.add_argument("--peer-kinds", nargs="+", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--kinds", nargs="*", choices=OURS, default=list(OURS))
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--micro", type=int, default=16, help="rows of a micro-batch, and of our minibatches")
    parser.add_argument("--words", type=json.loads, default={}, help="JSON: words of both sides' PPOConfig")
    parser.add_argument("--json", type=Path, help="what came out; runs that are in it are not run again")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(race(args.one)))
        return
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    sides = [("ours", kind, sys.executable) for kind in args.kinds]
    sides += [("theirs", kind, args.peer_python) for kind in args.peer_kinds if args.peer_python]
    results = ppo_task.Results(args.json, ["python", "benchmarks/ppo_race.py"])
    for seed in args.seeds:
        for rate in args.rates:
            for side, kind, python in sides:
                given = {"side": side, "kind": kind, "rate": rate, "updates": args.updates, "seed": seed}
                settings = {**given, "micro": args.micro, "words": args.words}
                if results.find(settings) is None:
                    results.add(ppo_task.start(python, __file__, settings))
    ppo_task.print_runs(results.runs, _SETTINGS)


if __name__ == "__main__":
    main()
