"""What a publication would push, down to the bytes."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from hfrecipes.cli.publish import add_parser
from hfrecipes.publish.card import render_card
from hfrecipes.publish.upload import left_out, plan_upload
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .facts import make_facts

TOKEN = "hf_" + "aB3" * 11 + "x"


def test_exactly_the_right_files(run: RunDir) -> None:
    (run.model / ".cache").mkdir()
    (run.model / ".cache" / "x.json").write_text("{}")
    (run.model / "state.pkl").write_bytes(b"x")
    (run.model / "checkpoint-3").mkdir()
    (run.model / "checkpoint-3" / "model.safetensors").write_bytes(b"x")
    paths = [file.path_in_repo for file in plan_upload(run)]
    model = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    ours = ["README.md", *(f"hfrecipes/{name}" for name in ("metrics.jsonl", "recipe.yaml", "report.html", "run.json"))]
    assert paths == sorted([*model, "chat_template.jinja", *ours])
    staying = {path.relative_to(run.model).as_posix(): reason for path, reason in left_out(run)}
    assert staying.keys() == {
        "training_args.bin",
        "optimizer.pt",
        "README.md",
        "state.pkl",
        ".cache/x.json",
        "checkpoint-3/model.safetensors",
        "manifest.json",
    }


@pytest.mark.parametrize("target", ["../../outside.json", "../nowhere"])
def test_a_link_out_of_the_model_is_refused(run: RunDir, target: str) -> None:
    (run.path.parent / "outside.json").write_text("{}")
    (run.model / "link.json").symlink_to(target)
    with pytest.raises(RecipeError, match=r"link\.json is a link that leads out of the folder"):
        plan_upload(run)
    assert run.model / "link.json" in dict(left_out(run))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("end", [0, -3])
def test_a_damaged_model_is_not_published(run: RunDir, name: str, end: int, capsys: pytest.CaptureFixture[str]) -> None:
    (run.model / name).write_bytes((run.model / name).read_bytes()[:end])
    said = "manifest is damaged" if name == "manifest.json" else rf"{re.escape(name)} has \d+ bytes"
    with pytest.raises(RecipeError, match=said):
        plan_upload(run, "ada/x")
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["publish", str(run.path), "--dry-run"])
    with pytest.raises(RecipeError, match=said):
        args.command(args)
    assert capsys.readouterr().out == ""


def test_hashes_are_those_of_independent_tools(run: RunDir) -> None:
    for file in plan_upload(run):
        content = file.path.read_bytes() if file.content is None else file.content
        assert file.size == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        git = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True)
        assert file.git_oid == git.stdout.decode().strip()


def test_the_same_run_makes_the_same_bytes(run: RunDir) -> None:
    first = plan_upload(run, "ada/x")
    run.write_facts(run.facts() | {"published": {"repo_id": "ada/x", "commit": "0", "time": "now"}})
    run.card.write_text(render_card(run.facts(), run.metrics()))
    assert plan_upload(run, "ada/x") == first


@pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.jinja", "notes.txt"])
def test_a_planted_token_is_refused_by_file_and_line(run: RunDir, name: str) -> None:
    path = run.model / name
    old = path.read_text() if path.is_file() else "\n"
    path.write_text(json.dumps(json.loads(old) | {"auth": TOKEN}) if name.endswith("json") else f"{old}\n{TOKEN}\n")
    write_manifest(run.model)
    with pytest.raises(RecipeError, match=rf"{re.escape(name)}:\d+: error: holds") as refused:
        plan_upload(run)
    assert TOKEN not in str(refused.value)


def test_tokens_in_facts_samples_and_weights_headers_are_refused(run: RunDir) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, run.model / "extra.safetensors", metadata={"note": TOKEN})
    write_manifest(run.model)
    # Facts are written without secrets; these were written by somebody else.
    facts = make_facts(samples=[{"model": "tuned", "prompt": "p", "completion": TOKEN}])
    run.facts_file.write_text(json.dumps(facts))
    with pytest.raises(RecipeError) as refused:
        plan_upload(run)
    places = {Path(problem.where.rpartition(":")[0]).name for problem in refused.value.problems}
    assert places == {"extra.safetensors", "run.json", "README.md", "report.html"}


def test_paths_of_the_machine_are_taken_out_of_configurations(run: RunDir) -> None:
    config = json.loads((run.model / "config.json").read_text()) | {"_name_or_path": str(run.path / "model")}
    (run.model / "config.json").write_text(json.dumps(config))
    write_manifest(run.model)
    file = next(file for file in plan_upload(run) if file.path_in_repo == "config.json")
    assert json.loads(file.content) == {key: value for key, value in config.items() if key != "_name_or_path"}
    assert json.loads((run.model / "config.json").read_text()) == config


def make_adapter(run: RunDir, base: str) -> None:
    """Turns the run into one that left a LoRA adapter, saved by peft."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(run.model), LoraConfig(r=2, target_modules=["q_proj"]))
    model.peft_config["default"].base_model_name_or_path = base
    (run.model / "model.safetensors").unlink()
    (run.model / "config.json").unlink()
    model.save_pretrained(run.model)
    write_manifest(run.model)
    run.write_facts(make_facts(model__adapter={"method": "lora", "r": 2}, model__base=base))


def test_an_adapter_on_a_local_base_needs_a_published_one(run: RunDir) -> None:
    make_adapter(run, str(run.path.parent / "tiny-base" / "model"))
    with pytest.raises(RecipeError, match="--base-model OWNER/NAME"):
        plan_upload(run)
    files = {file.path_in_repo: file for file in plan_upload(run, "ada/adapter", base_model="ada/tiny-base")}
    config = json.loads(files["adapter_config.json"].content)
    assert config["base_model_name_or_path"] == "ada/tiny-base"
    assert json.loads((run.model / "adapter_config.json").read_text())["base_model_name_or_path"].startswith("/")
    card = files["README.md"].content.decode()
    assert "base_model: ada/tiny-base" in card
    assert "base_model_relation: adapter" in card


def test_an_adapter_on_a_hub_base_goes_as_it_is(run: RunDir) -> None:
    make_adapter(run, "Qwen/Qwen3-0.6B-Base")
    file = next(file for file in plan_upload(run) if file.path_in_repo == "adapter_config.json")
    assert json.loads(file.path.read_text() if file.content is None else file.content)[
        "base_model_name_or_path"
    ].startswith("Qwen/")


def test_an_edited_card_is_kept_and_linted(run: RunDir) -> None:
    run.card.write_text(render_card(run.facts(), run.metrics()))
    run.card.write_text(run.card.read_text().replace("## Limitations\n", "## Limitations\n\n- It dislikes rain.\n"))
    card = next(file for file in plan_upload(run, "ada/x") if file.path_in_repo == "README.md").content.decode()
    assert "dislikes rain" in card
    assert 'model_id = "ada/x"' in card
    run.card.write_text(run.card.read_text().replace("0.3127", "0.9127"))
    with pytest.raises(RecipeError, match=r"README\.md:\d+.*0\.9127"):
        plan_upload(run)


@pytest.mark.parametrize(("status", "said"), [("running", "running"), ("failed", "failed"), (None, "not complete")])
def test_only_complete_runs(run: RunDir, status: str | None, said: str) -> None:
    run.write_facts(make_facts(status=status))
    with pytest.raises(RecipeError, match=said):
        plan_upload(run)


def test_no_model_no_weights_no_run(run: RunDir, tmp_path: Path) -> None:
    (run.model / "model.safetensors").rename(run.model / "pytorch_model.bin")
    with pytest.raises(RecipeError, match="safetensors"):
        plan_upload(run)
    with pytest.raises(RecipeError, match="not a run directory"):
        plan_upload(RunDir(tmp_path))
    (tmp_path / "run.json").write_text(run.facts_file.read_text())
    with pytest.raises(RecipeError, match="no model/ folder"):
        plan_upload(RunDir(tmp_path))
