"""Decoding step by step with a cache equals one pass without, and every fault in it shows."""

import keras
import numpy as np
import pytest
from keras import ops
from toy import HEADS, POSITIONS, WIDTH, encoder_cache, toy

pytestmark = pytest.mark.turns(3)

TOKENS = np.array([[7, 8, 9, 4, 11], [5, 2, 6, 9, 1]], "int32")
ROWS, LENGTH = TOKENS.shape
NOISE = 1e-4


@pytest.fixture(scope="module")
def decoder():
    return toy(layers=1)


@pytest.fixture(scope="module")
def cache(decoder):
    return encoder_cache(decoder, ROWS)


@pytest.fixture(scope="module")
def whole(decoder, cache):
    """Logits after every token, all of them fed at once."""
    return logits(decoder, TOKENS, 0, decoder.init_cache(ROWS, LENGTH), cache)[0]


def logits(decoder, token_ids, index, caches, cache):
    positions = index + np.arange(token_ids.shape[1], dtype="int32")[None]
    context = {"cache_index": index, "positions": positions, "cross_attention_cache": cache}
    hidden, caches = decoder.step(token_ids, caches, context)
    rows = decoder.logits(ops.reshape(hidden, (-1, WIDTH)))
    return ops.convert_to_numpy(rows).reshape(*token_ids.shape, -1), caches


def distance(decoder, cache, whole):
    """Return the largest difference between decoding token by token and one pass."""
    caches, found = decoder.init_cache(ROWS, LENGTH), []
    for index in range(LENGTH):
        token_ids = TOKENS[:, index : index + 1]
        row, caches = logits(decoder, token_ids, index, caches, cache)
        found.append(row)
    return float(np.abs(np.concatenate(found, axis=1) - whole).max())


def test_token_by_token_is_the_whole_at_once(decoder, cache, whole):
    assert distance(decoder, cache, whole) < NOISE


class Faulty:
    """A decoder whose step goes wrong."""

    def __init__(self, decoder, step):
        self.decoder = decoder
        self.init_cache, self.logits = decoder.init_cache, decoder.logits
        self._step = step

    def step(self, *arguments):
        return self._step(self.decoder.step, *arguments)


def with_context(change):
    """The step gets another context."""
    return lambda step, token_ids, caches, context: step(
        token_ids, caches, context | change(context)
    )


def elsewhere(offset):
    """The token's key and value are kept at another place."""
    return with_context(
        lambda context: {"cache_index": min(max(context["cache_index"] + offset, 0), LENGTH - 1)}
    )


def at_other_positions(change):
    return with_context(
        lambda context: {"positions": np.clip(change(context["positions"]), 0, POSITIONS - 1)}
    )


def of_the_other_row(context):
    caches = context["cross_attention_cache"]
    return {
        "cross_attention_cache": keras.tree.map_structure(
            lambda x: by_row_and_head(x, axis=0), caches
        )
    }


def kept(change):
    """Other keys and values are kept than were made."""

    def run(step, token_ids, caches, context):
        hidden, written = step(token_ids, caches, context)
        return hidden, keras.tree.map_structure(change, caches, written)

    return run


def keys_for_values(step, token_ids, caches, context):
    hidden, written = step(token_ids, caches, context)
    return hidden, [{"attention": cache["attention"][::-1]} for cache in written]


def by_row_and_head(cache, axis):
    """The entries of a cache in another order of its rows (axis 0) or heads (axis 1)."""
    split = ops.reshape(cache, (-1, HEADS, *cache.shape[1:]))
    return ops.reshape(ops.flip(split, axis=axis), cache.shape)


FAULTS = {
    "kept a place too early": elsewhere(-1),
    "kept a place too late": elsewhere(1),
    "never kept": kept(lambda old, new: old),
    "keys for values": keys_for_values,
    "heads in another order": kept(lambda old, new: by_row_and_head(new, axis=1)),
    "rows in another order": kept(lambda old, new: by_row_and_head(new, axis=0)),
    "positions one too late": at_other_positions(lambda positions: positions + 1),
    "positions never counted on": at_other_positions(lambda positions: 0 * positions),
    "cross-attention to the output of another row": with_context(of_the_other_row),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_cache_is_noticed(decoder, cache, whole, name):
    assert distance(Faulty(decoder, FAULTS[name]), cache, whole) > 100 * NOISE
