"""Best continuations are those of a sort of all, and log-probabilities sum to one."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from inarch.generation.vocabulary import GROUP, best_continuations, log_probabilities

SIZES = [5, GROUP, 2 * GROUP - 1, 3 * GROUP, 4 * GROUP + 1, 9 * GROUP + 100]


def found(log_probs, scores):
    given = (ops.convert_to_tensor(x.astype("float32")) for x in (log_probs, scores))
    return [ops.convert_to_numpy(x) for x in best_continuations(*given)]


@pytest.mark.parametrize("size", SIZES)
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    beams=st.sampled_from([1, 3]),
    values=st.sampled_from([3, 100_000]),
    excluded=st.sampled_from([0.0, 0.5]),
)
def test_the_best_are_those_of_a_sort_of_all(size, seed, beams, values, excluded):
    rows, random = 2, np.random.default_rng(seed)
    # Few values are equal in many places; numbers of up to 24 bits add without rounding.
    log_probs = random.integers(-values, 0, (rows * beams, size)).astype("float32")
    log_probs[random.random(log_probs.shape) < excluded] = -np.inf
    log_probs[:, : 2 * beams] = -1.0 - random.integers(0, values)
    scores = random.integers(-values, 0, (rows, beams)).astype("float32")
    best, tokens, parents = found(log_probs, scores)
    sums = log_probs.reshape(rows, beams, size) + scores[:, :, None]
    flat = sums.reshape(rows, -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * beams]
    np.testing.assert_array_equal(best, np.take_along_axis(flat, order, 1))
    places = parents * size + tokens
    if keras.backend.backend() == "torch":  # which promises no order of equal ones
        assert all(len({*row}) == 2 * beams for row in places.tolist())
        np.testing.assert_array_equal(np.take_along_axis(flat, places, 1), best)
    else:
        np.testing.assert_array_equal(places, order)


@pytest.mark.parametrize("size", [5, 3 * GROUP + 7])
def test_log_probabilities_sum_to_one_in_each_row(size):
    logits = np.random.default_rng(0).normal(scale=9, size=(3, size)).astype("float32")
    logits[1, :2] = -np.inf
    result = ops.convert_to_numpy(log_probabilities(ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(np.exp(result).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(result - result[:, -1:], logits - logits[:, -1:], atol=1e-4)
