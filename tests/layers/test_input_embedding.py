"""Tokens that several stacks look up in one table, with positions, and what reads a single text."""

import math

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import (
    FixedPositionEmbedding,
    InputEmbedding,
    LastTokenOf,
    LogitsBias,
    PositionEmbedding,
    ScaledEmbedding,
    ShiftRight,
    SinePositions,
)

IDS = np.array([[3, 1, 4], [5, 9, 2]])


def as_numpy(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def made(**options):
    positions = options.pop("positions", PositionEmbedding(6, "normal", offset=2))
    table = ScaledEmbedding(11, 4, scale=options.pop("of_table", 1.0))
    layer = InputEmbedding(table, positions, **options)
    layer.build((None, None))
    return layer


def tables(layer):
    places = layer.position_embedding.position_embeddings
    return as_numpy(layer.token_embedding.embeddings), as_numpy(places)


@pytest.mark.parametrize("options", [{"scale": 3.0}, {"of_table": 3.0}])
def test_it_adds_scaled_tokens_and_positions_after_the_offset(options):
    layer = made(**options)
    tokens, places = tables(layer)
    assert places.shape == (8, 4)
    np.testing.assert_allclose(as_numpy(layer(IDS)), 3 * tokens[IDS] + places[2:5], rtol=1e-5)
    later = as_numpy(layer(IDS, positions=np.array([[3], [5]])))
    np.testing.assert_allclose(later, 3 * tokens[IDS] + places[[[5], [7]]], rtol=1e-5)


def test_tokens_of_a_narrow_table_are_projected_before_positions_are_added():
    layer = made(projection=keras.layers.Dense(7, use_bias=False))
    tokens, places = tables(layer)
    kernel = as_numpy(layer.token_projection.kernel)
    assert (tokens.shape, kernel.shape) == ((11, 4), (4, 7))
    assert layer.compute_output_shape((2, 3)) == (2, 3, 7)
    np.testing.assert_allclose(as_numpy(layer(IDS)), tokens[IDS] @ kernel + places[2:5], rtol=1e-5)


def test_positions_may_count_the_tokens_of_the_mask_alone():
    layer = made(skips_padding=True)
    tokens, places = tables(layer)
    mask = np.array([[0, 1, 1], [1, 1, 2]])
    found = as_numpy(layer(IDS, padding_mask=mask)) - tokens[IDS]
    # Padding has the row before the first position's, and each sequence begins anew.
    expected = places[[[1, 2, 3], [2, 3, 2]]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="length 7"):
        layer(np.ones((1, 7), int), padding_mask=np.ones((1, 7), int))


def test_logits_of_a_scaled_table_are_not_scaled():
    table = ScaledEmbedding(11, 4, scale=3.0)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    table.build((None,))
    rows = as_numpy(table.embeddings)
    np.testing.assert_allclose(as_numpy(table(x, reverse=True)), x @ rows.T, rtol=1e-4, atol=1e-6)


def test_the_norm_is_of_the_sum():
    layer = made(norm=keras.layers.LayerNormalization(epsilon=1e-5))
    tokens, places = tables(layer)
    x = tokens[IDS] + places[2:5]
    centered = x - x.mean(-1, keepdims=True)
    expected = centered / np.sqrt(centered.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(as_numpy(layer(IDS)), expected, rtol=1e-4, atol=1e-5)


def test_two_stacks_share_the_table_and_not_the_positions():
    table, positions = ScaledEmbedding(11, 4), PositionEmbedding(6, "normal")
    one, other = InputEmbedding(table, positions), InputEmbedding(table, positions)
    for layer in (one, other):
        layer.build((None, None))
    assert one.token_embedding is other.token_embedding
    assert one.position_embedding is not other.position_embedding
    assert len({id(w) for layer in (one, other) for w in layer.weights}) == 3


def test_positions_after_padding_count_the_tokens_that_are_not_padding():
    table = SinePositions(interleaved=False, single_precision=True)
    layer = made(positions=FixedPositionEmbedding(6, table, offset=2), padding_id=1)
    tokens, places = tables(layer)
    ids = np.array([[1, 3, 1, 4], [5, 6, 7, 1]])
    expected = tokens[ids] + places[[[1, 2, 1, 3], [2, 3, 4, 1]]]
    mask = (ids != 1).astype("int32")
    np.testing.assert_allclose(as_numpy(layer(ids, padding_mask=mask)), expected, rtol=1e-5)
    assert not places[1].any()  # padding's
    # In steps, too, where a token's place is given.
    given = as_numpy(layer(ids, positions=np.array([[2, 3, 4, 5], [0, 1, 2, 3]])))
    rows = np.array([[1, 5, 1, 7], [2, 3, 4, 1]])
    np.testing.assert_allclose(given, tokens[ids] + places[rows], rtol=1e-5)


def test_packed_sequences_are_embedded_as_they_are_alone():
    for options in ({}, {"padding_id": 1}):
        layer = made(**options)
        row = np.array([[3, 4, 5, 6, 7, 1]])
        packed = as_numpy(layer(row, padding_mask=np.array([[1, 1, 2, 2, 2, 0]])))
        for part in (slice(0, 2), slice(2, 5)):
            np.testing.assert_array_equal(packed[:, part], as_numpy(layer(row[:, part])))


@pytest.mark.parametrize("options", [{}, {"padding_id": 1}])
def test_a_longer_row_than_there_are_positions_is_refused(options):
    with pytest.raises(InputError, match="6 positions"):
        made(**options)(np.full((1, 7), 3))


def test_fixed_positions_have_no_weights_and_come_back_from_their_config():
    table = SinePositions(interleaved=False, reaches_maximum=False)
    layer = FixedPositionEmbedding(6, table, offset=2)
    again = FixedPositionEmbedding.from_config(layer.get_config())
    x = np.zeros((1, 6, 4), "float32")
    expected = table.table(8, 4)[2:]
    for each in (layer, again):
        np.testing.assert_array_equal(as_numpy(each(x))[0], expected)
        assert each.weights == []
    half = as_numpy(FixedPositionEmbedding(6, table, dtype="bfloat16")(x))[0]
    np.testing.assert_array_equal(half, table.table(6, 4).astype(ml_dtypes.bfloat16).astype("f4"))


@pytest.mark.parametrize("reaches", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
def test_sines_and_cosines_take_turns_or_halves_up_to_the_longest_wavelength(interleaved, reaches):
    dim, table = 8, SinePositions(1000, interleaved, reaches).table(50, 8)
    for i in range(dim // 2):
        exponent = i / (dim // 2 - 1) if reaches else 2 * i / dim
        angles = np.arange(50) / 1000**exponent
        sine, cosine = (2 * i, 2 * i + 1) if interleaved else (i, i + dim // 2)
        np.testing.assert_allclose(table[:, sine], np.sin(angles), atol=1e-6)
        np.testing.assert_allclose(table[:, cosine], np.cos(angles), atol=1e-6)


def test_angles_in_single_precision_are_rounded_products():
    found = SinePositions(interleaved=False, single_precision=True).table(1000, 8)
    steps = np.float32(math.log(10000) / 3)
    frequencies = np.exp(np.arange(4, dtype="float32") * -steps).astype("float32")
    angles = np.arange(1000, dtype="float32")[:, None] * frequencies
    np.testing.assert_allclose(found[:, :4], np.sin(angles), atol=1e-6)
    exact = SinePositions(interleaved=False).table(1000, 8)
    assert 1e-6 < np.abs(found - exact).max() < 1e-3


def test_a_shifted_text_begins_with_the_start_token_in_every_sequence():
    ids = np.array([[5, 6, 7, 8, 9, 1], [5, 6, 1, 1, 1, 1]])
    mask = np.array([[1, 1, 2, 2, 2, 0], [1, 1, 0, 0, 0, 0]])
    shifted = ops.convert_to_numpy(ShiftRight(2)(ids, padding_mask=mask))
    np.testing.assert_array_equal(shifted[mask != 0], [2, 5, 2, 7, 8, 2, 5])
    assert shifted.dtype == "int32"


def test_a_shifted_text_without_a_start_token_begins_with_its_own_last_one():
    """Whichever side the padding is on, and with several texts in a row."""
    ids = np.array([[5, 6, 7, 8, 9, 1], [1, 1, 1, 5, 6, 4]])
    mask = np.array([[1, 1, 2, 2, 2, 0], [0, 0, 0, 1, 1, 1]])
    shifted = ops.convert_to_numpy(ShiftRight(None)(ids, padding_mask=mask))
    np.testing.assert_array_equal(shifted[mask != 0], [6, 5, 9, 7, 8, 4, 5, 6])
    assert shifted.dtype == "int32"


def test_the_last_token_of_an_id_is_taken_and_padding_is_passed_over():
    x = np.arange(24, dtype="float32").reshape(3, 4, 2)
    ids = np.array([[7, 3, 7, 3], [7, 5, 5, 7], [5, 5, 5, 5]])
    mask = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]])
    found = ops.convert_to_numpy(LastTokenOf(7)(x, token_ids=ids, padding_mask=mask))
    np.testing.assert_array_equal(found, x[[0, 1, 2], [2, 0, 2]])


def test_a_bias_is_added_to_logits(perturb):
    layer = LogitsBias()
    layer.build((None, None, 5))
    perturb(layer)
    x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
    np.testing.assert_allclose(as_numpy(layer(x)), x + as_numpy(layer.bias), rtol=1e-6)


def test_a_table_of_two_stacks_is_one_in_a_file_of_any_model(tmp_path):
    table = ScaledEmbedding(10, 4, name="token_embedding")
    ids = {name: keras.Input((None,), dtype="int32", name=name) for name in ("first", "second")}
    stacks = [InputEmbedding(table, PositionEmbedding(7), name=f"{name}_stack") for name in ids]
    outputs = [stack(x) for stack, x in zip(stacks, ids.values(), strict=True)]
    model = keras.Model(ids, outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    first, second = (loaded.get_layer(stack.name) for stack in stacks)
    assert first.token_embedding is second.token_embedding
    given = {"first": IDS, "second": IDS[::-1]}
    for ours, theirs in zip(loaded(given), model(given), strict=True):
        np.testing.assert_array_equal(as_numpy(ours), as_numpy(theirs))
