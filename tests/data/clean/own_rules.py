"""Small rules of every sort, for tests of the engine: their verdicts can be told without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfrecipes.data.clean.rule import KEPT, Document, Verdict


@dataclass(kw_only=True, slots=True)
class Settings:
    least: int | None = None


class ShortRule:
    """Leaves out texts of fewer than `least` characters."""

    name = "short"
    columns: tuple[str, ...] = ()
    fingerprint = "1"

    def __init__(self, settings: Settings) -> None:
        self.least = settings.least or 0

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        return [self._judge(document) for document in documents]

    def _judge(self, document: Document) -> Verdict:
        if len(document.text) >= self.least:
            return KEPT
        return Verdict(reason="too_short", detail=f"{len(document.text)} characters, see ann@corp.org")


class DigitsRule:
    """Takes digits away, and counts them."""

    name = "digits"
    columns: tuple[str, ...] = ()
    fingerprint = "1"

    def __init__(self, settings: Settings) -> None:
        pass

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        verdicts = []
        for document in documents:
            texts = tuple("".join(one for one in text if not one.isdigit()) for text in document.texts)
            count = sum(map(len, document.texts)) - sum(map(len, texts))
            verdicts.append(Verdict(texts=texts, counts={"digits": count} if count else {}))
        return verdicts


class RepeatsRule:
    """Leaves out what is equal to a document before it: a rule about the whole corpus."""

    name = "repeats"
    columns: tuple[str, ...] = ()
    fingerprint = "1"

    def __init__(self, settings: Settings) -> None:
        pass

    def sketch(self, documents: Sequence[Document]) -> dict[str, np.ndarray]:
        return {"texts": np.array([document.text for document in documents])}

    def resolve(self, sketches: Sequence[Path], decisions: Sequence[Path]) -> None:
        seen: set[str] = set()
        for sketch, decision in zip(sketches, decisions, strict=True):
            repeats = []
            for text in np.load(sketch)["texts"].tolist():
                repeats.append(text in seen)
                seen.add(text)
            np.savez(decision, repeats=np.array(repeats))

    def judge(self, documents: Sequence[Document], decisions: Mapping[str, np.ndarray]) -> list[Verdict]:
        assert len(documents) == len(decisions["repeats"])
        return [Verdict(reason="repeat") if repeat else KEPT for repeat in decisions["repeats"]]


class ColumnRule:
    """Leaves out rows whose column `url` says so."""

    name = "column"
    columns = ("url",)
    fingerprint = "1"

    def __init__(self, settings: Settings) -> None:
        pass

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        return [Verdict(reason="blocked") if one.values.get("url") == "bad" else KEPT for one in documents]


class FailsRule:
    """Fails at one text."""

    name = "fails"
    columns: tuple[str, ...] = ()
    fingerprint = "1"

    def __init__(self, settings: Settings) -> None:
        pass

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        if any("poison" in document.text for document in documents):
            raise ZeroDivisionError("there is poison")
        return [KEPT] * len(documents)


class DiesRule(FailsRule):
    """Takes its process along, as a lack of memory does."""

    name = "dies"

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return []


CLASSES = {cls.name: cls for cls in (ShortRule, DigitsRule, RepeatsRule, ColumnRule, FailsRule, DiesRule)}
