"""Laws of what is changed on layers after they were built: it is in every file and every clone."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from inarch import Backbone
from inarch.errors import CheckpointError, InputError
from inarch.models.bert.backbone import BertBackbone
from inarch.models.layer_settings import apply_layer_settings, read_layer_settings
from inarch.runtime.forward import compiled
from inarch.tasks import MaskedLM, TextClassifier

pytestmark = pytest.mark.turns(3)

IDS = np.array([[3, 1, 4, 1, 5]], np.int32)
INPUTS = {"token_ids": IDS, "segment_ids": 0 * IDS, "padding_mask": 0 * IDS + 1}


def backbone(num_layers=2, **changes):
    return BertBackbone(11, num_layers, 2, 8, 12, max_sequence_length=8, dropout=0.0, **changes)


def masked(num_layers=2):
    return MaskedLM(backbone(num_layers, pooler=False))


def classifier():
    return TextClassifier(backbone(), 2)


def output(model):
    result = compiled(model)(INPUTS)
    return ops.convert_to_numpy(result["sequence_output"] if isinstance(result, dict) else result)


def trainable(model):
    return [v.path for v in model.trainable_variables]


TIED = masked()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), max_size=8))
def test_any_sequence_of_flags_is_rebuilt(changes):
    """Cover the embeddings too that the head is tied to, which are in two places."""
    layers = list(TIED._flatten_layers())
    apply_layer_settings(TIED, {})
    for number, flag in changes:
        layers[number % len(layers)].trainable = flag
    found = read_layer_settings(TIED)
    flags = [layer.trainable for layer in layers], [v.trainable for v in TIED.weights]
    apply_layer_settings(TIED, {})
    assert all(layer.trainable for layer in layers)
    apply_layer_settings(TIED, found)
    assert ([layer.trainable for layer in layers], [v.trainable for v in TIED.weights]) == flags


def test_a_frozen_backbone_is_frozen_in_the_file_the_clone_and_a_further_fit(tmp_path):
    model = classifier()
    model.backbone.trainable = False
    model.compile()
    y = np.array([1])
    model.fit(INPUTS, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(trainable(again)) == len(trainable(keras.models.clone_model(model))) == 2
    before = [ops.convert_to_numpy(v) for v in again.backbone.weights]
    state = [ops.convert_to_numpy(v) for v in model.optimizer.variables]
    for one, two in zip(state, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, ops.convert_to_numpy(two))
    model.fit(INPUTS, y, verbose=0)
    again.fit(INPUTS, y, verbose=0)
    for old, variable in zip(before, again.backbone.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), old)
    np.testing.assert_allclose(output(again), output(model), rtol=1e-5, atol=1e-6)


def test_low_rank_updates_are_kept_as_keras_keeps_them(tmp_path):
    """Merged into the kernel in the file, with fresh ones of the same rank and scale on top."""
    model = classifier()
    dense = model.backbone.get_layer("layer_0").attention.query_dense
    dense.enable_lora(2, lora_alpha=6)
    model.backbone.get_layer("embeddings").token_embedding.enable_lora(3)
    for variable in model.trainable_variables:
        if "lora" in variable.path:
            variable.assign(variable + 0.3)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again = keras.saving.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    for other in (again, clone):
        layer = other.backbone.get_layer("layer_0").attention.query_dense
        assert (layer.lora_rank, layer.lora_alpha) == (2, 6)
        assert trainable(other) == trainable(model)
    clone.load_weights(tmp_path / "model.weights.h5")
    for other in (again, clone):
        np.testing.assert_allclose(output(other), output(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["model.keras", "model.weights.h5"])
def test_low_rank_updates_from_a_file_are_trained_further(kind, tmp_path):
    """Keras loads both factors as zeros, which have no gradient."""
    model = classifier()
    for layer in model._flatten_layers():
        if layer.name in ("query", "token_embedding"):
            layer.enable_lora(2)
    for variable in model.trainable_variables:
        variable.trainable = variable.name.startswith("lora_")
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    assert len(model.trainable_variables) >= 4
    model.fit(INPUTS, np.array([1]), verbose=0)
    expected = output(model)
    if kind.endswith(".keras"):
        model.save(tmp_path / kind)
        again = keras.saving.load_model(tmp_path / kind)
    else:
        model.save_weights(tmp_path / kind)
        again = model
        again.load_weights(tmp_path / kind)
    again.train_on_batch(INPUTS, np.array([1]), sample_weight=np.zeros(1))
    np.testing.assert_allclose(output(again), expected, rtol=1e-4, atol=1e-5)
    before = [ops.convert_to_numpy(v) for v in again.trainable_variables]
    again.train_on_batch(INPUTS, np.array([1]))
    after = [ops.convert_to_numpy(v) for v in again.trainable_variables]
    moved = [v.path for v, a, b in zip(again.trainable_variables, before, after, strict=True)
             if np.any(a != b)]  # fmt: skip
    assert [p for p in moved if p.endswith("_b")] == [
        p for p in trainable(again) if p.endswith("_b")
    ]


# All ways are Keras's own; they take turns over the backends.
MODES = {"jax": ["int8"], "torch": ["int4"], "tensorflow": ["float8"]}


@pytest.mark.filterwarnings("ignore:.*(quantize|quantization_mode)")
@pytest.mark.parametrize("mode", MODES[keras.backend.backend()])
def test_a_quantized_model_is_whole_in_the_file_and_the_clone(mode, tmp_path):
    model = masked(num_layers=1)
    plain = output(model)
    model.backbone.trainable = False
    model.quantize(mode)
    expected = output(model)
    assert np.abs(expected - plain).max() > 0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(output(again), expected)
    clone = keras.models.clone_model(model)
    clone.set_weights([ops.convert_to_numpy(w) for w in model.weights])
    np.testing.assert_array_equal(output(clone), expected)
    assert trainable(again) == trainable(clone) == trainable(model)
    with pytest.raises(InputError, match=r"quantized .* model.save\('model.keras'\)"):
        model.save_to_preset(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_mode_that_needs_calibration_is_refused_before_anything_changes():
    model = backbone()
    before = len(model.weights)
    with pytest.raises(InputError, match="mode is 'gptq'.*'int8'"):
        model.quantize("gptq", config=keras.quantizers.GPTQConfig(dataset=[[0]], tokenizer=str))
    assert len(model.weights) == before


def test_settings_of_another_architecture_are_named():
    with pytest.raises(CheckpointError, match="no layer 'wings'"):
        apply_layer_settings(TIED, {"wings": {"trainable": False}})
    with pytest.raises(CheckpointError, match="/layer_0' can't have"):
        apply_layer_settings(TIED, {f"{TIED.backbone.name}/layer_0": {"lora": {"rank": "a"}}})


def test_what_is_compiled_follows_the_layers():
    """Two layers alike, of which first one and then the other is frozen, have shapes alike."""
    model = backbone()
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.normal(size=tuple(variable.shape)))
    forward = compiled(model)
    first, second = (model.get_layer(f"layer_{i}") for i in range(2))

    def check():
        result, right = (f(INPUTS)["sequence_output"] for f in (forward, model))
        result, right = ops.convert_to_numpy(result), ops.convert_to_numpy(right)
        np.testing.assert_allclose(result, right, rtol=1e-4, atol=1e-4)

    first.trainable = False
    check()
    first.trainable, second.trainable = True, False
    check()
    second.attention.query_dense.enable_lora(2)
    second.attention.query_dense.lora_kernel_b.assign(np.ones((2, 8)))
    check()


def test_a_backbone_alone_keeps_its_frozen_layer(tmp_path):
    model = backbone()
    model.get_layer("layer_1").attention.key_dense.trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, Backbone)
    assert trainable(again) == trainable(model)
    assert len(trainable(again)) == len(model.weights) - 2
