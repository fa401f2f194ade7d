"""Two processes learn what one learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainers.ppo.tiny import prompts, trainer

WORDS = {"max_steps": 8, "learning_rate": 5e-3, "logging_steps": 4, "eval_strategy": "steps", "eval_steps": 8}
WORKER = """
import json, sys
from pathlib import Path
import torch
import torch.distributed as dist
from hfrecipes.stages.processes import leave_group
from tests.trainers.ppo.test_processes import WORDS
from tests.trainers.ppo.tiny import prompts, trainer

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for value in ("head", "adapter"):
        words = {"per_device_train_batch_size": 1, "value": value, "lora": value == "adapter"}
        made = trainer(folder / value, eval_dataset=prompts(6), **WORDS, **words)
        made.train()
        state = {name: weight for name, weight in made.policy.state_dict().items()}
        torch.save(state, folder / f"{value}-{dist.get_rank()}.pt")
        facts = {"world": dist.get_world_size(), "wrapper": type(made.model_wrapped).__name__}
        (folder / f"{value}-{dist.get_rank()}.json").write_text(json.dumps([facts, made.state.log_history]))
    leave_group()
"""
RUNTIME = ("runtime", "per_second", "flos")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    (folder / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, str(folder / "worker.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


@pytest.mark.parametrize("value", ["head", "adapter"])
def test_two_processes_learn_what_one_learns(value: str, two: Path, tmp_path: Path) -> None:
    made = trainer(tmp_path, eval_dataset=prompts(6), value=value, lora=value == "adapter", **WORDS)
    made.train()
    for rank in (0, 1):
        facts, history = json.loads((two / f"{value}-{rank}.json").read_text())
        assert facts == {"world": 2, "wrapper": "DistributedDataParallel"}
        state = torch.load(two / f"{value}-{rank}.pt")
        assert all(torch.allclose(state[name], weight, atol=1e-5) for name, weight in made.policy.state_dict().items())
        for mine, theirs in zip(made.state.log_history, history, strict=True):
            names = [name for name in mine if not any(word in name for word in RUNTIME)]
            assert {name: theirs[name] for name in names} == {
                name: pytest.approx(mine[name], rel=1e-3, abs=1e-4) for name in names
            }
