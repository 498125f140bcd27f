"""Attention to near and to global tokens, held to its formula, pair by pair."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from inarch.errors import InputError
from inarch.layers import Block, FeedForward, GlobalLocalAttention, MultiHeadAttention
from inarch.layers.mask import self_attention_mask

WIDTH, HEADS, LENGTH = 12, 3, 7
PADDED = np.array([[1] * 7, [1, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]])
PACKED = np.array([[1, 1, 1, 2, 2, 2, 2], [2, 2, 3, 3, 3, 3, 0], [1, 1, 1, 1, 1, 2, 2]])
GLOBAL = np.array([[1, 0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0, 0], [0] * 7])


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def attention(perturb, window=1, **options):
    layer = GlobalLocalAttention(HEADS, window, **options)
    layer.build((None, None, WIDTH))
    return perturb(layer)


def mixed(layer, x, **context):
    tensors = {name: ops.convert_to_tensor(value) for name, value in context.items()}
    return array(layer.mix(ops.convert_to_tensor(x, layer.compute_dtype), tensors)[0])


def formula(layer, x, ids, global_mask, window):
    """The same output, float64 `[batch, length, width]`, one query after another."""
    weights = {w.path.partition("/")[2]: array(w).astype("float64") for w in layer.weights}

    def projected(name, vector):
        found = vector @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        return found.reshape(*vector.shape[:-1], HEADS, WIDTH // HEADS)

    found = np.zeros((*ids.shape, WIDTH))
    for b, t in np.ndindex(*ids.shape):
        kind = "global_" if global_mask[b, t] else ""
        seen = [
            s for s in range(ids.shape[1])
            if ids[b, s] == ids[b, t]
            and (window is None or abs(s - t) <= window or global_mask[b, s] or global_mask[b, t])
        ]  # fmt: skip
        query = projected(f"{kind}query", x[b, t])
        keys, values = (projected(f"{kind}{name}", x[b, seen]) for name in ("key", "value"))
        scores = np.einsum("hd,shd->hs", query, keys) / np.sqrt(WIDTH // HEADS)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        found[b, t] = np.einsum("hs,shd->hd", shares, values).reshape(-1)
    return found @ weights["output/kernel"] + weights["output/bias"]


@pytest.mark.parametrize("ids", [PADDED, PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize("window", [1, 3, 20, None])
def test_each_query_attends_as_the_formula_says(perturb, normal, ids, window):
    layer, x = attention(perturb, window), normal(3, LENGTH, WIDTH)
    found = mixed(layer, x, padding_mask=ids, global_mask=GLOBAL)
    np.testing.assert_allclose(found, formula(layer, x, ids, GLOBAL, window), rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH), st.integers(1, 7))
def test_any_tokens_may_be_global(perturb, normal, chosen, window):
    layer, x = attention(perturb, window), normal(1, LENGTH, WIDTH)
    ids, is_global = np.ones((1, LENGTH), int), np.array([chosen], int)
    found = mixed(layer, x, padding_mask=ids, global_mask=is_global)
    expected = formula(layer, x, ids, is_global, window)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_without_global_tokens_it_is_attention_in_windows(perturb, normal):
    layer, x = attention(perturb, 2), normal(3, LENGTH, WIDTH)
    plain = MultiHeadAttention(HEADS, window=2)
    plain.build((None, None, WIDTH), (None, None, WIDTH))
    for name in ("query", "key", "value", "output"):
        dense = getattr(layer, f"{name}_dense")
        getattr(plain, f"{name}_dense").set_weights(dense.get_weights())
    expected = mixed(plain, x, padding_mask=PACKED)
    np.testing.assert_allclose(mixed(layer, x, padding_mask=PACKED), expected, atol=1e-5)
    found = mixed(layer, x, padding_mask=PACKED, global_mask=0 * GLOBAL)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scores_are_those_that_the_output_is_made_of(perturb, normal):
    layer, x = attention(perturb), normal(3, LENGTH, WIDTH)
    mask = self_attention_mask(ops.convert_to_tensor(PADDED))
    given = {"attention_mask": mask, "global_mask": ops.convert_to_tensor(GLOBAL)}
    output, scores = layer(x, return_attention_scores=True, **given)
    assert scores.shape == (3, HEADS, LENGTH, LENGTH)
    np.testing.assert_allclose(array(output), array(layer(x, **given)), rtol=1e-4, atol=1e-5)
    near = np.abs(np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))) <= 1
    seen = array(mask).astype(bool) & (near | GLOBAL[:, None] | GLOBAL[:, :, None]).astype(bool)
    assert ((array(scores) > 0) == seen[:, None]).all()


def test_probabilities_are_dropped_in_training_alone(perturb, normal):
    layer, x = attention(perturb, dropout=0.5), normal(3, LENGTH, WIDTH)
    given = {"global_mask": ops.convert_to_tensor(GLOBAL)}
    right = attention(perturb)(x, **given)
    np.testing.assert_allclose(array(layer(x, **given)), array(right), atol=1e-5)
    assert np.abs(array(layer(x, training=True, **given)) - array(right)).max() > 0.1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_it_computes_in_16_bits(perturb, normal, dtype):
    low, x = attention(perturb, dtype=dtype), normal(3, LENGTH, WIDTH)
    assert low.compute_dtype == dtype
    right = mixed(attention(perturb), x, padding_mask=PACKED, global_mask=GLOBAL)
    found = mixed(low, x, padding_mask=PACKED, global_mask=GLOBAL)
    assert np.abs(found - right).max() < 0.1 * np.abs(right).max()


def test_a_block_of_it_comes_back_from_its_config(perturb, normal):
    block = Block(
        GlobalLocalAttention(HEADS, 2, dropout=0.1),
        FeedForward(8),
        keras.layers.LayerNormalization(),
    )
    again = Block.from_config(block.get_config())
    assert again.attention.get_config() == block.attention.get_config()
    x, given = normal(3, LENGTH, WIDTH), {"padding_mask": PADDED, "global_mask": GLOBAL}
    context = {name: ops.convert_to_tensor(value) for name, value in given.items()}
    for each in (block, again):
        each(x, context=context)
    perturb(block)
    again.set_weights(block.get_weights())
    np.testing.assert_array_equal(
        array(again(x, context=context)), array(block(x, context=context))
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, "num_heads=5 doesn't divide the hidden size 12"),
        ({"num_heads": 3, "window": 0}, "window=0. Pass a positive int, or None"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        GlobalLocalAttention(**options).build((None, None, WIDTH))
