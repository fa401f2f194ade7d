"""C4's rule: which lines go and why, when a document goes, and that conversations keep every line."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean.c4 import C4QualityRule
from hfrecipes.data.clean.rule import KEPT, Document
from hfrecipes.recipe.cleaning import C4Quality

LINES = [f"This is the {name} line of the text." for name in ("first", "second", "third", "fourth", "fifth")]
GOOD = "\n".join(LINES)


def verdict(*texts, **words):
    return C4QualityRule(C4Quality(**words)).judge([Document("x.jsonl:1", texts)])[0]


def test_a_text_of_sentences_is_kept_as_it_is():
    assert verdict(GOOD) is KEPT
    assert verdict("  " + GOOD.replace("\n", "  \r\n")) is KEPT


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A headline without an end", "terminal_punctuation"),
        ("And so it goes on and on...", "terminal_punctuation"),
        ("Read more.", "min_words_per_line"),
        ("Please turn on JavaScript to go on.", "drop_javascript_lines"),
        ("By going on you agree to our Terms of Use.", "drop_policy_lines"),
        ("This site uses cookies for this and that.", "drop_policy_lines"),
        (f"The key is {'x' * 1001} as you see.", "max_word_length"),
    ],
)
def test_a_line_that_is_no_prose_is_removed_and_counted(line, reason):
    found = verdict(f"{LINES[0]}\n{line}\n" + "\n".join(LINES[1:]))
    assert found.reason is None
    assert found.texts == (GOOD,)
    assert found.counts == {reason: 1}


@pytest.mark.parametrize("end", ["！", "？", "。", "।", "؟", '"', "'", "”", "』"])
def test_lines_end_in_the_marks_of_any_script(end):
    assert verdict("\n".join(f"one two three four{end}" for _ in range(5))).reason is None


def test_what_the_text_never_mentions_is_not_removed_and_blank_lines_go_with_removed_ones():
    found = verdict(f"Menu\n\n{GOOD}\n\n")
    assert found.texts == (GOOD,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \r\n ", "empty"),
        (GOOD + "\nLorem ipsum dolor sit amet.", "drop_lorem_ipsum"),
        (GOOD + "\nThe body { is here.", "drop_curly_brackets"),
        ("\n".join(LINES[:4]), "min_sentences"),
        ("Menu\nHome\nAbout", "min_sentences"),
    ],
)
def test_documents_are_left_out(text, reason):
    assert verdict(text).reason == reason


def test_sentences_of_one_line_count_each():
    assert verdict(" ".join(LINES)).reason is None
    assert verdict(" ".join(LINES[:4])).detail == "sentences in the lines that remain: 4, at least 5"


def test_marks_in_lines_that_are_removed_leave_the_document():
    assert verdict(GOOD + "\nfunction() { }").reason is None
    assert verdict(GOOD + "\nlorem ipsum").reason is None


def test_citations_go_and_are_counted():
    found = verdict(GOOD.replace("line", "line[12][citation needed]", 1).replace("text.", "text.[3]", 1))
    assert found.texts == (GOOD,)
    assert found.counts == {"citations": 3}
    kept = verdict(GOOD.replace("text", "text[1]"), remove_citations=False)
    assert kept is KEPT


def test_conversations_keep_every_line_and_are_judged_as_a_whole():
    turns = ("Menu\nShow me [1] the menu", "Read more.\nThere is no menu here. None. At all. Sorry. Bye.")
    assert verdict(*turns) is KEPT
    assert verdict("Tell me", "No.").reason == "min_sentences"
    assert verdict("Write a function", "def f(): return {1: 2}. " * 5).reason == "drop_curly_brackets"


def test_code_and_instructions_are_never_edited():
    code = "import os\n\nx = y[0]\nprint({x})  # javascript"
    for profile in ("code", "instruction"):
        assert verdict(code, profile=profile) is KEPT
        assert verdict(code + "# lorem ipsum", profile=profile).reason == "drop_lorem_ipsum"


def test_chinese_lines_count_characters_and_end_in_chinese_marks():
    line = "我们今天在这里学习。"
    assert verdict("\n".join([line] * 5), profile="zh") is KEPT
    assert verdict("\n".join([line, "首页", "更多。"] + [line] * 4), profile="zh").counts == {
        "terminal_punctuation": 1,
        "min_words_per_line": 1,
    }
    assert verdict("学" * 1500 + "。" + (line * 5), profile="zh") is KEPT


def test_a_recipe_can_switch_parts_off():
    assert (
        verdict(
            "one {two}", terminal_punctuation=False, drop_curly_brackets=False, min_sentences=1, min_words_per_line=2
        )
        is KEPT
    )
    assert verdict("Menu\nHome", terminal_punctuation=False, min_sentences=0, min_words_per_line=1) is KEPT
    assert verdict("Menu\nHome", min_sentences=0).reason == "empty"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(max_size=30) | st.sampled_from([*LINES, "Menu", "Use JavaScript now.", "a [2] b c."]), max_size=12)
)
def test_every_line_that_remains_was_there_and_passes_again(lines):
    text = "\n".join(lines)
    found = verdict(text, min_sentences=0, remove_citations=False)
    if found.texts is None:
        return
    before = [line.strip() for line in text.splitlines()]
    after = found.texts[0].split("\n")
    position = iter(before)
    assert all(line in position for line in after)
    assert sum(found.counts.values()) == len(before) - len(after)
    assert verdict(found.texts[0], min_sentences=0, remove_citations=False) is KEPT


@pytest.mark.parametrize("profile", ["en", "zh", "code", "instruction"])
def test_no_text_makes_it_raise_and_it_survives_pickling(profile):
    rule = pickle.loads(pickle.dumps(C4QualityRule(C4Quality(profile=profile))))
    odd = [
        "",
        "\x00.",
        "🙂." * 9,
        "a" * 300_000 + ".",
        "[" * 9999,
        "مرحبا بك هنا؟",
        "\ud800 x y.",
        "\x1c\x85",
        "a b c.\r\n" * 99,
    ]
    documents = [Document("x", (text,)) for text in odd] + [Document("x", ()), Document("x", ("", ""))]
    verdicts = rule.judge(documents)
    assert len(verdicts) == len(documents)
    assert all(found.texts is None or len(found.texts) == 1 for found in verdicts)
    assert verdicts[0].reason == verdicts[-1].reason == verdicts[-2].reason == "empty"
    assert len({C4QualityRule(C4Quality(profile=name)).fingerprint for name in ("en", "zh", "code")}) == 3
