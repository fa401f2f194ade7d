"""The rule `classifier`: transformers' classifiers against one text at a time, our own against scikit-learn and real text."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hfrecipes.data.clean.classifier import ClassifierRule
from hfrecipes.data.clean.classifier_training import train_classifier_from_recipe
from hfrecipes.data.clean.hashed_features import hashed_matrix, hashed_vector
from hfrecipes.data.clean.label_scores import label_scores
from hfrecipes.data.clean.linear_classifier import SETTINGS, WEIGHTS, load_linear_classifier, train_linear_classifier
from hfrecipes.data.clean.model_scores import named_model
from hfrecipes.data.clean.rule import Document
from hfrecipes.recipe.cleaning import Classifier
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from tests.data.clean.tiny_models import TEXTS, save_model

DATA = Path(__file__).parents[4] / "shared" / "data"
LABELS = {"id2label": {0: "poor", 1: "fair", 2: "good"}, "label2id": {"poor": 0, "fair": 1, "good": 2}}


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Callable[..., Path]:
    def make(model_type: str, **words: Any) -> Path:
        folder = tmp_path_factory.mktemp(model_type)
        return save_model(folder, tokenizer_folder, "AutoModelForSequenceClassification", model_type, **words)

    return make


def logits_one_by_one(folder: Path, max_length: int) -> np.ndarray:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    rows = [tokenizer(text)["input_ids"][:max_length] for text in TEXTS]
    with torch.no_grad():
        return np.stack([model(input_ids=torch.tensor([row])).logits[0].numpy() for row in rows])


def rule(folder: Path | str, **words: Any) -> ClassifierRule:
    return ClassifierRule(Classifier(name_or_path=str(folder), **words), "my.yaml:4")


def documents(texts: list[str] = TEXTS) -> list[Document]:
    return [Document(f"a.jsonl:{row}", (text,)) for row, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("model_type", "pad"), [("bert", "own"), ("bert", None), ("gpt2", "own"), ("gpt2", None), ("roberta", "own")]
)
def test_scores_are_those_of_each_text_alone(save: Callable[..., Path], model_type: str, pad: str | None) -> None:
    import transformers

    folder = save(model_type, **LABELS)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known = transformers.AutoTokenizer.from_pretrained(folder).pad_token_id
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": known if pad else None}))
    logits = logits_one_by_one(folder, 48)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = label_scores(TEXTS, named_model(str(folder), None, 48, "x"))
    assert scores.labels == ("poor", "fair", "good") and not scores.is_regression
    np.testing.assert_allclose(scores.values, expected, atol=2e-5)
    assert np.ptp(expected[:, 2]) > 0.02


def test_documents_are_kept_by_the_label_that_is_wanted(save: Callable[..., Path]) -> None:
    folder = save("bert", **LABELS)
    values = label_scores(TEXTS, named_model(str(folder), None, None, "x")).values
    for column, label in ((2, None), (0, "poor")):
        bound = float(np.median(values[:, column]))
        low = rule(folder, label=label, min_probability=bound).judge(documents())
        high = rule(folder, label=label, max_probability=bound).judge(documents())
        assert [one.reason for one in low] == ["low" if value < bound else None for value in values[:, column]]
        assert [one.reason for one in high] == ["high" if value > bound else None for value in values[:, column]]
        assert {one.reason for one in low} == {"low", None}
    half = rule(folder).judge(documents())
    assert [one.reason for one in half] == ["low" if value < 0.5 else None for value in values[:, 2]]


def test_several_labels_at_once_have_probabilities_of_their_own(save: Callable[..., Path]) -> None:
    folder = save("bert", problem_type="multi_label_classification", **LABELS)
    expected = 1 / (1 + np.exp(-logits_one_by_one(folder, 64)))
    np.testing.assert_allclose(label_scores(TEXTS, named_model(str(folder), None, 64, "x")).values, expected, atol=2e-5)


def test_a_number_is_held_against_a_score(save: Callable[..., Path]) -> None:
    folder = save("bert", num_labels=1)
    values = logits_one_by_one(folder, 64)[:, 0]
    bound = float(np.median(values)) + 1e-4
    verdicts = rule(folder, min_score=bound, max_length=64).judge(documents())
    assert [one.reason for one in verdicts] == ["low" if value < bound else None for value in values]
    with pytest.raises(RecipeError, match="say min_score"):
        rule(folder, min_probability=0.5).judge(documents())
    with pytest.raises(RecipeError, match="say min_probability"):
        rule(save("bert", **LABELS), min_score=1.0).judge(documents())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"name_or_path": None}, "no model is named"),
        ({"min_score": 1.0, "max_probability": 0.5}, "exclude each other"),
        ({"min_probability": 0.9, "max_probability": 0.5}, "min_probability 0.9 is above"),
    ],
)
def test_words_that_make_no_rule_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=rf"my\.yaml:4: error: .*{message}"):
        ClassifierRule(Classifier(**{"name_or_path": "x", **words}), "my.yaml:4")


def test_a_label_that_there_is_not_is_refused_with_those_there_are(save: Callable[..., Path]) -> None:
    with pytest.raises(RecipeError, match=r"no label 'gut' \(its labels are poor, fair, good\)"):
        rule(save("bert", **LABELS), label="gut").judge(documents())


def test_a_model_without_a_trained_head_is_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = save_model(tmp_path / "lm", tokenizer_folder, "AutoModelForCausalLM", "gpt2")
    with pytest.raises(RecipeError, match=r"would be random: score\.weight"):
        rule(folder).judge(documents())


# The linear classifier.


def corpus() -> dict[str, list[str]]:
    bad = [f"click here to win {n} prizes now, buy cheap {n}" for n in range(60)]
    good = [f"the theorem of chapter {n} follows from the lemma" for n in range(60)]
    return {"bad": bad, "good": good}


def test_probabilities_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    for texts in (corpus(), {**corpus(), "zh": [f"第{n}章的定理由引理得出" for n in range(40)]}):
        train_linear_classifier(texts, tmp_path / "c")
        ours = load_linear_classifier(tmp_path / "c")
        pairs = [(text, label) for label, listed in texts.items() for text in listed]
        theirs = LogisticRegression(C=30.0, class_weight="balanced", max_iter=300)
        theirs.fit(hashed_matrix([text for text, _ in pairs], 2**18), [list(texts).index(label) for _, label in pairs])
        new = ["buy the theorem here", "the lemma", "引理", ""]
        np.testing.assert_allclose(ours.probabilities(new), theirs.predict_proba(hashed_matrix(new, 2**18)), atol=2e-3)


def test_the_same_texts_give_the_same_files_in_any_order(tmp_path: Path) -> None:
    first = train_linear_classifier(corpus(), tmp_path / "a")
    train_linear_classifier({label: texts[::-1] for label, texts in corpus().items()}, tmp_path / "b")
    assert first["held_out"]["accuracy"] == 1.0 and first["texts"] == {"bad": 60, "good": 60}
    for name in (SETTINGS, WEIGHTS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [SETTINGS, WEIGHTS]


def test_it_is_read_without_scikit_learn_torch_or_pickle(tmp_path: Path) -> None:
    train_linear_classifier(corpus(), tmp_path / "c")
    expected = load_linear_classifier(tmp_path / "c").probabilities(TEXTS)[:, 1].round(9).tolist()
    program = (
        "import sys\n"
        "for name in ('sklearn', 'scipy', 'torch', 'transformers'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from hfrecipes.data.clean.linear_classifier import load_linear_classifier\n"
        "from tests.data.clean.tiny_models import TEXTS\n"
        f"print(load_linear_classifier(Path({str(tmp_path / 'c')!r})).probabilities(TEXTS)[:, 1].round(9).tolist())\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root, timeout=60
    )
    assert json.loads(done.stdout) == expected


def test_vectors_have_length_one_and_count_every_ngram() -> None:
    places, values = hashed_vector("Der Wind, der Wind", 2**18)
    assert float(np.sum(values**2)) == pytest.approx(1.0) and (np.diff(places) > 0).all()
    # Words: der, wind; der wind, wind der. Characters of "der wind, der wind": runs of 2, 3 and 4.
    text = "der wind, der wind"
    grams = {text[start : start + n] for n in (2, 3, 4) for start in range(len(text) - n + 1)}
    assert len(places) == 4 + len(grams)
    assert len(hashed_vector("", 2**18)[0]) == 0
    same, other = hashed_vector("der  wind, DER wind", 2**18), hashed_vector("wind der wind der", 2**18)
    assert np.array_equal(same[0], places) and not np.array_equal(other[0], places)


def test_hashes_are_frozen() -> None:
    """Classifiers that were trained before are read with these."""
    places, values = hashed_vector("ab c", 2**18, word_ngrams=1, character_ngrams=2)
    assert places.tolist() == [8920, 17022, 71389, 156109, 259531]
    assert values.tolist() == pytest.approx([6**-0.5, 6**-0.5, 0.5, 0.5, 6**-0.5])


def test_too_little_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to tell apart"):
        train_linear_classifier({"good": ["x"] * 50}, tmp_path)
    with pytest.raises(RecipeError, match="too few different texts: bad has 1"):
        train_linear_classifier({"good": corpus()["good"], "bad": ["x"] * 50}, tmp_path)


@pytest.mark.parametrize("damage", ["settings", "weights", "format"])
def test_damaged_classifiers_are_refused(tmp_path: Path, damage: str) -> None:
    train_linear_classifier(corpus(), tmp_path / damage)
    settings = tmp_path / damage / SETTINGS
    if damage == "settings":
        settings.write_text("{")
    elif damage == "weights":
        (tmp_path / damage / WEIGHTS).write_bytes(b"x")
    else:
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"format": 0}))
    with pytest.raises(RecipeError, match="train it again"):
        rule(tmp_path / damage).judge(documents())


def test_the_rule_uses_it_and_its_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    train_linear_classifier(corpus(), tmp_path / "c")
    made = rule(tmp_path / "c")
    before = made.fingerprint
    reasons = [
        one.reason for one in made.judge(documents(["buy cheap prizes now", "the lemma follows from the theorem"]))
    ]
    assert reasons == ["low", None]
    train_linear_classifier({**corpus(), "other": [f"noch ein Text {n}" for n in range(30)]}, tmp_path / "c")
    assert rule(tmp_path / "c").fingerprint != before
    with pytest.raises(RecipeError, match="its labels are bad, good, other"):
        rule(tmp_path / "c", label="prose").judge(documents())


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
def test_code_and_plays_are_told_apart(tmp_path: Path) -> None:
    library = Path(json.__file__).parent.parent
    code = "".join((library / name).read_text(encoding="utf-8") for name in ("argparse.py", "inspect.py", "typing.py"))
    plays = (DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")
    texts = {
        name: [text[n : n + 400] for n in range(0, 200_000, 400) if text[n:]]
        for name, text in (("code", code), ("plays", plays))
    }
    assert train_linear_classifier(texts, tmp_path)["held_out"]["accuracy"] > 0.98


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not here")
def test_chinese_classics_are_told_apart(tmp_path: Path) -> None:
    names = ("mengzi", "tangshisanbaishou")
    book, poems = (json.loads((DATA / "zh_classics" / f"{name}.json").read_text(encoding="utf-8")) for name in names)
    texts = {
        "mengzi": [one for chapter in book for one in chapter["paragraphs"]],
        "poems": ["".join(poem["paragraphs"]) for kind in poems["content"] for poem in kind["content"]],
    }
    assert train_linear_classifier(texts, tmp_path)["held_out"]["accuracy"] > 0.95


def test_it_is_trained_from_the_sources_of_a_recipe(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = make_recipe("train: [{name: python_prose}]")
    for label, listed in corpus().items():
        lines = (json.dumps({"q": text, "a": "yes"}) + "\n" for text in listed)
        (tmp_path / f"{label}.jsonl").write_text("".join(lines), encoding="utf-8")
    columns = {"prompt": "q", "completion": "a"}
    sources = {label: [{"path": f"{label}.jsonl", "columns": columns}] for label in corpus()}
    facts = train_classifier_from_recipe(recipe, sources, tmp_path / "c")
    assert facts["labels"] == ["bad", "good"] and facts["texts"] == {"bad": 60, "good": 60}
