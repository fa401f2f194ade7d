"""Words of continued pretraining that cannot mean anything are said before a run, at their place."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
from tokenizers import models

from hfrecipes.check.continued import continued_problems
from hfrecipes.check.tokenizer import look_at_tokenizer
from hfrecipes.recipe.loader import load_recipe

GOOD = """kind: pretrain
model:
  name_or_path: base
  tokenizer: {extend: 10}
data:
  train: [{path: rows.jsonl, domain: new}]
  eval: [{path: rows.jsonl, domain: old}]
training: {max_steps: 1}
"""


def problems(folder: Path, old: str = "", new: str = "") -> list[str]:
    file = folder / "my.yaml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new) if old else GOOD)
    return [str(problem) for problem in continued_problems(load_recipe(file))]


def test_a_good_recipe_has_none(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "fault"),
    [
        ("{extend: 10}", "{extend: 10, vocab_size: 400}", 4, "stands beside model.tokenizer.vocab_size"),
        ("name_or_path: base", "config: {model_type: llama}", 4, "has no tokenizer to add to"),
        ("kind: pretrain", "kind: dpo", 4, "is for pretrain and sft"),
        ("rows.jsonl, domain: new", "rows.jsonl", 4, "nothing to learn pieces from"),
        ("training:", "evaluation: {compare_base: false}\ntraining:", 7, "data.eval.0.domain has no effect"),
    ],
)
def test_what_cannot_be_is_said_with_its_line(tmp_path: Path, old: str, new: str, line: int, fault: str) -> None:
    found = problems(tmp_path, old, new)
    assert any(f"my.yaml:{line}:" in each and fault in each for each in found), found


def test_an_adapter_has_no_rows_to_add(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "adapter_config.json").write_text("{}")
    assert any("base is an adapter" in each for each in problems(tmp_path))


def test_a_tokenizer_that_cannot_be_extended_is_refused_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    tokenizers.Tokenizer(models.Unigram([("a", 0.0)])).save(str(tmp_path / "base" / "tokenizer.json"))
    (tmp_path / "my.yaml").write_text(GOOD)
    _, found = look_at_tokenizer(load_recipe(tmp_path / "my.yaml"), [])
    assert [problem.where.rpartition(":")[2] for problem in found] == ["4"]
    assert "cannot be extended: it is a Unigram tokenizer" in str(found[0])
