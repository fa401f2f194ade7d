from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.data.mixture.settings import mixture_settings
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import RecipeError

KIND = "kind: {kind}\nmodel: {{config: {{model_type: llama}}, tokenizer: {{vocab_size: 300}}}}\ntraining: {training}\n"


def write(tmp_path: Path, mixture: str, training: str = "{}", kind: str = "pretrain", data: str = "") -> Path:
    text = KIND.format(kind=kind, training=training) + f"data:\n  mixture: {mixture}\n{data}"
    (tmp_path / "r.yaml").write_text(text)
    return tmp_path / "r.yaml"


def faults(path: Path) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        mixture_settings(load_recipe(path))
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


def test_all_words_are_read(tmp_path: Path) -> None:
    said = (
        "{total_tokens: 20x, seed: 4, block: 64, sources: {a: {path: a.txt, weight: [[0, 1], [1, 0]], "
        "interpolation: cosine}, b: {path: b.txt, weight: 0.5, max_epochs: 4}, gone: null}}"
    )
    found = mixture_settings(load_recipe(write(tmp_path, said)))
    assert found.names == ("a", "b")
    assert (found.seed, found.block, found.max_epochs, found.temperature) == (4, 64, {"b": 4}, 1.0)
    assert found.weights["a"].points == ((0, 1), (1, 0)) and found.weights["a"].interpolation == "cosine"
    assert (found.asked_tokens(1000), found.asked_tokens(None)) == (20_000, None)


@pytest.mark.parametrize(
    ("said", "tokens"), [("1000", 1000), ("3.0e9", 3 * 10**9), ("2e4", 20_000), ("1.5x", 300), ("null", None)]
)
def test_a_length_may_be_a_count_or_so_many_a_parameter(said: str, tokens: int | None, tmp_path: Path) -> None:
    found = mixture_settings(load_recipe(write(tmp_path, f"{{total_tokens: {said}, sources: {{a: {{path: a.txt}}}}}}")))
    assert found.asked_tokens(200) == tokens


def test_a_recipe_without_a_mixture_has_none(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(KIND.format(kind="pretrain", training="{}") + "data: {train: [{path: a.txt}]}\n")
    assert mixture_settings(load_recipe(tmp_path / "r.yaml")) is None


ONE = "{path: a.txt, weight: 1}"
HOW = "write a number, or [[0, 0.9], [1, 0.3]]: progress from 0 to 1, and the weight there"
CASES = {
    "no sources": ("{sources: {}}", ["data.mixture names no sources"]),
    "some without a weight": (
        f"{{sources: {{a: {ONE}, b: {{path: b}}, c: {{path: c}}}}}}",
        ["b, c have no weight (give every source a weight, or none: then its tokens decide)"],
    ),
    "temperature": (
        f"{{temperature: 2, sources: {{a: {ONE}}}}}",
        ["data.mixture.temperature has no effect beside weights (keep one of them)"],
    ),
    "interpolation of nothing": (
        "{sources: {a: {path: a, weight: 1, interpolation: cosine}, b: {path: b, weight: 1}}}",
        ["data.mixture.sources.a.interpolation has no effect: the weight does not change"],
    ),
    "a name": (
        f"{{sources: {{a b: {ONE}}}}}",
        ["'a b' cannot name a source (use letters, digits, - and _)"],
    ),
    "two weights": (
        "{sources: {a: {path: a, weight: -1}, b: {path: b, weight: [[0.5, 1], [0.2, 1]]}}}",
        [
            f"data.mixture.sources.a.weight: -1 is negative ({HOW})",
            "data.mixture.sources.b.weight: point 2 has the progress 0.2, which comes before that of point 1",
        ],
    ),
    "a gap": (
        "{sources: {a: {path: a, weight: [[0, 1], [0.3, 0]]}}}",
        [
            "all weights are 0 at progress 0.300, so no source could be drawn from (give a source a weight above 0 there)"
        ],
    ),
    "a length in words": (
        f"{{total_tokens: plenty, sources: {{a: {ONE}}}}}",
        ["data.mixture.total_tokens is 'plenty' (write a count, or 20x for 20 tokens a parameter)"],
    ),
    "half a token": (f"{{total_tokens: 0.5, sources: {{a: {ONE}}}}}", ["data.mixture.total_tokens is 0.5"]),
    "no token": (f"{{total_tokens: 0x, sources: {{a: {ONE}}}}}", ["data.mixture.total_tokens is '0x'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_told_with_its_place(case: str, tmp_path: Path) -> None:
    said, expected = CASES[case]
    found = faults(write(tmp_path, said))
    assert len(found) == len(expected)
    for fault, words in zip(found, expected, strict=True):
        assert fault.startswith(":5: error: ") and words in fault


def test_two_lengths_are_one_too_many(tmp_path: Path) -> None:
    said = f"{{total_tokens: 100, sources: {{a: {ONE}}}}}"
    assert faults(write(tmp_path, said, "{max_steps: 3}")) == [
        ":3: error: training.max_steps and data.mixture.total_tokens both say how long to train (keep one of them)"
    ]


def test_a_mixture_has_no_epoch_to_save_after(tmp_path: Path) -> None:
    found = faults(write(tmp_path, f"{{sources: {{a: {ONE}}}}}", "{save_strategy: epoch, max_steps: 3}"))
    assert found == [
        ":3: error: training.save_strategy is epoch, and a mixture has none: each source is passed over in its own time "
        "(say save_steps; below 1 it is a share of all steps)"
    ]


def test_data_train_beside_a_mixture_is_refused(tmp_path: Path) -> None:
    found = faults(write(tmp_path, f"{{sources: {{a: {ONE}}}}}", data="  train: [{path: b.txt}]\n"))
    assert found == [
        ":6: error: data.train stands beside data.mixture (move these sources under data.mixture.sources, each with a name)"
    ]


def test_packing_across_sources_is_refused(tmp_path: Path) -> None:
    training = "{packing: true, packing_strategy: wrapped, max_length: 64}"
    found = faults(write(tmp_path, f"{{sources: {{a: {ONE}}}}}", training, "sft"))
    assert found == [
        ":3: error: wrapped packing joins the rows of all sources, so that none has a share (say packing_strategy: bfd_split)"
    ]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("{sources: {a: {path: a, wieght: 1}}}", "did you mean weight?"),
        ("{sources: {a: {path: a, weight: true}}}", "data.mixture.sources.a.weight"),
        ("{sources: {a: {path: a, weight: 1, interpolation: cubic}}}", "linear, step, cosine"),
        ("{sources: {a: {path: a, max_epochs: 0}}}", "max_epochs"),
        ("{sources: [a]}", "data.mixture.sources"),
        ("{temperature: 0, sources: {}}", "temperature"),
        ("{block: 0, sources: {}}", "block"),
    ],
)
def test_words_that_cannot_be_are_refused_when_the_recipe_is_read(said: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, said))
    assert fault in str(caught.value)
    assert f"{tmp_path}/r.yaml:5" in str(caught.value)
