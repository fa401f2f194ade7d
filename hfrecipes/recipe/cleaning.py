"""The words under `data.clean`: one class for each rule, its fields being what the rule can be told.

A threshold that is left out is that of the profile. What the rules do with them is in `hfrecipes/data/clean`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfrecipes.recipe.section_words import words

Profile = Literal["en", "zh", "code", "instruction"]
Level = Literal["document", "paragraph", "line"]

_PROFILE = "The thresholds: en for long English text, zh for Chinese, code, or instruction for short rows. Default: en."


@dataclass(kw_only=True, slots=True)
class Language:
    """Keeps documents in the languages that are wanted."""

    languages: list[str] | None = words("ISO 639-1 codes of those to keep, as in [en, zh].")
    min_probability: float | None = words("How sure the identification has to be. Default: 0.65.", minimum=0, maximum=1)


@dataclass(kw_only=True, slots=True)
class GopherQuality:
    """Gopher's quality heuristics (Rae et al. 2021, table A1); for code those of The Stack."""

    profile: Profile | None = words(_PROFILE)
    min_words: int | None = words("Fewest words of a document (characters for Chinese and Japanese).", minimum=0)
    max_words: int | None = words("Most words of a document.", minimum=1)
    min_mean_word_length: float | None = words("Shortest mean length of a word, in characters.", minimum=0)
    max_mean_word_length: float | None = words("Longest mean length of a word, in characters.", minimum=0)
    max_symbol_ratio: float | None = words("Most hash signs, and most ellipses, for each word.", minimum=0)
    max_bullet_lines: float | None = words("Largest share of lines that begin with a bullet.", minimum=0, maximum=1)
    max_ellipsis_lines: float | None = words("Largest share of lines that end in an ellipsis.", minimum=0, maximum=1)
    min_alphabetic_words: float | None = words("Smallest share of words with a letter.", minimum=0, maximum=1)
    min_stop_words: int | None = words("Fewest different stop words in a document.", minimum=0)
    stop_words: list[str] | None = words("The stop words, where those of the profile do not fit the language.")
    max_line_length: int | None = words("Longest line, in characters. Default: 1000 for code, else any.", minimum=1)
    max_mean_line_length: float | None = words("Longest mean line. Default: 100 for code, else any.", minimum=1)
    min_alphanumeric: float | None = words(
        "Smallest share of letters and digits among the characters. Default: 0.25 for code, else any.",
        minimum=0,
        maximum=1,
    )


@dataclass(kw_only=True, slots=True)
class GopherRepetition:
    """Gopher's repetition heuristics (Rae et al. 2021, table A1)."""

    profile: Profile | None = words(_PROFILE)
    max_duplicate_lines: float | None = words("Largest share of lines that are repeats.", minimum=0, maximum=1)
    max_duplicate_paragraphs: float | None = words(
        "Largest share of paragraphs that are repeats.", minimum=0, maximum=1
    )
    max_duplicate_line_characters: float | None = words("The same in characters.", minimum=0, maximum=1)
    max_duplicate_paragraph_characters: float | None = words("The same in characters.", minimum=0, maximum=1)
    max_top_ngrams: dict[str, float] | None = words("Largest share of the most frequent n-gram, by n, as in {2: 0.2}.")
    max_duplicate_ngrams: dict[str, float] | None = words("Largest share in repeated n-grams, by n, as in {5: 0.15}.")


@dataclass(kw_only=True, slots=True)
class C4Quality:
    """C4's cleaning (Raffel et al. 2020, section 2.2): lines are removed, then documents are judged.

    Of a conversation, or of prompt and completion, no line is removed: the whole is judged, and kept or left out.
    """

    profile: Profile | None = words(_PROFILE)
    min_sentences: int | None = words("Fewest sentences of a document, after its lines were filtered.", minimum=0)
    min_words_per_line: int | None = words("Fewest words of a line.", minimum=0)
    max_word_length: int | None = words("Longest word of a line, in characters.", minimum=1)
    terminal_punctuation: bool | None = words("Whether a line has to end in a mark that ends a sentence.")
    drop_curly_brackets: bool | None = words("Whether a document with { is left out.")
    drop_lorem_ipsum: bool | None = words("Whether a document with 'lorem ipsum' is left out.")
    drop_javascript_lines: bool | None = words("Whether lines that mention javascript are removed.")
    drop_policy_lines: bool | None = words("Whether lines with terms of use, cookie notices and the like are removed.")
    remove_citations: bool | None = words("Whether marks of citations such as [12] are removed.")


@dataclass(kw_only=True, slots=True)
class FineWebQuality:
    """FineWeb's own filters (Penedo et al. 2024, section 3.6)."""

    profile: Profile | None = words(_PROFILE)
    min_punctuated_lines: float | None = words("Smallest share of lines that end in punctuation.", minimum=0, maximum=1)
    max_short_lines: float | None = words("Largest share of short lines.", minimum=0, maximum=1)
    short_line_length: int | None = words("Up to how many characters a line is short.", minimum=0)
    max_duplicate_line_characters: float | None = words(
        "Largest share of characters in repeated lines.", minimum=0, maximum=1
    )
    max_newlines_per_word: float | None = words("Most line breaks for each word.", minimum=0)


@dataclass(kw_only=True, slots=True)
class ExactDuplicates:
    """Leaves out what is the same, word for word, as something before it."""

    level: Level | None = words("What is compared: document, paragraph or line. Default: document.")
    min_characters: int | None = words("Shorter paragraphs and lines may repeat. Default: 20.", minimum=0)


@dataclass(kw_only=True, slots=True)
class NearDuplicates:
    """Leaves out what is nearly the same as something before it, by MinHash (Broder 1997)."""

    level: Level | None = words("What is compared: document, paragraph or line. Default: document.")
    threshold: float | None = words(
        "Jaccard similarity of n-gram sets from which two are the same. Default: 0.72.", minimum=0.1, maximum=1
    )
    ngram: int | None = words("Words in an n-gram (characters for Chinese and Japanese). Default: 5.", minimum=1)
    num_hashes: int | None = words("Hashes in a signature. Default: 112.", minimum=16, maximum=1024)
    min_characters: int | None = words("Shorter paragraphs and lines may repeat. Default: 100.", minimum=0)


@dataclass(kw_only=True, slots=True)
class PersonalData:
    """Masks personal data: addresses of mail and network, numbers of phones, cards and identity cards, keys."""

    kinds: list[Literal["email", "ip", "phone", "credit_card", "iban", "cn_id", "us_ssn", "secret"]] | None = words(
        "What is looked for. Default: all of them."
    )
    action: Literal["mask", "drop"] | None = words("mask puts <EMAIL> … in place; drop leaves the document out.")
    allow_private: bool | None = words("Whether private networks and example.com are left as they are. Default: true.")


@dataclass(kw_only=True, slots=True)
class HarmfulContent:
    """Leaves out documents by a list of words, or by a classifier."""

    word_list: str | None = words(
        "A text file, one word or phrase for each line. Default: a short list of ours, or none beside a classifier."
    )
    max_words_share: float | None = words("Largest share of words on the list. Default: 0.01.", minimum=0, maximum=1)
    max_words: int | None = words("Most words on the list. Default: 3.", minimum=0)
    classifier: str | None = words("package.module:function from a list of texts to a list of probabilities of harm.")
    max_probability: float | None = words("Largest probability of harm. Default: 0.5.", minimum=0, maximum=1)


@dataclass(kw_only=True, slots=True)
class Domains:
    """Leaves out, or keeps only, documents of listed domains."""

    column: str | None = words("The column with the address a document came from. Default: url.")
    block: str | list[str] | None = words("A list of domains to leave out, or a text file with one for each line.")
    allow: str | list[str] | None = words("Domains to keep, in the same way; all others are left out.")


@dataclass(kw_only=True, slots=True)
class Decontaminate:
    """Leaves out training documents that share text with the recipe's own evaluation sets. On unless `enabled: false`."""

    enabled: bool | None = words("Default: true.")
    ngram: int | None = words("Words in a shared run (characters for Chinese and Japanese). Default: 13.", minimum=3)
    max_evaluation_rows: int | None = words(
        "An n-gram in more evaluation rows than this is a template, not content. Default: 10.", minimum=1
    )
    min_matches: int | None = words("Fewest shared n-grams for a document to be left out. Default: 1.", minimum=1)


@dataclass(kw_only=True, slots=True)
class Perplexity:
    """Keeps documents that a small language model finds neither too strange nor too predictable."""

    name_or_path: str | None = words("A causal language model: a folder or a Hub id.")
    revision: str | None = words("The commit of a Hub id.")
    min_perplexity: float | None = words("Below it, text is likely repetition or boilerplate.", minimum=0)
    max_perplexity: float | None = words("Above it, text is likely noise.", minimum=0)
    max_length: int | None = words("Tokens of a document that are read. Default: 512.", minimum=8)


@dataclass(kw_only=True, slots=True)
class Classifier:
    """Keeps documents by what a classifier says of them: quality, education, toxicity …"""

    name_or_path: str | None = words("A transformers sequence classifier, or a folder that `data classifier` wrote.")
    revision: str | None = words("The commit of a Hub id.")
    label: str | None = words("The label that is wanted, by the classifier's own name. Default: the last one.")
    min_probability: float | None = words(
        "Smallest probability of the label. Default, where no bound is given: 0.5.", minimum=0, maximum=1
    )
    max_probability: float | None = words("Largest, for a label that is not wanted.", minimum=0, maximum=1)
    min_score: float | None = words("Smallest score, of a classifier that gives a number and no label.")
    max_length: int | None = words("Tokens of a document that are read. Default: 512.", minimum=8)


@dataclass(kw_only=True, slots=True)
class Topics:
    """Labels documents with topics and keeps each topic up to its share of the whole."""

    name_or_path: str | None = words("A classifier whose labels are the topics, as for the rule classifier.")
    revision: str | None = words("The commit of a Hub id.")
    shares: dict[str, float] | None = words("Topic -> its largest share of what remains; others stay whole.")
    seed: int | None = words("Chooses which documents of a topic are kept. Default: 0.")
    max_length: int | None = words("Tokens of a document that are read. Default: 512.", minimum=8)


# Rule -> its words. The order is that of `hfrecipes schema` and of error messages, not that of cleaning.
RULES: dict[str, type] = {
    "language": Language,
    "gopher_quality": GopherQuality,
    "gopher_repetition": GopherRepetition,
    "c4_quality": C4Quality,
    "fineweb_quality": FineWebQuality,
    "dedup_exact": ExactDuplicates,
    "dedup_minhash": NearDuplicates,
    "pii": PersonalData,
    "harmful": HarmfulContent,
    "domains": Domains,
    "decontaminate": Decontaminate,
    "perplexity": Perplexity,
    "classifier": Classifier,
    "topics": Topics,
}
