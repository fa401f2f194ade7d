"""What a recipe's words make of a config, for each way in which architectures say their rotary positions."""

from __future__ import annotations

import copy

import pytest
from transformers import AutoConfig

from hfrecipes.models.rope_config import RopeChange, change_config

LLAMA = {"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}


def changed(config, parameters, positions=None, row_length=None):
    change_config(config, RopeChange(parameters, positions, row_length))
    return config.get_text_config()


def test_a_base_replaces_the_base() -> None:
    config = changed(AutoConfig.for_model("llama", **copy.deepcopy(LLAMA)), {"rope_theta": 1e6})
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 1e6}


def test_yarn_keeps_the_base_and_starts_from_the_length_before() -> None:
    config = AutoConfig.for_model("llama", **copy.deepcopy(LLAMA))
    found = changed(config, {"rope_type": "yarn", "factor": 4.0}, positions=8192)
    assert found.max_position_embeddings == 8192
    assert found.rope_parameters == {
        "rope_type": "yarn",
        "factor": 4.0,
        "rope_theta": 5e5,
        "original_max_position_embeddings": 2048,
    }


def test_a_second_change_of_yarn_still_starts_from_the_first_length() -> None:
    config = AutoConfig.for_model("llama", **copy.deepcopy(LLAMA))
    changed(config, {"rope_type": "yarn", "factor": 4.0}, positions=8192)
    found = changed(config, {"rope_type": "yarn", "factor": 16.0}, positions=32768)
    assert found.rope_parameters["original_max_position_embeddings"] == 2048


def test_a_type_that_is_not_named_is_not_guessed() -> None:
    config = AutoConfig.for_model("llama", **copy.deepcopy(LLAMA))
    changed(config, {"rope_type": "yarn", "factor": 4.0}, positions=8192)
    with pytest.raises(ValueError, match="rope_type is yarn so far"):
        changed(config, {"rope_theta": 1e6})


def test_positions_follow_the_rows_where_they_are_not_said() -> None:
    config = AutoConfig.for_model("llama", **copy.deepcopy(LLAMA))
    assert changed(config, {"rope_theta": 1e6}, row_length=4096).max_position_embeddings == 4096
    assert changed(config, {"rope_theta": 1e6}, row_length=512).max_position_embeddings == 4096


def test_positions_alone_leave_the_rotation() -> None:
    config = AutoConfig.for_model("llama", **copy.deepcopy(LLAMA))
    found = changed(config, None, positions=4096)
    assert (found.max_position_embeddings, found.rope_parameters["rope_theta"]) == (4096, 5e5)


def test_the_share_of_rotated_dimensions_is_kept() -> None:
    config = AutoConfig.for_model("gpt_neox", rotary_pct=0.5)
    assert changed(config, {"rope_theta": 4e4}).rope_parameters["partial_rotary_factor"] == 0.5


def test_layers_that_turn_apart_are_changed_apart() -> None:
    config = AutoConfig.for_model("gemma3_text")
    found = changed(config, {"full_attention": {"rope_type": "linear", "factor": 8.0}})
    assert found.rope_parameters["full_attention"] == {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
    assert found.rope_parameters["sliding_attention"] == {"rope_type": "default", "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("model_type", "said", "fault"),
    [
        ("gemma3_text", {"rope_theta": 4e6}, r"full_attention: \{…\}"),
        ("llama", {"full_attention": {"rope_theta": 4e6}}, "all layers of this model turn alike"),
        ("llama", {"rope_type": "yarn"}, "factor"),
        ("gpt2", {"rope_theta": 4e6}, "has no rope_parameters"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changed(model_type: str, said: dict, fault: str) -> None:
    config = AutoConfig.for_model(model_type)
    before = config.to_dict()
    with pytest.raises(ValueError, match=fault):
        changed(config, said, positions=99999)
    assert config.to_dict() == before


def test_a_kind_of_layer_that_the_model_lacks_is_refused() -> None:
    config = AutoConfig.for_model("gemma3_text", num_hidden_layers=2)
    assert set(config.layer_types) == {"sliding_attention"}
    with pytest.raises(ValueError, match="no layer of this model is full_attention"):
        changed(config, {"full_attention": {"rope_theta": 4e6}})
