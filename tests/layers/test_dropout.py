"""Dropout drops at its rate and keeps the mean, on every backend, anew in each call."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.layers.dropout import Dropout


def dropped(rate, shape, seed=0, **options):
    layer = Dropout(rate, seed=seed, **options)
    found = [ops.convert_to_numpy(layer(ops.ones(shape), training=True)) for _ in range(2)]
    return layer, *found


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(7, 40, 101), (64, 640)])
def test_the_share_and_the_mean_are_those_of_the_rate(rate, shape):
    _, one, two = dropped(rate, shape)
    for found in (one, two):
        assert found.shape == shape
        assert np.mean(found == 0) == pytest.approx(rate, abs=0.01)
        kept = np.unique(found[found != 0])
        np.testing.assert_allclose(kept, [1 / (1 - rate)], rtol=1e-4)
        assert np.mean(found) == pytest.approx(1, abs=0.02 / (1 - rate))


def test_elements_and_calls_are_independent():
    _, one, two = dropped(0.5, (200, 201))
    drops = (one == 0).astype(float) - 0.5
    for other in (two[:, 1:] == 0, drops[:, :-1] > 0, np.roll(drops, 1, 0)[:, 1:] > 0):
        assert abs(np.corrcoef(drops[:, 1:].ravel(), other.ravel())[0, 1]) < 0.02


def test_a_seed_gives_the_same_and_inference_drops_nothing():
    layer, one, two = dropped(0.3, (6, 10))
    np.testing.assert_array_equal([one, two], dropped(0.3, (6, 10))[1:])
    assert (one != dropped(0.3, (6, 10), seed=1)[1]).any()
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(ops.ones((6, 10)))), 1)


@pytest.mark.parametrize("options", [{"rate": 1e-7}, {"rate": 0.5, "noise_shape": (6, 1)}])
def test_what_16_bits_cannot_say_is_left_to_keras(options):
    x, ours, theirs = ops.ones((6, 10)), Dropout(seed=0, **options), keras.layers.Dropout
    expected = theirs(seed=0, **options)(x, training=True)
    found = ours(x, training=True)
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, (found, expected)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_dtype_stays(dtype):
    found = Dropout(0.5, dtype=dtype)(ops.ones((4, 8), dtype), training=True)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
