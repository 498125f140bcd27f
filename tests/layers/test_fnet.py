"""FNet's encoder layer."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from inarch.layers import FNetEncoder
from inarch.layers.fnet import fourier_mixing

pytestmark = pytest.mark.turns(2)

DIM = 6


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def made(perturb, dim=DIM, dtype=None, **options):
    layer = FNetEncoder(10, activation="gelu_approximate", dtype=dtype, **options)
    layer.build((None, None, dim))
    return perturb(layer)


def transformed(x):
    """The real part of the transform, from its definition."""
    _, length, dim = x.shape
    n, k = np.arange(length), np.arange(dim)
    turns = [np.outer(i, i) % len(i) / len(i) for i in (n, k)]
    over_length, over_width = (np.exp(-2j * np.pi * t) for t in turns)
    return (over_length @ x @ over_width).real


def reference(layer, x):
    """The layer in numpy and float64."""

    def norm(layer, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + layer.epsilon)
        return x * array(layer.gamma) + array(layer.beta)

    def dense(layer, x):
        return x @ array(layer.kernel).astype("float64") + array(layer.bias)

    x = norm(layer.attention_norm, x + transformed(x))
    up = dense(layer.feed_forward.up, x)
    up = 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
    return norm(layer.feed_forward_norm, x + dense(layer.feed_forward.down, up))


@pytest.mark.turns(5)
@pytest.mark.parametrize("dim", [1, 2, 5, 6, 13])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 11])
def test_it_mixes_by_the_definition_of_the_transform(length, dim, normal, compiled):
    x = normal(3, length, dim)
    mixed = array(compiled(fourier_mixing)(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(mixed, transformed(x.astype("float64")), rtol=1e-5, atol=1e-5)


def test_long_rows_are_exact_to_a_few_roundings(normal):
    x = normal(1, 509, 96)
    right = transformed(x.astype("float64"))
    error = array(fourier_mixing(ops.convert_to_tensor(x))) - right
    assert np.sqrt(np.mean(error**2) / np.mean(right**2)) < 3 * np.finfo("float32").eps


@pytest.mark.parametrize("epsilon", [1e-12, 1e-2])
def test_it_is_mixing_then_feed_forward_each_with_residual_and_norm(
    epsilon, perturb, normal, compiled
):
    layer = made(perturb, layer_norm_epsilon=epsilon)
    x = normal(2, 7, DIM)
    right = reference(layer, x.astype("float64"))
    np.testing.assert_allclose(array(compiled(layer)(x)), right, atol=1e-4)


def test_length_and_batch_may_be_open(perturb, normal):
    layer = made(perturb)
    inputs = keras.Input((None, DIM))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, DIM)
    for shape in ((2, 5, DIM), (3, 8, DIM)):
        x = normal(*shape)
        np.testing.assert_allclose(model.predict(x, verbose=0), array(layer(x)), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "bfloat16"])
def test_16_bits_hold_what_would_overflow_them(dtype, perturb, normal, compiled):
    layer, low = made(perturb), made(perturb, dtype=dtype)
    x = 300 + normal(1, 64, DIM)  # whose sum over all is beyond float16
    mixed = compiled(low)(x)
    assert keras.backend.standardize_dtype(mixed.dtype) == dtype.removeprefix("mixed_")
    error = array(mixed) - array(compiled(layer)(array(ops.cast(x, low.compute_dtype))))
    assert np.sqrt(np.mean(error**2)) < 0.02


def test_it_trains_through_the_transform(perturb, normal):
    inputs = keras.Input((5, DIM))
    first = keras.layers.Dense(DIM)
    model = keras.Model(inputs, made(perturb)(first(inputs)))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    before = array(first.kernel)
    model.fit(normal(4, 5, DIM), normal(4, 5, DIM, seed=1), verbose=0)
    assert np.abs(array(first.kernel) - before).max() > 1e-5


def test_dropout_acts_on_the_feed_forward_half_in_training_alone(perturb, normal):
    layer, x = made(perturb, dropout=0.5), normal(2, 5, DIM)
    np.testing.assert_array_equal(array(layer(x)), array(layer(x)))
    assert np.abs(array(layer(x, training=True)) - array(layer(x))).max() > 0.1


def test_an_implicit_mask_passes_by(perturb):
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, DIM, mask_zero=True)(inputs)
    outputs = keras.layers.GlobalAveragePooling1D()(made(perturb)(x))
    ids = np.array([[3, 4, 0, 0]])
    tokens = made(perturb)(x)
    mean = keras.Model(inputs, tokens).predict(ids, verbose=0)[:, :2].mean(axis=1)
    pooled = keras.Model(inputs, outputs).predict(ids, verbose=0)
    np.testing.assert_allclose(pooled, mean, atol=1e-5)


def test_the_signature_is_kerasnlps():
    (first, *others, last) = inspect.signature(FNetEncoder).parameters.values()
    assert (first.name, first.default, last.name) == ("intermediate_dim", first.empty, "kwargs")
    assert [(p.name, p.default) for p in others] == [
        ("dropout", 0), ("activation", "relu"), ("layer_norm_epsilon", 1e-5),
        ("kernel_initializer", "glorot_uniform"), ("bias_initializer", "zeros"),
    ]  # fmt: skip


def test_a_config_gives_the_same_layer(perturb, normal, tmp_path):
    layer = made(perturb, dropout=0.2, layer_norm_epsilon=1e-3, kernel_initializer="zeros")
    again = FNetEncoder.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    inputs = keras.Input((None, DIM))
    keras.Model(inputs, layer(inputs)).save(tmp_path / "model.keras")
    x = normal(2, 5, DIM)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(loaded(x)), array(layer(x)))
