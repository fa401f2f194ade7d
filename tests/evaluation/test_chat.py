from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hfrecipes.cli import chat as chat_verb
from hfrecipes.evaluation.conversation import Conversation
from hfrecipes.evaluation.generation import generate_texts
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.problem import RecipeError

from .tiny import build_model, force_token, train_tokenizer

PROGRAM = """
import argparse, sys
from hfrecipes.cli import chat
parser = argparse.ArgumentParser(prog="hfrecipes")
chat.add_parser(parser.add_subparsers())
heavy = [name for name in ("torch", "transformers", "peft") if name in sys.modules]
assert not heavy, heavy
args = parser.parse_args(sys.argv[1:])
sys.exit(args.command(args))
"""


def save(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder)
    return folder


@pytest.fixture
def folder(llama, tokenizer, tmp_path):
    return save(llama, tokenizer, tmp_path / "model")


def talk(monkeypatch, capsys, lines, *words):
    """Runs the verb in this process on piped lines; returns what it printed and noted."""
    parser = argparse.ArgumentParser()
    chat_verb.add_parser(parser.add_subparsers())
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    args = parser.parse_args(["chat", *map(str, words)])
    capsys.readouterr()
    assert args.command(args) == 0
    return capsys.readouterr()


def answer_of(model, tokenizer, turns, max_new_tokens):
    return generate_texts(model, tokenizer, [turns], max_new_tokens)[0]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def test_piped_lines_are_answered(folder, llama, tokenizer):
    words = [sys.executable, "-c", PROGRAM, "chat", str(folder), "--temperature", "0", "--max-new-tokens", "8"]
    done = subprocess.run(words, input="def add\n/exit\nnever asked\n", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == answer_of(llama, tokenizer, [user("def add")], 8) + "\n"
    assert "Traceback" not in done.stderr


def test_help_shows_how():
    done = subprocess.run([sys.executable, "-c", PROGRAM, "chat", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "hfrecipes chat runs/my-run" in done.stdout


def test_history_is_kept_and_forgotten(folder, llama, tokenizer, monkeypatch, capsys):
    lines = ["Return", "number", "", "/reset", "number"]
    printed = talk(monkeypatch, capsys, lines, folder, "--temperature", "0", "--max-new-tokens", "8")
    first = answer_of(llama, tokenizer, [user("Return")], 8)
    second = answer_of(llama, tokenizer, [user("Return"), assistant(first), user("number")], 8)
    fresh = answer_of(llama, tokenizer, [user("number")], 8)
    assert second != fresh
    assert printed.out == f"{first}\n{second}\n{fresh}\n"
    assert printed.err == "(forgotten)\n"


def test_a_reward_model_says_nothing(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"kind": "reward"}))
    parser = argparse.ArgumentParser()
    chat_verb.add_parser(parser.add_subparsers())
    with pytest.raises(RecipeError, match="scores answers and writes none"):
        chat_verb.chat(parser.parse_args(["chat", str(tmp_path)]))


def test_a_run_and_its_base(tmp_path, llama, tokenizer, monkeypatch, capsys):
    base = build_model("llama", tie_word_embeddings=True)
    save(base, tokenizer, tmp_path / "base")
    save(llama, tokenizer, tmp_path / "run" / "model")
    facts = {"kind": "sft", "model": {"base": str(tmp_path / "base"), "revision": None}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    words = (tmp_path / "run", "--temperature", "0", "--max-new-tokens", "8")
    tuned = answer_of(llama, tokenizer, [user("number")], 8)
    started = answer_of(base, tokenizer, [user("number")], 8)
    assert tuned != started
    assert talk(monkeypatch, capsys, ["number"], *words).out == tuned + "\n"
    assert talk(monkeypatch, capsys, ["number"], *words, "--base").out == started + "\n"


def test_a_run_without_a_base(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"kind": "sft", "model": {"base": None}}))
    with pytest.raises(RecipeError, match="started from random weights"):
        talk(monkeypatch, capsys, ["number"], tmp_path, "--base")
    missing = {"kind": "sft", "model": {"base": "nobody/no-such-model"}}
    (tmp_path / "run.json").write_text(json.dumps(missing))
    with pytest.raises(RecipeError, match="nobody/no-such-model: error: cannot be loaded"):
        talk(monkeypatch, capsys, ["number"], tmp_path, "--base")


def test_an_adapter_and_its_base(tmp_path, tokenizer, monkeypatch, capsys):
    base = build_model("llama")
    save(base, tokenizer, tmp_path / "base")
    started = answer_of(base, tokenizer, [user("number")], 8)
    base.config._name_or_path = base.name_or_path = str(tmp_path / "base")
    tuned = get_peft_model(
        base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    )
    save(tuned, tokenizer, tmp_path / "adapter")
    expected = answer_of(tuned, tokenizer, [user("number")], 8)
    assert expected != started
    words = (tmp_path / "adapter", "--temperature", "0", "--max-new-tokens", "8")
    assert talk(monkeypatch, capsys, ["number"], *words).out == expected + "\n"
    assert talk(monkeypatch, capsys, ["number"], *words, "--base").out == started + "\n"


@pytest.mark.parametrize("kind", ["no template", "pretrain"])
def test_what_is_no_chat_model_continues(kind, tmp_path, llama, tokenizer, monkeypatch, capsys):
    plain = train_tokenizer(None) if kind == "no template" else tokenizer
    save(llama, plain, tmp_path / "model")
    if kind == "pretrain":
        (tmp_path / "run.json").write_text(json.dumps({"kind": "pretrain", "model": {"base": None}}))
    where = tmp_path if kind == "pretrain" else tmp_path / "model"
    printed = talk(monkeypatch, capsys, ["    return", "def"], where, "--temperature", "0", "--max-new-tokens", "6")
    assert printed.out == "".join(text + "\n" for text in generate_texts(llama, plain, ["    return", "def"], 6))
    assert "it continues each line" in printed.err


def test_long_conversations_forget_their_start(llama, tokenizer):
    conversation = Conversation(llama, tokenizer, 8, 0.0, has_turns=True)
    forgotten = []
    for number in range(6):
        forgotten.append(conversation.ask("number of items " * (1 + 2 * number)))
        assert conversation.turns[0]["role"] == "user"
        conversation.answer(lambda piece: None)
    assert forgotten[0] == 0
    assert any(forgotten)
    assert all(count % 2 == 0 for count in forgotten)
    before = list(conversation.turns)
    with pytest.raises(ValueError, match="too long by"):
        conversation.ask("container " * 200)
    assert conversation.turns == before


def test_too_long_a_line_is_said_and_the_talk_goes_on(folder, monkeypatch, capsys):
    lines = ["container " * 200, "number"]
    printed = talk(monkeypatch, capsys, lines, folder, "--temperature", "0", "--max-new-tokens", "4")
    assert "too long by" in printed.err
    assert len(printed.out) > 1


def test_an_interrupt_ends_the_answer_and_keeps_it(llama, tokenizer):
    conversation = Conversation(llama, tokenizer, 30, 0.0, has_turns=True)
    conversation.ask("number")
    passes = force_token(llama, tokenizer.convert_tokens_to_ids("e"))

    def interrupt(*_):
        if len(passes) == 5:
            raise KeyboardInterrupt

    handle = llama.register_forward_pre_hook(interrupt)
    written = []
    assert conversation.answer(written.append) == "eeeee" == "".join(written)
    assert conversation.turns[-1] == assistant("eeeee")
    handle.remove()
    conversation.ask("go on")
    conversation.answer(written.append)
    assert len(conversation.turns) == 4


def test_text_comes_piece_by_piece(llama, tokenizer):
    conversation = Conversation(llama, tokenizer, 20, 0.0, has_turns=False)
    conversation.ask("def")
    force_token(llama, tokenizer("a b")["input_ids"][-1])
    pieces = []
    whole = conversation.answer(pieces.append)
    assert whole == "".join(pieces) == generate_texts(llama, tokenizer, ["def"], 20)[0]
    assert len(pieces) > 5


def test_temperature_draws(llama, tokenizer):
    conversation = Conversation(llama, tokenizer, 20, 2.0, has_turns=False)
    answers = set()
    for seed in range(3):
        torch.manual_seed(seed)
        conversation.ask("def")
        answers.add(conversation.answer(lambda piece: None))
    assert len(answers) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "'-1' is not a number of 0 or more"),
        (["--temperature", "warm"], "'warm' is not a number"),
        (["--max-new-tokens", "0"], "'0' is not a positive whole number"),
    ],
)
def test_bad_words_are_refused(words, message, capsys):
    parser = argparse.ArgumentParser()
    chat_verb.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["chat", "runs/x", *words])
    assert message in capsys.readouterr().err


def test_faults_name_their_place(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(RecipeError, match="--max-new-tokens: error: 128 new tokens leave no room"):
        talk(monkeypatch, capsys, ["number"], folder, "--max-new-tokens", "128")
    with pytest.raises(RecipeError, match="holds no model"):
        talk(monkeypatch, capsys, ["number"], tmp_path / "nothing")
    (folder / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"model\.safetensors is missing"):
        talk(monkeypatch, capsys, ["number"], folder)


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}{% endfor %}", "{{ 1 / 0 }}"]
)
def test_a_template_that_fails_or_breaks_out_is_said(folder, monkeypatch, capsys, template):
    (folder / "chat_template.jinja").write_text(template)
    write_manifest(folder)
    with pytest.raises(RecipeError, match=r"the chat template fails: .*(unsafe|Range|division)"):
        talk(monkeypatch, capsys, ["number"], folder)


def test_a_template_that_fails_on_a_later_turn_is_noted(folder, monkeypatch, capsys):
    template = "{% for m in messages %}{{ 1 / (0 if m.content == 'two' else 1) }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    write_manifest(folder)
    printed = talk(monkeypatch, capsys, ["two"], folder)
    assert (printed.out, "division by zero" in printed.err) == ("", True)


def test_a_terminal_is_prompted(folder, monkeypatch, capsys):
    given = iter(["number"])

    def type_in(prompt):
        print(prompt, end="")
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", type_in)
    monkeypatch.setattr(io, "StringIO", type("Terminal", (io.StringIO,), {"isatty": lambda self: True}))
    out = talk(monkeypatch, capsys, [], folder, "--temperature", "0", "--max-new-tokens", "4").out
    assert out.startswith("> ") and out.endswith("> \n")
