"""The words under `augment`: one class for each method, its fields being what the method can be told.

What the methods do with them is in `hfrecipes/data/augment`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hfrecipes.recipe.section_words import words


@dataclass(kw_only=True, slots=True)
class Method:
    """What every method can be told: how many rows get a changed copy, and which copies are thrown away."""

    share: float | None = words(
        "Share of the training rows that get a changed copy. Default: 0.1.", minimum=0, maximum=1
    )
    min_similarity: float | None = words(
        "Least similarity of a copy to its row (cosine of character trigrams). Default: 0.5; back_translation 0.2.",
        minimum=0,
        maximum=1,
    )
    max_similarity: float | None = words(
        "Largest; a copy equal to its row never stays. Default: 1.", minimum=0, maximum=1
    )
    min_length_ratio: float | None = words("Shortest copy, for each character of the row. Default: 0.5.", minimum=0)
    max_length_ratio: float | None = words("Longest copy, for each character of the row. Default: 2.", minimum=0)


@dataclass(kw_only=True, slots=True)
class Synonyms(Method):
    """Puts synonyms in place of words, in the same form and case."""

    file: str | None = words("Word -> synonyms, as JSON, or TSV: word, tab, synonyms with commas between.")
    wordnet: bool | None = words("Whether nltk's English WordNet is used, where its data is installed. Default: false.")
    max_words: float | None = words("Largest share of the words that is changed. Default: 0.2.", minimum=0, maximum=1)


@dataclass(kw_only=True, slots=True)
class Restructure(Method):
    """Puts sentences and list items of a paragraph in another order, joins and splits sentences."""

    reorder: bool | None = words("Whether sentences, list items and clauses change places. Default: true.")
    join_and_split: bool | None = words("Whether sentences are joined and split. Default: true.")


@dataclass(kw_only=True, slots=True)
class Noise(Method):
    """Makes the mistakes that people make when they type. Digits stay as they are."""

    rate: float | None = words("Mistakes for each character. Default: 0.02.", minimum=0, maximum=1)


@dataclass(kw_only=True, slots=True)
class Translator:
    """A sequence-to-sequence model and the words it has to be told the languages by."""

    name_or_path: str | None = words("The model: a folder or a Hub id, such as Helsinki-NLP/opus-mt-en-de.")
    revision: str | None = words("The commit of a Hub id.")
    source: str | None = words("Code of the language it reads, for NLLB, mBART and M2M100: eng_Latn, en_XX, en.")
    target: str | None = words("Code of the language it writes, for NLLB, mBART and M2M100.")
    prefix: str | None = words(
        "What stands before each sentence: 'translate English to German: ' for T5, '>>deu<< ' for a Marian of many languages."
    )


@dataclass(kw_only=True, slots=True)
class BackTranslation(Method):
    """Translates into another language and back."""

    forward: Translator | None = words("The model that translates into the other language.")
    backward: Translator | None = words("The model that translates back.")
    num_beams: int | None = words("Beams of the search, without sampling. Default: 4.", minimum=1)
    temperature: float | None = words(
        "Samples at this temperature instead of searching, for more variety.", minimum=0.01
    )
    max_new_tokens: int | None = words("Most tokens of a translated sentence. Default: 256.", minimum=1)


# Method -> its words.
METHODS: dict[str, type] = {
    "synonyms": Synonyms,
    "restructure": Restructure,
    "noise": Noise,
    "back_translation": BackTranslation,
}
