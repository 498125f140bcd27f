"""Normalization by the root mean square."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.layers import RMSNorm
from inarch.layers.alternatives import changed


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def made(perturb, offset=0.0, **options):
    layer = RMSNorm(0.01, offset, **options)
    layer.build((None, None, 6))
    return perturb(layer)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_it_divides_by_the_root_mean_square_and_multiplies(perturb, normal, offset):
    layer, x = made(perturb, offset), normal(2, 3, 6)
    wide = x.astype("float64")
    root = np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + 0.01)
    wanted = wide / root * (offset + array(layer.gamma))
    np.testing.assert_allclose(array(layer(x)), wanted, atol=2e-6)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_new_one_only_normalizes(normal, offset):
    x = normal(4, 6)
    plain = keras.layers.RMSNormalization(epsilon=1e-6)(x)
    np.testing.assert_allclose(array(RMSNorm(offset=offset)(x)), array(plain), atol=1e-6)


def test_squares_too_large_for_16_bits_are_summed_in_32(normal):
    layer, x = RMSNorm(dtype="float16"), (1000 * normal(3, 6)).astype("float16")
    output = layer(x)
    assert keras.backend.standardize_dtype(output.dtype) == "float16"
    np.testing.assert_allclose(array(output), array(RMSNorm()(x.astype("float32"))), rtol=2e-3)


def test_it_survives_saving(perturb, normal, reload):
    x = keras.Input((None, 6))
    layer = made(perturb, 1.0)
    model = keras.Model(x, layer(x))
    again = reload(model)
    assert again.layers[-1].get_config() == layer.get_config()
    data = normal(2, 3, 6)
    np.testing.assert_array_equal(array(again(data)), array(model(data)))


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_every_alternative_gives_other_numbers(perturb, normal, offset):
    layer, x = made(perturb, offset), normal(2, 3, 6)
    right = array(layer(x))
    for phrase, attributes in layer.alternatives().items():
        with changed(layer, attributes):
            assert np.abs(array(layer(x)) - right).max() > 1e-5, phrase
    np.testing.assert_array_equal(array(layer(x)), right)
