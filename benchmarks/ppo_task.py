"""A task whose reward is exact, the share of even tokens in a completion, and how runs on it are timed and measured.

A Llama (128 wide, 4 layers, 1,024 tokens, random weights) completes prompts of random tokens by 32 more. Nothing here needs
hfrecipes, so that a peer in an environment of its own runs the same.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

VOCABULARY, PROMPTS, RESPONSE, EPOCHS = 1024, 64, 32, 4
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
_MEASURED, _WIDTH, _MEASURING_SEED = 256, 16, 10_000
_LIMIT = 7200.0


def make_model(cls: Any, seed: int, **words: Any) -> Any:
    """The Llama; no token ends its texts."""
    import torch
    from transformers import LlamaConfig

    torch.manual_seed(seed)
    sizes = {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4}
    tokens = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
    return cls(LlamaConfig(**sizes, **tokens, max_position_embeddings=128, **words))


def make_tokenizer() -> Any:
    """A word for each token. The one that ends texts lies outside the model's vocabulary: nobody draws it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<bos>": 1, "<eos>": VOCABULARY} | {f"w{token}": token for token in range(2, VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w3"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


def make_prompts(seed: int) -> list[list[int]]:
    """Prompts of eight updates, of 12 to 20 tokens."""
    import numpy as np

    draws = np.random.default_rng(seed)
    return [draws.integers(3, VOCABULARY, draws.integers(12, 21)).tolist() for _ in range(PROMPTS * 8)]


def even(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """The reward."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def measure(policy: Any, seed: int) -> dict[str, float]:
    """How good a trained policy is, and how far it went, on 256 prompts that nobody learnt from.

    Both are expectations over the next token along completions that it draws, which vary far less than what is drawn.

    Returns:
        `score`: the probability of even tokens; `kl`: the divergence from the model as it began, in nats for each completion.
    """
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(_MEASURING_SEED + seed)
    ids = torch.randint(3, VOCABULARY, (_MEASURED, _WIDTH))
    policy = policy.eval()
    with torch.no_grad():
        words = {"do_sample": True, "top_k": 0, "temperature": 1.0, "eos_token_id": None, "pad_token_id": 0}
        ids = policy.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=RESPONSE,
            min_new_tokens=RESPONSE,
            **words,
        )
        ours, start = (
            model(input_ids=ids).logits[:, _WIDTH - 1 : -1].double().log_softmax(2)
            for model in (policy, make_model(LlamaForCausalLM, 0).eval())
        )
    assert ids.shape[1] == _WIDTH + RESPONSE
    return {
        "score": float(ours.exp()[..., ::2].sum(2).mean()),
        "kl": float((ours.exp() * (ours - start)).sum(2).sum(1).mean()),
    }


def run(
    make: Callable[..., Any],
    parts: Callable[[], dict[str, Any]],
    policy_of: Callable[[Any], Any],
    updates: int,
    seed: int,
) -> tuple[dict[str, Any], Any]:
    """Makes a trainer's parts, then the trainer, trains, and measures its policy, on one thread of this process.

    Returns:
        What was measured, and the trainer. CPU seconds are those of `train`. Memory is the largest resident size while the
        trainer is built and trains, less the size just before it is built (`peak_bytes`), or less that before models and
        prompts are made (`peak_bytes_with_models`).
    """
    import torch

    torch.set_num_threads(1)
    before_parts = _reset_peak()
    words = parts()
    before = _reset_peak()
    trainer = make(**words)
    began, wall = time.process_time(), time.monotonic()
    trainer.train()
    cpu, wall = time.process_time() - began, time.monotonic() - wall
    peak = _status("VmHWM")
    return {
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "samples_per_cpu_second": PROMPTS * updates / cpu,
        "peak_bytes": peak - before,
        "peak_bytes_with_models": peak - before_parts,
        **measure(policy_of(trainer), seed),
        "versions": {name: version(name) for name in ("trl", "torch", "transformers", "peft")},
    }, trainer


def _reset_peak() -> int:
    """Bytes this process holds now; its high-water mark begins anew there."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def start(python: str, script: str, settings: dict[str, Any]) -> dict[str, Any]:
    """One run in a process of its own, with its settings; `script --one JSON` prints what came out as its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    command = [python, script, "--one", json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=_LIMIT)
    if done.returncode:
        sys.exit(f"{settings}: {done.stderr[-2000:]}")
    return {**settings, **json.loads(done.stdout.splitlines()[-1])}


class Results:
    """What came out, in a file: runs that are there are not run again.

    Args:
        path: None for no file.
        command: That makes it.
    """

    def __init__(self, path: Path | None, command: list[str]) -> None:
        self.path = path
        self.runs: list[dict[str, Any]] = []
        self._versions: dict[str, Any] = {}
        if path is not None and path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            self.runs, self._versions = known["runs"], known["versions"]
        self._command = command

    def find(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        return next((run for run in self.runs if settings.items() <= run.items()), None)

    def add(self, made: dict[str, Any]) -> None:
        self._versions[made["side"]] = made.pop("versions")
        self.runs.append(made)
        if self.path is not None:
            hardware = {"name": _processor(), "cpu_count": os.cpu_count(), "threads": 1}
            facts = {"command": self._command, "hardware": hardware, "system": platform.platform()}
            whole = {**facts, "versions": {**self._versions, "python": platform.python_version()}, "runs": self.runs}
            self.path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def print_runs(runs: list[dict[str, Any]], settings: tuple[str, ...]) -> None:
    """A table of means over seeds: a line for each combination of settings; `±` is half the range."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for each in runs:
        groups.setdefault(tuple(json.dumps(each[name]) for name in settings), []).append(each)
    columns = {"score": 3, "kl": 2, "samples_per_cpu_second": 1, "cpu_seconds": 1, "peak_bytes": -6}
    print(" | ".join(("", *settings, "seeds", *columns, "")))
    print("|---" * (len(settings) + 1 + len(columns)) + "|")
    for group, members in groups.items():
        # Memory is not known of runs that shared a process.
        read = {name: [each[name] for each in members if each.get(name) is not None] for name in columns}
        cells = [_spread(read[name], digits) if read[name] else "" for name, digits in columns.items()]
        print(" | ".join(("", *(each.strip('"') for each in group), str(len(members)), *cells, "")))


def _spread(values: list[float], digits: int) -> str:
    half = (max(values) - min(values)) / 2
    return " ± ".join(f"{round(each, digits):,.{max(digits, 0)}f}" for each in (sum(values) / len(values), half))
