"""Scores of one prediction against one reference, each between 0 and 1. Pure functions, without torch or evaluate."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from decimal import Decimal

# A minus belongs to the number unless something stands before it, as in "10-5".
NUMBER = re.compile(r"(?:(?<!\w)-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
ANSWER_MARK = re.compile(r"####|\banswer(?: is)?\s*:|答案(?:是)?\s*[:：]", re.IGNORECASE)
WORD = re.compile(r"[^\W_]+")
FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
CHRF_ORDER = 6
CHRF_BETA = 2.0


def docstring_f1(prediction: str, reference: str) -> float:
    """F1 over the words that the first lines of two docstrings share, each as often as both hold it.

    Words are runs of letters and digits in lower case (SQuAD's token F1, Rajpurkar et al. 2016, but for its dropping of
    articles). Only the first line that is not blank counts: the task is a one-line docstring, and a base model goes on
    talking. Two lines without words agree.
    """
    found, wanted = Counter(_first_line_words(prediction)), Counter(_first_line_words(reference))
    if not found or not wanted:
        return float(found == wanted)
    shared = (found & wanted).total()
    return 2 * shared / (found.total() + wanted.total())


def _first_line_words(text: str) -> list[str]:
    line = next((line for line in text.splitlines() if line.strip()), "")
    return WORD.findall(line.lower())


def exact_match(prediction: str, reference: str) -> float:
    """1 where both are the same but for case, the amount of white space, and a full stop at the end."""
    return float(_normal_form(prediction) == _normal_form(reference))


def _normal_form(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".")


def chrf(prediction: str, reference: str) -> float:
    """Character n-gram F-score, chrF2 (Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation").

    Precision and recall are averaged over n = 1..6, white space left out, then joined with recall weighted twice. An
    order for which either text is too short is left out of the averages. Two empty texts agree.
    """
    found, wanted = "".join(prediction.split()), "".join(reference.split())
    if not found or not wanted:
        return float(found == wanted)
    precisions, recalls = [], []
    for order in range(1, min(CHRF_ORDER, len(found), len(wanted)) + 1):
        ours, theirs = _ngrams(found, order), _ngrams(wanted, order)
        shared = (ours & theirs).total()
        precisions.append(shared / ours.total())
        recalls.append(shared / theirs.total())
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    if precision + recall == 0:
        return 0.0
    weight = CHRF_BETA**2
    return (1 + weight) * precision * recall / (weight * precision + recall)


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def final_answer_match(prediction: str, reference: str) -> float:
    """1 where both end in the same number, as in GSM8K (Cobbe et al. 2021).

    The final answer is the first number after `####`, else the last number of the text. Values are compared, so that
    "1,000" is "1000.0". A prediction without a number is wrong.

    Raises:
        ValueError: where the reference holds no number.
    """
    wanted = _final_number(reference)
    if wanted is None:
        raise ValueError(f"the reference holds no number: {reference!r}")
    return float(_final_number(prediction) == wanted)


def _final_number(text: str) -> Decimal | None:
    text = text.replace("$", "")
    _, marked, answer = text.partition("####")
    numbers = NUMBER.findall(answer) if marked else []
    number = numbers[0] if numbers else next(reversed(NUMBER.findall(text)), None)
    return None if number is None else Decimal(number.replace(",", ""))


def answer_match(prediction: str, reference: str) -> float:
    """1 where both come to the same answer, whether they reason first or not.

    The answer is what follows the last `####` or `Answer:` (`答案：`), to the end of its line; without such a mark, all of the
    text, and of a prediction also its last line. Numbers are compared by value, as by `final_answer_match`; other answers as
    by `exact_match`.
    """
    wanted = _marked_answer(reference)
    marked = _marked_answer(prediction)
    lines = [line for line in prediction.splitlines() if line.strip()]
    found = (marked,) if marked is not None else (prediction, *lines[-1:])
    return float(any(_same_answer(each, reference if wanted is None else wanted) for each in found))


def _marked_answer(text: str) -> str | None:
    marks = list(ANSWER_MARK.finditer(text))
    if not marks:
        return None
    return next((line for line in text[marks[-1].end() :].splitlines() if line.strip()), "")


def _same_answer(found: str, wanted: str) -> bool:
    if _normal_form(found) == _normal_form(wanted):
        return True
    numbers = [NUMBER.fullmatch(text.replace("$", "").strip().removesuffix(".")) for text in (found, wanted)]
    return all(numbers) and len({Decimal(number.group().replace(",", "")) for number in numbers}) == 1


def python_parses(prediction: str, reference: str = "") -> float:
    """1 where the prediction is Python with at least one statement; of a text with a code fence, what is inside.

    The reference is not looked at: any code that parses will do.
    """
    fenced = FENCE.search(prediction)
    code = fenced.group(1) if fenced else prediction
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(bool(ast.parse(code).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0.0
