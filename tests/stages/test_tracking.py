"""One run in a tracker for one run here: cut off, resumed, begun anew, several in one process.

What needs a tracker is skipped where it is not installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer, TrainerCallback

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.folders import newest_valid
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.trackers import STARTERS, OpenRun
from hfrecipes.stages.tracking import restarted_trackers, tracked
from tests.trainers.conftest import tiny_model  # noqa: F401
from tests.trainers.test_mixin import make_trainer

TRACKERS = ("comet_ml", "mlflow", "swanlab", "tensorboard", "trackio", "wandb")
# Each of these names a run, or has it begun in another way, when a user sets it.
DECIDING = (
    "COMET_EXPERIMENT_KEY",
    "COMET_MODE",
    "MLFLOW_RUN_ID",
    "SWANLAB_RESUME",
    "SWANLAB_RUN_ID",
    "TENSORBOARD_LOGGING_DIR",
    "WANDB_RESUME",
    "WANDB_RUN_ID",
)
PLANTED = "planted0123456789abcdef0123456789abcdef0"
Curve = list[tuple[int, float]]


class CutOff(TrainerCallback):
    """Ends a training in the middle of a step, two steps after its checkpoint, as an error would."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 7:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trackio reads where it keeps its runs once, when it is imported."""
    return tmp_path_factory.mktemp("trackio")


@pytest.fixture
def store(tmp_path: Path, trackio_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every tracker writes below this folder, and reaches for no network."""
    for name in DECIDING:
        monkeypatch.delenv(name, raising=False)
    settings = {
        "COMET_OFFLINE_DIRECTORY": str(tmp_path / "comet"),
        "COMET_START_ONLINE": "0",
        "MLFLOW_TRACKING_TOKEN": PLANTED,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "SWANLAB_API_KEY": PLANTED,
        "SWANLAB_LOG_DIR": str(tmp_path / "swanlog"),
        "SWANLAB_MODE": "offline",
        "TRACKIO_DIR": str(trackio_folder),
        "TRACKIO_WRITE_TOKEN": PLANTED,
        "WANDB_API_KEY": PLANTED,
        "WANDB_DIR": str(tmp_path),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    if "wandb" in sys.modules:
        # It reads its environment once in a process.
        sys.modules["wandb"].teardown()
    return tmp_path


@pytest.fixture
def session(tiny_model: Callable, store: Path) -> Callable[..., RunDir]:  # noqa: F811
    """Trains to step 8 with a checkpoint at 4, or goes on with what an earlier session left in the run directory."""

    def train(tracker: str, name: str = "run", *callbacks: TrainerCallback) -> RunDir:
        run = RunDir(store / name)
        run.path.mkdir(exist_ok=True)
        trainer = make_trainer(
            tiny_model(),
            run.checkpoints,
            max_steps=8,
            save_steps=4,
            report_to=[tracker],
            run_name=name,
            project=store.name,
        )
        for callback in (CheckpointCallback(trainer, None), *callbacks):
            trainer.add_callback(callback)
        checkpoint = newest_valid(run.checkpoints)[0]
        with contextlib.suppress(KeyboardInterrupt), tracked(trainer, run, checkpoint):
            trainer.train(resume_from_checkpoint=checkpoint)
        assert trainer.args.run_name == name
        return run

    return train


def ids_of(run: RunDir) -> dict[str, str]:
    return json.loads((run.path / "trackers.json").read_text())


# Every run that a tracker holds: its losses by step, by id. None where the tracker offers no way to read them offline.


def tensorboard_runs(store: Path, trackio: Path) -> dict[str, Curve]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in {file.parent for file in store.rglob("*tfevents*")}:
        events = EventAccumulator(str(folder))
        events.Reload()
        found[folder.name] = [(event.step, event.value) for event in events.Scalars("train/loss")]
    return found


def trackio_runs(store: Path, trackio: Path) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    with sqlite3.connect(trackio / f"{store.name}.db") as database:
        for name, text in database.execute("select run_name, metrics from metrics order by id"):
            values = json.loads(text)
            if "train/loss" in values:
                found.setdefault(name, []).append((values["train/global_step"], values["train/loss"]))
    return found


def mlflow_runs(store: Path, trackio: Path) -> dict[str, Curve]:
    import mlflow

    client = mlflow.MlflowClient()
    ids = [run.info.run_id for run in client.search_runs(["0"])]
    return {name: [(line.step, line.value) for line in client.get_metric_history(name, "loss")] for name in ids}


def comet_runs(store: Path, trackio: Path) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for file in sorted((store / "comet").glob("*.zip"), key=lambda file: file.stat().st_mtime_ns):
        with zipfile.ZipFile(file) as archive:
            identity = json.loads(archive.read("experiment.json"))["offline_id"]
            messages = [json.loads(line)["payload"] for line in archive.read("messages.json").splitlines()]
        metrics = [payload["metric"] for payload in messages if "metric" in payload]
        found.setdefault(identity, []).extend(
            (metric["step"], float(metric["metricValue"])) for metric in metrics if metric["metricName"] == "train/loss"
        )
    return found


def wandb_runs(store: Path, trackio: Path) -> dict[str, None]:
    return {folder.name.split("-", 3)[3]: None for folder in (store / "wandb").glob("offline-run-*")}


def swanlab_runs(store: Path, trackio: Path) -> dict[str, None]:
    return {folder.name.split("-", 2)[2]: None for folder in (store / "swanlog").glob("run-*")}


READERS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "comet_ml": comet_runs,
    "mlflow": mlflow_runs,
    "swanlab": swanlab_runs,
    "tensorboard": tensorboard_runs,
    "trackio": trackio_runs,
    "wandb": wandb_runs,
}
# TensorBoard is told which steps are void; the others show the two that were run again twice, at one value.
SHOWN = {"tensorboard": [1, 2, 3, 4, 5, 6, 7, 8]}
REPEATED = [1, 2, 3, 4, 5, 6, 5, 6, 7, 8]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_run_that_was_cut_off_and_resumed_is_one_run_of_the_tracker(
    tracker: str, session: Callable, store: Path, trackio_folder: Path
) -> None:
    pytest.importorskip(tracker)
    first = ids_of(session(tracker, "run", CutOff()))
    run = session(tracker)
    assert ids_of(run) == first
    runs = READERS[tracker](store, trackio_folder)
    assert list(runs) == [first[tracker]]
    if runs[first[tracker]] is not None:
        curve = runs[first[tracker]]
        assert [step for step, _ in curve] == SHOWN.get(tracker, REPEATED)
        assert len(set(curve)) == 8
    assert restarted_trackers([tracker], run) == []
    written = [path for path in run.path.rglob("*") if path.is_file()]
    assert not [path for path in written if PLANTED.encode() in path.read_bytes()]


@pytest.mark.parametrize("tracker", [tracker for tracker in TRACKERS if tracker != "tensorboard"])
def test_runs_of_one_process_are_runs_of_their_own_also_under_one_name(
    tracker: str, session: Callable, store: Path, trackio_folder: Path
) -> None:
    pytest.importorskip(tracker)
    environment = dict(os.environ)
    run = session(tracker)
    first = ids_of(run)[tracker]
    run.path.rename(store / "replaced")
    second = ids_of(session(tracker))[tracker]
    assert first != second
    assert set(READERS[tracker](store, trackio_folder)) == {first, second}
    assert {name: os.environ.get(name) for name in DECIDING} == {name: environment.get(name) for name in DECIDING}


def test_steps_of_a_pipeline_have_a_folder_of_tensorboard_each(session: Callable, store: Path) -> None:
    pytest.importorskip("tensorboard")
    for name in ("base", "tuned"):
        run = session("tensorboard", name)
        assert [file.parent for file in run.path.rglob("*tfevents*")] == [run.path / "tensorboard"]


@pytest.mark.parametrize(
    ("tracker", "variable"),
    [("comet_ml", "COMET_EXPERIMENT_KEY"), ("swanlab", "SWANLAB_RUN_ID"), ("wandb", "WANDB_RUN_ID")],
)
def test_an_id_in_the_environment_wins_and_is_gone_on_with(
    tracker: str, variable: str, session: Callable, monkeypatch: pytest.MonkeyPatch, store: Path, trackio_folder: Path
) -> None:
    pytest.importorskip(tracker)
    theirs = "abcdefghijklmnopqrstuvwxyz0123456789"[: 21 if tracker == "swanlab" else 36]
    monkeypatch.setenv(variable, theirs)
    assert ids_of(session(tracker, "run", CutOff())) == {tracker: theirs}
    assert os.environ[variable] == theirs
    monkeypatch.delenv(variable)
    assert ids_of(session(tracker)) == {tracker: theirs}
    assert list(READERS[tracker](store, trackio_folder)) == [theirs]


def test_a_run_of_mlflow_in_the_environment_wins(
    session: Callable, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    mlflow = pytest.importorskip("mlflow")
    theirs = mlflow.MlflowClient().create_run("0").info.run_id
    session("mlflow", "run", CutOff())
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs)
    assert ids_of(session("mlflow")) == {"mlflow": theirs}
    assert [step for step, _ in mlflow_runs(store, store)[theirs]] == [5, 6, 7, 8]


def test_a_folder_of_tensorboard_in_the_environment_wins(
    session: Callable, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(store / "theirs"))
    run = session("tensorboard", "run", CutOff())
    session("tensorboard")
    assert {file.parent for file in store.rglob("*tfevents*")} == {store / "theirs"}
    assert not (run.path / "trackers.json").exists()


def test_a_run_that_the_caller_has_opened_is_neither_kept_nor_ended(session: Callable, store: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    with mlflow.start_run() as theirs:
        run = session("mlflow")
        assert mlflow.active_run().info.run_id == theirs.info.run_id
    assert not (run.path / "trackers.json").exists()
    assert list(mlflow_runs(store, store)) == [theirs.info.run_id]


def test_a_training_that_was_cut_off_is_no_success_in_mlflow(session: Callable) -> None:
    mlflow = pytest.importorskip("mlflow")
    identity = ids_of(session("mlflow", "run", CutOff()))["mlflow"]
    assert mlflow.get_run(identity).info.status == "FAILED"
    session("mlflow")
    assert mlflow.get_run(identity).info.status == "FINISHED"


def test_a_run_that_is_gone_from_the_tracker_is_refused_before_training(session: Callable) -> None:
    mlflow = pytest.importorskip("mlflow")
    run = session("mlflow", "run", CutOff())
    mlflow.delete_run(ids_of(run)["mlflow"])
    with pytest.raises(RecipeError, match=r"mlflow cannot go on with its run .*trackers\.json"):
        session("mlflow")
    assert mlflow.active_run() is None


# Without any tracker: what is common to all of them.


@pytest.fixture
def trainer(tiny_model: Callable, tmp_path: Path) -> Trainer:  # noqa: F811
    """Reports to `tried`, which a test adds to the trackers."""
    trainer = make_trainer(tiny_model(), tmp_path / "run" / "checkpoints", report_to=[], run_name="run")
    trainer.args.report_to = ["tried"]
    return trainer


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    return run


def test_what_a_tracker_draws_changes_no_draw_of_the_training(
    trainer: Trainer, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def draw(*_: Any) -> OpenRun:
        drawn.append(random.random())
        return OpenRun("id", lambda well: drawn.append(random.random()))

    monkeypatch.setitem(STARTERS, "tried", draw)
    for _ in range(2):
        random.seed(1)
        before = random.getstate()
        with tracked(trainer, run, None):
            assert random.getstate() == before
        assert random.getstate() == before
    assert len(set(drawn)) == 4


def test_a_tracker_that_fails_at_its_end_takes_nothing_with_it(
    trainer: Trainer, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(well: bool) -> None:
        raise ConnectionError("no way out")

    monkeypatch.setitem(STARTERS, "tried", lambda place, kept: OpenRun("id", fail))
    told = "tried could not end its run: ConnectionError: no way out"
    with pytest.warns(UserWarning, match=told), tracked(trainer, run, None):
        pass
    assert ids_of(run) == {"tried": "id"}


def test_a_tracker_that_cannot_start_is_named_and_those_before_it_are_ended(
    trainer: Trainer, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []

    def refuse(*_: Any) -> None:
        raise PermissionError("log in\nfirst")

    monkeypatch.setitem(STARTERS, "early", lambda place, kept: OpenRun("id", ended.append))
    monkeypatch.setitem(STARTERS, "tried", refuse)
    trainer.args.report_to = ["early", "tried"]
    told = "tried cannot be started: PermissionError: log in first"
    with pytest.raises(RecipeError, match=told), tracked(trainer, run, None):
        pytest.fail("the training must not begin")
    assert ended == [False]


def test_other_processes_than_the_main_one_open_nothing(
    trainer: Trainer, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STARTERS, "tried", lambda place, kept: pytest.fail("a second run of the tracker"))
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: False)
    with tracked(trainer, run, None):
        pass
    assert not (run.path / "trackers.json").exists()


def test_trackers_that_begin_anew_are_named(run: RunDir) -> None:
    (run.path / "trackers.json").write_text('{"wandb": "abc"}')
    first, second = restarted_trackers(["wandb", "clearml", "azure_ml", "mlflow"], run)
    assert first.startswith("clearml cannot go on with a run")
    assert second.startswith("mlflow begins a new run")


@pytest.mark.parametrize("text", ["", "[]", '{"wandb": 1}', "{", "[" * 100_000])
def test_a_damaged_list_of_runs_is_refused_with_its_mend(run: RunDir, text: str) -> None:
    (run.path / "trackers.json").write_text(text)
    with pytest.raises(RecipeError, match=r"trackers\.json.*remove it"):
        restarted_trackers(["wandb"], run)
