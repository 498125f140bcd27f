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


def causal_bucket(distance, buckets, farthest):
    """The bucket of one distance in a decoder, by the definition."""
    exact, size = buckets // 2, max(-distance, 0)
    if size >= exact:
        share = math.log(size / exact) / math.log(farthest / exact)
        size = min(buckets - 1, exact + math.floor(share * (buckets - exact)))
    return size


@pytest.mark.parametrize(("buckets", "farthest"), [(8, 20), (6, 9)])
def test_a_decoders_bias_is_of_keys_before_the_query_whole_and_step_by_step(
    perturb, buckets, farthest
):
    layer = RelativePositionBias(2, buckets, farthest, bidirectional=False)
    layer.build((None, None, 5))
    perturb(layer)
    length = 2 * farthest + 3
    x = np.zeros((1, length, 5), "float32")
    bias = ops.convert_to_numpy(layer(x))
    table = ops.convert_to_numpy(layer.embeddings)
    for query in range(length):
        rows = [table[causal_bucket(key - query, buckets, farthest)] for key in range(length)]
        np.testing.assert_array_equal(bias[0, :, query], np.transpose(rows))
    step = layer(x[:, :3], start_index=7, key_length=length)
    np.testing.assert_array_equal(ops.convert_to_numpy(step), bias[:, :, 7:10])
    with pytest.raises(InputError, match="num_buckets=5. Pass a positive multiple of 2"):
        RelativePositionBias(2, 5, bidirectional=False)


def test_each_alternative_of_a_decoders_bias_gives_another_one():
    layer = RelativePositionBias(2, 8, 20, "random_normal", bidirectional=False)
    x = np.zeros((1, 45, 3), "float32")
    seen = np.tril(np.ones((45, 45), bool))
    right = ops.convert_to_numpy(layer(x))[..., seen]
    for attributes in layer.alternatives().values():
        with changed(layer, attributes):
            wrong = ops.convert_to_numpy(layer(x))[..., seen]
        assert not np.array_equal(wrong, right)


def test_each_alternative_gives_another_bias():
    layer = RelativePositionBias(2, 8, 20, "random_normal")
    x = np.zeros((1, 45, 3), "float32")
    right = ops.convert_to_numpy(layer(x))
    declared = layer.alternatives()
    assert len(declared) == 11
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
    for bidirectional in (True, False):
        theirs = t5.T5Attention._relative_position_bucket(
            torch.from_numpy(distances), bidirectional, buckets, farthest
        )
        layer = RelativePositionBias(1, buckets, farthest, bidirectional=bidirectional)
        np.testing.assert_array_equal(layer.buckets(distances), theirs.numpy())
