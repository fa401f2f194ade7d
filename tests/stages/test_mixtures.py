"""Mixtures under the recipes' own trainers: killed, gone on with by other numbers of processes, and what they read then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hfrecipes import RecipeError, RunDir, RunOptions, build, load_recipe, run
from hfrecipes.trainers.guarded import GuardedTrainer
from tests.stages.mixture_worker import hash_of

STEPS, BATCH, MICRO = 10, 8, 2
MODEL = """
model:
  config: {model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2}
  tokenizer: {vocab_size: 300}
"""
PRETRAIN = f"""
kind: pretrain
{MODEL}
data:
  context_length: 32
  mixture:
    seed: 3
    sources:
      sums: {{path: sums.jsonl, weight: [[0, 0.9], [1, 0.1]], interpolation: cosine}}
      squares: {{path: squares.jsonl, weight: [[0, 0.1], [1, 0.9]]}}
training:
  {{global_batch_size: {BATCH}, per_device_train_batch_size: {MICRO}, max_steps: {STEPS}, logging_steps: 3, save_steps: 2}}
"""
SFT = f"""
kind: sft
{MODEL}
data:
  mixture:
    sources:
      asked: {{path: asked.jsonl, weight: 0.3, max_epochs: 2}}
      sums: {{path: sums.jsonl, weight: [[0, 0.2], [1, 0.9]]}}
training:
  {{global_batch_size: {BATCH}, per_device_train_batch_size: {MICRO}, max_steps: {STEPS}, logging_steps: 3, save_steps: 2,
   max_length: 64, PACKING}}
"""
COMPARED = f"""
kind: KIND
{MODEL}
data:
  mixture:
    sources:
      easy: {{{{path: easy.jsonl, weight: [[0, 0.8], [1, 0.2]]}}}}
      hard: {{{{path: hard.jsonl, weight: 0.5}}}}
training:
  {{{{global_batch_size: {BATCH}, per_device_train_batch_size: {MICRO}, max_steps: {STEPS}, logging_steps: 1, save_steps: 2,
   max_length: 64, learning_rate: 1.0e-3}}}}
""".replace("{{", "{").replace("}}", "}")
RECIPES = {
    "reward.yaml": COMPARED.replace("KIND", "reward"),
    "dpo.yaml": COMPARED.replace("KIND", "dpo"),
    "pretrain.yaml": PRETRAIN,
    "sft.yaml": SFT.replace("PACKING", "packing: false"),
    "packed.yaml": SFT.replace("PACKING", "packing: true"),
}
# Each run is killed in all its processes before a step, and gone on with by as many or others; one of them twice.
SCENES: list[dict[str, Any]] = [
    {"recipe": "pretrain.yaml", "name": "a", "world_size": 2, "kill_at": 5},
    {"recipe": "pretrain.yaml", "name": "b", "world_size": 1, "resume": True, "copy_of": "a"},
    {"recipe": "pretrain.yaml", "name": "a", "world_size": 1, "resume": True, "kill_at": 7},
    {
        "recipe": "pretrain.yaml",
        "name": "a",
        "world_size": 4,
        "resume": True,
        "overrides": ["training.dataloader_num_workers=1"],
    },
    {"recipe": "sft.yaml", "name": "c", "world_size": 1, "kill_at": 3},
    {"recipe": "sft.yaml", "name": "c", "world_size": 2, "resume": True},
    {"recipe": "packed.yaml", "name": "d", "world_size": 2, "kill_at": 4},
    {
        "recipe": "packed.yaml",
        "name": "d",
        "world_size": 1,
        "resume": True,
        "overrides": ["training.dataloader_num_workers=4", "training.dataloader_prefetch_factor=3"],
    },
    {"recipe": "reward.yaml", "name": "e", "world_size": 1, "kill_at": 5},
    {"recipe": "reward.yaml", "name": "e", "world_size": 2, "resume": True},
    {"recipe": "dpo.yaml", "name": "f", "world_size": 2, "kill_at": 5},
    {"recipe": "dpo.yaml", "name": "f", "world_size": 1, "resume": True},
]


def write_recipes(folder: Path) -> None:
    for name, text in RECIPES.items():
        (folder / name).write_text(text)
    sums = [{"text": f"The sum of {n} and {n + 1} is {2 * n + 1}, the next is {2 * n + 3}."} for n in range(60)]
    squares = [{"text": f"Square of {n}: {n * n}. "} for n in range(25)]
    asked = [{"prompt": f"What is {n} times 3?", "completion": f" It is {3 * n}" + "!" * (n % 9)} for n in range(15)]
    easy = [{"prompt": f"What is {n} plus 0?", "chosen": f" {n}", "rejected": f" {n + 1}."} for n in range(12)]
    hard = [
        {"prompt": f"And {n} squared?", "chosen": f" {n * n}", "rejected": " No" + "!" * (n % 5)} for n in range(20)
    ]
    named = {"sums": sums, "squares": squares, "asked": asked, "easy": easy, "hard": hard}
    for name, rows in named.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all scenes were played, in four processes that accelerate launched."""
    folder = tmp_path_factory.mktemp("mixtures")
    write_recipes(folder)
    first_port = 20_000 + os.getpid() % 20_000
    scenes = [{**scene, "port": first_port + number} for number, scene in enumerate(SCENES)]
    (folder / "scenes.json").write_text(json.dumps(scenes))
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    worker = [str(Path(__file__).with_name("mixture_worker.py")), "scenes.json"]
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": root,
    }
    command = [*launch, "--num_processes", "4", "--main_process_port", "0", *worker]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return folder


def reads(folder: Path, number: int) -> dict[int, list[tuple[str, ...]]]:
    """By step, the micro-batches of each process."""
    steps: dict[int, list[list[str]]] = {}
    for rank in range(SCENES[number]["world_size"]):
        for line in (folder / f"reads-{number}-{rank}.jsonl").read_text().splitlines():
            note = json.loads(line)
            assert note["world_size"] == SCENES[number]["world_size"]
            of_rank = steps.setdefault(note["step"], [[] for _ in range(SCENES[number]["world_size"])])
            of_rank[rank].append(note["ids"])
    return {step: [tuple(ids) for ids in by_rank] for step, by_rank in steps.items()}


def read_tokens(name: str, rows: list[dict[str, Any]]) -> list[int]:
    """What reaches a model of a micro-batch: of answers that are compared all tokens, for DPO the chosen answers first."""
    if name == "reward.yaml":
        return [token for row in rows for token in row["input_ids"]]
    if name == "dpo.yaml":
        chosen = [token for row in rows for token in row["input_ids"][: row["seq_lengths"][0]]]
        return chosen + [token for row in rows for token in row["input_ids"][row["seq_lengths"][0] :]]
    return [label for row in rows for label in row["labels"] if label != -100]


@pytest.fixture(scope="module")
def planned(played: Path) -> dict[str, list[str]]:
    """By recipe, the hash of each micro-batch of the run, by the plan alone."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(played)
        for name in RECIPES:
            trainer = build(load_recipe(name), options=RunOptions(quiet=True)).trainer
            plan, rows = trainer.mixture_plan, trainer.train_dataset
            before = [0]
            for length in plan.lengths.values():
                before.append(before[-1] + length)
            places = [plan.locate(n) for n in range(STEPS * BATCH)]
            ids = [rows[before[place.source] + place.row] for place in places]
            batches = [ids[n : n + MICRO] for n in range(0, len(ids), MICRO)]
            found[name] = [hash_of(read_tokens(name, batch)) for batch in batches]
    return found


@pytest.mark.parametrize("number", range(len(SCENES)))
def test_each_step_reads_the_planned_rows_in_the_planned_order(
    number: int, played: Path, planned: dict[str, list[str]]
) -> None:
    scene, seen = SCENES[number], reads(played, number)
    killed = scene.get("kill_at")
    statuses = [int((played / f"ended-{number}-{rank}").read_text()) for rank in range(scene["world_size"])]
    assert statuses == [0 if killed is None else signal.SIGKILL] * scene["world_size"]
    # The newest checkpoint is that of the last even step before the kill.
    earlier = [other["kill_at"] for other in SCENES[:number] if other["name"] in (scene["name"], scene.get("copy_of"))]
    first = earlier[-1] // 2 * 2 if scene.get("resume") else 0
    assert sorted(seen) == list(range(first, killed or STEPS))
    per_step = BATCH // MICRO
    for step, by_rank in seen.items():
        in_order = [ids for turn in zip(*by_rank, strict=True) for ids in turn]
        assert in_order == planned[scene["recipe"]][step * per_step : (step + 1) * per_step]


def test_the_logs_of_a_run_killed_twice_tell_of_every_sample_once(played: Path) -> None:
    lines = [json.loads(line) for line in (played / "runs" / "a" / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "loss" in line]
    assert [line["step"] for line in logged] == [3, 6, 9]
    uncut = [json.loads(line) for line in (played / "runs" / "b" / "metrics.jsonl").read_text().splitlines()]
    for one, other in zip(logged, [line for line in uncut if "loss" in line], strict=True):
        assert one["mixture/sums"] == other["mixture/sums"]
        assert one["mixture_epochs/squares"] == other["mixture_epochs/squares"]
        assert abs(one["mixture/sums"] - one["mixture_planned/sums"]) < 2 / (3 * BATCH)


@pytest.mark.parametrize(("recipe", "name"), [("reward.yaml", "e"), ("dpo.yaml", "f")])
def test_losses_of_compared_answers_are_those_of_one_process_that_was_not_killed(
    recipe: str, name: str, played: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(played)
    uncut = RunDir(run(load_recipe(recipe, ["name=uncut"]), options=RunOptions(quiet=True, overwrite=True)))
    expected, found = (
        [entry for entry in run_dir.metrics() if "loss" in entry] for run_dir in (uncut, RunDir(Path("runs", name)))
    )
    assert [entry["step"] for entry in found] == list(range(1, STEPS + 1))
    figures = ("loss", "grad_norm", "accuracy") if recipe == "reward.yaml" else ("loss", "grad_norm", "rewards/margins")
    for figure in figures:
        values = [entry[figure] for entry in expected]
        assert [entry[figure] for entry in found] == pytest.approx(values, rel=2e-3, abs=1e-5), figure


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was left after its checkpoint of step 4."""
    monkeypatch.chdir(tmp_path)
    write_recipes(tmp_path)

    def leave(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    training_step = GuardedTrainer.training_step
    with monkeypatch.context() as patch:
        patch.setattr(GuardedTrainer, "training_step", leave)
        with pytest.raises(KeyboardInterrupt):
            run("pretrain.yaml", options=RunOptions(quiet=True))
    return tmp_path


def resume(*overrides: str, allow: tuple[str, ...] = ()) -> dict[str, Any]:
    options = RunOptions(quiet=True, resume=True, allow_change=allow)
    return RunDir(run("pretrain.yaml", list(overrides), options)).facts()


def test_whatever_changes_the_order_is_refused_by_name_and_may_be_allowed(
    interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "data.mixture.sources.squares.weight"
    for change in (f"{key}=[[0,0.2],[1,0.9]]", "data.mixture.seed=4", "training.global_batch_size=4"):
        name = change.split("=")[0]
        with pytest.raises(RecipeError, match=f"the recipe has changed since this run began: {name}.* was .*, is "):
            resume(change)
    rows = interrupted / "squares.jsonl"
    before = rows.read_text()
    rows.write_text(before + json.dumps({"text": "Square of 99: 9801. " * 4}) + "\n")
    refused = (
        r"the data has changed.*\.mixture\.sources\.squares\.rows was \d+, is \d+.* meant: --allow-change data\)?$"
    )
    with pytest.raises(RecipeError, match=refused):
        resume()
    # The tokenizer is trained on these rows: with another one, ids would mean something else.
    with pytest.raises(RecipeError, match=r"made of the data, which have changed.* model.tokenizer=\S+/checkpoint-4 "):
        resume(allow=("data",))
    rows.write_text(before)
    with monkeypatch.context() as patch:
        patch.setattr("hfrecipes.data.mixture.schedule.VERSION", 0)
        with pytest.raises(RecipeError, match=r"data\.mixture\.order was 1, is 0"):
            resume()
    facts = resume(f"{key}=[[0,0.2],[1,0.9]]", allow=(key,))
    assert facts["status"] == "complete" and facts["training"]["steps"] == STEPS
    assert [line for line in facts["warnings"] if line.startswith("the rest of the mixture is planned anew")]
    assert facts["sessions"][-1]["changes"] == [f"{key}.0.1 was 0.1, is 0.2"]


def test_a_longer_mixture_is_gone_on_with_by_a_new_plan_of_rows_and_rates(interrupted: Path) -> None:
    facts = resume("training.max_steps=12", allow=("training.max_steps",))
    assert facts["training"]["steps"] == 12 and facts["training"]["rows"] == 12 * BATCH
    warnings = "\n".join(facts["warnings"])
    assert "the rest of the mixture is planned anew" in warnings
    assert "the schedule is planned anew" in warnings


def test_an_unchanged_mixture_is_gone_on_with_without_a_word_of_it(interrupted: Path) -> None:
    facts = resume()
    assert "mixture" not in "\n".join(facts["warnings"])
    assert facts["plan"]["mixture"]["samples"] == facts["training"]["rows"] == STEPS * BATCH
    assert facts["training"]["epochs"] is None


def test_the_tokens_in_the_facts_are_those_that_were_read(played: Path) -> None:
    for name, recipe in (("a", "pretrain.yaml"), ("c", "sft.yaml")):
        facts = RunDir(played / "runs" / name).facts()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(played)
            trainer = build(load_recipe(recipe), options=RunOptions(quiet=True)).trainer
        rows = [len(row) for row in trainer.train_dataset["input_ids"]]
        offsets = dict(enumerate([0, next(iter(trainer.mixture_plan.lengths.values()))]))
        places = [trainer.mixture_plan.locate(n) for n in range(STEPS * BATCH)]
        assert facts["training"]["tokens"] == sum(rows[offsets[place.source] + place.row] for place in places)
