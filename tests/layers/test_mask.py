"""Masks that carry sequence ids."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from inarch.layers import TokenAndPositionEmbedding, self_attention_mask, sequence_positions
from inarch.layers.mask import token_positions

pytestmark = pytest.mark.turns(2)


def positions_of(*row, dtype="int32"):
    return ops.convert_to_numpy(sequence_positions(ops.convert_to_tensor([row], dtype)))[0].tolist()


def test_tokens_of_a_plain_mask_keep_their_index_whichever_side_is_padded():
    assert positions_of(1, 1, 1, 0, 0) == [0, 1, 2, 3, 4]
    assert positions_of(0, 0, 1, 1, 1) == [0, 1, 2, 3, 4]
    assert positions_of(False, True, True, dtype="bool") == [0, 1, 2]


def test_positions_restart_with_every_packed_sequence():
    assert positions_of(1, 1, 2, 2, 2, 3, 0, 0) == [0, 1, 0, 1, 2, 0, 6, 7]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_every_packed_sequence_counts_from_zero(lengths):
    row = np.zeros(25, "int32")
    row[: sum(lengths)] = np.repeat(np.arange(len(lengths)) + 1, lengths)
    expected = [i for length in lengths for i in range(length)]
    assert positions_of(*row)[: sum(lengths)] == expected


def test_a_token_sees_its_own_number_and_pads_see_pads():
    numbers = np.array([[1, 1, 2, 0, 0]])
    mask = ops.convert_to_numpy(self_attention_mask(ops.convert_to_tensor(numbers)))
    np.testing.assert_array_equal(mask, numbers[:, :, None] == numbers[:, None, :])


def test_a_token_of_a_negative_number_sees_its_sequence_and_is_not_seen():
    mask = ops.convert_to_numpy(self_attention_mask(ops.convert_to_tensor([[1, 1, -1, 0]])))
    assert mask[0].astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]
    assert positions_of(1, 1, -1, -1, 0) == [0, 1, 2, 3, 4]


def test_an_attention_mask_narrows_a_padding_mask():
    padding = ops.convert_to_tensor([[1, 1, 0]])
    lower = ops.convert_to_tensor(np.tril(np.ones((1, 3, 3), "int32")))
    expected = np.array([[[1, 0, 0], [1, 1, 0], [0, 0, 1]]], bool)
    for attention_mask, shape in [(lower, (1, 3, 3)), (lower[:, None], (1, 1, 3, 3))]:
        mask = ops.convert_to_numpy(self_attention_mask(padding, attention_mask))
        np.testing.assert_array_equal(mask, expected.reshape(shape))


def test_no_mask_is_no_mask():
    assert self_attention_mask() is None


def test_a_mask_of_a_wrong_rank_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"attention_mask of shape \(3,\)"):
        self_attention_mask(None, ops.ones((3,)))


def test_positions_are_found_in_a_graph_of_unknown_length():
    mask = keras.Input((None,), dtype="int32")
    model = keras.Model(mask, keras.layers.Lambda(sequence_positions, output_shape=(None,))(mask))
    np.testing.assert_array_equal(model.predict(np.array([[1, 2, 2]]), verbose=0), [[0, 0, 1]])


def counted(ids, mask, padding_id=1):
    given = (ops.convert_to_tensor([row], "int32") for row in (ids, mask))
    tokens, numbers = given
    return ops.convert_to_numpy(token_positions(tokens, padding_id, numbers))[0].tolist()


def test_positions_count_the_tokens_that_are_not_padding():
    assert counted([7, 8, 9, 1, 1], [1, 1, 1, 0, 0]) == [2, 3, 4, 1, 1]
    assert counted([1, 1, 7, 8, 9], [0, 0, 1, 1, 1]) == [1, 1, 2, 3, 4]
    assert counted([7, 1, 9], [1, 1, 1]) == [2, 1, 3]
    assert counted([7, 8], [1, 1], padding_id=0) == [1, 2]


def test_counted_positions_restart_with_every_packed_sequence():
    assert counted([7, 8, 7, 8, 9, 5, 1], [1, 1, 2, 2, 2, 3, 0]) == [2, 3, 2, 3, 4, 2, 1]


def test_counted_positions_beyond_the_table_are_refused():
    layer = TokenAndPositionEmbedding(9, 6, 4, padding_id=1)
    assert layer(np.full((1, 4), 5)).shape == (1, 4, 4)
    with pytest.raises(ValueError, match="a sequence of length 5 from position 2"):
        layer(np.full((1, 5), 5))
