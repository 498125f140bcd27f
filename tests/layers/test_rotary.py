"""Rotary position embedding."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import RotaryEmbedding


def array(x):
    return ops.convert_to_numpy(x)


def rotated(x, positions, base):
    """Rotate features of `[batch, length, heads, dim]` as complex numbers, in float64."""
    half = x.shape[-1] // 2
    turns = np.asarray(positions)[..., None] / base ** (np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * turns)[..., None, :]
    return np.concatenate([turned.real, turned.imag], -1)


def test_halves_are_rotated_by_position_and_frequency(normal):
    x = normal(2, 5, 3, 8)
    output = array(RotaryEmbedding(100)(x))
    np.testing.assert_allclose(output, rotated(x, np.arange(5), 100), atol=2e-6)


def test_positions_are_given_counted_from_a_start_or_scaled(normal):
    x = normal(2, 3, 2, 4)
    layer = RotaryEmbedding(50)
    places = np.array([[4, 1, 0], [7, 7, 2]])
    np.testing.assert_allclose(array(layer(x, positions=places)), rotated(x, places, 50), atol=2e-6)
    counted = array(layer(x, start_index=9))
    np.testing.assert_allclose(counted, rotated(x, np.arange(9, 12), 50), atol=2e-6)
    scaled = array(RotaryEmbedding(50, scaling_factor=4)(x, start_index=9))
    np.testing.assert_allclose(scaled, rotated(x, np.arange(9, 12) / 4, 50), atol=2e-6)


def test_neighbors_are_rotated_as_halves_are(normal):
    x = normal(2, 5, 3, 8)
    pairs = np.concatenate([x[..., ::2], x[..., 1::2]], -1)
    expected = rotated(pairs, np.arange(5), 100)
    output = array(RotaryEmbedding(100, interleaved=True)(x))
    np.testing.assert_allclose(output[..., ::2], expected[..., :4], atol=2e-6)
    np.testing.assert_allclose(output[..., 1::2], expected[..., 4:], atol=2e-6)


def test_a_share_of_the_features_is_rotated_and_the_others_stay(normal):
    x = normal(2, 5, 3, 16)
    output = array(RotaryEmbedding(100, partial_rotary_factor=0.25)(x))
    np.testing.assert_allclose(output[..., :4], rotated(x[..., :4], np.arange(5), 100), atol=2e-6)
    np.testing.assert_array_equal(output[..., 4:], x[..., 4:])


def test_axes_may_be_in_any_order(normal):
    x = normal(2, 3, 5, 4)
    expected = array(RotaryEmbedding(50)(x))
    moved = RotaryEmbedding(50, sequence_axis=2, feature_axis=1)(np.transpose(x, (0, 3, 1, 2)))
    np.testing.assert_array_equal(np.transpose(array(moved), (0, 2, 3, 1)), expected)


def test_half_precision_rotates_by_exact_angles(normal):
    x = normal(1, 2, 1, 4)
    output = RotaryEmbedding(dtype="float16")(x, start_index=4001)
    assert keras.backend.standardize_dtype(output.dtype) == "float16"
    expected = rotated(x, [4001, 4002], 10000)
    np.testing.assert_allclose(array(output).astype("float32"), expected, atol=5e-3)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"max_wavelength": 0}, None, "max_wavelength=0. Pass a positive number"),
        ({"scaling_factor": -1}, None, "scaling_factor=-1. Pass a positive number"),
        ({"partial_rotary_factor": 0}, None, "partial_rotary_factor=0. Pass a share"),
        ({"partial_rotary_factor": 1.5}, None, "partial_rotary_factor=1.5. Pass a share"),
        ({"partial_rotary_factor": 0.1}, (2, 3, 8), "the size 8, of which 0 features"),
        ({}, (2, 3, 5), "the size 5, of which 5 features"),
        ({"feature_axis": 1}, (2, 4, 6), "sequence_axis=1 and feature_axis=1"),
        ({"sequence_axis": 3}, (2, 4, 6), "inputs of rank 3"),
    ],
)
def test_what_cannot_be_rotated_is_refused(options, shape, message):
    with pytest.raises(InputError, match=message):
        RotaryEmbedding(**options)(np.zeros(shape, "float32"))
