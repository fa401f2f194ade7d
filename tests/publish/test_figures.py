"""Numbers, names and secrets in text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.publish import figures
from hfrecipes.publish.evaluations import Measurement
from hfrecipes.publish.naming import LOCAL_PATH, is_hub_id, portable, portable_value, run_name_of
from hfrecipes.publish.secrets import find_secrets


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (figures.count(1234567), "1,234,567"),
        (figures.short(1234567), "1.23M"),
        (figures.short(999_999_999), "1B"),
        (figures.short(7), "7"),
        (figures.short(751_000_000), "751M"),
        (figures.size(1536), "1.5 KiB"),
        (figures.size(1024**3 - 1), "1.0 GiB"),
        (figures.duration(3725), "1 h 02 min"),
        (figures.duration(59.96), "1 min 00 s"),
        (figures.duration(192.4), "3 min 12 s"),
        (figures.scientific(2.3456e15), "2.35e15"),
        (figures.scientific(3e-5), "3.00e-5"),
        (figures.number(1234.5), "1,234"),
        (figures.number(0.31274), "0.3127"),
        (figures.setting(0.0002), "0.0002"),
        (figures.setting(1e-5), "1e-05"),
        (figures.setting(True), "true"),
        (figures.setting({"a": [1, None]}), "a: 1, not set"),
    ],
)
def test_figures(shown: str, wanted: str) -> None:
    assert shown == wanted


@given(st.one_of(st.none(), st.text(), st.booleans(), st.sampled_from([math.nan, math.inf, -math.inf])))
def test_what_is_no_number_is_a_dash(value: object) -> None:
    for form in (figures.count, figures.short, figures.size, figures.duration, figures.scientific, figures.number):
        assert form(value) == figures.DASH


@given(st.floats(1e-5, 1e9), st.floats(0, 0.2), st.floats(0, 0.2))
def test_a_measurement_is_written_to_four_digits_or_six_decimals(value: float, below: float, above: float) -> None:
    text = Measurement(value, value * (1 - below), value * (1 + above), 10).text
    shown = float(text.split(" [")[0].replace(",", ""))
    assert shown == pytest.approx(value, rel=6e-4, abs=6e-7)


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen3-0.6B-Base", "trl-lib/Capybara"])
def test_hub_ids(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize(
    "name", ["/a/b", "./a", "../a", "a/b/c", "runs/base", "data/x.jsonl", "", None, 3, "~/m", "a b", "C:\\x", "x" * 300]
)
def test_what_is_no_hub_id(name: object) -> None:
    assert not is_hub_id(name)


def test_a_folder_here_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "base").mkdir(parents=True)
    assert not is_hub_id("models/base")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("see /home/ada/work/runs/base/model now", "see runs/base/model now"),
        ("see /home/ada/train.jsonl:7: bad", "see train.jsonl:7: bad"),
        ("file:///tmp/x/y.txt", "y.txt"),
        ("~/secret/plan.txt", "plan.txt"),
        (r"C:\Users\ada\x.txt", "x.txt"),
        ("https://example.org/home/ada/x", "https://example.org/home/ada/x"),
        ("#!/usr/bin/env python and 1/2 and a/home/b", "#!/usr/bin/env python and 1/2 and a/home/b"),
    ],
)
def test_portable(text: str, wanted: str) -> None:
    assert portable(text) == wanted
    assert not LOCAL_PATH.search(portable(text))


def test_portable_value_shortens_absolute_paths_wherever_they_point() -> None:
    assert portable_value({"a": [Path("/eagle/ada/x.jsonl")], "b": 1e-3}) == {"a": ["x.jsonl"], "b": 1e-3}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/x/runs/base/model", "base"), ("runs/base/checkpoints/checkpoint-3/", "base"), ("model", "model"), ("a/b", "b")],
)
def test_run_names(path: str, wanted: str) -> None:
    assert run_name_of(path) == wanted


SECRETS = [
    "hf_" + "aB3" * 11 + "x",
    "sk-" + "a1B2" * 6,
    "sk-proj-" + "a1B2" * 10,
    "AKIA" + "A1B2" * 4,
    "ghp_" + "a1B2" * 9,
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_found_with_their_line(secret: str) -> None:
    found = find_secrets(f"one\ntwo = '{secret}'\n".encode())
    assert [line for line, _ in found] == [2]
    assert secret not in str(found)


@pytest.mark.parametrize(
    "text", ["hf_transfer", "hf_hub_download", "task-specific-abcdefghijklmnopqrstuvw", "sk-learn", "AKIAB"]
)
def test_ordinary_words_are_no_secrets(text: str) -> None:
    assert find_secrets(text.encode()) == []


def test_a_secret_of_the_environment_is_found_whatever_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123")
    assert find_secrets(b"a\nb 0123456789abcdef0123") == [(2, "the value of WANDB_API_KEY")]
