"""`kind: sample`: what is drawn is the same after a kill, scores are the rewards', and later steps learn from the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from hfrecipes import RecipeError, RunDir, RunOptions, load_recipe, run
from hfrecipes.check.check import check_recipe
from hfrecipes.plan.pipeline import plan_pipeline
from hfrecipes.plan.plan import make_plan
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.upload import plan_upload
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.rewards import Length
from hfrecipes.stages.sample import CHUNK
from tests.stages.preference_runs import trained, write_all

CPU = Hardware("cpu", "a CPU", 1, 2**34, bf16=False, flash_attention=False)
PROMPTS = CHUNK + 12
ASK = """
kind: sample
model: {name_or_path: runs/base/model}
rewards: [{function: "hfrecipes.rewards:Length", target: 12, slope: 0.1, unit: characters}]
data: {train: [{path: prompts.jsonl}]}
generation: {num_return_sequences: 3, max_new_tokens: 8, batch_size: 32}
"""
PIPELINE = """
kind: pipeline
steps:
  - {name: ask, recipe: ask.yaml, with: {data.train.0.limit: 12}}
  - {name: dpo, recipe: dpo.yaml, with: {data: {train: [{path: "${steps.ask.pairs}"}]}, training.max_steps: 2}}
  - {name: reward, recipe: reward.yaml, with: {data: {train: [{path: "${steps.ask.rankings}"}]}, training.max_steps: 2}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a base was trained, and has answered prompts. Tests do not change these runs."""
    folder = tmp_path_factory.mktemp("answers")
    write_all(folder)
    (folder / "ask.yaml").write_text(ASK)
    (folder / "all.yaml").write_text(PIPELINE)
    rows = [{"prompt": f"What is {n} times 3?"} for n in range(PROMPTS - 1)]
    # The model has 160 places.
    rows.append({"prompt": "What is more? " * 200})
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        trained("ask.yaml")
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_all_that_was_drawn_is_there_with_the_scores_of_the_rewards() -> None:
    asked = RunDir(Path("runs/ask"))
    records, facts = rows_of(asked.answers), asked.facts()
    assert [record["number"] for record in records] == list(range(PROMPTS))
    assert records[-1]["answers"] == [] and facts["answers"]["without_room"] == 1
    judge, tokenizer = Length(target=12, slope=0.1, unit="characters"), AutoTokenizer.from_pretrained("runs/base/model")
    for record in records[:-1]:
        assert len(record["answers"]) == 3 and all(0 < count <= 8 for count in record["tokens"])
        prompts = [record["prompt"]] * 3
        ids = [tokenizer(text)["input_ids"] for text in record["answers"]]
        assert record["scores"] == pytest.approx(
            judge(prompts=prompts, completions=record["answers"], completion_ids=ids)
        )
    assert facts["answers"]["answers"] == 3 * (PROMPTS - 1)
    assert facts["answers"]["tokens"] == sum(sum(record["tokens"]) for record in records)


def test_pairs_are_the_best_against_the_worst_and_rankings_are_sorted() -> None:
    asked = RunDir(Path("runs/ask"))
    found = {row["prompt"]: row for row in rows_of(asked.pairs)}
    for record in rows_of(asked.answers)[:-1]:
        said = zip(record["scores"], record["answers"], strict=True)
        scored = [(score, text) for score, text in said if text.strip() and "\0" not in text]
        pair = found.pop(record["prompt"], None)
        if pair is None:
            assert len({score for score, _ in scored}) <= 1
        else:
            assert pair["score_chosen"] == max(scored)[0] > min(scored)[0] == pair["score_rejected"]
            assert (pair["score_chosen"], pair["chosen"]) in scored and (
                pair["score_rejected"],
                pair["rejected"],
            ) in scored
    assert not found
    for row in rows_of(asked.rankings):
        assert row["scores"] == sorted(row["scores"], reverse=True) and len(set(row["responses"])) == len(
            row["responses"]
        )


def test_a_run_that_was_cut_off_draws_the_same_answers(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    asked = RunDir(Path("runs/ask"))
    whole = {file: file.read_bytes() for file in (asked.answers, asked.pairs, asked.rankings)}
    lines = whole[asked.answers].splitlines(keepends=True)
    # Half a line behind half a chunk.
    asked.answers.write_bytes(b"".join(lines[: CHUNK + 3]) + lines[CHUNK + 3][:20])
    asked.pairs.unlink()
    asked.write_facts({**asked.facts(), "status": "failed"})
    drawn = trained("ask.yaml", resume=True)
    assert all(file.read_bytes() == before for file, before in whole.items())
    assert drawn.facts()["status"] == "complete"


@pytest.mark.parametrize("put", [[], [b'{"number": 4, garbage\n'], [b"{}\n"], [b'{"number": 5}\n']])
def test_a_line_that_is_lost_or_damaged_is_drawn_anew(
    put: list[bytes], folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    asked = RunDir(Path("runs/ask"))
    before = asked.answers.read_bytes()
    lines = before.splitlines(keepends=True)
    asked.answers.write_bytes(b"".join([*lines[: CHUNK + 1], *put, *lines[CHUNK + 2 :]]))
    asked.write_facts({**asked.facts(), "status": "interrupted"})
    trained("ask.yaml", resume=True)
    assert asked.answers.read_bytes() == before


def test_pairs_that_were_removed_are_written_again(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    asked = RunDir(Path("runs/ask"))
    before = asked.pairs.read_bytes()
    asked.pairs.unlink()
    trained("ask.yaml", resume=True)
    assert asked.pairs.read_bytes() == before


def test_other_answers_are_not_mixed_in_and_another_margin_draws_none(
    folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    for word, change in (
        ("generation.seed=1", "generation.seed was 0, is 1"),
        ("rewards.0.target=13", "rewards.0.target was 12, is 13"),
    ):
        with pytest.raises(RecipeError, match=f"were drawn by another recipe: {change}"):
            trained("ask.yaml", word, resume=True)
    with pytest.raises(RecipeError, match="holds a run already"):
        trained("ask.yaml")
    before = Path("runs/ask/answers.jsonl").stat().st_mtime_ns
    asked = trained("ask.yaml", "pairs.margin=0.35", resume=True)
    assert asked.answers.stat().st_mtime_ns == before
    pairs = rows_of(asked.pairs)
    assert all(row["score_chosen"] - row["score_rejected"] >= 0.35 for row in pairs)
    assert asked.facts()["answers"]["pairs"] == len(pairs) < len(rows_of(Path(folder / "runs/ask/pairs.jsonl")))


def test_a_reward_that_says_nothing_is_told(tmp_path: Path) -> None:
    Path("silent.py").write_text("def silent(completions, **_):\n    return [None] * len(completions)\n")
    both = "[{function: 'hfrecipes.rewards:Length', target: 12, slope: 0.1}, {function: 'silent:silent'}]"
    words = ["data.train.0.limit=2", f"rewards={both}", "name=c"]
    told = RunDir(run(load_recipe("ask.yaml", words), options=RunOptions(runs_dir=tmp_path, quiet=True)))
    assert [text for text in told.facts()["warnings"] if "reward silent gave a score to none of the 6 answers" in text]
    assert not [text for text in RunDir(Path("runs/ask")).facts()["warnings"] if "gave a score to none" in text]


def test_another_seed_draws_other_answers(tmp_path: Path) -> None:
    words = ["generation.seed=1", "data.train.0.limit=3"]
    other = RunDir(run(load_recipe("ask.yaml", words), options=RunOptions(runs_dir=tmp_path, quiet=True)))
    same = RunDir(
        run(load_recipe("ask.yaml", [*words[1:], "name=b"]), options=RunOptions(runs_dir=tmp_path, quiet=True))
    )
    first = {row["prompt"]: row["answers"] for row in rows_of(Path("runs/ask/answers.jsonl"))}
    assert all(first[row["prompt"]] != row["answers"] for row in rows_of(other.answers))
    # Random numbers go by the place of a prompt.
    assert all(row["number"] == place for place, row in enumerate(rows_of(same.answers)))


def test_card_and_report_say_what_the_facts_say() -> None:
    asked = RunDir(Path("runs/ask"))
    card, facts = asked.card.read_text(), asked.facts()
    assert f"{facts['answers']['answers']} answers to {PROMPTS} prompts make {facts['answers']['pairs']} pairs" in card
    assert "data_files: pairs.jsonl" in card and "answers of base" in asked.report.read_text()
    wrong = [str(each) for each in lint_card(card, facts) if each.severity == "error"]
    assert not wrong


def test_later_steps_learn_from_pairs_and_rankings(tmp_path: Path) -> None:
    pipeline = load_recipe("all.yaml")
    assert not [str(each) for each in check_recipe(pipeline, CPU, runs_dir=tmp_path) if each.severity == "error"]
    assert dict(plan_pipeline(pipeline, CPU).steps)["ask"].tokens
    folder = run(pipeline, options=RunOptions(runs_dir=tmp_path, quiet=True))
    pairs = len(rows_of(folder / "ask" / "pairs.jsonl"))
    (entry,) = RunDir(folder / "dpo").facts()["data"]
    assert entry["documents"] == pairs > 0
    assert RunDir(folder / "reward").facts()["status"] == "complete"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("steps.ask.pairs", "steps.ask.model", "a step of kind: sample makes none"),
        ("steps.ask.rankings", "steps.dpo.pairs", "a step of kind: dpo makes none"),
        ("steps.ask.rankings", "steps.ask.answer", "refers to nothing"),
    ],
)
def test_what_a_step_does_not_write_cannot_be_named(old: str, new: str, fault: str) -> None:
    Path("wrong.yaml").write_text(PIPELINE.replace(old, new))
    found = [str(each) for each in check_recipe(load_recipe("wrong.yaml"), CPU)]
    assert any(fault in each for each in found), found


def test_the_plan_counts_forward_passes_and_keys_and_values() -> None:
    plan = make_plan(load_recipe("ask.yaml"), CPU)
    assert plan.steps is None and plan.disk is None
    prompt = plan.data.tokens / plan.data.rows
    assert plan.tokens == pytest.approx(PROMPTS * 3 * (prompt + 8))
    assert plan.compute.model_flops == pytest.approx(plan.tokens * (2 * plan.parameters.matmul), rel=0.5)
    # Two heads of 16 numbers in one layer, keys and values in float32.
    assert plan.memory.parts["keys and values"] == pytest.approx(2 * 2 * 16 * 4 * 32 * (prompt + 8))


def test_words_of_a_training_are_not_known_here() -> None:
    with pytest.raises(RecipeError, match="training is not a known key"):
        load_recipe("ask.yaml", ["training.max_steps=3"])


def test_answers_are_not_published_as_a_model() -> None:
    with pytest.raises(RecipeError, match="holds answers, and no model"):
        plan_upload(RunDir(Path("runs/ask")), "me/answers")
