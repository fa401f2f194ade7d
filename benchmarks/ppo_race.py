"""PPO against the last TRL that had one (1.12.0), on a task whose reward is exact: the share of even tokens in a completion.

    python benchmarks/ppo_race.py [--peer-python /path/to/python] [--updates 30] [--rates 1e-4 1e-3] [--words JSON] [--json FILE]

The peer runs in an environment of its own:

    python -m venv peer && peer/bin/pip install trl==1.12.0 torch==2.13.0 transformers==5.23.0 peft==0.21.2 datasets==5.2.0

Both sides: the same Llama (128 wide, 4 layers, 1024 tokens, random weights), 64 prompts of 12 to 20 tokens for each
update, 32 new tokens, 4 epochs, minibatches of 16 asked for (of which TRL makes one of 64), temperature 1, KL coefficient
.05, linear decay, one thread, a process of its own for each run. CPU seconds are those of `train`; memory is the largest
resident size during construction and training, less the size before the trainer is built. Scores are those that each side
logs, the mean of the last five updates. At a KL coefficient of .05 the best that can be had is near .66. The task is
solved (.9) with `--words '{"kl_coef": 0.005, "lam": 1.0, "vf_coef": 1.0}' --rates 3e-3`: the score comes at the end alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VOCABULARY, PROMPTS, MICRO, RESPONSE, EPOCHS = 1024, 64, 16, 32, 4
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
OURS = ("head", "head+lora", "adapter+lora", "model", "model+lora")
THEIRS = ("model", "model+lora")
_LAST = 5


def make_model(cls: Any, seed: int, **words: Any) -> Any:
    import torch
    from transformers import LlamaConfig

    torch.manual_seed(seed)
    sizes = {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4}
    tokens = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return cls(LlamaConfig(**sizes, **tokens, max_position_embeddings=128, **words))


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {f"w{token}": token for token in range(3, VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w3"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


def make_prompts(seed: int) -> Any:
    import numpy as np
    from datasets import Dataset

    draws = np.random.default_rng(seed)
    rows = [draws.integers(3, VOCABULARY, draws.integers(12, 21)).tolist() for _ in range(PROMPTS * 8)]
    return Dataset.from_dict({"input_ids": rows})


def run_ours(kind: str, rate: float, updates: int, seed: int, words: dict[str, Any], folder: str) -> Any:
    from peft import LoraConfig
    from transformers import LlamaForCausalLM

    from hfrecipes import PPOConfig, PPOTrainer

    value, _, lora = kind.partition("+")

    def even(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]

    args = PPOConfig(
        output_dir=folder,
        value=value,
        stop_token=None,
        logging_steps=EPOCHS * PROMPTS // MICRO,
        **common_words(rate, updates, seed, words),
    )
    return lambda: PPOTrainer(
        make_model(LlamaForCausalLM, 0),
        args,
        even,
        make_prompts(seed),
        make_tokenizer(),
        LoraConfig(**LORA) if lora else None,
    )


def run_theirs(kind: str, rate: float, updates: int, seed: int, words: dict[str, Any], folder: str) -> Any:
    import copy

    import torch
    from peft import LoraConfig
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    lora = kind.endswith("lora")

    class Even(torch.nn.Module):
        """A reward model by the contract of TRL 1.12: hidden states of a backbone, and a score of each."""

        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.score = Share(), torch.nn.Identity()

    class Share(torch.nn.Module):
        def forward(self, input_ids: Any, **_: Any) -> Any:
            share = (input_ids[:, -RESPONSE:] % 2 == 0).float().mean(1)
            states = share[:, None, None].expand(*input_ids.shape, 1)
            return type("Output", (), {"hidden_states": (states,)})()

    args = PPOConfig(
        output_dir=folder,
        logging_steps=1,
        num_sample_generations=0,
        # Its rollouts are so many micro-batches, and its optimizer steps once for so many: four times each update.
        gradient_accumulation_steps=PROMPTS // MICRO,
        **common_words(rate, updates, seed, words),
    )

    def build() -> Any:
        policy = make_model(LlamaForCausalLM, 0)
        value = make_model(LlamaForSequenceClassification, 1, num_labels=1)
        # Its value model begins as the policy does, under a zero head.
        value.model.load_state_dict(policy.model.state_dict())
        value.score.weight.data.zero_()
        return PPOTrainer(
            args=args,
            processing_class=make_tokenizer(),
            model=policy,
            ref_model=None if lora else copy.deepcopy(policy),
            reward_model=Even(),
            train_dataset=make_prompts(seed),
            value_model=value,
            peft_config=LoraConfig(**LORA) if lora else None,
        )

    return build


def common_words(rate: float, updates: int, seed: int, words: dict[str, Any]) -> dict[str, Any]:
    return {
        "learning_rate": rate,
        "per_device_train_batch_size": MICRO,
        "num_mini_batches": PROMPTS // MICRO,
        "num_ppo_epochs": EPOCHS,
        "total_episodes": PROMPTS * updates,
        "response_length": RESPONSE,
        "local_rollout_forward_batch_size": PROMPTS,
        "temperature": 1.0,
        "kl_coef": 0.05,
        "missing_eos_penalty": None,
        "seed": seed,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        **words,
    }


def race(side: str, kind: str, rate: float, updates: int, seed: int, words: dict[str, Any]) -> dict[str, Any]:
    """One run in this process."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        build = (run_ours if side == "ours" else run_theirs)(kind, rate, updates, seed, words, folder)
        before = _reset_peak()
        trainer = build()
        began, wall = time.process_time(), time.monotonic()
        trainer.train()
        cpu, wall = time.process_time() - began, time.monotonic() - wall
        peak = _peak() - before
    logs = [entry for entry in trainer.state.log_history if "objective/scores" in entry]
    scores = [entry["objective/scores"] for entry in logs]
    return {
        "side": side,
        "kind": kind,
        "rate": rate,
        "updates": updates,
        "seed": seed,
        "words": words,
        "cpu_seconds_per_update": cpu / updates,
        "wall_seconds_per_update": wall / updates,
        "samples_per_cpu_second": PROMPTS * updates / cpu,
        "peak_bytes": peak,
        "first_score": scores[0],
        "final_score": sum(scores[-_LAST:]) / len(scores[-_LAST:]),
        "best_score": max(scores),
        "final_kl": logs[-1]["objective/kl"],
        "scores": scores,
    }


def _reset_peak() -> int:
    """Bytes this process holds now; its high-water mark begins anew there."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return max(_status("VmHWM"), 0) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def start(
    python: str, side: str, kind: str, rate: float, updates: int, seed: int, words: dict[str, Any]
) -> dict[str, Any]:
    """One run in a process of its own."""
    given = ["--one", side, kind, str(rate), str(updates), str(seed), json.dumps(words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    if side == "ours":
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [python, __file__, *given], capture_output=True, text=True, env=environment, check=False, timeout=7200
    )
    if done.returncode:
        sys.exit(f"{side} {kind} {rate}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="of an environment with trl 1.12.0; without it, only our side runs")
    parser.add_argument("--peer-kinds", nargs="+", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3])
    parser.add_argument("--words", type=json.loads, default={}, help="JSON: words of both sides' PPOConfig")
    parser.add_argument("--kinds", nargs="*", choices=OURS, default=list(OURS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        side, kind, rate, updates, seed, words = args.one
        print(json.dumps(race(side, kind, float(rate), int(updates), int(seed), json.loads(words))))
        return
    runs = [("ours", kind, sys.executable) for kind in args.kinds]
    runs += [("theirs", kind, args.peer_python) for kind in args.peer_kinds if args.peer_python]
    found = []
    columns = ("CPU s/update", 14), ("samples/s", 11), ("MB", 7), ("score", 8), ("best", 7), ("KL", 8)
    print(f"{'side':7}{'kind':14}{'rate':>8}{'seed':>5}" + "".join(f"{word:>{width}}" for word, width in columns))
    for rate in args.rates:
        for seed in args.seeds:
            for side, kind, python in runs:
                row = start(python, side, kind, rate, args.updates, seed, args.words)
                found.append(row)
                print(
                    f"{side:7}{kind:14}{rate:8.0e}{seed:5}{row['cpu_seconds_per_update']:14.2f}"
                    f"{row['samples_per_cpu_second']:11.1f}{row['peak_bytes'] / 1e6:7.0f}{row['final_score']:8.3f}"
                    f"{row['best_score']:7.3f}{row['final_kl']:8.2f}",
                    flush=True,
                )
                if args.json:
                    args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
