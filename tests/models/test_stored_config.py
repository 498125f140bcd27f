"""The config in a `.keras` file may hold anything: it makes a whole model, or an error of ours."""

import copy
import json

import pytest

from inarch import BertBackbone
from inarch.errors import InarchError
from inarch.tasks import TextEmbedder


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Return the config of an embedder that was loaded, so that it has a layout."""
    folder = tmp_path_factory.mktemp("stored") / "bert"
    BertBackbone(
        vocabulary_size=11, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4,
        max_sequence_length=6,
    ).save_to_preset(folder)  # fmt: skip
    return TextEmbedder.from_preset(folder, preprocessor=None).get_config()


def test_a_sound_config_makes_the_model_again(config):
    made = TextEmbedder.from_config(copy.deepcopy(config))
    assert json.dumps(made.get_config()) == json.dumps(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": 5}, "'layout' is 5"),
        ({"layout": {"model_type": "foo"}}, "model_type 'foo'; a BertBackbone is saved as bert"),
        ({"layout": {"sidecar_files": {"model.safetensors": "x"}}}, "keeps model.safetensors"),
        ({"layer_settings": [1]}, r"'layer_settings' is \[1\]"),
        ({"layer_settings": {"": [1]}}, "must be an object of objects"),
        ({"settings": [1]}, r"'settings' is \[1\]"),
        ({"settings": {"predict": "x"}}, "'settings' has predict"),
        ({"nothing": 5}, "has no argument nothing"),
        ({"backbone": 5}, "'backbone' is 5"),
        ({"preprocessor": [1]}, r"'preprocessor' is \[1\]"),
        ({"preprocessor": {"tokenizer": 5}}, "'tokenizer' is 5"),
    ],
    ids=str,
)
def test_a_config_of_another_form_is_refused_by_field(change, message, config):
    hostile = copy.deepcopy(config)
    for name, value in change.items():
        inner = name == "layout" and isinstance(value, dict)
        hostile[name] = hostile[name] | value if inner else value
    with pytest.raises(InarchError, match=message):
        TextEmbedder.from_config(hostile)
