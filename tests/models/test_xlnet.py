"""XLNet's configs, segments and padding."""

import json
import warnings

import numpy as np
import pytest
from keras import ops

from inarch import Backbone, TextClassifier
from inarch.errors import ConfigError
from inarch.models import registry
from inarch.models.xlnet.backbone import XLNetBackbone
from inarch.verify.inputs import make_inputs

TINY = registry.architectures()["xlnet"].tiny


@pytest.fixture
def model():
    """A tiny model with weights of order one, whose distances beyond 3 are alike."""
    model = XLNetBackbone(**TINY, clamp_length=3)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def numbers(model, x):
    return ops.convert_to_numpy(model(x))


def test_inputs_of_the_reference_are_padded_on_the_left_and_ours_on_either_side(model):
    left = make_inputs(model, 0, (6, 3))
    assert left["padding_mask"].tolist() == [[1] * 6, [0] * 3 + [1] * 3]
    right = {name: np.stack([x[0], np.roll(x[1], 3)]) for name, x in left.items()}
    assert right["padding_mask"][1].tolist() == [1] * 3 + [0] * 3
    there, here = numbers(model, left), numbers(model, right)
    np.testing.assert_allclose(there[1, 3:], here[1, :3], atol=1e-5)
    task = TextClassifier(model, num_classes=3)
    np.testing.assert_allclose(numbers(task, left), numbers(task, right), atol=1e-5)


def test_only_whether_segments_are_the_same_counts(model):
    x = make_inputs(model, 0, (7,))
    renamed = {**x, "segment_ids": 4 - x["segment_ids"]}
    np.testing.assert_allclose(numbers(model, x), numbers(model, renamed), atol=1e-5)
    alike = {**x, "segment_ids": 0 * x["segment_ids"]}
    assert not np.allclose(numbers(model, x), numbers(model, alike), atol=1e-3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attn_type", "uni"),
        ("bi_data", True),
        ("d_head", 5),
        ("is_decoder", True),
    ],
)
def test_what_is_not_computed_is_refused_by_name(tmp_path, field, value):
    XLNetBackbone(**TINY).save_to_preset(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ConfigError, match=field):
        Backbone.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("summary_type", "mean"),
        ("summary_use_proj", False),
        ("summary_activation", "relu"),
        ("summary_first_dropout", 0.5),
        ("summary_proj_to_labels", True),
    ],
)
def test_another_summary_is_refused_where_a_head_reads_it(tmp_path, field, value):
    TextClassifier(XLNetBackbone(**TINY), 2).save_to_preset(tmp_path / "classifier")
    XLNetBackbone(**TINY).save_to_preset(tmp_path / "backbone")
    for path in tmp_path.iterdir():
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(ConfigError, match=field):
        TextClassifier.from_preset(tmp_path / "classifier", preprocessor=None)
    backbone = Backbone.from_preset(tmp_path / "backbone")
    backbone.save_to_preset(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())[field] == value
    # A new head computes what the field's default means, and its file says so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TextClassifier(backbone, 2).save_to_preset(tmp_path / "new")
    assert field not in json.loads((tmp_path / "new" / "config.json").read_text())
    TextClassifier.from_preset(tmp_path / "new", preprocessor=None)
