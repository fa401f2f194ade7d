"""Real texts for `clean.py`, and dirty mixtures made of them; what a machine does not have is left out."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hfrecipes.data.embedded import mined

SHARED = Path(__file__).parents[2] / "shared" / "data"
MANUALS = Path("/usr/share/man")
DOCUMENTATION = Path("/usr/share/doc")
_LONGEST = 20_000
_REQUEST = re.compile(r"^[.'].*$|\\[fs].|\\-|\\\S", re.MULTILINE)
_ENGLISH = {"the", "of", "and", "to", "is", "that", "with", "for", "this", "be", "by"}
_SCRIPTS = {"zh": "一-鿿", "ja": "ぁ-ヿ一-鿿", "ko": "가-힣", "ru": "Ѐ-ӿ", "uk": "Ѐ-ӿ", "sr": "Ѐ-ӿ"}


def corpora(most: int) -> dict[str, list[str]]:
    """Texts by the name of their corpus, at most so many of each, the same ones at every call."""
    makers: dict[str, Callable[[], Iterable[str]]] = {
        "library prose": _prose,
        "library code": lambda: (piece.text for piece in mined("python_code")),
        "manuals": lambda: map(_plain_manual, _files(MANUALS, "man[1-8]/*")),
        "documentation": lambda: _files(DOCUMENTATION, "*/*"),
        "shakespeare": _scenes,
        "word problems": _word_problems,
        "dirty prose": lambda: _dirty(list(_prose())),
        "dirty manuals": lambda: _dirty(list(map(_plain_manual, _files(MANUALS, "man[1-8]/*")))),
    }
    chosen = {}
    for name, make in makers.items():
        texts = sorted({text[:_LONGEST] for text in make() if text.strip()})
        random.Random(name).shuffle(texts)
        if texts:
            chosen[name] = texts[:most]
    return chosen


def languages(most: int) -> dict[str, list[tuple[str, str]]]:
    """Pairs of an ISO 639-1 code and a text, by kind of text: paragraphs, and the first words of each."""
    english = [*_prose(), *_word_problems(), *(text for text in _scenes() if len(text) > 80)]
    random.Random(0).shuffle(english)
    pairs = [("en", text[:600]) for text in english[:most]]
    for path in sorted(SHARED.glob("zh_classics/*.json")):
        pairs += [("zh", text) for text in list(_strings(json.loads(path.read_text())))[:most]]
    pairs += _foreign_paragraphs()
    return {
        "paragraphs": pairs,
        "openings": [(code, text[: 12 if code in ("zh", "ja") else 40]) for code, text in pairs],
    }


def _prose() -> Iterator[str]:
    return (piece.text for piece in mined("python_prose"))


def _files(folder: Path, pattern: str) -> Iterator[str]:
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and path.suffix not in (".png", ".html", ".css", ".js", ".pdf"):
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            if b"\0" not in content:
                yield content.decode("utf-8", errors="replace")


def _plain_manual(source: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", _REQUEST.sub("", source)).strip()


def _scenes() -> Iterator[str]:
    path = SHARED / "tinyshakespeare.txt"
    speeches = path.read_text().split("\n\n") if path.exists() else []
    return ("\n\n".join(speeches[start : start + 8]) for start in range(0, len(speeches), 8))


def _word_problems() -> Iterator[str]:
    path = SHARED / "gsm8k_test.jsonl"
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return (f"{row['question']}\n\n{row['answer']}" for row in rows)


def _dirty(texts: list[str]) -> Iterator[str]:
    """Documents as a crawl would find them: each is a real one with one or two kinds of dirt, some are left as they are."""
    rng = random.Random(1)
    for text in texts:
        for _ in range(rng.choice([0, 1, 1, 2])):
            text = rng.choice(_DIRT)(text[:6000], rng)
        yield text


def _repeat_lines(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    return "\n".join(lines + rng.choices(lines, k=rng.randint(1, len(lines) + 1)))


def _repeat_paragraph(text: str, rng: random.Random) -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join(paragraphs + [rng.choice(paragraphs)] * rng.randint(1, 6))


def _repeat_phrase(text: str, rng: random.Random) -> str:
    words = text.split()
    start = rng.randrange(max(len(words) - 12, 1))
    phrase = " ".join(words[start : start + rng.randint(2, 12)])
    return text + "\n" + " ".join([phrase] * rng.randint(2, 12))


def _make_menu(text: str, rng: random.Random) -> str:
    items = [f"- {line.strip()[:25]}" for line in text.split("\n") if line.strip()]
    return "\n".join(items[: rng.randint(5, 60)]) + "\n" + text[: rng.randint(50, 2500)]


def _trail_off(text: str, rng: random.Random) -> str:
    share = rng.random()
    return "\n".join(line + "..." if rng.random() < share else line for line in text.split("\n"))


def _tag(text: str, rng: random.Random) -> str:
    share = rng.random() / 4
    return " ".join("#" + word if rng.random() < share else word for word in text.split(" "))


def _boilerplate(text: str, rng: random.Random) -> str:
    lines = [
        "Please enable JavaScript to see this page.",
        "This site uses cookies to make it work.",
        "Read our Terms of Use.",
    ]
    lines += [
        "Lorem ipsum dolor sit amet, it is said.",
        "function show() { return true; }",
        "See the notes [12] and [3].",
    ]
    return "\n".join(rng.sample(lines, rng.randint(1, 3))) + "\n" + text


def _join_lines(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


_DIRT = (
    *(_repeat_lines, _repeat_paragraph, _repeat_phrase, _make_menu, _trail_off, _tag, _boilerplate),
    *(_join_lines, _join_lines),
)


def _foreign_paragraphs() -> Iterator[tuple[str, str]]:
    """Lines of translated manuals. Those with two English words or in another script are not taken: many stay English."""
    for folder in sorted(MANUALS.glob("[a-z][a-z]*")):
        code = folder.name[:2]
        if folder.name.startswith("man") or not folder.is_dir():
            continue
        taken = 0
        for text in list(_files(folder, "man*/*"))[:40]:
            lines = [line.strip() for line in _plain_manual(text).split("\n") if len(line) > 80]
            good = [line for line in lines if _is_translated(code, line)][:5]
            yield from ((code, line) for line in good)
            taken += len(good)


def _is_translated(code: str, line: str) -> bool:
    if code in _SCRIPTS:
        return len(re.findall(f"[{_SCRIPTS[code]}]", line)) > len(line) / 4
    return len(_ENGLISH.intersection(line.lower().split())) < 2


def _strings(value: object) -> Iterator[str]:
    """Paragraphs of the classics, wherever their files keep them."""
    if isinstance(value, dict):
        yield from ("".join(value["paragraphs"]),) if "paragraphs" in value else _strings(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
