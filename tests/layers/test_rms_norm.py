"""Normalization by the root mean square."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import RMSNorm
from inarch.layers.alternatives import changed


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def made(perturb, offset=0.0, num_axes=1, **options):
    layer = RMSNorm(0.01, offset, num_axes, **options)
    layer.build((None, 3, 6))
    return perturb(layer)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_it_divides_by_the_root_mean_square_and_multiplies(perturb, normal, offset):
    layer, x = made(perturb, offset), normal(2, 3, 6)
    wide = x.astype("float64")
    root = np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + 0.01)
    wanted = wide / root * (offset + array(layer.gamma))
    np.testing.assert_allclose(array(layer(x)), wanted, atol=2e-6)


def test_several_axes_are_normalized_as_one_with_a_vector_of_weights(perturb, normal):
    layer, x = made(perturb, num_axes=2), normal(2, 3, 6)
    assert layer.gamma.shape == (18,)
    flat = RMSNorm(0.01)
    flat.build((None, 18))
    flat.set_weights(layer.get_weights())
    expected = array(flat(x.reshape(2, 18))).reshape(2, 3, 6)
    np.testing.assert_allclose(array(layer(x)), expected, atol=2e-6)


@pytest.mark.parametrize("num_axes", [0, 4])
def test_axes_that_are_not_there_are_refused(num_axes):
    with pytest.raises(InputError, match=f"num_axes={num_axes}"):
        RMSNorm(num_axes=num_axes).build((None, 3, 6))


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


@pytest.mark.parametrize(("offset", "num_axes"), [(0.0, 1), (1.0, 1), (0.0, 2)])
def test_every_alternative_gives_other_numbers(perturb, normal, offset, num_axes):
    layer, x = made(perturb, offset, num_axes), normal(2, 3, 6)
    if num_axes > 1:
        assert "the last axis by itself" in layer.alternatives()
    right = array(layer(x))
    for phrase, attributes in layer.alternatives().items():
        with changed(layer, attributes):
            assert np.abs(array(layer(x)) - right).max() > 1e-5, phrase
    np.testing.assert_array_equal(array(layer(x)), right)
