"""Shuffling by length: every sequence once, batches alike in length, other neighbors each time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inarch.data import shuffle_by_length


def padded(lengths, order, size):
    """Return the tokens of all batches, padded to the longest of each."""
    batches = np.split(np.asarray(lengths)[order], range(size, len(order), size))
    return sum(batch.max() * len(batch) for batch in batches)


@given(st.lists(st.integers(0, 500), max_size=200), st.integers(1, 20), st.integers(0, 9))
def test_every_sequence_is_there_once_and_a_seed_gives_one_order(lengths, size, seed):
    one, two = (shuffle_by_length(lengths, size, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(np.sort(one), np.arange(len(lengths)))
    np.testing.assert_array_equal(one, two)


def test_batches_are_alike_in_length_and_come_in_no_order_of_length():
    random = np.random.default_rng(0)
    lengths = random.lognormal(np.log(24), 1.06, 1000).clip(4, 500).astype(int)
    order = shuffle_by_length(lengths, 16, random)
    assert padded(lengths, order, 16) < 0.5 * padded(lengths, random.permutation(1000), 16)
    means = lengths[order][:992].reshape(-1, 16).mean(1)
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4


def test_a_sequence_has_other_neighbors_each_time():
    random = np.random.default_rng(0)
    lengths = np.arange(256)
    orders = [shuffle_by_length(lengths, 4, random) for _ in range(2)]
    one, two = ({frozenset(batch) for batch in order.reshape(-1, 4)} for order in orders)
    assert len(one & two) < 8


def test_a_partial_batch_is_last_and_of_any_lengths():
    random = np.random.default_rng(0)
    lasts = [shuffle_by_length(range(33), 8, random)[-1] for _ in range(40)]
    assert min(lasts) < 8
    assert max(lasts) > 24
