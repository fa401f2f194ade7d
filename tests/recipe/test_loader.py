from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.recipe.loader import apply_overrides, check_words, find_recipe, load_recipe, set_value, split_key
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.shipped import shipped_recipes


def test_a_recipe_knows_its_values_and_their_lines(load) -> None:
    recipe = load()
    assert (recipe.kind, recipe.name, recipe.path) == ("sft", "mine", Path("mine.yaml"))
    assert recipe.get("training.learning_rate") == 1e-4
    assert recipe.get("data.train.1.path") == "rows.jsonl"
    assert recipe.get("data.train.2.path", "none") == recipe.get("data.train.path", "none") == "none"
    assert recipe.get("training.learning_rate.x", 3) == 3
    assert recipe.where("data.train.1.limit") == "mine.yaml:9"
    assert recipe.where("training.max_length") == "mine.yaml:10"
    assert recipe.where("evaluation.task") == recipe.where() == "mine.yaml:1"


def test_null_reads_as_absent(load) -> None:
    assert load("model.revision=", "adapter=null").get("model.revision", 7) == 7
    assert load("training.max_length=null").values["training"]["max_length"] is None


def test_null_takes_a_section_away(load) -> None:
    """As the tour's recipes say: `adapter=null` is full fine-tuning, weights give way to a config."""
    words = ("adapter={method: lora}", "quantization={load_in_4bit: true}", "model={name_or_path: base}")
    recipe = load(
        *words, "adapter=null", "quantization=null", "model.name_or_path=null", "model.config={model_type: llama}"
    )
    assert recipe.get("adapter") is recipe.get("quantization") is recipe.get("model.name_or_path") is None


def test_overrides_are_yaml_and_are_named_as_the_place(load) -> None:
    recipe = load("training.learning_rate=3e-4", "data.train.1.columns={prompt: question}", "name=other")
    assert recipe.get("training.learning_rate") == 3e-4
    assert recipe.get("data.train.1.columns.prompt") == "question"
    assert recipe.name == "other"
    assert recipe.where("training.learning_rate") == "override training.learning_rate=3e-4"
    assert recipe.where("data.train.1.columns.prompt") == "override data.train.1.columns={prompt: question}"
    assert recipe.where("training.packing") == "mine.yaml:12"


def test_what_an_override_replaces_has_no_line_any_more(load) -> None:
    text = "data.train=[{path: a.jsonl}]"
    recipe = load(text, "data.train.0.limit=5")
    assert recipe.where("data.train.0") == recipe.where("data.train.0.path") == f"override {text}"
    assert recipe.where("data.train.0.limit") == "override data.train.0.limit=5"


def test_the_last_override_wins(load) -> None:
    assert load("training.seed=1", "training.seed=2").get("training.seed") == 2


def test_an_override_may_hold_an_equals_sign(load) -> None:
    assert load("model.config={model_type: llama}", "name=a=b").name == "a=b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_steps", "is not key=value"),
        ("=3", "is not key=value"),
        ("training.learning_rate.x=1", "leads nowhere"),
        ("data.train.2.limit=1", "leads nowhere"),
        ("data.train.limit=1", "leads nowhere"),
        ("data.train.-1.limit=1", "leads nowhere"),
        ("training={learning_rate: 1", "is not valid YAML"),
    ],
)
def test_overrides_that_lead_nowhere(refused, override: str, message: str) -> None:
    (problem,) = refused(override)
    assert problem.where.startswith(f"override {override}")
    assert message in problem.message


def test_all_problems_of_words_at_once(refused) -> None:
    problems = refused("training.lerning_rate=1", "model.config.hidden_size=big", "data.train.0.nam=x", "evaluation=3")
    assert [problem.where.split()[0] for problem in problems] == ["override"] * 4
    assert all(problem.fix for problem in problems)


def test_schedulers_know_their_keywords(load, refused) -> None:
    cosine = "training.lr_scheduler_type=cosine_with_min_lr"
    assert (
        load(cosine, "training.lr_scheduler_kwargs={min_lr: 1e-5}").get("training.lr_scheduler_kwargs.min_lr") == 1e-5
    )
    (problem,) = refused(cosine, "training.lr_scheduler_kwargs={min_rl: 1e-5}")
    assert "did you mean min_lr" in problem.fix
    (problem,) = refused("training.lr_scheduler_kwargs={min_lr: 1e-5}")
    assert "min_lr is not a known key" in problem.message


def test_a_token_is_refused_and_not_repeated(refused) -> None:
    token = "hf_" + "q" * 34
    (problem,) = [problem for problem in refused(f"model.tokenizer={token}") if "token" in problem.message]
    assert token not in str(problem)
    assert problem.where == "override model.tokenizer=<redacted: a Hugging Face token>"


@pytest.mark.parametrize(
    "name",
    [
        "..", ".", "../x", "a/b", "/tmp/x", "a\\b", "C:", "C:x", "-rf", "a\0b", " ", "x ", " x", "x.", "x..", "x. .",
        "a\nb", "a\u202eb", "x" * 201, "ü" * 101, "con", "NUL", "nul.txt", "Com1", "lpt9.a.b", "aux .x", "a*", "a?b", "a|b",
    ],
)  # fmt: skip
def test_names_that_are_no_folder_below_the_runs(name: str, tmp_path: Path) -> None:
    values = {
        "kind": "pretrain",
        "name": name,
        "model": {"config": {"model_type": "llama"}, "tokenizer": {"vocab_size": 512}},
        "data": {"train": [{"name": "python_prose"}]},
        "training": {"max_steps": 1},
    }
    with pytest.raises(RecipeError, match="name is"):
        check_words(values, tmp_path / "mine.yaml")
    assert check_words(values | {"name": "ok"}, tmp_path / "mine.yaml").name == "ok"


@pytest.mark.parametrize("name", ["a", "a.b", "a b", "con-1", "console", "nula", "com", "com10", "ünïcode", "a=b"])
def test_names_that_are_folders(load, name: str) -> None:
    assert load(f"name={name}").name == name


def test_replace_leaves_the_recipe_as_it_was(load) -> None:
    recipe = load()
    before = copy.deepcopy(recipe.values)
    other = recipe.replace(training={"max_steps": 3}, name="other")
    assert other.values == {**before, "training": {"max_steps": 3}, "name": "other"}
    other.values["data"]["train"].clear()
    assert (other.name, recipe.name, recipe.values) == ("other", "mine", before)


def test_files_beside_the_recipe_come_first(load, tmp_path: Path, recipe_file: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "mine.yaml").write_text(recipe_file.read_text())
    (tmp_path / "here.jsonl").touch()
    recipe = load_recipe("recipes/mine.yaml")
    assert recipe.find_file("here.jsonl") == Path("here.jsonl")
    (folder / "here.jsonl").touch()
    assert recipe.find_file("here.jsonl") == Path("recipes/here.jsonl")
    assert recipe.find_file("nowhere.jsonl") == Path("nowhere.jsonl")
    assert recipe.find_file(str(tmp_path / "here.jsonl")) == tmp_path / "here.jsonl"


def test_recipes_that_do_not_exist_are_guessed(recipe_file: Path) -> None:
    name = next(iter(shipped_recipes()))
    assert find_recipe(name) == shipped_recipes()[name]
    with pytest.raises(RecipeError, match=f"did you mean {name}"):
        find_recipe(name[:-1])
    with pytest.raises(RecipeError, match="hfrecipes ls"):
        find_recipe("qqqq")


def test_problems_read_well() -> None:
    assert str(Problem("a.yaml:3", "is wrong", "mend it")) == "a.yaml:3: error: is wrong (mend it)"
    assert str(Problem("a.yaml", "is odd", severity="warning")) == "a.yaml: warning: is odd"
    error = RecipeError([Problem("a", "b"), Problem("c", "d")])
    assert isinstance(error, ValueError)
    assert str(error).splitlines() == ["a: error: b", "c: error: d"]
    assert RecipeError(Problem("a", "b")).problems == [Problem("a", "b")]


KEY = st.text(alphabet="abc", min_size=1, max_size=3)
NESTED = st.recursive(
    st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=8
)


@given(
    st.dictionaries(KEY, NESTED, max_size=3), st.lists(KEY | st.integers(0, 3), min_size=1, max_size=4), st.integers()
)
def test_what_is_set_is_found_again_and_nothing_else_changes(values: dict[str, Any], keys: list, new: int) -> None:
    before = copy.deepcopy(values)
    try:
        set_value(values, tuple(keys), new)
    except (TypeError, IndexError):
        return
    found: Any = values
    for key in keys:
        found = found[key if isinstance(found, list) else str(key)]
    assert found == new
    assert _others(values, keys) == _others(before, keys)


def _others(values: Any, keys: list) -> list:
    """All parts of `values` that stand beside the way that `keys` leads."""
    beside = []
    for key in keys:
        if not isinstance(values, dict | list):
            break
        step = key if isinstance(values, list) else str(key)
        items = dict(enumerate(values)) if isinstance(values, list) else values
        beside.append({name: item for name, item in items.items() if name != step})
        values = items.get(step)
    while beside and not beside[-1]:
        beside.pop()
    return beside


@given(st.lists(KEY | st.integers(0, 99), min_size=1, max_size=5))
def test_dotted_keys_are_split_as_they_were_joined(keys: list) -> None:
    assert split_key(".".join(map(str, keys))) == tuple(keys)


def test_overrides_change_values_in_place() -> None:
    values: dict[str, Any] = {"training": {"seed": 1}}
    assert apply_overrides(values, ["training.seed=2", "data.train=[]"]) == {
        ("training", "seed"): "training.seed=2",
        ("data", "train"): "data.train=[]",
    }
    assert values == {"training": {"seed": 2}, "data": {"train": []}}


@pytest.mark.parametrize("kind", [None, 3, ["sft"], {"a": 1}, "dpo"])
def test_a_kind_of_any_sort_is_judged(kind: object) -> None:
    with pytest.raises(RecipeError) as caught:
        check_words({"kind": kind}, Path("x.yaml"))
    assert caught.value.problems[0].where == "x.yaml"


@pytest.mark.parametrize("section", ["model", "data", "training", "evaluation", "adapter", "publish", "quantization"])
@pytest.mark.parametrize("value", ["3", "text", "[1]", "[[]]", "{1: 2}", "null"])
def test_any_section_may_be_anything_and_is_told_of(load, section: str, value: str) -> None:
    try:
        load(f"{section}={value}")
    except RecipeError as error:
        assert all(section in problem.where + problem.message for problem in error.problems)


@pytest.mark.parametrize("part", ["\u00b2", "\u0664", "1" * 5000, "-1"])
def test_what_is_no_index_leads_nowhere(refused, part: str) -> None:
    (problem,) = refused(f"data.train.{part}.limit=3")
    assert "leads nowhere" in problem.message


@pytest.mark.parametrize("number", ["0x" + "f" * 9000, "9" * 9000, "9" * 299])
def test_numbers_beyond_all_numbers_are_told_of(refused, number: str) -> None:
    (problem,) = refused(f"training.max_steps={number}")
    assert problem.message.startswith("training.max_steps is")


def test_a_batch_beyond_all_batches_is_told_of(refused) -> None:
    (problem,) = refused(f"training.global_batch_size={'9' * 30}")
    assert problem.fix == "it is below 9.2e+18 in size"


@pytest.mark.parametrize("name", [".hidden", ".g.1.old", ".g.lock"])
def test_hidden_names_are_kept_for_what_is_beside_a_run(refused, name: str) -> None:
    (problem,) = refused(f"name={name}")
    assert "no dot before them" in problem.fix


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.config.model_type=[llama]", "model.config.model_type is"),
        ("model.config.model_type={}", "model.config.model_type is"),
        (
            "training={max_steps: 1, lr_scheduler_type: [cosine], lr_scheduler_kwargs: {num_cycles: 1}}",
            "lr_scheduler_type is",
        ),
    ],
)
def test_a_list_where_a_name_is_expected_is_told(refused, override: str, says: str) -> None:
    assert any(says in problem.message for problem in refused("model={config: {model_type: llama}}", override))
