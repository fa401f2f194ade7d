"""Folders made to run code, and what comes of them: an error, and nothing that ran."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.check.check import check_recipe
from hfrecipes.models.foreign_code import code_problems, code_words
from hfrecipes.models.load import load_model, load_tokenizer
from hfrecipes.models.of_run import load_run_model
from hfrecipes.models.pretrained import load_pretrained, load_with_adapter
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

CPU = Hardware("cpu", "a test's processor", 1, 8 * 2**30, bf16=False, flash_attention=False)
COMMIT = "a1" * 20


class Bomb:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """What code of a folder would leave, had it run."""
    return tmp_path / "it-ran"


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """transformers asks on the terminal whether code may run; modules that it copies go into a folder of the test."""

    def asked(*_: Any) -> str:
        pytest.fail("the terminal was asked")

    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    before = list(sys.path)
    yield
    sys.path[:] = before


def edit(file: Path, **changes: Any) -> None:
    settings = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**settings, **changes}))


def bring_code(model: Path, trace: Path, model_type: str) -> None:
    """Gives a folder classes of its own for config, model and tokenizer."""
    for part in ("configuration", "modeling", "tokenization"):
        (model / f"{part}_own.py").write_text(f"import os\nos.mkdir({str(trace)!r})\n")
    classes = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    edit(model / "config.json", model_type=model_type, auto_map=classes)
    tokenizer = {"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]}
    edit(model / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=tokenizer)


def errors(recipe: Recipe) -> str:
    return "\n".join(str(problem) for problem in check_recipe(recipe, CPU) if problem.severity == "error")


def test_the_bomb_is_one(trace: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin", "model.pt"])
def test_pickles_are_never_opened(
    folder: Callable[..., Path], adapter: Path, recipe_for: Callable[..., Recipe], trace: Path, name: str
) -> None:
    model = adapter if name.startswith("adapter") else folder()
    weights = model / ("adapter_model.safetensors" if model == adapter else "model.safetensors")
    weights.unlink()
    (model / name).write_bytes(pickle.dumps(Bomb(trace)))
    recipe = recipe_for(model)
    assert "the weights are pickled" in errors(recipe)
    tokenizer = load_tokenizer(obtain_tokenizer(recipe)[1], recipe)
    with pytest.raises(RecipeError, match="the weights are pickled"):
        load_model(recipe, tokenizer)
    with pytest.raises(RecipeError, match="the weights are pickled"):
        load_run_model(RunDir(model))
    assert not trace.exists()


def test_a_pickle_beside_safetensors_is_passed_over(folder: Callable[..., Path], trace: Path) -> None:
    model = folder()
    for name in ("pytorch_model.bin", "training_args.bin", "rng_state.pth"):
        (model / name).write_bytes(pickle.dumps(Bomb(trace)))
    load_run_model(RunDir(model))
    assert not trace.exists()


def test_an_unknown_model_that_brings_code_is_refused(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe], trace: Path
) -> None:
    model = folder()
    bring_code(model, trace, "own")
    recipe = recipe_for(model)
    assert "model_type 'own' is unknown to this transformers, and the code that comes with it is not run" in errors(
        recipe
    )
    with pytest.raises(RecipeError, match=r"can only be loaded by running code.*model\.revision: COMMIT"):
        load_model(recipe, None)
    with pytest.raises(RecipeError, match="can only be loaded by running code"):
        load_run_model(RunDir(model))
    assert not trace.exists()


def test_a_known_model_that_brings_code_runs_none_and_says_so(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe], trace: Path
) -> None:
    model = folder()
    own = (model / "tokenizer_config.json").read_text()
    bring_code(model, trace, "llama")
    (model / "tokenizer_config.json").write_text(own)
    recipe = recipe_for(model)
    warned = [problem.message for problem in check_recipe(recipe, CPU) if problem.severity == "warning"]
    assert any("the code that comes with the model is not run" in message for message in warned)
    tokenizer = load_tokenizer(obtain_tokenizer(recipe)[1], recipe)
    assert type(load_model(recipe, tokenizer)).__name__ == "LlamaForCausalLM"
    load_run_model(RunDir(model))
    assert not trace.exists()


@pytest.mark.parametrize("trusted", [False, True])
def test_a_tokenizer_that_is_named_apart_never_runs_code(
    folder: Callable[..., Path], saved: Path, recipe_for: Callable[..., Recipe], trace: Path, trusted: bool
) -> None:
    tokenizer = folder("gpt2")
    bring_code(tokenizer, trace, "own")
    words = {"trust_remote_code": True, "revision": COMMIT} if trusted else {}
    recipe = recipe_for(saved / "llama", tokenizer=str(tokenizer), **words)
    with pytest.raises(RecipeError, match="can only be loaded by running code"):
        load_tokenizer(str(tokenizer), recipe)
    (tokenizer / "tokenizer.json").unlink()
    (tokenizer / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(RecipeError, match="holds no tokenizer that can be read"):
        obtain_tokenizer(recipe)
    assert not trace.exists()


def test_code_of_a_folder_runs_where_the_recipe_says_so(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe], trace: Path
) -> None:
    model = folder()
    bring_code(model, trace, "own")
    with pytest.raises(RecipeError):
        load_model(recipe_for(model, trust_remote_code=True), None)
    assert trace.exists(), "the code of these tests runs when it may, so that its silence means something"


def test_code_needs_a_commit(recipe_for: Callable[..., Recipe]) -> None:
    for revision in (None, "main", "v1.0", COMMIT[:-1], COMMIT.upper(), COMMIT + "0"):
        words = {} if revision is None else {"revision": revision}
        recipe = recipe_for("someone/model", trust_remote_code=True, **words)
        assert "at no pinned revision" in errors(recipe)
        for load in (
            lambda recipe=recipe: load_model(recipe, None),
            lambda recipe=recipe: load_tokenizer("x/y", recipe),
        ):
            with pytest.raises(RecipeError, match="at no pinned revision"):
                load()
    pinned = recipe_for("someone/model", trust_remote_code=True, revision=COMMIT)
    assert code_words(pinned) == {"trust_remote_code": True, "code_revision": COMMIT}
    assert code_words(recipe_for("someone/model")) == {"trust_remote_code": False}


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_borrows_code_needs_a_commit_too(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe], file: str
) -> None:
    model = folder()
    edit(model / file, auto_map={"AutoModelForCausalLM": ["lender/code--modeling.Model", None]})
    recipe = recipe_for(model, trust_remote_code=True)
    with pytest.raises(RecipeError, match="borrows its code from lender/code, at no pinned revision"):
        load_model(recipe, None)
    assert not list(code_problems(recipe_for(model, trust_remote_code=True, revision=COMMIT)))


@pytest.mark.parametrize("subfolder", ["../outside", "inner/../../outside", "/outside"])
def test_a_subfolder_lies_in_the_folder(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe], subfolder: str
) -> None:
    model = folder()
    model.rename(model.with_name("outside"))
    (model / "inner").mkdir(parents=True)
    recipe = recipe_for(model, subfolder=subfolder)
    assert "leads out of model.name_or_path" in errors(recipe)
    with pytest.raises(RecipeError, match=r"model\.subfolder .* leads out of model\.name_or_path"):
        load_model(recipe, None)


@pytest.mark.parametrize("above", [{}, {"auto_map": None}])
def test_a_subfolder_that_borrows_code_needs_a_commit_too(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe], tmp_path: Path, above: dict[str, Any]
) -> None:
    model = folder()
    edit(model / "config.json", auto_map={"AutoModelForCausalLM": "lender/code--modeling.Model"})
    outside = tmp_path / "outside"
    outside.mkdir()
    model.rename(outside / "inner")
    if above:
        edit(outside / "config.json", **above)
    for words in ({"subfolder": "inner"}, {"subfolder": "../outside/inner"}):
        recipe = recipe_for(outside, trust_remote_code=True, **words)
        with pytest.raises(RecipeError, match="borrows its code from lender/code, at no pinned revision"):
            load_model(recipe, None)


def test_a_part_of_a_composite_model_borrows_no_code_either(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe]
) -> None:
    model = folder()
    edit(model / "config.json", vision_config={"auto_map": {"AutoModel": "lender/eyes--modeling.Model"}})
    (problem,) = code_problems(recipe_for(model, trust_remote_code=True))
    assert "borrows its code from lender/eyes" in problem.message


@pytest.mark.parametrize(
    ("kernel", "pinned"),
    [
        ("kernels-community/flash-attn", False),
        ("kernels-community/flash-attn@main", False),
        ("kernels-community/flash-attn:flash_attn", False),
        (f"paged|kernels-community/flash-attn@{COMMIT}", False),
        (f"kernels-community/flash-attn@{COMMIT}/x", False),
        (f"kernels-community/flash-attn@{COMMIT}", True),
        (f"kernels-community/flash-attn@{COMMIT}:flash_attn", True),
    ],
)
def test_kernels_need_a_commit(recipe_for: Callable[..., Recipe], saved: Path, kernel: str, pinned: bool) -> None:
    from transformers.integrations.hub_kernels import is_kernel

    recipe = recipe_for(saved / "llama", attn_implementation=kernel)
    assert ("at no pinned revision" in errors(recipe)) != pinned
    assert is_kernel(kernel) or not pinned, "the form that is accepted is the one that transformers reads"
    if not pinned:
        with pytest.raises(RecipeError, match="at no pinned revision"):
            load_model(recipe, None)


def test_kernels_of_the_librarys_choice_are_refused(recipe_for: Callable[..., Recipe], saved: Path) -> None:
    assert "which a recipe cannot pin" in errors(recipe_for(saved / "llama", use_kernels=True))
    assert "use_kernels" not in errors(recipe_for(saved / "llama", use_kernels=False))


def test_a_kernel_that_stands_in_for_flash_attention_is_refused(
    recipe_for: Callable[..., Recipe], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(saved / "llama", attn_implementation="flash_attention_3")
    assert not list(code_problems(recipe))
    kernels = types.ModuleType("kernels")
    kernels.__spec__ = ModuleSpec("kernels", None)
    monkeypatch.setitem(sys.modules, "kernels", kernels)
    assert ["would be fetched" in problem.message for problem in code_problems(recipe)] == [True]


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_config_names_no_kernel(
    folder: Callable[..., Path], recipe_for: Callable[..., Recipe], key: str, nested: bool
) -> None:
    model = folder()
    asked = {"text_config": {key: {"": "evil/kernel"}}} if nested else {key: "evil/kernel"}
    edit(model / "config.json", **asked)
    assert "evil/kernel, a kernel that would be fetched and run" in errors(recipe_for(model))
    with pytest.raises(RecipeError, match="evil/kernel, a kernel that would be fetched and run"):
        load_pretrained(model)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"base_model_name_or_path": "../../etc"},
            r"adapter_config\.json: names the base \.\./\.\./etc, and there is no",
        ),
        ({"base_model_name_or_path": "/etc"}, r"adapter_config\.json: .*/etc: holds no model"),
        ({"base_model_name_or_path": None}, "names no base"),
        ({"base_model_name_or_path": ["x"]}, "names no base"),
        ({"megatron_config": {"x": 1}, "megatron_core": "antigravity"}, "megatron_config makes peft import"),
        ({"peft_type": "EVIL"}, "cannot be loaded"),
    ],
)
def test_an_adapters_settings_lead_nowhere(
    adapter: Path,
    recipe_for: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    edit(adapter / "adapter_config.json", **changes)
    recipe = recipe_for(adapter)
    with pytest.raises(RecipeError, match=rf"my\.yaml:2: .*{said}"):
        load_model(recipe, None)
    with pytest.raises(RecipeError, match="adapter"):
        load_with_adapter(adapter, trainable=False)
    if "peft_type" not in changes:  # which peft alone knows
        assert re.search(said, errors(recipe))


def test_an_adapter_on_an_adapter_is_refused(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(adapter))
    with pytest.raises(RecipeError, match="which is an adapter itself"):
        load_with_adapter(adapter, trainable=False)


def test_the_base_of_an_adapter_runs_no_code(
    folder: Callable[..., Path], adapter: Path, recipe_for: Callable[..., Recipe], trace: Path
) -> None:
    model = folder()
    bring_code(model, trace, "own")
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(model))
    recipe = recipe_for(adapter, trust_remote_code=True, revision=COMMIT)
    with pytest.raises(RecipeError, match="can only be loaded by running code"):
        load_model(recipe, None)
    assert not trace.exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['os'].system('true') }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{% for j in range(99999) %}{% endfor %}{% endmacro %}{% for i in range(99) %}{{ m() }}{% endfor %}",
        "{{ range(10**30)|length }}",
        "{{ 'x' * 10**10 }}",
        "{{ 'a'.center(10**9) }}",
        "{{ messages[0]['role'].zfill(10**9) }}",
        "{{ 10**10 * [1] }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 1 / 0 }}",
        "{{ messages[0]['role'].nothing.at_all }}",
        "{{ messages.append(1) }}",
    ],
)
def test_templates_stay_in_their_sandbox(folder: Callable[..., Path], template: str) -> None:
    from hfrecipes.tokenization.tokenizer import Tokenizer

    model = folder()
    (model / "chat_template.jinja").write_text(template)
    with pytest.raises(ValueError, match="the chat template refuses the messages") as caught:
        Tokenizer.load(model).render([{"role": "user", "content": "hello"}])
    assert "object at 0x" not in str(caught.value)


def test_malformed_tokenizer_settings_are_problems(folder: Callable[..., Path]) -> None:
    from hfrecipes.tokenization.tokenizer import Tokenizer

    file = folder() / "tokenizer_config.json"
    whole = json.loads(file.read_text())
    for changes in (
        {"eos_token": {"text": "</s>"}},
        {"eos_token": 3},
        {"model_max_length": "long"},
        {"chat_template": [1]},
    ):
        file.write_text(json.dumps({**whole, **changes}))
        with pytest.raises(RecipeError, match="malformed"):
            Tokenizer.load(file.parent)
    file.write_text(json.dumps(whole))
    (file.parent / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="malformed"):
        Tokenizer.load(file.parent)
