"""Embedding of tokens in which mask tokens count as dropped, against the formula in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import PositionEmbedding, TokenDropoutEmbedding

MASK, PADDING = 6, 1
IDS = np.array([[3, MASK, 4, 5, 3], [MASK, 2, MASK, PADDING, PADDING]], "int32")
REAL = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], "int32")


def array(x):
    return ops.convert_to_numpy(x)


@pytest.fixture
def made(normal):
    """Return a function that makes a layer with random weights, and what it gives for `IDS`."""

    def make(ids=IDS, mask=REAL, **options):
        layer = TokenDropoutEmbedding(7, 4, MASK, padding_id=PADDING, **options)
        layer.build(ids.shape)
        layer.set_weights([normal(*weight.shape) for weight in layer.get_weights()])
        return layer, array(layer(ids, padding_mask=mask))

    return make


def expected(table, ids, mask, rate=0.12):
    """Return what the reference computes of each row by itself, in float64."""
    x = table[ids] * (ids != MASK)[..., None]
    share = (ids == MASK).sum(-1) / mask.sum(-1)
    return x * ((1 - rate) / (1 - share))[:, None, None] * mask[..., None]


def test_mask_tokens_are_dropped_and_the_others_scaled_for_them(made):
    layer, found = made()
    table = layer.get_weights()[0].astype("float64")
    np.testing.assert_allclose(found, expected(table, IDS, REAL), rtol=2e-6)
    _, none = made(ids=np.full_like(IDS, 3))
    assert not np.allclose(none, 0)


def test_the_share_that_training_masked_is_an_argument(made):
    layer, found = made(rate=0.5)
    table = layer.get_weights()[0].astype("float64")
    np.testing.assert_allclose(found, expected(table, IDS, REAL, 0.5), rtol=2e-6)


def test_each_packed_sequence_has_its_own_masks_and_positions(made):
    layer, _ = made(
        position_embedding=PositionEmbedding(11), norm=keras.layers.LayerNormalization()
    )
    packed = np.array([[3, MASK, 4, 5, 3, MASK, 2, MASK, PADDING]], "int32")
    numbers = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 0]], "int32")
    whole = array(layer(packed, padding_mask=numbers))[0]
    apart = array(layer(IDS, padding_mask=REAL))
    np.testing.assert_allclose(whole[:5], apart[0], atol=1e-6)
    np.testing.assert_allclose(whole[5:8], apart[1, :3], atol=1e-6)
    assert not whole[8].any()


def test_positions_count_from_the_padding_id_and_are_normalized_with_the_tokens(made, normal):
    layer, found = made(
        position_embedding=PositionEmbedding(7), norm=keras.layers.LayerNormalization(epsilon=1e-5)
    )
    tokens, positions = (
        array(part.weights[0]).astype("float64")
        for part in (layer.token_embedding, layer.position_embedding)
    )
    places = PADDING + np.cumsum(REAL, -1) * REAL
    x = expected(tokens, IDS, REAL) + positions[places]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    gamma, beta = (array(weight) for weight in layer.embedding_norm.weights)
    np.testing.assert_allclose(found, (x * gamma + beta) * REAL[..., None], atol=2e-5)


def test_a_row_of_masks_or_of_padding_alone_is_0(made):
    _, found = made(ids=np.full_like(IDS, MASK), mask=np.array([[1] * 5, [0] * 5], "int32"))
    assert not found.any()


def test_without_a_mask_token_only_padding_is_changed(normal):
    layer = TokenDropoutEmbedding(7, 4)
    layer.build(IDS.shape)
    table = normal(7, 4)
    layer.set_weights([table])
    np.testing.assert_array_equal(array(layer(IDS, REAL)), table[IDS] * REAL[..., None])


def test_half_precision_scales_by_exact_counts(normal):
    layer = TokenDropoutEmbedding(7, 4, MASK, dtype="bfloat16")
    ids = np.concatenate([np.full((1, 399), 3), [[MASK]]], 1).astype("int32")
    layer.build(ids.shape)
    layer.set_weights([np.ones((7, 4), "float32")])
    found = array(ops.cast(layer(ids, np.ones_like(ids)), "float32"))
    np.testing.assert_allclose(found[0, 0], 0.88 * 400 / 399, rtol=4e-3)


@pytest.mark.parametrize("rate", [-0.1, 1])
def test_a_share_that_is_none_is_refused(rate):
    with pytest.raises(InputError, match=f"rate={rate}. Pass a share"):
        TokenDropoutEmbedding(7, 4, rate=rate)


def test_a_text_that_is_longer_than_the_table_is_refused():
    layer = TokenDropoutEmbedding(7, 4, position_embedding=PositionEmbedding(6))
    layer(IDS[:, :4], REAL[:, :4])
    with pytest.raises(InputError, match="a sequence of length 5 from position 2 on"):
        layer(IDS, REAL)
