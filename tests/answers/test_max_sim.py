"""Laws of MaxSim over lists of token vectors, with NumPy alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.answers import max_sim as module
from inarch.answers.max_sim import EMPTY_SCORE, checked_token_vectors, max_sim
from inarch.errors import InputError, InputTypeError

counts = st.lists(st.integers(0, 4), max_size=5)


def drawn(lengths, seed):
    random = np.random.default_rng(seed)
    return [random.normal(size=(n, 3)).astype(np.float32) for n in lengths]


def defined(query, document):
    """The definition, pair by pair."""
    if not len(document):
        return EMPTY_SCORE
    return sum(max(float(q @ d) for d in document) for q in query)


@settings(max_examples=40, deadline=None)
@given(counts, counts, st.sampled_from([1, 20, 1 << 24]))
def test_each_query_vector_counts_its_best_product(lengths, others, block):
    queries, documents = drawn(lengths, 0), drawn(others, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        scores = max_sim(queries, documents)
    assert scores.dtype == np.float32
    assert scores.shape == (len(queries), len(documents))
    expected = [[defined(q, d) for d in documents] for q in queries]
    np.testing.assert_allclose(scores, np.reshape(expected, scores.shape), rtol=1e-5, atol=1e-5)


def test_a_mean_is_over_the_vectors_of_the_query():
    queries, documents = drawn([2, 3, 0], 0), drawn([4, 1], 1)
    summed, mean = max_sim(queries, documents), max_sim(queries, documents, mean=True)
    np.testing.assert_allclose(mean * [[2], [3], [1]], summed, rtol=1e-6)


def test_vectors_that_are_none_are_named():
    assert len(checked_token_vectors("one", np.ones((2, 3)))) == 1
    assert len(checked_token_vectors("one", np.ones((5, 2, 3)))) == 5
    with pytest.raises(InputError, match="one has vectors of 3 and 4 numbers"):
        checked_token_vectors("one", [np.ones((2, 3)), np.ones((2, 4))])
    for wrong in ("text", None, ["text"], [np.ones(3)], 3.0):
        with pytest.raises(InputTypeError, match="one (is|has)"):
            checked_token_vectors("one", wrong)
