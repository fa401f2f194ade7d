"""The rules of text quality beside datatrove's, on the same documents in the same process; language identification alone.

    python benchmarks/clean.py [--json FILE] [--documents 1500]

Needs the extra `clean`, and spaCy for datatrove's word splitter (its own English one; nothing is downloaded). Corpora are the
standard library's code and prose, whatever manuals and documentation the machine has, files of ../shared/data, and dirty
mixtures made of them. For each rule and corpus: how much datatrove leaves out, how many decisions are equal, documents per CPU
second of both. Every difference is explained: datatrove's words and marks, or what is said in `EXPLANATIONS`, account for it,
or it is counted as unexplained. Exits with 1 where datatrove's rule leaves out 5 to 95 % of a corpus and fewer than 99 % of the
decisions are equal or our rule is not five times as fast, or where a difference is unexplained.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clean_corpora import corpora, languages
from datatrove.data import Document as TheirDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_parts, split_into_words

from hfrecipes.data.clean.c4 import C4QualityRule
from hfrecipes.data.clean.fineweb import FineWebQualityRule
from hfrecipes.data.clean.gopher import GopherQualityRule
from hfrecipes.data.clean.language import LanguageRule, language_probabilities
from hfrecipes.data.clean.repetition import GopherRepetitionRule
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.words import count_words, split_words
from hfrecipes.recipe.cleaning import C4Quality, FineWebQuality, GopherQuality, GopherRepetition, Language

EQUAL, FASTER = 0.99, 5
KEPT = "kept"
PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "gopher_quality": (lambda: GopherQualityRule(GopherQuality()), GopherQualityFilter),
    "gopher_repetition": (lambda: GopherRepetitionRule(GopherRepetition()), GopherRepetitionFilter),
    "c4_quality": (lambda: C4QualityRule(C4Quality()), C4QualityFilter),
    "fineweb_quality": (lambda: FineWebQualityRule(FineWebQuality()), FineWebQualityFilter),
}
EXPLANATIONS = {
    "symbols": "we count words with a letter or a digit; datatrove also those of signs it does not list",
    "marks": "we take more marks for the end of a line: closing quotation marks, other scripts",
    "line ends": "we take Windows' line ends for line ends",
    "blank lines": "we count no empty line before or after the text",
    "words": "spaCy takes some words and marks apart in another way: rarer faces, `a.` in a list, `dont` without apostrophe",
}


def main() -> int:
    arguments = _parse()
    texts = corpora(arguments.documents)
    rows = [_compare(rule, name, texts[name]) for rule in PAIRS for name in texts]
    for row in rows:
        _print_row(row)
    identified = [_identify(kind, pairs) for kind, pairs in languages(arguments.documents).items()]
    result = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    result |= {name: version(name) for name in ("datatrove", "spacy", "py3langid", "numpy")}
    faults = [fault for row in rows if (fault := _fault(row))] + _uncovered(rows)
    result |= {"quality": rows, "language": identified, "explanations": EXPLANATIONS, "faults": faults}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print("\n".join(faults) or "All within the limits: 99 % of the decisions equal, at least five times as fast.")
    return 1 if faults else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--documents", type=int, default=1500, help="most documents of a corpus")
    return parser.parse_args()


def _compare(rule: str, corpus: str, texts: list[str]) -> dict[str, Any]:
    ours, theirs = PAIRS[rule][0](), PAIRS[rule][1]()
    theirs.filter(TheirDocument(text="Loads the tokenizer.", id=""))
    split_into_parts.cache_clear()
    documents = [TheirDocument(text=text, id="") for text in texts]
    their_seconds, answers = _clock(lambda: [theirs.filter(document) for document in documents])
    our_documents = [Document("", (text,)) for text in texts]
    our_seconds, verdicts = _clock(lambda: ours.judge(our_documents))
    reasons = [KEPT if answer is True else answer[1] for answer in answers]
    pairs = list(zip(texts, reasons, verdicts, strict=True))
    differing = [pair for pair in pairs if (pair[1] == KEPT) != (pair[2].reason is None)]
    row = {
        "rule": rule,
        "corpus": corpus,
        "documents": len(texts),
        "left_out": sum(reason != KEPT for reason in reasons) / len(texts),
        "equal": 1 - len(differing) / len(texts),
        "datatrove_documents_per_cpu_s": len(texts) / their_seconds,
        "documents_per_cpu_s": len(texts) / our_seconds,
        "faster": their_seconds / our_seconds,
        "their_reasons": dict(Counter(reasons).most_common()),
        "our_reasons": dict(Counter(verdict.reason or KEPT for verdict in verdicts).most_common()),
        "differences": _explain_all(rule, differing),
    }
    if rule == "c4_quality":
        row["texts_equal"] = _texts_equal(pairs, documents)
    return row


def _clock(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    gc.freeze()  # so that neither pays for what the other left behind
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _texts_equal(pairs: list[tuple[str, str, Verdict]], documents: list[TheirDocument]) -> float:
    """Of the documents that both keep, how many have the same lines left."""
    same = [
        (verdict.texts or (text,))[0].split() == document.text.split()
        for (text, reason, verdict), document in zip(pairs, documents, strict=True)
        if reason == KEPT and verdict.reason is None
    ]
    return sum(same) / max(len(same), 1)


def _explain_all(rule: str, differing: list[tuple[str, str, Verdict]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for text, reason, verdict in differing:
        counts[f"{_explain(rule, text, reason)}: {reason} -> {verdict.reason or KEPT} ({verdict.detail})"] += 1
    return dict(counts.most_common())


def _explain(rule: str, text: str, reason: str) -> str:
    """The word in `EXPLANATIONS` of what makes the decisions on a text differ."""
    if "\r" in text:
        return "line ends"
    if rule in ("c4_quality", "fineweb_quality") and any(line.rstrip()[-1:] in "”’»」』" for line in text.splitlines()):
        return "marks"
    theirs = split_into_words(text)
    if theirs != split_words(text):
        return "words"
    if rule == "gopher_quality" and count_words(text).words != sum(any(map(str.isalnum, word)) for word in theirs):
        return "symbols"
    return "blank lines" if text != text.strip("\n") else "unexplained"


def _identify(kind: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    language_probabilities("Loads the model.")
    right, kept, sure, sure_and_right = 0, 0, 0, 0
    seconds = 0.0
    confused: Counter[str] = Counter()
    rules: dict[str, LanguageRule] = {}
    for code, text in pairs:
        rule = rules.setdefault(code, LanguageRule(Language(languages=[code])))
        spent, verdicts = _clock(lambda rule=rule, text=text: rule.judge([Document("", (text,))]))
        seconds += spent
        best, probability = language_probabilities(text).most_common(1)[0]
        right, kept = right + (best == code), kept + (verdicts[0].reason is None)
        sure, sure_and_right = sure + (probability >= 0.65), sure_and_right + (probability >= 0.65 and best == code)
        confused[f"{code} taken for {best}"] += best != code
    row = {
        "kind": kind,
        "texts": len(pairs),
        "languages": len(rules),
        "right": right / len(pairs),
        "kept_at_0.65": kept / len(pairs),
        "right_of_sure": sure_and_right / max(sure, 1),
        "texts_per_cpu_s": len(pairs) / seconds,
        "confused": dict((+confused).most_common(8)),
    }
    print(
        f"language, {kind}: {row['texts']} texts in {row['languages']} languages, {row['right']:.1%} right,"
        f" {row['kept_at_0.65']:.1%} kept at .65, {row['right_of_sure']:.1%} of the sure ones right,"
        f" {row['texts_per_cpu_s']:,.0f} a CPU-s; {row['confused']}"
    )
    return row


def _counts(row: dict[str, Any]) -> bool:
    return 0.05 <= row["left_out"] <= 0.95


def _fault(row: dict[str, Any]) -> str:
    unexplained = sum(count for why, count in row["differences"].items() if why.startswith("unexplained"))
    wrong = [f"{unexplained} unexplained differences"] if unexplained else []
    if _counts(row) and row["equal"] < EQUAL:
        wrong.append(f"{row['equal']:.2%} equal")
    if _counts(row) and row["faster"] < FASTER:
        wrong.append(f"{row['faster']:.1f} times as fast")
    return f"{row['rule']} on {row['corpus']}: {', '.join(wrong)}" if wrong else ""


def _uncovered(rows: list[dict[str, Any]]) -> list[str]:
    covered = {row["rule"] for row in rows if _counts(row)}
    return [f"{rule}: no corpus of which it leaves out 5 to 95 %" for rule in PAIRS if rule not in covered]


def _print_row(row: dict[str, Any]) -> None:
    print(
        f"{row['rule']:18} {row['corpus']:14} {row['documents']:5} documents, left out {row['left_out']:6.1%}"
        f"{' ' if _counts(row) else '*'} equal {row['equal']:7.2%}, {row['documents_per_cpu_s']:8,.0f} a CPU-s against"
        f" {row['datatrove_documents_per_cpu_s']:6,.0f}: {row['faster']:5.1f} times"
        + (f", texts equal {row['texts_equal']:.2%}" if "texts_equal" in row else "")
    )
    for why, count in list(row["differences"].items())[:6]:
        print(f"{'':6}{count} x {why[:150]}")


if __name__ == "__main__":
    sys.exit(main())
