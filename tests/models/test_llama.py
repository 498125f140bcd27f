"""The config maps of Llama and its relatives."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import warnings
from pathlib import Path

import pytest

from inarch.checkpoints.formats.files import open_weights
from inarch.checkpoints.maps.config_map import write_fields
from inarch.errors import ConfigError
from inarch.models.backbone import Backbone
from inarch.models.gemma3.checkpoint import HUGGING_FACE as GEMMA3
from inarch.models.llama.checkpoint import LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3
from inarch.tasks import QuestionAnswerer
from inarch.verify.golden import Golden


def test_smollm3_without_sizes_has_its_own_and_not_llamas():
    sizes = {"num_hidden_layers": 36, "num_attention_heads": 16, "hidden_size": 2048}
    whole = {"head_dim": 128, "num_key_value_heads": 16, "layer_types": ["full_attention"] * 36}
    assert SMOLLM3.arguments(whole, ()) == SMOLLM3.arguments(sizes | whole, ())
    assert SMOLLM3.arguments(whole, ())["head_dim"] is None
    assert SMOLLM3.arguments({}, ())["num_key_value_heads"] == 4


def test_values_for_more_layers_than_there_are_do_nothing_and_stay_in_the_file():
    config = {"num_hidden_layers": 2, "no_rope_layers": [1, 0, 1]}
    arguments = SMOLLM3.arguments(config, ())
    assert arguments["rotary_layers"] == (True, False)
    write_fields(SMOLLM3.config, arguments, config)
    assert config["no_rope_layers"] == [1, 0, 1]
    with pytest.raises(ConfigError, match="'no_rope_layers' has 3 values"):
        SMOLLM3.arguments(config | {"num_hidden_layers": 4}, ())


def test_a_window_of_one_token_is_refused_by_its_field():
    assert MISTRAL.arguments({"sliding_window": 2}, ())["sliding_window"] == 2
    with pytest.raises(ConfigError, match="'sliding_window' has the unusable value 1"):
        MISTRAL.arguments({"sliding_window": 1}, ())


def test_a_padding_token_below_zero_is_no_token():
    assert LLAMA.arguments({"pad_token_id": -1}, ())["padding_id"] == -1
    with pytest.raises(ConfigError, match="'pad_token_id' has the unusable value -2"):
        LLAMA.arguments({"pad_token_id": -2}, ())


@pytest.mark.parametrize(
    ("name", "value"), [("original_max_position_embeddings", 64), ("partial_rotary_factor", 0.5)]
)
def test_parts_of_a_scaling_that_stand_next_to_it_are_refused_by_name(name, value):
    """The reference prefers them to those of the scaling."""
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
    config = {"rope_scaling": scaling}
    assert LLAMA.arguments(config, ())["rope_scaling"] == scaling
    with pytest.raises(ConfigError, match=f"'{name}' is {value}"):
        LLAMA.arguments(config | {name: value}, ())


WINDOWED = {"num_hidden_layers": 3, "use_sliding_window": True, "max_window_layers": 1}
SLIDING = ["full_attention", "sliding_attention", "sliding_attention"]


@pytest.mark.parametrize("source", [QWEN2, QWEN3])
def test_the_last_layers_have_a_window_where_it_is_switched_on(source):
    arguments = source.arguments(WINDOWED, ())
    assert arguments["window_layers"] == (False, True, True)
    assert arguments["sliding_window"] == 4096
    for config in (WINDOWED, {"num_hidden_layers": 3}):
        written = dict(config)
        write_fields(source.config, arguments, written)
        assert source.arguments(written, ()) == arguments
    assert written["layer_types"] == SLIDING
    off = source.arguments(WINDOWED | {"use_sliding_window": False}, ())
    assert off["window_layers"] == (False, False, False)
    listed = source.arguments(WINDOWED | {"layer_types": SLIDING[::-1]}, ())
    assert listed["window_layers"] == (True, True, False)


def test_a_list_of_windows_that_are_not_switched_on_is_refused():
    with pytest.raises(ConfigError, match="'sliding_attention', and 'use_sliding_window' isn't"):
        QWEN3.arguments({"num_hidden_layers": 3, "layer_types": SLIDING}, ())
    with pytest.raises(ConfigError, match="'max_window_layers' is -1"):
        QWEN3.arguments(WINDOWED | {"max_window_layers": -1}, ())


@pytest.mark.parametrize("source", [LLAMA, QWEN3, GEMMA3])
def test_a_rate_of_dropout_that_is_null_is_none(source):
    config = {"attention_dropout": None, "num_hidden_layers": 1}
    arguments = source.arguments(config, ())
    assert arguments["attention_dropout"] is None
    write_fields(source.config, arguments, config)
    assert config["attention_dropout"] is None


@pytest.mark.parametrize(("family", "prefix"), [("llama", "transformer."), ("mistral", "model.")])
def test_a_file_with_a_head_for_answers_has_the_prefix_of_its_class(family, prefix, tmp_path):
    golden = Golden.read(Path(__file__).parents[1] / f"golden/{family}.safetensors")
    (tmp_path / "one").mkdir()
    golden.unpack(tmp_path / "one")
    with pytest.warns(UserWarning, match="logits"):
        task = QuestionAnswerer.from_preset(tmp_path / "one", preprocessor=None)
    task.save_to_preset(tmp_path / "two")
    with open_weights(tmp_path / "two") as weights:
        names = {name.partition(".")[0] for name in weights.header}
    assert names == {prefix[:-1], "qa_outputs"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = QuestionAnswerer.from_preset(tmp_path / "two", preprocessor=None)
    assert again.fresh_weights == ()
    Backbone.from_preset(tmp_path / "two").save_to_preset(tmp_path / "three")
    with open_weights(tmp_path / "three") as weights:
        assert {name.partition(".")[0] for name in weights.header} == names
