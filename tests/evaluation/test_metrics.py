from __future__ import annotations

import ast
import math
import subprocess
import sys

import pytest

from hfrecipes.evaluation import scores
from hfrecipes.evaluation.metrics import METRIC_NAMES, load_metric
from hfrecipes.recipe.problem import RecipeError


def brute_force_f1(prediction, reference):
    """Shared words struck off one by one."""
    found, wanted, shared = prediction.split(), reference.split(), 0
    left = list(wanted)
    for word in found:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("return the sum of a list", "return the total of the list"),
        ("the the the", "the"),
        ("a b c", "d e"),
        ("open a file", "open a file"),
    ],
)
def test_docstring_f1_agrees_with_brute_force(prediction, reference):
    assert scores.docstring_f1(prediction, reference) == pytest.approx(brute_force_f1(prediction, reference))


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("4", "2 + 2 makes 4.\n#### 4", 1.0),
        ("2 + 2 makes 5.\n#### 4.0", "4", 1.0),
        ("The sum is 4", "4", 0.0),
        ("First add.\n4", "4", 1.0),
        ("Answer: yes", "Yes.", 1.0),
        ("The answer is: no", "yes", 0.0),
        ("#### 3\n#### 4\nand so on", "4", 1.0),
        ("####", "4", 0.0),
        ("答案：北京", "#### 北京", 1.0),
        ("$1,000", "1000", 1.0),
        ("a, b", "a, b", 1.0),
        ("a, b, c", "a, b", 0.0),
    ],
)
def test_answer_match_reads_the_final_answer_with_or_without_reasoning(prediction, reference, expected):
    assert scores.answer_match(prediction, reference) == expected


def test_docstring_f1_reads_words_of_the_first_line():
    assert scores.docstring_f1('\n  """Open A file_name."""\nand more words', "open a file name") == 1.0
    assert scores.docstring_f1("", "open") == 0.0
    assert scores.docstring_f1("", "...") == 1.0


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        (" Paris.\n", "paris", 1.0),
        ("New  York", "new york", 1.0),
        ("-5", "5", 0.0),
        ("Paris, France", "Paris", 0.0),
        ("STRASSE", "straße", 1.0),
    ],
)
def test_exact_match(prediction, reference, expected):
    assert scores.exact_match(prediction, reference) == expected


def brute_force_chrf(prediction, reference, beta=2):
    """Popović's definition with lists instead of counters."""
    found, wanted = prediction.replace(" ", ""), reference.replace(" ", "")
    precisions, recalls = [], []
    for n in range(1, 7):
        ours = [found[i : i + n] for i in range(len(found)) if i + n <= len(found)]
        theirs = [wanted[i : i + n] for i in range(len(wanted)) if i + n <= len(wanted)]
        if ours and theirs:
            shared = sum(min(ours.count(gram), theirs.count(gram)) for gram in set(ours))
            precisions.append(shared / len(ours))
            recalls.append(shared / len(theirs))
    p, r = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return (1 + beta**2) * p * r / (beta**2 * p + r) if p + r else 0.0


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("the cat sat on the mat", "the cat is on the mat"),
        ("aaaa", "aaaaaaaa"),
        ("cat", "the cat sat"),
        ("xyz", "abc def"),
        ("返回列表的长度", "返回列表长度"),
        ("same text", "same text"),
    ],
)
def test_chrf_agrees_with_brute_force(prediction, reference):
    assert scores.chrf(prediction, reference) == pytest.approx(brute_force_chrf(prediction, reference), abs=1e-12)


def test_chrf_of_empty_texts():
    assert (scores.chrf("", ""), scores.chrf(" ", "a"), scores.chrf("a", "")) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("9 * 2 = 18\n#### 18", "#### 18", 1.0),
        ("She makes $1,000.00 a day.", "#### 1000", 1.0),
        ("#### 7\nQ: and now? #### 9", "7", 1.0),
        ("first 3, then 4", "#### 4", 1.0),
        ("10-5", "5", 1.0),
        ("it is -5", "#### 5", 0.0),
        ("-$5", "-5", 1.0),
        ("1, 2,3", "3", 1.0),
        ("about .5", "0.50", 1.0),
        ("the total is 42.", "42", 1.0),
        ("no idea", "42", 0.0),
        ("12,345,678", "12345678", 1.0),
        ("#### none, but 6", "6", 1.0),
    ],
)
def test_final_answer(prediction, reference, expected):
    assert scores.final_answer_match(prediction, reference) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(x):\n    return x", 1.0),
        ("def f(x:", 0.0),
        ("", 0.0),
        ("# only a comment", 0.0),
        ("Sure!\n```python\nx = 1\n```\nDone.", 1.0),
        ("```\nx = \n```", 0.0),
        ("x = 1\0", 0.0),
        ("'\\d'", 1.0),
        ("(" * 5000 + ")" * 5000, 0.0),
    ],
)
def test_python_parses(code, expected, recwarn):
    assert scores.python_parses(code) == expected
    assert not recwarn.list


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_shipped_metrics_are_evaluate_metrics(name):
    import evaluate

    metric = load_metric(name)
    predictions, references = ["x = 1", "y = 22", "#### 22"], ["x = 1", "z = 2", "it is 22"]
    rows = metric.score_rows(predictions, references)
    assert isinstance(metric, evaluate.Metric)
    assert metric.name == name
    assert rows == [getattr(scores, name)(*pair) for pair in zip(predictions, references, strict=True)]
    assert metric.compute(predictions=predictions, references=references) == {name: pytest.approx(sum(rows) / 3)}
    assert metric.higher_is_better and metric.bounded and metric.unit


def test_unscorable_rows_are_named():
    metric = load_metric("final_answer_match")
    with pytest.raises(ValueError, match="example 1: the reference holds no number"):
        metric.score_rows(["1", "2"], ["1", "two"])
    with pytest.raises(ValueError, match="2 predictions cannot be scored against 1 references"):
        metric.score_rows(["1", "2"], ["1"])


METRIC_FILE = """
import datasets
import evaluate

class Lengths(evaluate.Metric):
    higher_is_better = False

    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="d", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        gaps = [abs(len(p) - len(r)) for p, r in zip(predictions, references)]
        return {"gap": sum(gaps) / len(gaps)}

class Two(Lengths):
    def _compute(self, predictions, references):
        return {"one": 1, "other": 2}

class Broken(Lengths):
    def __init__(self):
        raise KeyError("no key")

def nothing():
    pass
"""


def test_a_metric_beside_the_recipe_is_scored_row_by_row(tmp_path):
    (tmp_path / "mine.py").write_text(METRIC_FILE)
    metric = load_metric("mine:Lengths", folder=tmp_path)
    assert metric.score_rows(["abc", "a"], ["a", "a"]) == [2.0, 0.0]
    assert metric.compute(predictions=["abc", "a"], references=["a", "a"]) == {"gap": 1.0}
    assert (metric.name, metric.higher_is_better, metric.bounded) == ("lengths", False, False)
    with pytest.raises(ValueError, match="two returns one, other"):
        load_metric("mine:Two", folder=tmp_path).score_rows(["a"], ["a"])


def test_a_folder_that_evaluate_can_load(tmp_path, monkeypatch):
    folder = tmp_path / "lengths"
    folder.mkdir()
    (folder / "lengths.py").write_text(METRIC_FILE.partition("class Two")[0])
    for name in ("lengths", str(folder)):
        assert load_metric(name, folder=tmp_path).score_rows(["abc", "a"], ["a", "a"]) == [2.0, 0.0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="evaluate cannot load 'empty'"):
        load_metric("empty", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("docstring_f2", "my.yaml:9: error: 'docstring_f2' is not a metric .did you mean docstring_f1"),
        ("zzz", "known: answer_match, chrf"),
        ("no_such_module:Metric", "my.yaml:9: error: no_such_module cannot be imported"),
        ("mine:Missing", "has no function Missing"),
        ("mine:nothing", "mine:nothing is not a class of metrics"),
        ("mine:Broken", "my.yaml:9: error: mine:Broken cannot be built: KeyError: 'no key'"),
    ],
)
def test_metrics_that_are_none(name, words, tmp_path):
    (tmp_path / "mine.py").write_text(METRIC_FILE)
    with pytest.raises(RecipeError, match=words):
        load_metric(name, where="my.yaml:9", folder=tmp_path)


def test_the_names_cost_nothing():
    """Neither torch nor evaluate is imported before a metric is asked for."""
    code = (
        "import sys; from hfrecipes.evaluation.metrics import METRIC_NAMES; import hfrecipes.evaluation.intervals, "
        "hfrecipes.evaluation.few_shot; print([name for name in "
        "('torch', 'transformers', 'evaluate', 'datasets') if name in sys.modules])"
    )
    assert ast.literal_eval(subprocess.check_output([sys.executable, "-c", code], text=True)) == []


def test_chrf_is_not_symmetric_in_length():
    """Recall weighs twice, so leaving text out costs more than adding some."""
    assert scores.chrf("abcdefgh", "abcdefghij") < scores.chrf("abcdefghij", "abcdefgh")
    assert math.isclose(scores.chrf("ab", "ab"), 1.0)
