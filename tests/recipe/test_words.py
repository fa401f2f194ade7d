"""The hand-kept table against the installed libraries: what they drop or add must not linger or lack here."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing

import pytest

from hfrecipes.evaluation.metrics import METRIC_NAMES
from hfrecipes.recipe import adapter_words, words
from hfrecipes.recipe.owned import INSTEAD, instead_of
from hfrecipes.recipe.schema import SHIPPED, dump_schema, make_schema
from hfrecipes.recipe.sections import KINDS, OUR_SECTIONS, REQUIRED_SECTIONS, Task

# Not fields any more, but what people still write.
REMOVED = {"warmup_ratio", "logging_dir", "evaluation_strategy", "max_seq_length"}


@pytest.fixture(scope="module")
def classes() -> dict[str, type]:
    import peft
    from transformers import TrainingArguments
    from trl import DPOConfig, GRPOConfig, KTOConfig, RewardConfig, RLOOConfig, SFTConfig

    from hfrecipes.trainers.groups.config import RecipeGRPOConfig, RecipeRLOOConfig
    from hfrecipes.trainers.orpo.config import ORPOConfig
    from hfrecipes.trainers.ppo.config import PPOConfig

    adapters = [getattr(peft, name) for name in adapter_words.PEFT_CONFIGS.values()]
    groups = (KTOConfig, ORPOConfig, GRPOConfig, RLOOConfig, RecipeGRPOConfig, RecipeRLOOConfig)
    trained = (TrainingArguments, SFTConfig, RewardConfig, DPOConfig, PPOConfig, *groups)
    return {cls.__name__: cls for cls in (*trained, *adapters)}


@pytest.fixture(scope="module")
def fields(classes: dict[str, type]) -> dict[str, dict[str, dataclasses.Field]]:
    return {name: {field.name: field for field in dataclasses.fields(cls)} for name, cls in classes.items()}


def test_the_shipped_schema_is_that_of_the_installed_versions() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == dump_schema(make_schema())


def test_keywords_of_from_pretrained_exist() -> None:
    from transformers import AutoModelForCausalLM, PreTrainedModel

    signature = inspect.signature(PreTrainedModel.from_pretrained).parameters
    documented = (PreTrainedModel.from_pretrained.__doc__ or "") + (AutoModelForCausalLM.from_pretrained.__doc__ or "")
    source = inspect.getsource(PreTrainedModel.from_pretrained)
    for word in words.FROM_PRETRAINED:
        in_words = re.search(rf"\b{word} \(|`{word}`", documented)
        assert word in signature or in_words or f'kwargs.pop("{word}"' in source, word


def test_attention_implementations_are_those_of_transformers() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = {"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()}
    assert set(words.FROM_PRETRAINED["attn_implementation"]["anyOf"][0]["enum"]) <= known


def test_quantization_words_are_the_arguments_of_its_config() -> None:
    from transformers import BitsAndBytesConfig

    arguments = set(inspect.signature(BitsAndBytesConfig.__init__).parameters) - {"self", "kwargs"}
    assert set(words.BITSANDBYTES) == arguments


def test_quantization_choices_are_accepted_by_its_config() -> None:
    from transformers import BitsAndBytesConfig

    for dtype in words.BITSANDBYTES["bnb_4bit_compute_dtype"]["enum"]:
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)
    for storage in words.BITSANDBYTES["bnb_4bit_quant_storage"]["enum"]:
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_storage=storage)
    with pytest.raises(ValueError, match="bnb_4bit_quant_storage"):
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_storage="int4")


def test_choices_stand_in_the_help_of_their_fields(classes, fields) -> None:
    for owner, table in words.CHOICES.items():
        for name, choices in table.items():
            field = fields[owner][name]
            if "choices" in field.metadata or name == "torch_compile_mode":
                continue
            told = str(field.metadata.get("help")) + (classes[owner].__doc__ or "")
            assert all(str(choice) in told for choice in choices), name


def test_choices_are_those_that_a_field_declares(fields) -> None:
    declared = {
        (owner, name): set(field.metadata["choices"])
        for owner, named in fields.items()
        for name, field in named.items()
        if "choices" in field.metadata and instead_of(name) is None
    }
    # SFTTrainer 1.16 declares it and refuses it.
    declared["SFTConfig", "loss_type"] -= {"chunked_nll"}
    for (owner, name), choices in declared.items():
        kept = words.CHOICES.get(owner, {}).get(name) or words.CHOICES["TrainingArguments"][name]
        assert set(kept) == choices, name


def test_compile_modes_are_those_of_torch() -> None:
    from torch._inductor import list_mode_options

    assert set(words.CHOICES["TrainingArguments"]["torch_compile_mode"]) == set(list_mode_options())


def test_ways_to_begin_an_adapter_are_those_of_peft(classes) -> None:
    hint = typing.get_type_hints(classes["LoraConfig"])["init_lora_weights"]
    choices = {choice for part in typing.get_args(hint) for choice in typing.get_args(part)}
    kept = words.SCHEMAS["LoraConfig"]["init_lora_weights"]["anyOf"]
    assert set(kept[1]["enum"]) == {choice for choice in choices if "[" not in choice}
    assert re.fullmatch(kept[2]["pattern"], "pissa_niter_16")


def test_tables_name_fields_that_exist(fields) -> None:
    for table in (words.CHOICES, words.SCHEMAS, words.DICT_KEYS):
        for owner, named in table.items():
            assert set(named) <= set(fields[owner]), owner
    everywhere = set().union(*fields.values())
    assert set(words.RANGES) <= everywhere
    assert set(adapter_words.PEFT_INTERNAL) <= everywhere
    for method, name in adapter_words.PEFT_CONFIGS.items():
        assert set(adapter_words.DEFAULTS[method]) <= set(fields[name]), method


def test_defaults_keep_their_ranges(fields) -> None:
    for named in fields.values():
        for name, field in named.items():
            default, limits = field.default, words.RANGES.get(name, {})
            if isinstance(default, int | float):
                assert limits.get("minimum", default) <= default <= limits.get("maximum", default), name


def test_liger_kernels_are_those_that_liger_is_told_of(classes) -> None:
    told = classes["TrainingArguments"].__doc__ or ""
    start = told.index("liger_kernel_config")
    kernels = words.DICT_KEYS["TrainingArguments"]["liger_kernel_config"]
    assert {"rope", "swiglu", "cross_entropy", "fused_linear_cross_entropy", "rms_norm"} <= set(kernels)
    assert all(word in told[start : start + 600] for word in ("rope", "swiglu", "cross_entropy", "rms_norm"))


def test_words_that_the_project_owns_are_fields_or_were(fields) -> None:
    known = {**fields["TrainingArguments"], **fields["SFTConfig"], **fields["PPOConfig"], **fields["GRPOConfig"]}
    assert {word for word in INSTEAD if word not in known} == REMOVED
    assert all(INSTEAD.values())


def test_every_word_about_the_hub_is_owned(fields) -> None:
    hub = {name for name in fields["SFTConfig"] if name.startswith("hub_") or name == "push_to_hub"}
    assert len(hub) > 5
    assert all(instead_of(name) for name in hub)
    assert instead_of("learning_rate") is None


def test_words_to_say_instead_exist(fields) -> None:
    """A mend that names another key must name one that a recipe may say."""
    said = {text for text in INSTEAD.values() if text.startswith("say training.")}
    assert said
    for text in said:
        name = re.match(r"say training\.(\w+)", text)[1]
        assert name == "global_batch_size" or (name in fields["SFTConfig"] and instead_of(name) is None)


def test_sections_are_those_of_the_kinds() -> None:
    assert set(OUR_SECTIONS) == set(REQUIRED_SECTIONS) == set(KINDS)
    told = Task.__dataclass_fields__["metric"].metadata["help"]
    assert all(name in told for name in METRIC_NAMES)
