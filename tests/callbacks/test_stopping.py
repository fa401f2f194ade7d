"""A request to stop ends the training with one save, at the step it was met in; on several processes at the same step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback, TrainingArguments

from hfrecipes.callbacks.signals import StopRequest, catch_signals
from hfrecipes.callbacks.stopping import StopCallback, shield_workers
from hfrecipes.objectives.clm import PackedCollator
from hfrecipes.trainers.language_modeling import PretrainTrainer

STEPS_PER_EPOCH = 3
INPUTS = ("input_ids", "labels")
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}


class SignalAt(TrainerCallback):
    """Sends this process SIGTERM at an event of a step."""

    def __init__(self, event: str | None, step: int) -> None:
        self.at = (event, step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._send("in the step", state.global_step)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._send("in the evaluation", state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._send("in the save", state.global_step)

    def _send(self, event: str, step: int) -> None:
        if self.at == (event, step):
            signal.raise_signal(signal.SIGTERM)


class Diary(TrainerCallback):
    """What was saved and measured, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.entries.append(f"saved {state.global_step}")

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.entries.append(f"measured {state.global_step}")


def make_trainer(folder: Path, **words: Any) -> PretrainTrainer:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES))
    rows = Dataset.from_dict({name: torch.arange(6 * 8).reshape(6, 8).remainder(32).tolist() for name in INPUTS})
    words = {"max_steps": 6, "per_device_train_batch_size": 6 // STEPS_PER_EPOCH, "logging_steps": 1, **words}
    args = TrainingArguments(str(folder), use_cpu=True, disable_tqdm=True, report_to="none", **words)
    return PretrainTrainer(
        model=model, args=args, train_dataset=rows, eval_dataset=rows, data_collator=PackedCollator(0)
    )


def train(folder: Path, event: str | None, step: int = 0, **words: Any) -> tuple[StopRequest, list[str]]:
    trainer, diary = make_trainer(folder, **words), Diary()
    with catch_signals() as stop:
        for callback in (SignalAt(event, step), diary, StopCallback(stop)):
            trainer.add_callback(callback)
        trainer.train()
    return stop, diary.entries


EPOCHS = {"save_strategy": "epoch", "eval_strategy": "epoch"}
STEPS = {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 2, "eval_steps": 2}
BEST = {**STEPS, "save_strategy": "best", "metric_for_best_model": "loss", "learning_rate": 0.0}


@pytest.mark.parametrize(
    ("words", "event", "step", "entries"),
    [
        ({"save_strategy": "no"}, "in the step", 2, ["saved 2"]),
        # Due at that step anyhow.
        (STEPS, "in the step", 2, ["measured 2", "saved 2"]),
        (STEPS, "in the step", 3, ["measured 2", "saved 2", "saved 3"]),
        (STEPS, "in the evaluation", 4, ["measured 2", "saved 2", "measured 4", "saved 4"]),
        ({**STEPS, "save_steps": 4}, "in the evaluation", 2, ["measured 2", "saved 2"]),
        (STEPS, "in the save", 2, ["measured 2", "saved 2"]),
        # The last step of all.
        ({"save_strategy": "no"}, "in the step", 6, ["saved 6"]),
        (STEPS, "in the save", 6, ["measured 2", "saved 2", "measured 4", "saved 4", "measured 6", "saved 6"]),
        # In the middle of an epoch nothing that belongs to its end is done; at its end, all of it.
        (EPOCHS, "in the step", 1, ["saved 1"]),
        (EPOCHS, "in the step", 3, ["measured 3", "saved 3"]),
        (EPOCHS, "in the evaluation", 3, ["measured 3", "saved 3"]),
        ({"save_strategy": "no"}, "in the step", 3, ["saved 3"]),
        # No better than the first, so it would not be saved after this evaluation; then it is after the next step.
        (BEST, "in the step", 4, ["measured 2", "saved 2", "measured 4", "saved 5"]),
    ],
)
def test_it_is_saved_once_and_the_training_ends(
    words: dict[str, Any], event: str, step: int, entries: list[str], tmp_path: Path
) -> None:
    stop, found = train(tmp_path, event, step, **words)
    assert found == entries
    last = int(entries[-1].removeprefix("saved "))
    assert (stop.signal, stop.step) == (signal.SIGTERM, last)
    state = json.loads((tmp_path / f"checkpoint-{last}" / "trainer_state.json").read_text())
    assert state["global_step"] == last


def test_without_a_signal_nothing_changes(tmp_path: Path) -> None:
    stop, found = train(tmp_path, None, **STEPS)
    assert found == [f"{what} {step}" for step in (2, 4, 6) for what in ("measured", "saved")]
    assert (stop.signal, stop.step) == (None, None)


def test_what_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole", save_strategy="no")
    whole.train()
    train(tmp_path / "parts", "in the step", 2, save_strategy="no")
    rest = make_trainer(tmp_path / "parts", save_strategy="no")
    rest.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    assert rest.state.global_step == 6
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, rest.model.state_dict()[name]), name


WORKER = """
import signal, sys
from pathlib import Path
from hfrecipes.stages.processes import leave_group
from tests.callbacks.test_stopping import SignalAt, train

if __name__ == "__main__":
    import os
    rank = int(os.environ["RANK"])
    words = {"per_device_train_batch_size": 1, "save_strategy": "no", "max_steps": 30}
    stop, entries = train(Path(sys.argv[1]), "in the step" if rank == 1 else None, 4, **words)
    Path(sys.argv[1], f"rank-{rank}").write_text(f"{stop.signal} {stop.step} {entries}")
    leave_group()
"""


def test_a_signal_to_one_process_stops_both_at_the_same_step(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, str(tmp_path / "worker.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    said = [(tmp_path / f"rank-{rank}").read_text() for rank in (0, 1)]
    assert said == ["15 4 ['saved 4']"] * 2


class SlowRows(torch.utils.data.Dataset):
    """Six rows, the process that made each, and time enough to be signalled in."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, os.getpid()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_loaders_processes_live_through_signals_to_their_group(signum: int) -> None:
    loader = shield_workers(DataLoader(SlowRows(), batch_size=1, num_workers=1, prefetch_factor=1))
    found = []
    for index, process in loader:
        found.append(int(index))
        os.kill(int(process), signum)
    assert found == list(range(6))


def test_a_loaders_own_beginning_is_kept() -> None:
    loader = DataLoader(SlowRows(), num_workers=1, worker_init_fn=_fail)
    with pytest.raises(RuntimeError, match="its own beginning"):
        next(iter(shield_workers(loader)))


LEFT_OPEN = """
from torch.utils.data import DataLoader
from hfrecipes.callbacks.stopping import shield_workers
from tests.callbacks.test_stopping import SlowRows

if __name__ == "__main__":
    rows = iter(shield_workers(DataLoader(SlowRows(), num_workers=1)))
    # Held by what lives to the program's end, as an error's traceback is.
    rows.itself = rows
    (index,), (worker,) = next(rows)
    print(int(index), int(worker))
"""


def test_a_program_ends_though_its_loader_was_left_open(tmp_path: Path) -> None:
    (tmp_path / "open.py").write_text(LEFT_OPEN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "open.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    index, worker = map(int, done.stdout.split())
    assert index == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def _fail(worker: int) -> None:
    raise RuntimeError(f"its own beginning {worker}")
