"""Near duplicates and decontamination: what is found against exact similarities, and speed beside datasketch and rensa.

    python benchmarks/near_duplicates.py [--json FILE] [--texts 600]

Needs datasketch and rensa, and the files of ../shared/data. Texts in English, Chinese and code with three kinds of variants of
each: edited, cut or reordered, wrapped in boilerplate. Recall is the share of pairs with an exact Jaccard similarity (of word
5-grams) of .82 or more that are in one cluster, precision the share of pairs in one cluster with more than .62; pairs that are
alike only by way of others are in it. The peers' candidates are verified by their own estimates and joined, as ours are.
Documents per CPU second are the best of three rounds in one thread, from text. Exits with 1 where a recall or precision is not
above .95, where planted evaluation rows are missed, or where fewer than a million words a CPU second are looked through.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hfrecipes.data.clean.clusters import join, near_duplicate_clusters
from hfrecipes.data.clean.decontaminate import Decontaminator
from hfrecipes.data.clean.minhash import sketch_texts
from hfrecipes.data.clean.rule import Document
from hfrecipes.recipe.cleaning import Decontaminate
from tests.data.clean.near_duplicate_corpora import CORPORA, DATA, similar_pairs, with_near_duplicates

THRESHOLD, NUM_HASHES, BANDS, NGRAM = 0.72, 112, 14, 5
ROUNDS = 3
_WORD = re.compile(r"[^\W\u3400-\u9fff]+|[\u3400-\u9fff]")


def shingles_for_peers(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return [" ".join(words[start : start + NGRAM]) for start in range(max(len(words) - NGRAM + 1, 1))]


def datasketch_signatures(texts: list[str]) -> list:
    from datasketch import MinHash

    encoded = [[gram.encode() for gram in shingles_for_peers(text)] for text in texts]
    signatures = [MinHash(num_perm=NUM_HASHES) for _ in texts]
    for signature, grams in zip(signatures, encoded, strict=True):
        signature.update_batch(grams)
    return signatures


def rensa_signatures(texts: list[str]) -> list:
    from rensa import RMinHash

    return RMinHash.from_token_sets([shingles_for_peers(text) for text in texts], num_perm=NUM_HASHES, seed=42)


def datasketch_clusters(texts: list[str]) -> np.ndarray:
    from datasketch import MinHashLSH

    return peer_clusters(
        datasketch_signatures(texts), MinHashLSH(num_perm=NUM_HASHES, params=(BANDS, NUM_HASHES // BANDS))
    )


def rensa_clusters(texts: list[str]) -> np.ndarray:
    from rensa import RMinHashLSH

    return peer_clusters(
        rensa_signatures(texts), RMinHashLSH(threshold=THRESHOLD, num_perm=NUM_HASHES, num_bands=BANDS)
    )


def peer_clusters(signatures: list, index) -> np.ndarray:
    """Each text is joined with those before it that share a band and are estimated to be alike."""
    pairs = []
    for number, signature in enumerate(signatures):
        candidates = index.query(signature)
        pairs += [(number, other) for other in candidates if signature.jaccard(signatures[other]) >= THRESHOLD]
        index.insert(number, signature)
    firsts = np.arange(len(signatures))
    join(firsts, np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs], dtype=np.int64))
    return firsts


CLUSTERS: dict[str, Callable[[list[str]], np.ndarray]] = {
    "hfrecipes": near_duplicate_clusters,
    "datasketch": datasketch_clusters,
    "rensa": rensa_clusters,
}
SIGNATURES: dict[str, Callable[[list[str]], object]] = {
    "hfrecipes": lambda texts: sketch_texts(texts, NGRAM, NUM_HASHES, THRESHOLD),
    "datasketch": datasketch_signatures,
    "rensa": rensa_signatures,
}


def rate(work: Callable[[], object], amount: int) -> float:
    """Units per CPU second, in the best of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return amount / min(seconds)


def measure_quality(texts: list[str], exact: dict[tuple[int, int], float], firsts: np.ndarray) -> dict[str, float]:
    clusters: dict[int, list[int]] = {}
    for text, first in enumerate(firsts.tolist()):
        clusters.setdefault(first, []).append(text)
    merged = [pair for members in clusters.values() for pair in itertools.combinations(members, 2)]
    alike = [pair for pair, similarity in exact.items() if similarity >= THRESHOLD + 0.1]
    return {
        "pairs_alike": len(alike),
        "recall": float(np.mean([firsts[a] == firsts[b] for a, b in alike])),
        "pairs_merged": len(merged),
        "precision": float(np.mean([exact.get(pair, 0) > THRESHOLD - 0.1 for pair in merged])),
        "left_out": len(texts) - len(clusters),
    }


def measure_near_duplicates(count: int) -> list[dict]:
    rows = []
    for corpus, read in CORPORA.items():
        texts = with_near_duplicates(read(count), seed=0, max_variants=3)
        exact = similar_pairs(texts, 0.05)
        for name, cluster in CLUSTERS.items():
            quality = measure_quality(texts, exact, cluster(texts))
            speeds = {
                "signatures_per_cpu_s": rate(lambda: SIGNATURES[name](texts), len(texts)),  # noqa: B023
                "documents_per_cpu_s": rate(lambda: cluster(texts), len(texts)),  # noqa: B023
            }
            facts = {"documents": len(texts), "mean_characters": float(np.mean([len(text) for text in texts]))}
            rows.append({"corpus": corpus, "name": name, **facts, **quality, **speeds})
            print(
                f"{corpus:8} {name:11} {len(texts):6} documents of {facts['mean_characters']:5.0f} characters"
                f"   recall {quality['recall']:.4f} of {quality['pairs_alike']:5}   precision {quality['precision']:.4f} of"
                f" {quality['pairs_merged']:5}   signatures {speeds['signatures_per_cpu_s']:7.0f}/CPU-s"
                f"   clusters {speeds['documents_per_cpu_s']:7.0f}/CPU-s",
                flush=True,
            )
    return rows


def measure_decontamination() -> dict[str, float]:
    def rows(name: str) -> list[tuple[str, str]]:
        lines = (DATA / name).read_text(encoding="utf-8").splitlines()
        return [(row["question"], row["answer"]) for row in map(json.loads, lines)]

    test, train = rows("gsm8k_test.jsonl"), rows("gsm8k_train_2500.jsonl")
    rule = Decontaminator([("test", f"test:{n}", row) for n, row in enumerate(test)], Decontaminate())
    planted = [Document(str(n), (f"Before it. {question.upper()} After.",)) for n, (question, _) in enumerate(test)]
    documents = [Document(str(n), row) for n, row in enumerate(train)]
    num_words = sum(len(text.split()) for document in documents for text in document.texts)
    facts = {
        "planted": len(test),
        "planted_found": len(rule.overlaps(planted)),
        "training_rows": len(train),
        "training_rows_found": len(rule.overlaps(documents)),
        "words_per_cpu_s": rate(lambda: rule.overlaps(documents), num_words),
    }
    print(
        f"GSM8K's test rows: {facts['planted_found']} of {facts['planted']} planted found, {facts['training_rows_found']} of"
        f" {facts['training_rows']} training rows share a run; {facts['words_per_cpu_s'] / 1e6:.1f} million words/CPU-s"
    )
    return facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--texts", type=int, default=600, help="texts of each corpus, before variants of them are made")
    args = parser.parse_args()
    near, overlap = measure_near_duplicates(args.texts), measure_decontamination()
    if args.json:
        names = ("numpy", "datasketch", "rensa")
        versions = {"python": platform.python_version(), **{name: version(name) for name in names}}
        facts = {
            "versions": versions,
            "machine": platform.machine(),
            "near_duplicates": near,
            "decontamination": overlap,
        }
        args.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    ours = [row for row in near if row["name"] == "hfrecipes"]
    found = overlap["planted_found"] == overlap["planted"] and overlap["words_per_cpu_s"] >= 1e6
    return 0 if found and all(min(row["recall"], row["precision"]) > 0.95 for row in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
