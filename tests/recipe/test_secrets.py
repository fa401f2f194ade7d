"""Secrets are known by form and by value, wherever they stand, and are never shown."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.recipe.loader import check_words, load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.secrets import find_secrets, redact, redact_values

TOKEN = "hf_" + "aB3dE" * 6 + "xyz7"
FORMS = {
    TOKEN: "a Hugging Face token",
    "hf_oauth_" + "eyJh" * 8 + ".a-b_c": "a Hugging Face token",
    "api_org_" + "aB3d" * 8: "a Hugging Face token",
    "sk-proj-" + "a1B2" * 10: "an API key (sk-…)",
    "AKIA" + "A1B2" * 4: "an AWS access key",
    "ghp_" + "a1B2" * 9: "a GitHub token",
    "AIza" + "a1B2-" * 7: "a Google API key",
    "xoxb-" + "1a2b-" * 6 + "z": "a Slack token",
}
ODD = 'se"cr\\et/of-no?form & ünusual'


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STRANGE_API_KEY", ODD)
    return ODD


@pytest.mark.parametrize("secret", FORMS)
@pytest.mark.parametrize("around", ["{}", "https://user:{}@host/x", "a {} b", "'{}'", "key={}\nnext"])
def test_a_form_is_found_inside_any_text(secret: str, around: str) -> None:
    text = around.format(secret)
    assert find_secrets(text) == [(text.index(secret), FORMS[secret])]
    assert redact(text) == around.format(f"<redacted: {FORMS[secret]}>")


def test_a_hub_token_is_found_behind_letters_too() -> None:
    assert redact(f"user%3A{TOKEN}") == "user%3A<redacted: a Hugging Face token>"


def test_a_private_key_goes_as_a_whole() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"
    assert redact(f"a {key} b") == "a <redacted: a private key> b"


@pytest.mark.parametrize(
    "text", ["hf_transfer", "hf_hub_download_from_here_to_there_and_back", "sk-learn", "ask-them", ""]
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_a_value_is_found_as_it_is_written_in_text_json_and_addresses(odd: str) -> None:
    written = [odd, json.dumps(odd)[1:-1], json.dumps(odd, ensure_ascii=False)[1:-1], quote(odd, safe="")]
    for text in written:
        assert redact(f"<{text}>") == "<<redacted: the value of STRANGE_API_KEY>>"


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("HF_TOKEN", "8letters", True),
        ("HUGGING_FACE_HUB_TOKEN", "a:b?c d!", True),
        ("HF_TOKEN", "short", False),
        ("WANDB_API_KEY", "0123456789abcdef0123", True),
        ("AWS_SECRET_ACCESS_KEY", "/begins/with/a/slash+1", True),
        ("MY_PASSWORD", "correct horse battery", True),
        ("PAD_TOKEN", "<|endoftext|>", False),
        ("GIT_TOKEN", os.path.realpath(__file__), False),
        ("TOKENIZERS_PARALLELISM", "0123456789abcdef0123", False),
    ],
)
def test_which_values_of_the_environment_are_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, is_secret: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert (redact(f"x {value} y") == f"x <redacted: the value of {name}> y") == is_secret
    assert (value in redact(f"x {value} y")) != is_secret


def test_tokens_of_the_store_are_secrets_as_soon_as_they_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(tmp_path / "stored_tokens"))
    text = "odd one, other!one, renew?one"
    assert redact(text) == text
    (tmp_path / "token").write_text("odd one!\n")
    (tmp_path / "stored_tokens").write_text(
        "[work]\nhf_token = other!one\nrefresh_token = renew?one\nexpires_at = 17\n"
    )
    assert redact("odd one!") == "<redacted: the Hub token of this machine>"
    assert "one" not in redact("other!one, renew?one")
    (tmp_path / "stored_tokens").write_text("no INI\nat all\n")
    assert redact("other!one") == "other!one"


def test_a_value_that_a_form_covers_in_part_goes_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}-and:more")
    assert redact(f"{TOKEN}-and:more") == "<redacted: the value of HF_TOKEN>"


def test_every_string_of_a_tree_is_redacted_and_the_rest_is_kept(odd: str) -> None:
    tree = {TOKEN: [1, 2.5, None, True, (odd, {"a": [f"x{odd}"]})], "plain": "word"}
    safe = redact_values(tree)
    assert TOKEN not in str(safe)
    assert "STRANGE_API_KEY" in str(safe)
    assert safe["plain"] == "word"
    assert next(iter(safe.values()))[:4] == [1, 2.5, None, True]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_around_it_hides_a_value(before: str, after: str) -> None:
    os.environ["HYPOTHESIS_TOKEN"] = value = "a secret: of 20 chars"
    try:
        assert value not in redact(before + value + after)
    finally:
        del os.environ["HYPOTHESIS_TOKEN"]


def test_it_costs_microseconds() -> None:
    redact("")
    start = time.perf_counter()
    for _ in range(200):
        redact("training.learning_rate is 'fast', which it cannot be")
    assert time.perf_counter() - start < 0.2


# The loader

RECIPE = {
    "kind": "pretrain",
    "model": {"config": {"model_type": "llama"}, "tokenizer": {"vocab_size": 512}},
    "data": {"train": [{"name": "python_prose", "split": "train"}]},
    "training": {"max_steps": 1},
}


def changed(path: str, value: object) -> dict:
    """The recipe with a value at a dotted key, which need not be one that a recipe knows."""
    values = json.loads(json.dumps(RECIPE))
    *parents, last = path.split(".")
    inner = values
    for key in parents:
        inner = inner[int(key)] if isinstance(inner, list) else inner.setdefault(key, {})
    inner[last] = value
    return values


@pytest.mark.parametrize("secret", [TOKEN, "sk-" + "a1B2" * 6, ODD])
@pytest.mark.parametrize(
    ("path", "around"),
    [
        ("name", "{}"),
        ("name", "run {}"),
        ("model.tokenizer", "{}"),
        ("model.name_or_path", "https://user:{}@host/model"),
        ("data.train.0.columns", ["deep", {"in": {"here": "{}"}}]),
        ("training.report_to", ["{}"]),
        ("training.learning_rate", "{}"),
        ("nothing.of.the.kind", "a very long text that would be cut short where it is quoted: {}"),
    ],
)
def test_a_recipe_with_a_secret_is_refused_with_its_place_and_kind(
    tmp_path: Path, odd: str, secret: str, path: str, around: object
) -> None:
    value = json.loads(json.dumps(around).replace("{}", json.dumps(secret)[1:-1]))
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(changed(path, value), sort_keys=False, allow_unicode=True))
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    problems = caught.value.problems
    assert all("looks like" in problem.message for problem in problems)
    assert all(problem.where.startswith(f"{file}:") for problem in problems)
    assert problems[0].message.startswith(path)
    assert secret not in str(caught.value)
    assert secret[:12] not in str(caught.value)


def test_a_secret_among_the_keys_is_refused() -> None:
    for values in (changed(f"training.{TOKEN}", 1), changed(f"data.train.0.{TOKEN}", None), {**RECIPE, TOKEN: {}}):
        with pytest.raises(RecipeError) as caught:
            check_words(values, Path("my.yaml"))
        assert "looks like a Hugging Face token" in str(caught.value)
        assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        f"model.tokenizer={TOKEN}",
        f"publish={{repo_id: x, {TOKEN}: y}}",
        f"name=run-{TOKEN}",
        f"training.{TOKEN}=1",
        TOKEN,
        f"{TOKEN}.a",
        f"data.train.9.{TOKEN}=1",
        f"model={{a: *{TOKEN}}}",
        f"model={{a: 1, {TOKEN}: 2, {TOKEN}: 3}}",
    ],
)
def test_overrides_with_a_secret_are_refused_unseen(tmp_path: Path, override: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [override])
    assert TOKEN not in str(caught.value)
    assert "redacted: a Hugging Face token" in str(caught.value)


def test_a_file_named_by_a_secret_names_no_run(tmp_path: Path) -> None:
    file = tmp_path / f"{TOKEN}.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    with pytest.raises(RecipeError, match="it names a folder") as caught:
        load_recipe(file)
    assert TOKEN not in str(caught.value)
    file.write_text(yaml.safe_dump({**RECIPE, "name": "plain"}))
    assert load_recipe(file).name == "plain"


def test_problems_show_no_secret_in_any_part(odd: str) -> None:
    problem = Problem(f"override a={TOKEN}", f"a is {odd!r}", f"not {TOKEN}")
    shown = str(problem) + repr(problem) + str(RecipeError(problem))
    assert TOKEN not in shown
    assert odd not in shown
    assert problem.where == "override a=<redacted: a Hugging Face token>"
