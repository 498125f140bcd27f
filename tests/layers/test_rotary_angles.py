"""Rotary positions whose frequencies are stored."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import (
    AngleRotation,
    Block,
    FeedForward,
    MultiHeadAttention,
    RotaryAngles,
    RotaryEmbedding,
)


def array(x):
    return ops.convert_to_numpy(x)


def test_new_frequencies_are_those_of_rotary_positions(normal):
    x = normal(2, 5, 3, 8)
    angles = RotaryAngles(8, 100)(x[:, :, 0])
    assert tuple(angles.shape) == (1, 5, 4)
    rotated = AngleRotation()(x, positions=angles)
    np.testing.assert_allclose(array(rotated), array(RotaryEmbedding(100)(x)), atol=1e-6)
    pairs = AngleRotation(interleaved=True)(x, positions=angles)
    expected = RotaryEmbedding(100, interleaved=True)(x)
    np.testing.assert_allclose(array(pairs), array(expected), atol=1e-6)


def test_stored_frequencies_count_and_are_not_trained(normal):
    layer = RotaryAngles(4, dtype="mixed_bfloat16")
    layer.build((None, None, 6))
    assert [weight.dtype for weight in layer.weights] == ["float32"]
    assert layer.trainable_weights == []
    layer.set_weights([np.array([0.25, -0.5], "float32")])
    expected = np.arange(3)[:, None] * [0.25, -0.5]
    np.testing.assert_array_equal(array(layer(normal(1, 3, 6)))[0], expected)


def test_all_blocks_of_a_model_take_the_same_angles(normal):
    x = normal(2, 6, 8)
    norm = keras.layers.LayerNormalization()
    parts = [
        Block(MultiHeadAttention(2, position=rotation), FeedForward(8), norm)
        for rotation in (AngleRotation(), RotaryEmbedding())
    ]
    numbers = np.array([[1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 0, 0]], "int32")
    for part in parts:
        part.build(x.shape)
    expected = parts[1](x, context={"padding_mask": numbers})
    parts[0].set_weights(parts[1].get_weights())
    found = parts[0](x, context={"padding_mask": numbers, "positions": RotaryAngles(4)(x)})
    np.testing.assert_allclose(array(found), array(expected), atol=2e-6)


def test_positions_that_are_no_angles_are_refused(normal):
    with pytest.raises(InputError, match="Pass the output of RotaryAngles"):
        AngleRotation()(normal(1, 3, 2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((5,), "dim=5. Features are rotated in pairs"), ((4, 0), "max_wavelength=0. Pass a positive")],
)
def test_arguments_that_make_no_rotation_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        RotaryAngles(*arguments)
