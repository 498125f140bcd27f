"""ALiBi: a bias on the scores of attention that is linear in the distance of tokens."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import AlibiBias, Block, FeedForward, MultiHeadAttention
from inarch.layers.alibi import alibi_slopes
from inarch.layers.mask import self_attention_mask
from inarch.verify.doctor.bricks import changed

WIDTH = 12


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def attention(perturb, heads=3, score_bias=None, **options):
    layer = MultiHeadAttention(
        heads, score_bias=score_bias or AlibiBias(heads), causal=True, **options
    )
    layer.build((None, None, WIDTH), (None, None, WIDTH))
    return perturb(layer)


def plain(layer):
    """The same attention without the bias."""
    other = MultiHeadAttention(layer.num_heads, layer.key_dim, causal=True)
    other.build((None, None, WIDTH), (None, None, WIDTH))
    other.set_weights(layer.get_weights())
    return other


def mixed(layer, x, **context):
    given = {name: ops.convert_to_tensor(value) for name, value in context.items()}
    return array(layer.mix(ops.convert_to_tensor(x, layer.compute_dtype), given)[0])


def distances(mask):
    """Minus the tokens from key to query, float `[batch, T, S]`, by counting them one by one."""
    length = mask.shape[1]
    between = [[np.sign(s - t) * (row[min(s, t) : max(s, t) + 1] != 0)[1:].sum()
                for s in range(length)] for row in mask for t in range(length)]  # fmt: skip
    return np.array(between).reshape(len(mask), length, length)


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2**-8]),
        (8, [2.0**-i for i in range(1, 9)]),
        (4, [2**-2, 2**-4, 2**-6, 2**-8]),
        (3, [2**-4, 2**-8, 2**-2]),
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
    ],
)
def test_slopes_are_the_papers(heads, slopes):
    np.testing.assert_array_equal(alibi_slopes(heads), np.array(slopes, "float32"))


@pytest.mark.parametrize("heads", [12, 16, 112])
@pytest.mark.parametrize("most", [8, 5])
def test_slopes_of_any_number_of_heads_are_those_of_powers_of_two_around_it(heads, most):
    fewer = 2 ** int(np.log2(heads))
    slopes, other = alibi_slopes(heads, most), 2.0 ** (-most / (2 * fewer))
    np.testing.assert_allclose(slopes[:fewer], other ** (2 * np.arange(1, fewer + 1)), rtol=1e-5)
    odd = 2 * np.arange(heads - fewer) + 1
    np.testing.assert_allclose(slopes[fewer:], other**odd, rtol=1e-5)


PADDED = np.array([[1] * 7, [0, 0, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 0, 0]])
PACKED = np.array([[1, 1, 1, 2, 2, 2, 2], [2, 2, 3, 3, 3, 3, 0]])


@pytest.mark.parametrize("mask", [PADDED, PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize("heads", [3, 4])
def test_scores_fall_by_a_slope_for_each_token_between(perturb, normal, mask, heads):
    layer, x = attention(perturb, heads), normal(len(mask), 7, WIDTH)
    bias = alibi_slopes(heads)[:, None, None] * distances(mask)[:, None]
    found = mixed(layer, x, padding_mask=mask.astype("int32"))
    expected = mixed(
        plain(layer), x, padding_mask=mask.astype("int32"), attention_bias=bias.astype("float32")
    )
    np.testing.assert_allclose(found[mask > 0], expected[mask > 0], atol=2e-6)
    without = mixed(plain(layer), x, padding_mask=mask.astype("int32"))
    assert np.abs(found - without)[mask > 0].max() > 1e-3


def test_rows_of_many_tokens_have_the_bias_too(perturb, normal):
    """JAX computes the heads of such rows one after another."""
    layer, x = attention(perturb), normal(2, 150, WIDTH)
    mask = np.ones((2, 150), "int32")
    mask[1, :30] = 0
    found = mixed(layer, x, padding_mask=mask)
    context = {"padding_mask": ops.convert_to_tensor(mask), "return_attention_scores": True}
    expected = array(layer.mix(ops.convert_to_tensor(x), context)[0])
    np.testing.assert_allclose(found[mask > 0], expected[mask > 0], atol=1e-5)


def test_another_bias_on_the_scores_is_added(perturb, normal):
    layer, x = attention(perturb), normal(2, 7, WIDTH)
    other = normal(1, 3, 7, 7, seed=1)
    bias = alibi_slopes(3)[:, None, None] * distances(np.ones((1, 7)))[:, None] + other
    found = mixed(layer, x, attention_bias=other)
    expected = mixed(plain(layer), x, attention_bias=bias.astype("float32"))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_scores_that_are_returned_have_the_bias(perturb, normal):
    layer, x = attention(perturb), normal(1, 7, WIDTH)
    _, scores = layer(x, x, attention_mask=np.tril(np.ones((7, 7))), return_attention_scores=True)
    ratio = np.log(array(scores)[0, :, 6]) - np.log(array(scores)[0, :, 6, 6:])
    _, others = plain(layer)(
        x, x, attention_mask=np.tril(np.ones((7, 7))), return_attention_scores=True
    )
    bare = np.log(array(others)[0, :, 6]) - np.log(array(others)[0, :, 6, 6:])
    np.testing.assert_allclose(ratio - bare, alibi_slopes(3)[:, None] * np.arange(-6, 1), atol=1e-5)


def block(perturb, **options):
    own = MultiHeadAttention(3, score_bias=AlibiBias(3), causal=True)
    layer = Block(own, FeedForward(7), keras.layers.LayerNormalization(), order="pre", **options)
    layer.build((None, None, WIDTH))
    return perturb(layer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_steps_with_a_cache_are_the_whole(perturb, normal, dtype):
    layer = block(perturb, dtype=dtype)
    x = ops.convert_to_tensor(normal(4, 7, WIDTH), dtype)
    mask = ops.convert_to_tensor(PADDED.astype("int32"))
    whole = array(layer(x, context={"padding_mask": mask}))
    cache, parts = layer.init_cache(4, 7)["attention"], []
    for start, end in ((0, 3), (3, 4), (4, 7)):
        context = {"padding_mask": mask, "cache": cache, "cache_index": start, "causal": True}
        part, found = layer.apply(x[:, start:end], context)
        cache = found["attention"]["cache"]
        parts.append(array(part))
    far = np.abs(np.concatenate(parts, 1) - whole)[PADDED > 0].max()
    assert far < (2e-6 if dtype == "float32" else 0.05)


def test_beams_that_share_a_cache_are_rows_of_their_own(perturb, normal):
    layer, x = block(perturb), ops.convert_to_tensor(normal(4, 6, WIDTH))
    x = ops.concatenate([ops.repeat(x[::2, :4], 2, axis=0), x[:, 4:]], axis=1)  # two of each row
    mask = ops.convert_to_tensor(np.repeat(PADDED[:2, :6].astype("int32"), 2, axis=0))
    whole = array(layer(x, context={"padding_mask": mask}))
    context = {"padding_mask": mask[::2], "cache_index": 0, "causal": True}
    empty = layer.init_cache(2, 6)["attention"]
    _, found = layer.apply(x[::2, :4], {**context, "cache": empty})
    cache = layer.share_cache({"attention": found["attention"]["cache"]}, 2)["attention"]
    later = {"padding_mask": mask, "cache": cache, "cache_index": 4, "causal": True}
    part, _ = layer.apply(x[:, 4:], later)
    np.testing.assert_allclose(array(part), whole[:, 4:], atol=2e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_near_tokens_have_an_exact_bias_in_16_bits_however_far_they_are_in_the_row(dtype):
    positions, slopes = np.arange(4000), alibi_slopes(3)
    bias = array(AlibiBias(3, dtype=dtype)(positions, start_index=3990, length=2))
    expected = slopes[:, None] * np.arange(-9, 1)
    np.testing.assert_array_equal(bias[0, :, 0, 3981:3991], expected)
    np.testing.assert_array_equal(bias[0, :, 1, 3982:3992], expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_sequence_far_on_in_a_packed_row_is_as_good_in_16_bits(perturb, normal, dtype):
    layer, x = attention(perturb, dtype=dtype), normal(1, 600, WIDTH)
    mask = np.array([[1] * 590 + [2] * 10], "int32")
    packed = mixed(layer, x, padding_mask=mask)[:, 590:]
    alone = mixed(layer, x[:, 590:], padding_mask=np.ones((1, 10), "int32"))
    np.testing.assert_allclose(packed, alone, rtol=0.02, atol=0.02)


def test_only_keys_have_a_bias_in_float32_which_takes_no_memory_for_pairs():
    bias = AlibiBias(4)(np.arange(50))
    assert tuple(bias.shape) == (1, 4, 1, 50)
    rows = AlibiBias(4)(np.ones((3, 50), "int32"))
    assert tuple(rows.shape) == (3, 4, 1, 50)


def test_it_is_saved_with_its_model(perturb, normal, reload):
    x = keras.Input((None, WIDTH))
    model = keras.Model(x, block(perturb)(x))
    inputs = normal(2, 5, WIDTH)
    np.testing.assert_array_equal(array(reload(model)(inputs)), array(model(inputs)))


def test_packed_rows_without_a_causal_mask_have_the_bias_too(perturb, normal):
    layer = MultiHeadAttention(3, score_bias=AlibiBias(3))
    layer.build((None, None, WIDTH), (None, None, WIDTH))
    perturb(layer)
    x, ids = normal(2, 7, WIDTH), PACKED.astype("int32")
    bias = (alibi_slopes(3)[:, None, None] * distances(PACKED)[:, None]).astype("float32")
    expected = plain(layer)(
        x, x, attention_mask=self_attention_mask(ops.convert_to_tensor(ids)), attention_bias=bias
    )
    found = mixed(layer, x, padding_mask=ids)
    np.testing.assert_allclose(found[PACKED > 0], array(expected)[PACKED > 0], atol=2e-6)


@pytest.mark.parametrize("heads", [3, 8])
def test_alternatives_and_branch_show(perturb, normal, heads):
    layer = attention(perturb, heads, key_dim=4)
    x = normal(2, 9, WIDTH)
    right = mixed(layer, x)
    for name, attributes in layer.distance_bias.alternatives().items():
        with changed(layer.distance_bias, attributes):
            assert np.abs(mixed(layer, x) - right).max() > 1e-4, name
    with changed(layer, layer.branches()["score_bias"]):
        np.testing.assert_allclose(mixed(layer, x), mixed(plain(layer), x), atol=1e-6)
    np.testing.assert_array_equal(mixed(layer, x), right)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "num_heads=0. Pass a positive"), ((2, 0.0), "max_bias=0.0. Pass a positive")],
)
def test_what_makes_no_slopes_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        AlibiBias(*arguments)
