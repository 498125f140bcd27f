"""A config that names code of the repository's own: it isn't run, and there is a warning."""

import json
import warnings

import pytest

from inarch import Backbone, BertBackbone
from inarch.errors import ConfigError

OWN_CODE = {"auto_map": {"AutoModel": "modeling_own.OwnModel"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "bert"
    BertBackbone(
        vocabulary_size=11, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4,
        max_sequence_length=6,
    ).save_to_preset(path)  # fmt: skip
    return path


def loaded(folder, **fields):
    path = folder / "config.json"
    text = path.read_text("utf-8")
    path.write_text(json.dumps(json.loads(text) | fields), "utf-8")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Backbone.from_preset(folder)
    finally:
        path.write_text(text, "utf-8")
    return [str(w.message) for w in caught if "auto_map" in str(w.message)]


def test_a_known_model_type_loads_with_a_warning(folder):
    (warning,) = loaded(folder, **OWN_CODE)
    assert "isn't run" in warning
    assert "computed as bert" in warning
    assert loaded(folder, auto_map={}, author="us") == []


def test_a_further_unknown_field_is_refused(folder):
    with pytest.raises(ConfigError, match=r"auto_map.*isn't run here.*author='us'"):
        loaded(folder, **OWN_CODE, author="us")
