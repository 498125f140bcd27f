"""Laws of sparse vectors, with NumPy alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.answers import sparse_vectors as module
from inarch.answers.similarity import similarity
from inarch.answers.sparse_vectors import checked_vectors, from_dense, sparse_similarity, to_dense
from inarch.errors import InputError, InputTypeError


def drawn(count, seed, width=7):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, width)).astype(np.float32).clip(0)


def test_a_sparse_vector_is_the_numbers_that_are_not_zero_with_their_places():
    vector = from_dense(np.array([0, 2, 0, 0.5], np.float32))
    assert (vector["indices"].tolist(), vector["values"].tolist()) == ([1, 3], [2.0, 0.5])
    assert (vector["indices"].dtype, vector["values"].dtype) == (np.int32, np.float32)
    dense = drawn(5, 0)
    np.testing.assert_array_equal(to_dense([from_dense(row) for row in dense], 7), dense)


def test_the_largest_weights_are_kept_in_order_of_their_places():
    row = np.array([0.1, 0, 3, 2, 2, 5], np.float32)
    assert from_dense(row, 3)["indices"].tolist() == [2, 3, 5]
    assert from_dense(row, 9)["indices"].tolist() == [0, 2, 3, 4, 5]
    assert from_dense(row * 0, 3)["indices"].tolist() == []


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 4), st.integers(0, 4), st.sampled_from([1, 15, 1 << 24]),
    st.sampled_from(["dot", "cosine", "euclidean", "manhattan"]),
)  # fmt: skip
def test_similarities_are_those_of_the_dense_vectors(ones, twos, block, name):
    one, two = drawn(ones, 0), drawn(twos, 1)
    sides = [[from_dense(row) for row in side] for side in (one, two)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found = sparse_similarity(name, *sides, 7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, similarity(name, one, two), atol=1e-5)


@pytest.mark.parametrize(
    ("vectors", "error", "named"),
    [
        ("text", InputTypeError, "one is 'text'"),
        (3, InputTypeError, "one is 3"),
        ({"indices": [1]}, InputTypeError, "one is"),
        ([np.ones(4)], InputTypeError, "vector 0 of one is"),
        ({"indices": [1], "values": [1, 2]}, InputError, r"shape \(1,\) and .* \(2,\)"),
        ({"indices": [9], "values": [1]}, InputError, "from 9 to 9, and the vocabulary 7"),
        ([{"indices": [-1], "values": [1]}], InputError, "from -1 to -1"),
        ({"indices": [0.5], "values": [1]}, InputError, "from 0.5"),
    ],
)
def test_what_is_no_sparse_vector_is_named(vectors, error, named):
    with pytest.raises(error, match=named):
        checked_vectors("one", vectors, 7)


def test_a_vector_without_terms_may_be_of_lists():
    (empty,) = checked_vectors("one", {"indices": [], "values": []}, 7)
    assert empty["indices"].shape == empty["values"].shape == (0,)
