"""Dropout drops at its rate and keeps the mean, on every backend, anew in each call."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.layers.dropout import Dropout, threefry


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
    _, one, two = dropped(0.5, (200, 204))
    drops, others = one == 0, two == 0
    # Each block of random bits decides on four elements, a quarter of a row apart.
    for other in (others, *(np.roll(drops, (i, j), (0, 1)) for i, j in ((0, 1), (1, 0), (0, 51)))):
        assert abs(np.corrcoef(drops.ravel(), other.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_blocks_are_those_of_threefrys_published_vectors(counter, key, expected):
    words = [tuple(np.array([v], np.uint32) for v in pair) for pair in (key, counter)]
    assert tuple(int(word[0]) for word in threefry(*words)) == expected


def test_every_element_of_a_short_or_odd_row_may_be_dropped():
    for shape in ((3,), (40, 5)):
        found = sum(np.array(dropped(0.5, shape, seed)[1:]) == 0 for seed in range(16)).sum(0)
        assert np.all(found > 0), shape


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
