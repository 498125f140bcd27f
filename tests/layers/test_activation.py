"""Activations by name."""

import math

import numpy as np
import pytest
from keras import ops

from inarch.layers import gelu_approximate, get_activation, serialize_activation

X = np.linspace(-6, 6, 101, dtype="float32")


def test_gelu_is_the_exact_one():
    expected = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in X.astype("float64")]
    y = ops.convert_to_numpy(get_activation("gelu")(ops.convert_to_tensor(X)))
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_gelu_approximate_goes_through_tanh_and_differs_from_the_exact_one():
    x = X.astype("float64")
    expected = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    tensor = ops.convert_to_tensor(X)
    y = ops.convert_to_numpy(get_activation("gelu_approximate")(tensor))
    np.testing.assert_allclose(y, expected, atol=1e-6)
    assert np.abs(y - ops.convert_to_numpy(get_activation("gelu")(tensor))).max() > 1e-4


def test_squared_relu_is_the_square_and_nothing_below_zero():
    y = ops.convert_to_numpy(get_activation("squared_relu")(ops.convert_to_tensor(X)))
    np.testing.assert_allclose(y, np.maximum(X, 0) ** 2, rtol=1e-6)


NAMES = ["gelu", "gelu_approximate", "squared_relu", "relu", "tanh", "linear"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_survives_serialisation(name):
    assert serialize_activation(get_activation(name)) == name


def test_a_function_and_none_are_taken_as_they_are():
    assert get_activation(gelu_approximate) is gelu_approximate
    assert get_activation(None)(3.0) == 3.0


def test_an_unknown_name_is_refused_by_name():
    with pytest.raises(ValueError, match="activation='gelu_newest' is unknown"):
        get_activation("gelu_newest")
