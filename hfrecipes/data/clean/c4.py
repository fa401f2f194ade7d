"""C4's cleaning: lines that are no prose are removed, then what is left is judged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from hfrecipes.data.clean.limits import EMPTY, Figure, first_fault
from hfrecipes.data.clean.profiles import fingerprint_of, with_profile
from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.data.clean.words import SENTENCE_ENDS, count_sentences, split_chunks
from hfrecipes.recipe.cleaning import C4Quality

_EDITION = 1
# Wikipedia's, as in C4's own code, and those of its Chinese edition.
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]|\[编辑\]|\[編輯\]|\[来源请求\]|\[來源請求\]")
# C4 has . ! ? and " with ' added by its code; these are their like in other scripts, and what closes a quotation after them.
_LINE_ENDS = (*sorted(SENTENCE_ENDS), '"', "'", "”", "’", "»", "」", "』")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_PLACEHOLDER = "lorem ipsum"


class C4QualityRule:
    """Removes lines without a sentence's end, with few words, with an endless one, about javascript or cookies; leaves out
    documents with placeholder text, curly brackets or few sentences in the lines that remain.

    Documents of one text come back with the lines that remain, stripped, and without marks of citations. Of several texts
    (a conversation, prompt and completion) none loses a line or a mark, since turns would answer what is no longer there:
    all lines count as remaining, and the whole is kept or left out.

    Args:
        settings: What the recipe says.
        where: Its place in the recipe; nothing in these settings can be at odds.
    """

    name = "c4_quality"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: C4Quality, where: str = "data.clean") -> None:
        self.limits = with_profile(settings)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(self.limits, _EDITION)

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        return [self._edit(item.text) if len(item.texts) == 1 else self._judge_whole(item.text) for item in documents]

    def _edit(self, text: str) -> Verdict:
        lines = [line.strip() for line in text.splitlines()]
        if not any(lines):
            return EMPTY
        kept, removed = _filter_lines(lines, text.lower(), self.limits)
        fault = _document_fault(kept, self.limits)
        if fault.reason:
            return fault
        if not removed:
            return KEPT  # as it was, the space around its lines included
        edited = "\n".join(kept).strip()
        return Verdict(texts=(edited,), counts=dict(removed)) if edited else EMPTY

    def _judge_whole(self, text: str) -> Verdict:
        lines = [line.strip() for line in text.splitlines()]
        return _document_fault(lines, self.limits) if any(lines) else EMPTY


def _filter_lines(lines: list[str], lowered: str, limits: C4Quality) -> tuple[list[str], Counter[str]]:
    """The lines that remain, and how many were removed by which threshold; citations are marks, not lines.

    What the whole text does not mention is not looked for in its lines.
    """
    citations = limits.remove_citations and "[" in lowered
    removed: Counter[str] = Counter()
    unwanted = _unwanted_phrases(lowered, limits)
    kept = []
    for line in lines:
        prose = line
        if citations and "[" in line:
            prose, marks = _CITATION.subn("", line)
            removed["citations"] += marks
        reason = _line_fault(line, prose, limits)
        if reason is None and unwanted:
            mentioned = prose.lower()
            reason = next((word for phrase, word in unwanted if phrase in mentioned), None)
        if reason is None:
            kept.append(prose)
        else:
            removed[reason] += 1
    return kept, +removed


def _unwanted_phrases(lowered: str, limits: C4Quality) -> list[tuple[str, str]]:
    """Phrases in the text for which lines are removed, with the recipe's word for that."""
    phrases = [("javascript", "drop_javascript_lines")] if limits.drop_javascript_lines else []
    if limits.drop_policy_lines:
        phrases += [(phrase, "drop_policy_lines") for phrase in _POLICIES]
    return [pair for pair in phrases if pair[0] in lowered]


def _line_fault(line: str, prose: str, limits: C4Quality) -> str | None:
    """The threshold for which a line is removed. `line` has its citations, which count as words as they do in C4's code."""
    longest, fewest = limits.max_word_length, limits.min_words_per_line
    if longest is not None and len(line) > longest and any(len(word) > longest for word in split_chunks(line)):
        return "max_word_length"
    if limits.terminal_punctuation and (not prose.endswith(_LINE_ENDS) or prose.endswith("...")):
        return "terminal_punctuation"
    if fewest and _has_fewer_words(line, fewest):
        return "min_words_per_line"
    return None


def _has_fewer_words(line: str, fewest: int) -> bool:
    if line.isascii():
        return len(line.split(None, fewest - 1)) < fewest
    return len(split_chunks(line)) < fewest


def _document_fault(lines: list[str], limits: C4Quality) -> Verdict:
    text = "\n".join(lines)
    if limits.drop_lorem_ipsum and _PLACEHOLDER in text.lower():
        return Verdict(reason="drop_lorem_ipsum", detail=_PLACEHOLDER)
    if limits.drop_curly_brackets and "{" in text:
        return Verdict(reason="drop_curly_brackets", detail=next(line for line in lines if "{" in line)[:80])
    if not limits.min_sentences:
        return KEPT
    sentences = _count_sentences(lines, limits.min_sentences)
    return first_fault([Figure("min_sentences", sentences, limits.min_sentences, "sentences in the lines that remain")])


def _count_sentences(lines: list[str], enough: int) -> int:
    """Sentences of the lines. Each that is not empty has one, so that most documents need no closer look."""
    lines = [line for line in lines if line]
    sentences = len(lines)
    if sentences < enough:
        sentences = sum(max(count_sentences(line), 1) for line in lines)
    return sentences
