"""The rule language: real sentences in many languages, mixed and short texts, and what is in no language at all."""

import builtins
import json
import pickle
from importlib.metadata import version
from pathlib import Path

import pytest

from hfrecipes.data.clean import identification
from hfrecipes.data.clean.identification import CODES, language_probabilities
from hfrecipes.data.clean.language import LanguageRule
from hfrecipes.data.clean.rule import Document
from hfrecipes.recipe.cleaning import Language
from hfrecipes.recipe.problem import RecipeError

SHARED = Path(__file__).parents[4] / "shared" / "data"
SENTENCES = {
    "en": "We went to the market in the morning and bought some bread for the children.",
    "de": "Wir gingen am Morgen auf den Markt und kauften etwas Brot für die Kinder.",
    "fr": "Nous sommes allés au marché le matin et nous avons acheté du pain pour les enfants.",
    "es": "Fuimos al mercado por la mañana y compramos un poco de pan para los niños.",
    "ru": "Утром мы пошли на рынок и купили немного хлеба для детей.",
    "zh": "我们早上去了市场，给孩子们买了一些面包。",
    "ja": "朝、私たちは市場に行って、子供たちのためにパンを買いました。",
    "ko": "우리는 아침에 시장에 가서 아이들을 위해 빵을 샀습니다.",
    "ar": "ذهبنا إلى السوق في الصباح واشترينا بعض الخبز للأطفال.",
    "hi": "हम सुबह बाज़ार गए और बच्चों के लिए कुछ रोटी खरीदी।",
    "th": "เราไปตลาดในตอนเช้าและซื้อขนมปังให้เด็กๆ",
    "el": "Πήγαμε στην αγορά το πρωί και αγοράσαμε λίγο ψωμί για τα παιδιά.",
}

pytest.importorskip("py3langid")


def verdict(*texts, languages, **words):
    return LanguageRule(Language(languages=languages, **words)).judge([Document("x.jsonl:1", texts)])[0]


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_kept_for_its_language_and_no_other(code):
    assert verdict(SENTENCES[code], languages=[code]).reason is None
    others = [other for other in SENTENCES if other != code]
    found = verdict(SENTENCES[code], languages=others)
    assert found.reason == "languages"
    assert found.detail.startswith(f"{code} 0.") or found.detail.startswith(f"{code} 1.0")


def test_probabilities_add_up_to_one_whatever_the_length():
    for text in ("a", SENTENCES["de"], SENTENCES["de"] * 50, "", "学"):
        probabilities = language_probabilities(text)
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-3)
        assert set(probabilities) == CODES | {"zxx"}


def test_the_codes_are_all_that_the_model_knows_by_two_letters():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    known = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    assert {label for label in known if len(label) == 2} == CODES


def test_text_that_mixes_wanted_languages_is_kept():
    mixed = SENTENCES["en"] + " " + SENTENCES["de"]
    assert verdict(mixed, languages=["en", "de"]).reason is None
    assert verdict(SENTENCES["en"], SENTENCES["zh"], languages=["en", "zh"]).reason is None


def test_the_middle_and_the_end_of_a_long_document_count():
    text = SENTENCES["en"] * 8 + SENTENCES["ru"] * 400
    assert verdict(text, languages=["ru"]).reason is None
    assert verdict(text, languages=["en"]).reason is not None


def test_a_word_has_no_language_unless_little_certainty_is_asked_for():
    assert verdict("Hello", languages=["en"]).reason == "min_probability"
    assert verdict("Hello", languages=["en"], min_probability=0).reason is None


@pytest.mark.parametrize(
    "text", ["", "  ", "12345 67.8%", "\x00\x00", "🙂🙃🙂", "https://example.com/the/first/page", "=== --- ==="]
)
def test_what_has_no_letters_outside_of_addresses_is_in_no_language(text):
    assert verdict(text, languages=["en"]).reason == "no_letters"


def test_addresses_tags_and_numbers_do_not_make_a_text_english():
    noisy = f"<div class='the first'>https://example.com/the/best/of/all {SENTENCES['de']} 12345 info@example.org</div>"
    assert verdict(noisy, languages=["de"]).reason is None


@pytest.mark.parametrize("text", ["a" * 1_000_000, "\ud800 broken", "\u200b\u200d", "A" * 50, "ﷺ", "\r\n" * 99 + "x"])
def test_no_text_makes_it_raise(text):
    assert verdict(text, languages=["en"]).reason in ("min_probability", "languages", "no_letters")


def test_unknown_languages_are_refused_with_the_place_and_a_mend():
    with pytest.raises(RecipeError, match=r"my.yaml:3: error: languages: 'cn' .*did you mean zh"):
        LanguageRule(Language(languages=["en", "cn"]), "my.yaml:3")
    with pytest.raises(RecipeError, match="ISO 639-1"):
        LanguageRule(Language(languages=["english"]))
    for nothing in (None, []):
        with pytest.raises(RecipeError, match="has no languages"):
            LanguageRule(Language(languages=nothing))


def test_the_fingerprint_holds_the_version_and_the_rule_survives_pickling():
    rule = LanguageRule(Language(languages=["en"]))
    assert version("py3langid") in rule.fingerprint
    assert rule.fingerprint != LanguageRule(Language(languages=["en"], min_probability=0.5)).fingerprint
    again = pickle.loads(pickle.dumps(rule))
    assert again.judge([Document("x", (SENTENCES["en"],))])[0].reason is None


def test_a_missing_package_is_said_with_the_extra_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("py3langid"):
            raise ImportError(name)
        return real(name, *rest, **more)

    identification._load.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecipeError, match=r"pip install 'hfrecipes\[clean\]'"):
        verdict("Some text", languages=["en"])
    monkeypatch.undo()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_real_english_and_chinese_rows_are_told_apart():
    rows = [json.loads(line) for line in (SHARED / "gsm8k_test.jsonl").read_text().splitlines()[:200]]
    english = [Document("x", (row["question"],)) for row in rows]
    chapters = json.loads((SHARED / "zh_classics" / "mengzi.json").read_text())
    chinese = [Document("x", (text,)) for chapter in chapters for text in chapter["paragraphs"]][:200]
    for code, right, wrong in (("en", english, chinese), ("zh", chinese, english)):
        rule = LanguageRule(Language(languages=[code]))
        assert sum(found.reason is None for found in rule.judge(right)) >= 198
        assert sum(found.reason is None for found in rule.judge(wrong)) <= 1
