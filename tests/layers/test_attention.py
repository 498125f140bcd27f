"""Multi-head attention."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import Block, FeedForward, MultiHeadAttention, RMSNorm, RotaryEmbedding
from inarch.layers import dot_product_attention as kernels
from inarch.layers.alternatives import changed

pytestmark = pytest.mark.turns(2)


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def attention(perturb, **kwargs):
    options = {"num_heads": 2, "key_dim": 4, "kernel_initializer": "zeros", **kwargs}
    layer = MultiHeadAttention(**options)
    layer.build((None, None, 8), (None, None, 8))
    return perturb(layer)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rotated(x, base):
    """Rotate each head's `x[t]` by `t` times its frequencies, as pairs of a complex number."""
    half = x.shape[-1] // 2
    turns = np.arange(x.shape[1])[:, None] / base ** (np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * turns)
    return np.concatenate([turned.real, turned.imag], -1)


def expected(layer, query, key, value, mask, bias=0.0):
    """Attention in float64, head by head."""

    def project(dense, x):
        kernel, bias = (array(w).astype("float64") for w in (dense.kernel, dense.bias))
        return x @ kernel + bias

    served = layer.num_heads // (layer.num_key_value_heads or layer.num_heads)
    q, k = project(layer.query_dense, query), project(layer.key_dense, key)
    v = project(layer.value_dense, value)
    qs = np.split(q, layer.num_heads, axis=-1)
    ks, vs = (np.split(x, layer.num_heads // served, axis=-1) for x in (k, v))
    heads = []
    norms = None
    if layer.query_key_norm is not None:
        norms = [array(layer.query_norm.gamma), array(layer.key_norm.gamma)]
        if layer.query_key_norm.num_axes == 2:  # over all heads together
            q, k = (normed(x, g) for x, g in zip((q, k), norms, strict=True))
            qs, ks = np.split(q, len(qs), axis=-1), np.split(k, len(ks), axis=-1)
            norms = None
    for head, q in enumerate(qs):
        k, v = ks[head // served], vs[head // served]
        if norms:
            q, k = (normed(x, g) for x, g in zip((q, k), norms, strict=True))
        if layer.position is not None:
            q, k = (rotated(x, layer.position.max_wavelength) for x in (q, k))
        logits = q @ k.swapaxes(1, 2) * (layer.scale or k.shape[-1] ** -0.5)
        if layer.soft_cap:
            logits = layer.soft_cap * np.tanh(logits / layer.soft_cap)
        logits = logits + (bias[:, head] if np.ndim(bias) else bias)
        heads.append(softmax(np.where(mask, logits, -np.inf)) @ v)
    return project(layer.output_dense, np.concatenate(heads, -1))


def normed(x, gamma):
    return x * gamma / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def causal(length):
    return np.tril(np.ones((length, length), bool))


@pytest.mark.parametrize("value_dim", [None, 3])
@pytest.mark.parametrize("return_scores", [False, True])
def test_it_is_softmax_of_products_head_by_head(
    perturb, normal, compiled, value_dim, return_scores
):
    layer = MultiHeadAttention(2, 4, value_dim, kernel_initializer="zeros")
    layer.build((None, None, 8), (None, None, 6), (None, None, 5))
    perturb(layer)
    query, key, value = normal(2, 4, 8), normal(2, 5, 5, seed=1), normal(2, 5, 6, seed=2)
    mask = np.random.default_rng(3).random((2, 4, 5)) < 0.7
    mask[..., 0] = True
    output = compiled(layer)(
        query, value, key=key, attention_mask=mask, return_attention_scores=return_scores
    )
    output = output[0] if return_scores else output
    np.testing.assert_allclose(array(output), expected(layer, query, key, value, mask), atol=2e-6)


def test_scores_are_probabilities_and_zero_where_masked(perturb, normal, compiled):
    x = normal(2, 4, 8)
    layer = compiled(attention(perturb))
    _, scores = layer(x, x, attention_mask=causal(4), return_attention_scores=True)
    scores = array(scores)
    assert scores.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-6)
    assert (scores[..., ~causal(4)] == 0).all()


def test_masks_of_every_rank_and_kind_mean_the_same(perturb, normal, compiled):
    layer, x = compiled(attention(perturb)), normal(2, 4, 8)
    mask = np.stack([causal(4)] * 2)
    outputs = [
        array(layer(x, x, attention_mask=m))
        for m in (causal(4), mask, mask.astype("int32"), mask[:, None])
    ]
    for output in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_row_that_may_see_nothing_is_finite_and_so_are_its_gradients(
    perturb, normal, train, dropout
):
    x = keras.Input((4, 8))
    mask = keras.Input((4, 4), dtype="bool")
    hidden = keras.layers.Dense(8)(x)
    layer = attention(perturb, dropout=dropout)
    model = keras.Model([x, mask], layer(hidden, hidden, attention_mask=mask))
    nothing = np.zeros((2, 4, 4), bool)
    nothing[1, 0] = True
    before = [array(weight) for weight in model.trainable_weights]
    assert np.isfinite(array(model([normal(2, 4, 8), nothing]))).all()
    assert np.isfinite(train(model, [normal(2, 4, 8), nothing]))
    after = [array(weight) for weight in model.trainable_weights]
    assert all(np.isfinite(w).all() for w in after)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_a_query_that_may_see_nothing_averages_all_values(perturb, normal, compiled):
    layer, x = compiled(attention(perturb)), normal(2, 4, 8)
    mask = np.zeros((2, 4, 4), bool)
    plain = array(layer(x, x, attention_mask=mask))
    explicit, scores = layer(x, x, attention_mask=mask, return_attention_scores=True)
    np.testing.assert_allclose(array(scores), 1 / 4, rtol=1e-6)
    np.testing.assert_allclose(plain, array(explicit), atol=1e-6)


@pytest.mark.parametrize("projection", ["query", "key", "value", "output"])
def test_each_projection_can_go_without_a_bias_or_alone_have_one(perturb, projection):
    without = attention(perturb, name="a", **{f"{projection}_bias": False})
    paths = [weight.path for weight in without.weights]
    assert f"a/{projection}/bias" not in paths
    assert len(paths) == 7
    alone = attention(perturb, name="a", use_bias=False, **{f"{projection}_bias": True})
    assert [w.path for w in alone.weights if w.name == "bias"] == [f"a/{projection}/bias"]


def test_kernels_are_plain_matrices_under_stable_names(perturb):
    layer = attention(perturb, num_heads=2, key_dim=3, name="attention")
    shapes = {weight.path: tuple(weight.shape) for weight in layer.weights}
    assert shapes == {
        **{f"attention/{name}/kernel": (8, 6) for name in ("query", "key", "value")},
        **{f"attention/{name}/bias": (6,) for name in ("query", "key", "value")},
        "attention/output/kernel": (6, 8),
        "attention/output/bias": (8,),
    }


def test_kernels_of_one_shape_start_different():
    layer = MultiHeadAttention(2)
    layer.build((None, None, 8), (None, None, 8))
    query, key = array(layer.query_dense.kernel), array(layer.key_dense.kernel)
    assert np.abs(query - key).max() > 1e-3


@pytest.mark.parametrize("return_scores", [False, True])
def test_decoding_step_by_step_gives_the_full_pass(perturb, normal, compiled, return_scores):
    layer, x = compiled(attention(perturb)), normal(2, 5, 8)
    full = array(layer(x, x, attention_mask=causal(5)))
    cache = np.zeros((2, 2, 5, 2, 4), "float32")
    for i in range(5):
        step = x[:, i : i + 1]
        output, *_, cache = layer(
            step,
            step,
            attention_mask=causal(5)[i : i + 1],
            cache=cache,
            cache_update_index=np.int32(i),
            return_attention_scores=return_scores,
        )
        np.testing.assert_allclose(array(output), full[:, i : i + 1], atol=2e-6)


@pytest.mark.parametrize("length", [1, 3])
def test_a_pair_of_keys_and_values_is_a_cache_too(perturb, normal, compiled, length):
    layer, x = attention(perturb), normal(2, 6, 8)
    cache = layer.init_cache(2, 6)
    layer = compiled(layer)
    full = array(layer(x, x, attention_mask=causal(6)))
    for i in range(0, 6, length):
        rows = slice(i, i + length)
        mask = causal(6)[rows]
        step = x[:, rows]
        output, cache = layer(
            step, step, attention_mask=mask, cache=cache, cache_update_index=np.int32(i)
        )
        np.testing.assert_allclose(array(output), full[:, rows], atol=2e-6)
    assert [tuple(part.shape) for part in cache] == [(2 * 2, 4, 6)] * 2


@pytest.mark.turns(3)
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_key_value_heads": 2, "window": 2}], ids=str)
def test_beams_that_share_a_cache_attend_as_each_would_alone(perturb, normal, options, scores):
    layer = attention(perturb, num_heads=4, **options)
    bias, padding = normal(1, 4, 7, 7, seed=9), np.ones((6, 1, 7), bool)
    padding[3:, :, 0] = False  # of the second row
    histories = normal(2, 3, 8)
    mask = causal(7)[:3] & padding[::3]
    _, cache = layer(
        histories, histories, attention_mask=mask, cache=layer.init_cache(2, 7),
        cache_update_index=0, attention_bias=bias[:, :, :3],
    )  # fmt: skip
    cache, histories = layer.share_cache(cache, 3), np.repeat(histories, 3, axis=0)
    for i, parents in enumerate(([0, 2, 0, 4, 4, 3], [1, 1, 0, 5, 3, 3], [2, 1, 0, 3, 4, 5]), 3):
        new = normal(6, 1, 8, seed=i)
        output, *found, cache = layer(
            new, new, attention_mask=causal(7)[i : i + 1] & padding, cache=cache,
            cache_update_index=np.int32(i), attention_bias=bias[:, :, i : i + 1],
            return_attention_scores=scores,
        )  # fmt: skip
        histories, end = np.concatenate([histories, new], axis=1), i + 1
        alone, wanted = layer(
            histories, histories, attention_mask=causal(end) & padding[:, :, :end],
            attention_bias=bias[:, :, :end, :end], return_attention_scores=True,
        )  # fmt: skip
        np.testing.assert_allclose(array(output), array(alone)[:, -1:], atol=5e-6)
        if scores:
            np.testing.assert_allclose(
                array(found[0])[..., :end], array(wanted)[:, :, -1:], atol=5e-6
            )
        histories = histories[parents]
        cache = layer.reorder_cache(cache, 6, ops.convert_to_tensor(np.array(parents, "int32")))


def test_the_cache_of_a_source_serves_in_its_place(perturb, normal):
    layer, x, source = attention(perturb), normal(4, 3, 8), normal(2, 5, 8, seed=1)
    cache = layer.make_cache(ops.convert_to_tensor(source))
    expected = array(layer(x, np.repeat(source, 2, axis=0)))
    output, same = layer(x, np.zeros((4, 1, 8), "float32"), cache=cache)
    np.testing.assert_allclose(array(output), expected, atol=2e-6)
    assert all(a is b for a, b in zip(same, cache, strict=True))


def test_a_cache_without_an_index_is_used_as_it_is(perturb, normal):
    layer, x, source = attention(perturb), normal(2, 4, 8), normal(2, 4, 8, seed=1)
    empty = np.zeros((2, 2, 4, 2, 4), "float32")
    filled, cache = layer(x, source, cache=empty, cache_update_index=0)
    again, same = layer(x, np.zeros_like(source), cache=cache)
    np.testing.assert_array_equal(array(again), array(filled))
    np.testing.assert_array_equal(array(same), array(cache))


def test_what_cannot_be_done_is_refused_with_the_numbers(perturb, normal):
    layer, x = attention(perturb), normal(2, 4, 8)
    with pytest.raises(ValueError, match="cache_update_index=1 without a cache"):
        layer(x, x, cache_update_index=1)
    with pytest.raises(ValueError, match="4 tokens from cache_update_index=2 .* length 4"):
        layer(x, x, cache=np.zeros((1, 2, 4, 2, 4), "float32"), cache_update_index=2)
    with pytest.raises(ValueError, match="num_heads=3 doesn't divide the hidden size 8"):
        MultiHeadAttention(3)(x, x)
    with pytest.raises(ValueError, match="num_heads=0"):
        MultiHeadAttention(0)
    with pytest.raises(ValueError, match=r"attention_mask of shape \(3,\)"):
        layer(x, x, attention_mask=np.ones(3, bool))


@pytest.mark.parametrize("return_scores", [False, True])
@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16", "float16", "mixed_float16"])
def test_half_precision_is_near_single(perturb, normal, compiled, policy, return_scores):
    x = normal(2, 4, 8)
    layer = attention(perturb, dtype=policy)
    output = compiled(layer)(x, x, attention_mask=causal(4), return_attention_scores=return_scores)
    output = output[0] if return_scores else output
    assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype
    single = array(compiled(attention(perturb))(x, x, attention_mask=causal(4)))
    np.testing.assert_allclose(array(output), single, atol=0.05)


@pytest.mark.parametrize("pairs", [0, 256 * 256])
def test_float16_is_at_least_as_exact_as_its_own_rounding(normal, compiled, monkeypatch, pairs):
    monkeypatch.setattr(kernels, "MANY_PAIRS", pairs)
    rounded = [normal(2, 5, 3, 4, seed=seed).astype("float16") for seed in range(3)]

    def attended(*inputs):
        return kernels.dot_product_attention(
            *inputs, ops.convert_to_tensor(causal(5))[None, None], 0.5
        )

    half = array(compiled(attended)(*map(ops.convert_to_tensor, rounded)))
    exact = array(compiled(attended)(*(ops.cast(x, "float32") for x in rounded)))
    np.testing.assert_allclose(half, exact, atol=1e-3)


def test_dropout_acts_in_training_alone(perturb, normal):
    layer, x = attention(perturb, dropout=0.5), normal(2, 4, 8)
    plain = array(attention(perturb)(x, x))
    np.testing.assert_array_equal(array(layer(x, x)), plain)
    assert np.abs(array(layer(x, x, training=True)) - plain).max() > 1e-2


def test_lora_on_one_projection_starts_as_the_same_function_and_leaves_its_kernel_alone(
    perturb, normal, train
):
    x = keras.Input((4, 8))
    layer = attention(perturb)
    model = keras.Model(x, layer(x, x))
    data = normal(2, 4, 8)
    before = array(model(data))
    layer.query_dense.enable_lora(2)
    np.testing.assert_array_equal(array(model(data)), before)
    (frozen,) = layer.query_dense.non_trainable_weights
    kernel = array(frozen)
    train(model, data)
    assert np.abs(array(layer.query_dense.lora_kernel_b)).max() > 0
    assert np.abs(array(model(data)) - before).max() > 1e-6
    np.testing.assert_array_equal(array(frozen), kernel)


def test_shapes_are_known_before_the_call(perturb, normal):
    layer = attention(perturb)
    x, source = normal(2, 4, 8), normal(2, 5, 8)
    cache = np.zeros((2, 2, 5, 2, 4), "float32")
    for given in (
        {},
        {"return_attention_scores": True},
        {"cache": cache, "cache_update_index": 0},
        {"cache": cache, "cache_update_index": 0, "return_attention_scores": True},
    ):
        spec = layer.compute_output_spec(
            keras.KerasTensor(x.shape), keras.KerasTensor(source.shape), **given
        )
        output = layer(x, source, **given)
        assert [s.shape for s in keras.tree.flatten(spec)] == [
            tuple(y.shape) for y in keras.tree.flatten(output)
        ]


def test_it_survives_saving(perturb, normal, reload):
    x, source = keras.Input((None, 8)), keras.Input((None, 8))
    layer = attention(perturb, dropout=0.1, key_bias=False, kernel_initializer="he_normal")
    model = keras.Model([x, source], layer(x, source))
    again = reload(model)
    assert again.layers[-1].get_config() == layer.get_config()
    data = [normal(2, 4, 8), normal(2, 5, 8, seed=1)]
    np.testing.assert_array_equal(array(again(data)), array(model(data)))


def test_a_causal_attention_in_a_block_shows_no_token_those_after_it(perturb, normal):
    options = {"num_heads": 2, "causal": True}
    block = Block(MultiHeadAttention(**options), FeedForward(9), RMSNorm())
    x = normal(2, 5, 8)
    block(x)
    perturb(block)
    whole = array(block(x))
    np.testing.assert_allclose(array(block(x[:, :3])), whole[:, :3], atol=2e-6)
    packed = np.array([[1, 1, 2, 2, 2]] * 2)
    apart = array(block(x, context={"padding_mask": packed}))
    np.testing.assert_allclose(apart[:, :2], whole[:, :2], atol=2e-6)
    np.testing.assert_allclose(apart[:, 2:], array(block(x[:, 2:])), atol=2e-6)


def test_alternatives_of_shared_heads_and_of_norms_show(perturb, normal):
    options = {"num_heads": 4, "num_key_value_heads": 2, "position": RotaryEmbedding(50)}
    layer, x = attention(perturb, query_key_norm=RMSNorm(), **options), normal(2, 6, 8)
    right = array(layer(x, x, attention_mask=causal(6)))
    ways = {
        k: v
        for k, v in layer.alternatives().items()
        if "norm" in k or "in turn" in k or "first head" in k
    }
    assert len(ways) == 7
    for phrase, attributes in ways.items():
        with changed(layer, attributes):
            wrong = array(layer(x, x, attention_mask=causal(6)))
        assert np.abs(wrong - right).max() > 1e-3, phrase


@pytest.mark.parametrize("shared", [2, None])
def test_alternatives_of_norms_over_all_heads_show(perturb, normal, shared):
    options = {"num_heads": 4, "num_key_value_heads": shared, "position": RotaryEmbedding(50)}
    layer, x = attention(perturb, query_key_norm=RMSNorm(num_axes=2), **options), normal(2, 6, 8)
    right = array(layer(x, x, attention_mask=causal(6)))
    every = layer.alternatives()
    ways = {k: v for k, v in every.items() if "norm" in k or k == "2 heads"}
    # Norms of unlike widths can't be in each other's place; other numbers of heads have them too.
    assert len(ways) == (5 if shared else 6)
    for phrase, attributes in ways.items():
        with changed(layer, attributes):
            wrong = array(layer(x, x, attention_mask=causal(6)))
        assert np.abs(wrong - right).max() > 1e-3, phrase


def test_alternatives_of_a_soft_cap_show_and_leave_none_once_it_is_gone(perturb, normal):
    layer, x = attention(perturb, soft_cap=0.5), normal(2, 6, 8)
    right = array(layer(x, x))
    ways = {phrase: way for phrase, way in layer.alternatives().items() if "cap" in phrase}
    assert len(ways) == 5
    for phrase, attributes in ways.items():
        with changed(layer, attributes):
            wrong = array(layer(x, x))
        assert np.abs(wrong - right).max() > 1e-3, phrase
    with changed(layer, layer.branches()["soft_cap"]):
        assert not [phrase for phrase in layer.alternatives() if "cap" in phrase]


OPTIONS = [
    {"num_key_value_heads": 2},
    {"num_key_value_heads": 1},
    {"window": 2},
    {"position": RotaryEmbedding(100)},
    {"num_key_value_heads": 2, "window": 1, "position": RotaryEmbedding(50)},
    {"num_key_value_heads": 2, "position": RotaryEmbedding(50), "query_key_norm": RMSNorm()},
    {"num_key_value_heads": 2, "query_key_norm": RMSNorm(num_axes=2)},
    {"scale": 0.3},
    {"num_key_value_heads": 2, "soft_cap": 0.5, "window": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("scores", [False, True])
def test_shared_heads_windows_and_rotary_positions(perturb, normal, compiled, options, scores):
    layer, x = attention(perturb, num_heads=4, **options), normal(2, 6, 8)
    distance = np.abs(np.arange(6)[:, None] - np.arange(6))
    mask = causal(6) & (distance <= options.get("window", 6))
    bias = normal(1, 4, 6, 6, seed=5)
    output = compiled(layer)(
        x, x, attention_mask=causal(6), attention_bias=bias, return_attention_scores=scores
    )
    output = array(output[0] if scores else output)
    np.testing.assert_allclose(output, expected(layer, x, x, x, mask, bias), atol=5e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("pair", [True, False])
def test_a_cache_holds_the_heads_of_keys_and_their_rotated_positions(
    perturb, normal, compiled, options, pair
):
    layer, x = attention(perturb, num_heads=4, **options), normal(2, 6, 8)
    heads = options.get("num_key_value_heads", 4)
    cache = layer.init_cache(2, 6) if pair else np.zeros((2, 2, 6, heads, 4), "f4")
    layer = compiled(layer)
    whole = array(layer(x, x, attention_mask=causal(6)))
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        step = x[:, start:stop]
        output, cache = layer(
            step,
            step,
            attention_mask=causal(6)[start:stop],
            cache=cache,
            cache_update_index=np.int32(start),
        )
        np.testing.assert_allclose(array(output), whole[:, start:stop], atol=5e-6)


def test_long_rows_head_by_head_have_the_same_bias_and_mask(perturb, normal, compiled, monkeypatch):
    layer, x = attention(perturb), normal(3, 5, 8)
    mask = np.stack([causal(5), causal(5).T, np.ones((5, 5), bool)])
    options = {"attention_mask": mask, "attention_bias": normal(1, 2, 5, 5, seed=1)}
    together = array(compiled(layer)(x, x, **options))
    monkeypatch.setattr(kernels, "MANY_PAIRS", 1)
    np.testing.assert_allclose(array(compiled(layer)(x, x, **options)), together, atol=1e-6)


def test_positions_may_be_given_and_only_their_differences_matter(perturb, normal, compiled):
    layer, x = compiled(attention(perturb, position=RotaryEmbedding(100))), normal(2, 4, 8)
    plain = array(layer(x, x))
    shifted = array(layer(x, x, positions=np.arange(4)[None] + np.array([[3], [7]])))
    np.testing.assert_allclose(shifted, plain, atol=1e-5)
    assert np.abs(array(layer(x, x, positions=np.array([0, 2, 4, 6]))) - plain).max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_key_value_heads": 3}, "num_key_value_heads=3 doesn't divide num_heads=4"),
        ({"num_key_value_heads": 0}, "num_key_value_heads=0. Pass a positive int"),
        ({"window": 0}, "window=0. Pass a positive int"),
        ({"soft_cap": 0.0}, "soft_cap=0.0. Pass a positive number, or None for none"),
    ],
)
def test_sizes_that_make_no_attention_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        MultiHeadAttention(4, **options)
