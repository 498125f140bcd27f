"""Attention with sinusoids of relative positions, against the formula in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import FeedForward, TransformerXLAttention, TransformerXLBlock

WIDTH, HEADS = 8, 2
SEGMENTS = np.array([[0, 0, 1, 1, 2], [0, 1, 1, 0, 2]], "int32")


def array(x):
    return ops.convert_to_numpy(x)


@pytest.fixture
def made(normal):
    """Return a function that makes an attention layer with random weights."""

    def make(**options):
        norm = keras.layers.LayerNormalization(epsilon=1e-5)
        layer = TransformerXLAttention(HEADS, norm, **options)
        layer.build((None, None, WIDTH))
        layer.set_weights([normal(*weight.shape) for weight in layer.get_weights()])
        return layer

    return make


def sinusoid(distance):
    turns = distance / 10000 ** (np.arange(0, WIDTH, 2) / WIDTH)
    return np.concatenate([np.sin(turns), np.cos(turns)])


def expected(layer, x, segments, allowed, limit=None):
    """Return the output of a row, a pair of tokens and a head at a time, in float64."""
    length, dim = len(x), WIDTH // HEADS
    kernels = {
        name: array(getattr(layer, f"{name}_dense").kernel).astype("float64")
        for name in ("query", "key", "value", "output", "position_key")
    }
    query, key, value = (
        (x @ kernels[name]).reshape(length, HEADS, dim) for name in ("query", "key", "value")
    )
    content, position, segment, of_segments = (
        array(getattr(layer, name)).astype("float64")
        for name in ("content_bias", "position_bias", "segment_bias", "segment_keys")
    )
    attended = np.zeros((length, HEADS, dim))
    for i in range(length):
        for h in range(HEADS):
            scores = np.full(length, -np.inf)
            for j in np.flatnonzero(allowed[i]):
                distance = i - j if limit is None else np.clip(i - j, -limit, limit)
                vector = (sinusoid(distance) @ kernels["position_key"]).reshape(HEADS, dim)[h]
                other = int(segments[i] != segments[j])
                scores[j] = (
                    (query[i, h] + content[h]) @ key[j, h]
                    + (query[i, h] + position[h]) @ vector
                    + (query[i, h] + segment[h]) @ of_segments[other, h]
                ) / np.sqrt(dim)
            weights = np.exp(scores - scores.max())
            attended[i, h] = weights / weights.sum() @ value[:, h]
    x = x + attended.reshape(length, WIDTH) @ kernels["output"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    gamma, beta = (array(weight) for weight in layer.output_norm.weights)
    return x * gamma + beta


@pytest.mark.parametrize("limit", [None, 2])
def test_scores_are_of_contents_distances_and_segments(made, normal, limit):
    layer, x = made(max_distance=limit), normal(2, 5, WIDTH)
    found = array(layer(x, SEGMENTS))
    allowed = np.ones((5, 5), bool)
    for row in range(2):
        wanted = expected(layer, x[row].astype("float64"), SEGMENTS[row], allowed, limit)
        np.testing.assert_allclose(found[row], wanted, atol=2e-5)


def test_packed_sequences_are_those_by_themselves(made, normal):
    layer, x = made(), normal(1, 8, WIDTH)
    numbers = np.array([[1, 1, 1, 2, 2, 2, 2, 0]], "int32")
    segments = np.array([[0, 1, 2, 0, 0, 1, 2, 0]], "int32")
    norm = keras.layers.LayerNormalization()
    block = TransformerXLBlock(layer, FeedForward(6), norm)
    block.build(x.shape)
    block.set_weights([normal(*weight.shape) for weight in block.get_weights()])
    whole = array(block(x, context={"padding_mask": numbers, "segment_ids": segments}))
    for part in (slice(0, 3), slice(3, 7)):
        context = {"padding_mask": np.ones_like(numbers[:, part]), "segment_ids": segments[:, part]}
        np.testing.assert_allclose(whole[:, part], array(block(x[:, part], context)), atol=2e-5)


def test_padding_on_either_side_changes_no_token(made, normal):
    layer, x = made(), normal(1, 4, WIDTH)
    alone = array(layer(x, SEGMENTS[:1, :4]))
    for side in (0, 2):
        padded = np.concatenate([normal(1, side, WIDTH), x, normal(1, 2 - side, WIDTH)], 1)
        real = np.zeros((1, 6), "int32")
        real[:, side : side + 4] = 1
        segments = np.zeros_like(real)
        segments[:, side : side + 4] = SEGMENTS[:1, :4]
        mask = np.broadcast_to(real[:, None] == 1, (1, 6, 6))
        found = array(layer(padded, segments, attention_mask=mask))
        np.testing.assert_allclose(found[:, side : side + 4], alone, atol=2e-5)


def test_without_segments_their_product_is_left_out(made, normal):
    layer, x = made(), normal(2, 5, WIDTH)
    # One segment adds the same to every score.
    alike = array(layer(x, np.zeros_like(SEGMENTS)))
    np.testing.assert_allclose(array(layer(x)), alike, atol=2e-5)
    assert np.abs(array(layer(x, SEGMENTS)) - alike).max() > 1e-2


def test_probabilities_are_given_when_requested(made, normal):
    layer, x = made(), normal(2, 5, WIDTH)
    block = TransformerXLBlock(layer, FeedForward(6), keras.layers.LayerNormalization())
    y, others = block(x, context={"segment_ids": SEGMENTS}, return_attention_scores=True)
    scores = array(others["attention"]["scores"])
    assert (tuple(y.shape), scores.shape) == ((2, 5, WIDTH), (2, HEADS, 5, 5))
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused():
    layer = TransformerXLAttention(3, keras.layers.LayerNormalization())
    with pytest.raises(InputError, match="num_heads=3 doesn't divide the hidden size 8"):
        layer.build((None, None, WIDTH))


@pytest.mark.parametrize("options", [{"order": "pre"}, {"cross_attention": FeedForward(4)}])
def test_a_block_of_another_order_is_refused(options):
    norm = keras.layers.LayerNormalization()
    block = TransformerXLBlock(TransformerXLAttention(2, norm), FeedForward(4), norm, **options)
    with pytest.raises(InputError, match="in the order 'post' alone"):
        block.build((None, None, WIDTH))
