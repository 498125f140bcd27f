"""Relative position bias in T5's buckets."""

import math

import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import RelativePositionBias
from inarch.verify.doctor.bricks import changed


def bucket(distance, buckets, farthest):
    """The bucket of one distance, key minus query, by the definition."""
    half = buckets // 2
    exact, size = half // 2, abs(distance)
    if size >= exact:
        share = math.log(size / exact) / math.log(farthest / exact)
        size = min(half - 1, exact + math.floor(share * (half - exact)))
    return size + (half if distance > 0 else 0)


@pytest.mark.parametrize(("buckets", "farthest"), [(8, 20), (32, 128), (4, 3)])
def test_every_pair_has_the_bias_of_its_distance_and_head(perturb, compiled, buckets, farthest):
    layer = RelativePositionBias(3, buckets, farthest)
    layer.build((None, None, 5))
    perturb(layer)
    length = 2 * farthest + 3
    bias = ops.convert_to_numpy(compiled(layer)(np.zeros((2, length, 5), "float32")))
    assert bias.shape == (1, 3, length, length)
    table = ops.convert_to_numpy(layer.embeddings)
    for distance in range(1 - length, length):
        diagonal = np.diagonal(bias[0], distance, axis1=1, axis2=2)
        row = table[bucket(distance, buckets, farthest)]
        np.testing.assert_array_equal(diagonal, np.broadcast_to(row[:, None], diagonal.shape))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 6), "num_buckets=6. Pass a positive multiple of 4"),
        ((2, 0), "num_buckets=0"),
        ((2, 32, 8), "max_distance=8 is within the 8 buckets"),
    ],
)
def test_sizes_that_make_no_buckets_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        RelativePositionBias(*sizes)


def test_each_alternative_gives_another_bias():
    layer = RelativePositionBias(2, 8, 20, "random_normal")
    x = np.zeros((1, 45, 3), "float32")
    right = ops.convert_to_numpy(layer(x))
    declared = layer.alternatives()
    assert len(declared) == 10
    for attributes in declared.values():
        with changed(layer, attributes):
            wrong = ops.convert_to_numpy(layer(x))
        assert wrong.shape == right.shape
        assert not np.array_equal(wrong, right)


@pytest.mark.reference
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (8, 20), (64, 500)])
def test_buckets_are_those_of_the_published_models(buckets, farthest):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distances = np.arange(-2 * farthest, 2 * farthest + 1)
    theirs = t5.T5Attention._relative_position_bucket(
        torch.from_numpy(distances), num_buckets=buckets, max_distance=farthest
    )
    ours = RelativePositionBias(1, buckets, farthest).buckets(distances)
    np.testing.assert_array_equal(ours, theirs.numpy())
