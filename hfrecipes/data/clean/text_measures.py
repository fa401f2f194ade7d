"""What can be counted in text without a model: density, repetition, form, diversity. Pure functions.

Shares are between 0 and 1; a measure of nothing is None, since neither 0 nor 1 would be true.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from hfrecipes.data.clean.segments import is_spaceless

# Function words that make up a third to a half of running text in their language.
STOP_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to a in is that it was for on are as with his they at be this have from or had by not but what "
        "all were we when your can there an which do if will how up out then them he she i you my me her him so",
        "de": "der die das und in zu den von mit ist im für nicht ein eine auf dem sich des es an auch als am aus bei nach er "
        "sie ich wir ihr dass wie um so war hat wird oder aber einen einer zum zur",
        "fr": "le la les de des du et à en un une que qui dans pour est il elle ne pas ce se sur au aux par plus avec son sa "
        "ses je tu nous vous ils mais ou où si",
        "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ya este sí porque "
        "cuando muy sin sobre me hasta",
        "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua "
        "ou ser quando muito nos já eu também só pelo",
        "it": "di e il la che in a per un è con non una su le da si i come del della dei delle al lo ma più gli ha nel sono "
        "anche alla o se io questo",
        "nl": "de van een het en in is dat op te zijn met voor niet aan er om ook als dan maar bij uit nog naar of hij ze ik "
        "wat door over",
        "ru": "и в не на я что он с а как это по но к у из за то же от бы о так для мы вы она они его её или ни был",
        "zh": "的 了 在 是 我 有 和 就 不 人 都 一 上 也 很 到 说 說 要 去 你 会 會 着 著 没 沒 看 好 自 这 這 他 她 "
        "之 其 而 以 于 於 者 也 乎 為 为",
    }.items()
}


def compression_ratio(text: str) -> float | None:
    """Bytes after zlib's compression for each byte of UTF-8 before; repetition makes it small, noise large."""
    data = text.encode("utf-8", "surrogatepass")
    return len(zlib.compress(data, 6)) / len(data) if data else None


def moving_type_token_ratio(words: Sequence[Hashable], window: int = 50) -> float | None:
    """Mean share of different words over all windows (MATTR, Covington and McFall 2010); one window where words are few."""
    if not words:
        return None
    window = min(window, len(words))
    inside = Counter(words[:window])
    total = len(inside)
    for leaving, entering in zip(words, words[window:], strict=False):
        inside[entering] += 1
        inside[leaving] -= 1
        if not inside[leaving]:
            del inside[leaving]
        total += len(inside)
    return total / (window * (len(words) - window + 1))


def entropy(counts: Mapping[Hashable, int] | Counter[Hashable]) -> float | None:
    """Shannon entropy of a distribution, in bits."""
    total = sum(counts.values())
    if not total:
        return None
    return -sum(count / total * math.log2(count / total) for count in counts.values() if count)


def effective_number(counts: Mapping[Hashable, int]) -> float | None:
    """How many equally frequent kinds have the same entropy (Hill number of order 1)."""
    bits = entropy(counts)
    return None if bits is None else 2.0**bits


def repeated_share(items: Sequence[Hashable]) -> float | None:
    """Share of the items that were there before."""
    return 1 - len(set(items)) / len(items) if items else None


def ngrams(words: Sequence[Hashable], n: int) -> Iterable[tuple[Hashable, ...]]:
    """All runs of n words, overlapping."""
    return zip(*(words[start:] for start in range(n)), strict=False)


def distinct_ngrams(documents: Iterable[Sequence[Hashable]], n: int) -> float | None:
    """Different n-grams for each n-gram, over all documents (distinct-n, Li et al. 2016); none spans two documents."""
    seen: set[tuple[Hashable, ...]] = set()
    total = 0
    for words in documents:
        seen.update(ngrams(words, n))
        total += max(0, len(words) - n + 1)
    return len(seen) / total if total else None


def stop_word_share(words: Sequence[str], language: str) -> float | None:
    """Share of words that are function words of a language; None for one whose words are not listed."""
    listed = STOP_WORDS.get(language)
    return sum(word.lower() in listed for word in words) / len(words) if words and listed else None


def begins_properly(sentence: str) -> bool:
    """Whether a sentence begins with a capital, a digit, or a letter of a script that has no capitals."""
    first = next((character for character in sentence if character.isalnum()), "")
    return bool(first) and not first.islower()


def ends_properly(sentence: str) -> bool:
    """Whether a sentence ends in a mark that ends one, closing quotes and brackets aside."""
    return sentence.rstrip().rstrip("\"'”’»)]」』）】》*_").endswith((".", "!", "?", "…", "。", "！", "？", "｡"))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float] | None:
    """Mean and standard deviation (of the values as a whole population)."""
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def counted_words(words: Sequence[str], language: str) -> list[str]:
    """Words as spelling looks at them: in lower case, without what is no ordinary word.

    Names (capitals, but for German, where nouns have them), abbreviations, single letters and words with digits are left
    out. Text without spaces has no words to look up.
    """
    if language == "zh" or is_spaceless(" ".join(words[:200])):
        return []
    nouns = language == "de"
    kept = (word for word in words if len(word) > 1 and (word.islower() or (nouns and word[1:].islower())))
    return [word.lower() for word in kept if not any(character.isdigit() for character in word)]
