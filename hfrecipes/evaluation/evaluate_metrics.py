"""The task metrics as `evaluate.Metric`s. Importing `evaluate` takes seconds, so `load_metric` imports this late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, ClassVar

import datasets
import evaluate

from hfrecipes.evaluation import scores

INPUTS = """
Args:
    predictions: texts that a model wrote.
    references: one text for each of them.
"""


class RowMetric(evaluate.Metric):
    """A metric that is the mean of scores of single examples, each between 0 and 1."""

    score: ClassVar[Callable[[str, str], float]]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    bounded: ClassVar[bool] = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def score_rows(self, predictions: Sequence[str], references: Sequence[str]) -> list[float]:
        """One score per example.

        Raises:
            ValueError: where there are not as many predictions as references, or a reference cannot be scored
                against; its index is named.
        """
        _check_lengths(predictions, references)
        rows = []
        for index, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
            try:
                rows.append(self.score(prediction, reference))
            except ValueError as error:
                raise ValueError(f"example {index}: {error}") from error
        return rows

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        description = (self.score.__doc__ or "").strip()
        return evaluate.MetricInfo(description=description, citation="", inputs_description=INPUTS, features=features)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {self.name: fmean(self.score_rows(predictions, references))}


class AnswerMatch(RowMetric):
    unit = "share"
    score = staticmethod(scores.answer_match)


class DocstringF1(RowMetric):
    unit = "F1"
    score = staticmethod(scores.docstring_f1)


class ExactMatch(RowMetric):
    unit = "share"
    score = staticmethod(scores.exact_match)


class Chrf(RowMetric):
    unit = "chrF2"
    score = staticmethod(scores.chrf)


class FinalAnswerMatch(RowMetric):
    unit = "share"
    score = staticmethod(scores.final_answer_match)


class PythonParses(RowMetric):
    unit = "share"
    score = staticmethod(scores.python_parses)


SHIPPED: dict[str, type[RowMetric]] = {
    "answer_match": AnswerMatch,
    "chrf": Chrf,
    "docstring_f1": DocstringF1,
    "exact_match": ExactMatch,
    "final_answer_match": FinalAnswerMatch,
    "python_parses": PythonParses,
}


class SingletonScores:
    """Any other `evaluate.Metric`, scored example by example by computing it on one example at a time.

    For a metric that is a mean over examples this is exact. For one that pools counts over the corpus (BLEU) the mean
    of these scores is another figure than the corpus's.
    """

    unit = ""
    bounded = False

    def __init__(self, module: evaluate.EvaluationModule) -> None:
        self.module = module
        self.name = module.name
        self.higher_is_better = bool(getattr(module, "higher_is_better", True))

    def compute(self, *, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """The metric's own result on all examples."""
        return self.module.compute(predictions=list(predictions), references=list(references))

    def score_rows(self, predictions: Sequence[str], references: Sequence[str]) -> list[float]:
        """One score per example.

        Raises:
            ValueError: where there are not as many predictions as references, or the metric's result holds several
                numbers of which none has the metric's name.
        """
        _check_lengths(predictions, references)
        rows = zip(predictions, references, strict=True)
        return [self._number(self.compute(predictions=[given], references=[wanted])) for given, wanted in rows]

    def _number(self, result: dict[str, Any]) -> float:
        if self.name in result:
            return float(result[self.name])
        # numpy's numbers have item() and are no int or float.
        values = {key: getattr(value, "item", lambda value=value: value)() for key, value in result.items()}
        numbers = [value for value in values.values() if isinstance(value, int | float)]
        if len(numbers) != 1:
            keys = ", ".join(result)
            raise ValueError(f"{self.name} returns {keys}: name one of them {self.name!r}, so that it is the score")
        return float(numbers[0])


def _check_lengths(predictions: Sequence[str], references: Sequence[str]) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions cannot be scored against {len(references)} references")
