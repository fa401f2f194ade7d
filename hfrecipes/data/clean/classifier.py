"""The rule `classifier`: quality, education, toxicity … as a classifier sees them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from hfrecipes.data.clean.label_scores import LabelScores, label_scores
from hfrecipes.data.clean.model_scores import model_fingerprint, named_model
from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.recipe.cleaning import Classifier
from hfrecipes.recipe.problem import Problem, RecipeError

_DEFAULT_MINIMUM = 0.5


class ClassifierRule:
    """Keeps documents by the probability of one label, or by the score of a classifier that gives a number.

    The classifier is one of transformers (safetensors only, no code of its own), or a folder that
    `train_linear_classifier` wrote. Reasons are `low` and `high`.

    Args:
        settings: What the recipe says.
        where: Its place in the recipe, for errors.

    Raises:
        RecipeError: no classifier is named, or the bounds exclude each other.
    """

    name = "classifier"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: Classifier, where: str = "data.clean") -> None:
        self.model = named_model(settings.name_or_path, settings.revision, settings.max_length, where)
        self.label = settings.label
        self.is_score = settings.min_score is not None
        self.minimum, self.maximum = _bounds(settings, where)

    @cached_property
    def fingerprint(self) -> str:
        return model_fingerprint(self.model)

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        """One verdict for each document: `low` or `high` where it is left out.

        Raises:
            RecipeError: the classifier cannot be loaded, lacks the label, or gives other figures than the bounds are for.
        """
        texts = [document.text for document in documents]
        scores = label_scores(texts, self.model)
        self._refuse_other_figures(scores)
        column = self._column(scores)
        return [self._verdict(scores.labels[column], float(value)) for value in scores.values[:, column]]

    def _verdict(self, label: str, value: float) -> Verdict:
        detail = f"{label} {value:.3f}"
        if self.minimum is not None and value < self.minimum:
            return Verdict(reason="low", detail=detail)
        if self.maximum is not None and value > self.maximum:
            return Verdict(reason="high", detail=detail)
        return KEPT

    def _column(self, scores: LabelScores) -> int:
        if self.label is None:
            return len(scores.labels) - 1
        if self.label not in scores.labels:
            message = f"{self.model.name_or_path} has no label {self.label!r}"
            raise RecipeError(Problem(self.model.where, message, f"its labels are {', '.join(scores.labels)}"))
        return scores.labels.index(self.label)

    def _refuse_other_figures(self, scores: LabelScores) -> None:
        if scores.is_regression and not self.is_score:
            message = f"{self.model.name_or_path} gives a number on a scale of its own, no probability"
            raise RecipeError(
                Problem(self.model.where, message, "say min_score, such as 3 where the scale goes from 0 to 5")
            )
        if not scores.is_regression and self.is_score:
            message = f"{self.model.name_or_path} gives probabilities of {', '.join(scores.labels)}, no score"
            raise RecipeError(Problem(self.model.where, message, "say min_probability in place of min_score"))


def _bounds(settings: Classifier, where: str) -> tuple[float | None, float | None]:
    """The least and the most that keep a document."""
    minimum, maximum = settings.min_probability, settings.max_probability
    if settings.min_score is not None:
        if minimum is not None or maximum is not None:
            message = "min_score and bounds of a probability exclude each other"
            raise RecipeError(Problem(where, message, "min_score is for classifiers that give a number, not labels"))
        return settings.min_score, None
    if minimum is None and maximum is None:
        return _DEFAULT_MINIMUM, None
    if minimum is not None and maximum is not None and minimum > maximum:
        message = f"min_probability {minimum} is above max_probability {maximum}"
        raise RecipeError(Problem(where, message, "no document could keep both"))
    return minimum, maximum
