"""The rule `topics`: a classifier labels documents, and each topic keeps up to its share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from hfrecipes.data.clean.label_scores import label_scores
from hfrecipes.data.clean.model_scores import model_fingerprint, named_model
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.shares import kept_counts
from hfrecipes.data.hashing import stable_key
from hfrecipes.recipe.cleaning import Topics
from hfrecipes.recipe.problem import Problem, RecipeError


class TopicsRule:
    """Keeps of each topic up to its share of the documents that remain, chosen by a hash of their content.

    Every document is counted under its topic, the likeliest label, whether it stays or not; the reason is `share`. Without
    shares, nothing is left out. Topics without a share stay whole.

    Args:
        settings: What the recipe says. The classifier is one of transformers, or a folder that `train_linear_classifier`
            wrote.
        where: Its place in the recipe, for errors.

    Raises:
        RecipeError: no classifier is named, or the shares are no shares.
    """

    name = "topics"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: Topics, where: str = "data.clean") -> None:
        self.model = named_model(settings.name_or_path, settings.revision, settings.max_length, where)
        self.shares = dict(settings.shares or {})
        self.seed = settings.seed or 0
        wrong = {topic: share for topic, share in self.shares.items() if not 0 <= share <= 1}
        if wrong or sum(self.shares.values()) > 1 + 1e-9:
            message = f"the shares {wrong or self.shares} are no parts of a whole"
            raise RecipeError(Problem(where, message, "write each as a number from 0 to 1, in sum at most 1"))

    @cached_property
    def fingerprint(self) -> str:
        return model_fingerprint(self.model)

    def sketch(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        """Topic and hash of each document of a part, and the names of the topics.

        Raises:
            RecipeError: the classifier cannot be loaded, or lacks a topic that has a share.
        """
        texts = [document.text for document in documents]
        scores = label_scores(texts, self.model)
        if scores.is_regression:
            fix = "name a classifier whose labels are the topics"
            raise RecipeError(Problem(self.model.where, f"{self.model.name_or_path} gives a number, no labels", fix))
        self._refuse_unknown_topics(scores.labels)
        return {
            "labels": np.array(scores.labels),
            "topics": scores.values.argmax(axis=1).astype(np.int32),
            "keys": np.array([stable_key(f"{self.seed} {text}") for text in texts], dtype=np.uint64),
        }

    def resolve(self, sketches: Sequence[Path], decisions: Sequence[Path]) -> None:
        """Chooses over all parts.

        Raises:
            RecipeError: no document could stay: the shares leave room for topics of which there is no document.
        """
        parts = [_read(path) for path in sketches]
        if not parts:
            return
        labels = [str(label) for label in parts[0]["labels"]]
        topics = np.concatenate([part["topics"] for part in parts])
        keys = np.concatenate([part["keys"] for part in parts])
        counts = {label: int((topics == index).sum()) for index, label in enumerate(labels)}
        kept = kept_counts({label: count for label, count in counts.items() if count}, self.shares)
        self._refuse_nothing_left(counts, kept)
        keep = np.zeros(len(topics), dtype=bool)
        for index, label in enumerate(labels):
            members = np.flatnonzero(topics == index)
            # Equal documents have equal hashes; the first of them stay.
            order = np.lexsort((members, keys[members]))
            keep[members[order[: kept.get(label, 0)]]] = True
        ends = np.cumsum([len(part["topics"]) for part in parts])[:-1]
        for path, kept_here, part in zip(decisions, np.split(keep, ends), parts, strict=True):
            np.savez(path, keep=kept_here, topics=part["topics"], labels=part["labels"])

    def judge(self, documents: Sequence[Document], decisions: Mapping[str, np.ndarray]) -> list[Verdict]:
        """One verdict for each document, counted under its topic."""
        topics = [str(decisions["labels"][index]) for index in decisions["topics"]]
        return [
            Verdict(reason=None if keep else "share", counts={topic: 1}, detail="" if keep else f"topic {topic}")
            for _, keep, topic in zip(documents, decisions["keep"], topics, strict=True)
        ]

    def _refuse_unknown_topics(self, labels: Sequence[str]) -> None:
        if unknown := [topic for topic in self.shares if topic not in labels]:
            message = f"{self.model.name_or_path} has no topic {', '.join(map(repr, unknown))}"
            raise RecipeError(Problem(self.model.where, message, f"its topics are {', '.join(labels)}"))

    def _refuse_nothing_left(self, counts: Mapping[str, int], kept: Mapping[str, int]) -> None:
        if sum(counts.values()) and not sum(kept.values()):
            found = ", ".join(f"{count} of {topic}" for topic, count in counts.items() if count)
            message = f"no document could stay with these shares: there are {found}"
            fix = "give shares that sum to 1 over topics that occur, or leave one of those out of the shares"
            raise RecipeError(Problem(self.model.where, message, fix))


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
