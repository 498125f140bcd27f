"""Disentangled attention, its table of relative positions, its encoder and its convolution."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import (
    ConvResidual,
    DisentangledAttentionEncoder,
    DisentangledSelfAttention,
    RelativeEmbedding,
)
from inarch.layers.buckets import distance_rows

pytestmark = pytest.mark.turns(2)

BUCKETS, LONGEST, ROWS = 6, 20, 12


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def attention(perturb, positions=True, **options):
    layer = DisentangledSelfAttention(2, LONGEST, BUCKETS, **options)
    layer.build((None, None, 8), (ROWS, 8) if positions else None)
    return perturb(layer)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def expected(layer, x, table, mask):
    """The three products of every pair, looked up one by one, in float64."""

    def project(dense, x):
        kernel, bias = (array(w).astype("float64") for w in (dense.kernel, dense.bias))
        y = x @ kernel + bias
        return y.reshape(*y.shape[:-1], layer.num_heads, -1)

    q, k, v = (project(d, x) for d in (layer.query_dense, layer.key_dense, layer.value_dense))
    logits = np.einsum("bthd,bshd->bhts", q, k)
    if table is not None:
        rows = distance_rows(layer.bucket_size, layer.max_relative_positions)
        middle, length = len(rows) // 2, x.shape[1]
        distance = np.arange(length)[:, None] - np.arange(length)
        row = rows[np.clip(distance, -middle, middle) + middle]
        if "c2p" in layer.terms:
            keys = project(layer.position_key_dense, table)[row]
            logits = logits + np.einsum("bthd,tshd->bhts", q, keys)
        if "p2c" in layer.terms:
            queries = project(layer.position_query_dense, table)[row]
            logits = logits + np.einsum("bshd,tshd->bhts", k, queries)
    logits /= np.sqrt(q.shape[-1] * (1 + len(layer.terms)))
    weights = softmax(np.where(mask[:, None], logits, -np.inf))
    mixed = np.einsum("bhts,bshd->bthd", weights, v).reshape(x.shape)
    kernel, bias = (
        array(w).astype("float64") for w in (layer.output_dense.kernel, layer.output_dense.bias)
    )
    return mixed @ kernel + bias, weights


@pytest.mark.turns(3)
@pytest.mark.parametrize("terms", ["c2p|p2c", "c2p", "p2c", "none"])
@pytest.mark.parametrize("share_keys", [True, False])
@pytest.mark.parametrize("length", [1, 7, 30])
def test_scores_are_the_products_of_contents_and_distances(
    perturb, normal, compiled, terms, share_keys, length
):
    layer = attention(perturb, position_terms=terms, share_keys=share_keys)
    x, table = normal(2, length, 8), normal(ROWS, 8, seed=1)
    mask = np.random.default_rng(0).random((2, length, length)) < 0.7
    mask[:, np.arange(length), np.arange(length)] = True
    program = compiled(layer)
    output, scores = program(x, table, attention_mask=mask, return_attention_scores=True)
    want, weights = expected(layer, x, table, mask)
    np.testing.assert_allclose(array(output), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(scores), weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(array(program(x, table, attention_mask=mask)), want, atol=1e-4)


def test_without_relative_embeddings_the_terms_count_in_the_scale_alone(perturb, normal):
    layer = attention(perturb, positions=False)
    x = normal(2, 5, 8)
    want, _ = expected(layer, x, None, np.ones((2, 5, 5), bool))
    np.testing.assert_allclose(array(layer(x)), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [2, 6, 24])
def test_only_rows_that_the_length_reaches_matter(perturb, normal, compiled, length):
    layer = compiled(attention(perturb))
    x, table = normal(1, length, 8), normal(ROWS, 8, seed=1)
    rows = distance_rows(BUCKETS, LONGEST)
    middle = len(rows) // 2
    reached = np.unique(rows[max(middle - length + 1, 0) : middle + length])
    other = table + np.where(np.isin(np.arange(ROWS), reached), 0, 9)[:, None].astype("f4")
    np.testing.assert_allclose(array(layer(x, other)), array(layer(x, table)), atol=1e-6)


def test_a_mask_of_any_rank_is_the_same_mask(perturb, normal, compiled):
    layer = compiled(attention(perturb))
    x, table = normal(2, 5, 8), normal(ROWS, 8, seed=1)
    mask = np.tril(np.ones((5, 5), bool))
    flat = array(layer(x, table, attention_mask=mask))
    for wide in (mask[None].repeat(2, 0), mask[None, None].repeat(2, 0)):
        np.testing.assert_allclose(array(layer(x, table, attention_mask=wide)), flat, atol=1e-6)


def test_low_rank_updates_reach_contents_and_positions(perturb, normal):
    layer = attention(perturb)
    x, table = normal(1, 5, 8), normal(ROWS, 8, seed=1)
    layer.key_dense.enable_lora(2)
    layer.key_dense.lora_kernel_a.assign(np.ones((8, 2)))
    layer.key_dense.lora_kernel_b.assign(np.ones((2, 8)))
    want, _ = expected(layer, x, table, np.ones((1, 5, 5), bool))
    np.testing.assert_allclose(array(layer(x, table)), want, rtol=1e-4, atol=1e-5)


def model_of(**options):
    inputs = keras.Input((None, 8))
    mask = keras.Input((None,), dtype="int32")
    table = RelativeEmbedding(LONGEST, BUCKETS, name="relative")(inputs)
    x = DisentangledAttentionEncoder(
        12, 2, max_relative_positions=LONGEST, bucket_size=BUCKETS, **options
    )(inputs, table, padding_mask=mask)
    x = ConvResidual(3, "gelu", 2)(inputs, x, padding_mask=mask)
    return keras.Model([inputs, mask], x)


def test_models_of_any_length_save_and_load(perturb, normal, reload):
    model = perturb(model_of(position_terms="c2p", share_keys=False))
    again = reload(model)
    for length in (1, 4, 9):
        x, mask = normal(2, length, 8), np.ones((2, length), "int32")
        np.testing.assert_array_equal(array(again([x, mask])), array(model([x, mask])))
        np.testing.assert_allclose(model.predict([x, mask], verbose=0), array(model([x, mask])),
            rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_bfloat16"])
def test_low_precision_is_close_and_finite(perturb, normal, compiled, dtype):
    full, low = perturb(model_of()), perturb(model_of(dtype=dtype))
    x, mask = normal(2, 7, 8), np.array([[1] * 7, [1, 1, 1, 0, 0, 0, 0]], "int32")
    low.set_weights(full.get_weights())
    low, full = (array(compiled(model)([x, mask])) for model in (low, full))
    assert np.abs(low - full).max() < 0.2


def test_a_step_of_training_changes_the_table(perturb, normal, train):
    model = perturb(model_of(dropout=0.1))
    before = array(model.get_layer("relative").embeddings)
    outputs = keras.layers.Dense(1)(model.output[:, 0])
    train(keras.Model(model.input, outputs), [normal(2, 7, 8), np.ones((2, 7), "int32")])
    assert np.abs(array(model.get_layer("relative").embeddings) - before).max() > 0


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_token_is_convolved_with_its_own_sequence_alone(perturb, normal, compiled, size, groups):
    layer = ConvResidual(size, "tanh", groups)
    layer.build((None, None, 8), (None, None, 8))
    layer = compiled(perturb(layer))
    x, residual = normal(1, 9, 8), normal(1, 9, 8, seed=1)
    numbers = np.array([[0, 1, 1, 1, 1, 2, 2, 2, 0]], "int32")
    packed = array(layer(x, residual, padding_mask=numbers))
    for part in (slice(1, 5), slice(5, 8)):
        alone = array(layer(x[:, part], residual[:, part]))
        np.testing.assert_allclose(packed[:, part], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: DisentangledSelfAttention(2, position_terms="p2p"), "'p2p'"),
        (lambda: DisentangledSelfAttention(3).build((None, None, 8)), "num_heads=3"),
        (lambda: distance_rows(3, 20), "bucket_size=3 is too small.*Pass 4 or more, or 0"),
        (lambda: distance_rows(8, 5), "max_relative_positions=5 .*bucket_size=8.*more than 5"),
        (lambda: distance_rows(256, 2), "bucket_size=256 is too large.*Pass a smaller"),
        (lambda: DisentangledAttentionEncoder(4, 2, use_bias=False), "use_bias=False"),
        (lambda: ConvResidual(2), "kernel_size=2"),
        (lambda: ConvResidual(3, groups=3).build((None, None, 8)), "groups=3"),
    ],
)  # fmt: skip
def test_what_makes_no_layer_is_refused_by_name(make, match):
    with pytest.raises(InputError, match=match):
        make()
