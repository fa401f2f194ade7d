"""`hfrecipes ls`: what is listed, and how it reads in a terminal and in a pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hfrecipes.cli import main
from hfrecipes.cli.ls import Entry, first_sentence, format_entries, read_entry
from hfrecipes.recipe.shipped import shipped_recipes
from hfrecipes.recipe.yaml_reader import read_yaml


def test_every_shipped_recipe_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == list(shipped_recipes())
    assert all(len(line.split("\t")) == 3 for line in lines)


@pytest.mark.parametrize("name", shipped_recipes())
def test_kind_and_sentence_are_those_of_the_file(name: str) -> None:
    path = shipped_recipes()[name]
    entry = read_entry(name, path)
    assert entry.kind == read_yaml(path)[0]["kind"]
    assert entry.summary and entry.summary in " ".join(path.read_text(encoding="utf-8").replace("\n#", " ").split())


def test_a_word_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["ls", "QLoRA"]) == 0
    listed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert "sft/llama-3.1-8b-qlora" in listed
    assert "sft/qwen3-0.6b" not in listed


def test_a_word_that_nothing_has_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["ls", "zzz"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and "'zzz'" in printed.err


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["# Llama 3.1 in half an hour. More words.", "kind: sft"], "Llama 3.1 in half an hour"),
        (["# One sentence over", "# two lines.", "#", "# Needs: a GPU."], "One sentence over two lines"),
        (["# As Wei et al. did (Wei et al. 2021). More."], "As Wei et al. did (Wei et al. 2021)"),
        (["# No end", "kind: sft", "# later."], "No end"),
        (["kind: sft", "# A comment."], ""),
        ([], ""),
    ],
)
def test_the_first_sentence_of_the_heading(lines: list[str], sentence: str) -> None:
    assert first_sentence(lines) == sentence


def test_a_kind_is_read_without_its_comment(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# A.\nkind: sft  # or pretrain\n", encoding="utf-8")
    assert read_entry("a", path) == Entry("a", "sft", "A")


def test_a_terminal_gets_aligned_lines_of_its_width() -> None:
    entries = [Entry("a", "sft", "short"), Entry("bcd", "pretrain", "x" * 100)]
    first, second = format_entries(entries, 40).splitlines()
    assert first == "a    sft       short"
    assert len(second) == 40 and second.endswith("…")


def test_a_pipe_gets_whole_lines() -> None:
    assert format_entries([Entry("a", "sft", "x" * 300)], None) == "a\tsft\t" + "x" * 300


def test_it_reads_no_yaml_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hfrecipes.cli import main; status = main.main(['ls']);"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'rich', 'yaml'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
