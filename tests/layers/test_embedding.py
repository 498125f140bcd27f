"""Tokens and positions to vectors."""

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import (
    PositionEmbedding,
    ScaledEmbedding,
    SinePositionEncoding,
    SinePositions,
    TokenAndPositionEmbedding,
)

array = ops.convert_to_numpy


def embedding(**kwargs):
    layer = TokenAndPositionEmbedding(11, 6, 4, **kwargs)
    layer.build((None, None))
    return layer


def tables(layer):
    return (
        ops.convert_to_numpy(layer.token_embedding.embeddings),
        ops.convert_to_numpy(layer.position_embedding.position_embeddings),
    )


def test_the_sum_of_a_row_of_each_table():
    layer = embedding()
    tokens, positions = tables(layer)
    ids = np.array([[3, 1, 4], [1, 5, 9]])
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(ids)), tokens[ids] + positions[:3], rtol=1e-6
    )


def test_a_start_index_shifts_positions():
    layer = embedding()
    ids = np.array([[3, 1, 4, 1]])
    whole = ops.convert_to_numpy(layer(ids))
    mask = np.ones((1, 2), "int32")
    for given in ({}, {"padding_mask": mask}):
        tail = ops.convert_to_numpy(layer(ids[:, 2:], start_index=2, **given))
        np.testing.assert_array_equal(tail, whole[:, 2:])


def test_given_positions_are_used_as_they_are():
    layer = embedding()
    tokens, positions = tables(layer)
    ids, places = np.array([[3, 1, 4]]), np.array([[5, 0, 0]])
    for given in (places, places[0]):
        np.testing.assert_allclose(
            ops.convert_to_numpy(layer(ids, positions=given)),
            tokens[ids] + positions[places],
            rtol=1e-6,
        )


def test_rows_before_the_first_position_are_passed_over():
    layer = embedding(position_offset=2)
    tokens, positions = tables(layer)
    assert len(positions) == 6 + 2
    ids = np.array([[3, 1, 4]])
    mask = np.ones((1, 3), "int32")
    for given in ({}, {"padding_mask": mask}, {"positions": np.arange(3)}):
        found = ops.convert_to_numpy(layer(ids, **given))
        np.testing.assert_allclose(found, tokens[ids] + positions[2:5], rtol=1e-6)
    tail = ops.convert_to_numpy(layer(ids[:, 2:], start_index=2))
    np.testing.assert_allclose(tail[0], tokens[ids[0, 2:]] + positions[4:5], rtol=1e-6)
    with pytest.raises(InputError, match="padding_id=1 and position_offset=2"):
        embedding(padding_id=1, position_offset=2)


def test_packed_sequences_are_embedded_as_they_are_alone():
    layer = embedding()
    first, second = np.array([[3, 1]]), np.array([[4, 1, 5]])
    row = np.concatenate([first, second, [[0]]], axis=1)
    packed = ops.convert_to_numpy(layer(row, padding_mask=np.array([[1, 1, 2, 2, 2, 0]])))
    np.testing.assert_array_equal(packed[:, :2], ops.convert_to_numpy(layer(first)))
    np.testing.assert_array_equal(packed[:, 2:5], ops.convert_to_numpy(layer(second)))


def test_left_padding_shifts_positions_as_in_the_originals():
    layer = embedding()
    ids = np.array([[0, 0, 7, 8]])
    padded = layer(ids, padding_mask=np.array([[0, 0, 1, 1]]))
    np.testing.assert_array_equal(ops.convert_to_numpy(padded), ops.convert_to_numpy(layer(ids)))


@pytest.mark.parametrize(
    ("length", "given"),
    [(7, {}), (3, {"start_index": 4}), (7, {"padding_mask": np.ones((1, 7), "int32")})],
)
def test_a_sequence_longer_than_the_table_is_refused(length, given):
    with pytest.raises(ValueError, match="exceeds the 6 positions of 'position_embedding'"):
        embedding()(np.ones((1, length), "int32"), **given)


def test_a_graph_of_unknown_length_is_refused_when_the_length_becomes_known():
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, embedding()(ids))
    assert model(np.ones((1, 6), "int32")).shape == (1, 6, 4)
    with pytest.raises(ValueError, match="length 7"):
        model(np.ones((1, 7), "int32"))


@pytest.mark.parametrize("argument", ["vocabulary_size", "sequence_length", "embedding_dim"])
def test_a_missing_size_is_refused_by_name(argument):
    sizes = {"vocabulary_size": 2, "sequence_length": 2, "embedding_dim": 2, argument: None}
    with pytest.raises(ValueError, match=f"{argument}=None"):
        TokenAndPositionEmbedding(**sizes)


def test_tables_of_one_shape_start_different():
    layer = TokenAndPositionEmbedding(6, 6, 4)
    layer.build((None, None))
    tokens, positions = tables(layer)
    assert np.abs(tokens - positions).max() > 1e-3


def test_the_position_table_can_start_apart_from_the_token_table():
    layer = embedding(position_initializer=SinePositions())
    tokens, positions = tables(layer)
    np.testing.assert_array_equal(positions, ops.convert_to_numpy(SinePositions()((6, 4))))
    assert np.abs(tokens).max() <= 0.05
    again = TokenAndPositionEmbedding.from_config(layer.get_config())
    assert isinstance(again.position_initializer, SinePositions)


def test_variables_have_the_names_that_weight_maps_use():
    layer = embedding(name="embeddings")
    assert [weight.path for weight in layer.weights] == [
        "embeddings/token_embedding/embeddings",
        "embeddings/position_embedding/embeddings",
    ]


def test_a_layer_of_mixed_precision_gets_logits_in_sixteen_bits():
    words = embedding(dtype="mixed_bfloat16").token_embedding

    class Head(keras.layers.Layer):
        def call(self, x):
            return words(x, reverse=True)

    logits = Head(dtype="mixed_bfloat16")(np.ones((1, 2, 4), "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "bfloat16"


def test_mask_zero_reaches_the_next_layer_as_a_mask():
    seen = []

    class Spy(keras.layers.Layer):
        supports_masking = True

        def call(self, x, mask=None):
            seen.append(ops.convert_to_numpy(mask).tolist())
            return x

    Spy()(embedding(mask_zero=True)(np.array([[3, 0]])))
    assert seen == [[[True, False]]]


@pytest.mark.parametrize("policy", ["float32", "bfloat16", "mixed_bfloat16"])
def test_an_embedding_survives_saving_in_every_precision(policy, reload):
    ids, mask = (keras.Input((None,), dtype="int32") for _ in range(2))
    layer = embedding(dtype=policy, tie_weights=False, embeddings_initializer="ones")
    model = keras.Model([ids, mask], layer(ids, padding_mask=mask))
    data = [np.array([[3, 1, 4]]), np.array([[1, 1, 2]])]
    again = reload(model)
    assert again.layers[-1].get_config() == layer.get_config()
    assert keras.backend.standardize_dtype(model(data).dtype) == layer.compute_dtype
    assert model.outputs[0].dtype == layer.compute_dtype
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ops.cast(again(data), "float32")),
        ops.convert_to_numpy(ops.cast(model(data), "float32")),
    )


def original_table(length, dim):
    """The loop of DistilBERT's `create_sinusoidal_embeddings`, written out."""
    table = np.zeros((length, dim))
    for p in range(length):
        for j in range(dim):
            angle = p / 10000 ** (2 * (j // 2) / dim)
            table[p, j] = np.sin(angle) if j % 2 == 0 else np.cos(angle)
    return table


@pytest.mark.parametrize("dim", [6, 7])
def test_sine_positions_are_the_published_table_rounded_once(dim):
    table = ops.convert_to_numpy(SinePositions()((512, dim)))
    np.testing.assert_array_equal(table, original_table(512, dim).astype("float32"))


def test_sine_positions_fill_an_embedding_and_survive_serialisation():
    layer = PositionEmbedding(5, initializer=SinePositions(max_wavelength=100))
    again = PositionEmbedding.from_config(layer.get_config())
    again.build((None, None, 4))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again.position_embeddings),
        ops.convert_to_numpy(SinePositions(100)((5, 4))),
    )
    with pytest.raises(ValueError, match=r"shape=\(5,\)"):
        SinePositions()((5,))


def test_computed_sines_are_the_table():
    data = np.zeros((2, 512, 6), "float32")
    y = ops.convert_to_numpy(SinePositionEncoding()(data))
    np.testing.assert_allclose(y, np.stack([original_table(512, 6)] * 2), atol=5e-5)
    tail = ops.convert_to_numpy(SinePositionEncoding()(data[:, :2], start_index=510))
    np.testing.assert_allclose(tail, y[:, 510:], atol=1e-6)
    chosen = ops.convert_to_numpy(
        SinePositionEncoding()(data[:, :2], positions=np.array([[510, 511]]))
    )
    np.testing.assert_allclose(chosen, tail, atol=1e-6)


def test_computed_sines_are_right_far_out_in_sixteen_bits():
    y = SinePositionEncoding(dtype="bfloat16")(np.zeros((1, 512, 6), "float32"))
    expected = original_table(512, 6).astype(ml_dtypes.bfloat16).astype("float32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(y, "float32"))[0], expected, atol=2**-8
    )


def test_scaled_vectors_are_rounded_as_the_scale_is_and_the_reverse_is_unscaled(reload):
    layer = ScaledEmbedding(7, 6, scale=3072**0.5, dtype="bfloat16")
    ids = np.array([[1, 4, 6]])
    rows = array(ops.cast(layer(ids), "float32"))
    table = array(ops.cast(layer.embeddings, "float32"))
    wanted = ops.cast(ops.cast(table[ids] * 55.5, "bfloat16"), "float32")
    np.testing.assert_array_equal(rows, array(wanted))
    x = keras.Input((None,), dtype="int32")
    table = ScaledEmbedding(7, 6, scale=2.5)
    again = reload(keras.Model(x, table(table(x), reverse=True)))
    vectors = array(table.embeddings)
    expected = (2.5 * vectors[ids]) @ vectors.T
    np.testing.assert_allclose(array(again(ids)), expected, rtol=1e-5, atol=1e-6)
    again.quantize("int8")
    assert again.layers[1].quantization_mode == "int8"
    assert np.abs(array(again(ids)) - expected).max() < 0.05 * np.abs(expected).max()


def test_a_scaled_embedding_makes_no_implicit_mask():
    with pytest.raises(InputError, match="mask_zero=True"):
        ScaledEmbedding(7, 6, mask_zero=True)
