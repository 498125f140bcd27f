"""Transformer encoder and decoder."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from inarch.layers import TransformerDecoder, TransformerEncoder

pytestmark = pytest.mark.turns(2)

DIM = 8


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


@pytest.fixture(scope="module")
def encoder(perturb):
    layer = TransformerEncoder(16, 2, 0, "gelu", 1e-3, "zeros")
    layer.build((None, None, DIM))
    return perturb(layer)


@pytest.fixture(scope="module")
def decoder(perturb):
    layer = TransformerDecoder(16, 2, 0, "gelu", 1e-5, "zeros", normalize_first=True)
    layer.build((None, None, DIM), (None, None, 6))
    return perturb(layer)


@pytest.fixture(scope="module")
def encode(encoder, compiled):
    return compiled(encoder)


@pytest.fixture(scope="module")
def decode(decoder, compiled):
    return compiled(decoder)


class Reference:
    """Encoder and decoder in plain numpy, in the arithmetic of a dtype."""

    def __init__(self, dtype):
        self.dtype = dtype

    def norm(self, layer, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.dtype(layer.epsilon))
        return x * self.value(layer.gamma) + self.value(layer.beta)

    def dense(self, layer, x):
        return x @ self.value(layer.kernel) + self.value(layer.bias)

    def attention(self, layer, query, source, mask):
        q = np.split(self.dense(layer.query_dense, query), layer.num_heads, -1)
        k = np.split(self.dense(layer.key_dense, source), layer.num_heads, -1)
        v = np.split(self.dense(layer.value_dense, source), layer.num_heads, -1)
        heads = []
        for q, k, v in zip(q, k, v, strict=True):
            logits = q @ k.swapaxes(1, 2) / self.dtype(math.sqrt(q.shape[-1]))
            logits = np.where(mask, logits, self.dtype(-1e30))
            e = np.exp(logits - logits.max(-1, keepdims=True))
            heads.append(e / e.sum(-1, keepdims=True) @ v)
        return self.dense(layer.output_dense, np.concatenate(heads, -1))

    def gelu(self, x):
        erf = np.vectorize(math.erf)(x / self.dtype(math.sqrt(2))).astype(self.dtype)
        return x * self.dtype(0.5) * (1 + erf)

    def halves(self, layer, x, *halves):
        for norm, half in halves:
            x = (
                x + half(self.norm(norm, x))
                if layer.normalize_first
                else self.norm(norm, x + half(x))
            )
        return x

    def feed_forward(self, layer):
        return layer.feed_forward_norm, lambda x: self.dense(
            layer.feed_forward.down, self.gelu(self.dense(layer.feed_forward.up, x))
        )

    def encoder(self, layer, x, mask):
        attend = (layer.attention_norm, lambda x: self.attention(layer.attention, x, x, mask))
        return self.halves(layer, x.astype(self.dtype), attend, self.feed_forward(layer))

    def decoder(self, layer, x, source, mask):
        x, source = x.astype(self.dtype), source.astype(self.dtype)
        past = np.tril(np.ones((x.shape[1], x.shape[1]), bool))
        attend = (
            layer.attention_norm,
            lambda x: self.attention(layer.attention, x, x, past),
        )
        cross = (
            layer.cross_attention_norm,
            lambda x: self.attention(layer.cross_attention, x, source, mask),
        )
        return self.halves(layer, x, attend, cross, self.feed_forward(layer))

    def value(self, variable):
        return array(variable).astype(self.dtype)


@pytest.mark.parametrize("normalize_first", [False, True])
def test_the_encoder_is_the_paper_s_up_to_rounding(perturb, normal, compiled, normalize_first):
    layer = TransformerEncoder(256, 4, 0.1, "gelu", 1e-12, "zeros", normalize_first=normalize_first)
    layer.build((None, None, 64))
    perturb(layer)
    x = normal(2, 32, 64)
    numbers = np.ones((2, 32), "int32")
    numbers[0, 20:] = 0
    numbers[1, 16:] = 2
    mask = numbers[:, :, None] == numbers[:, None, :]
    exact = Reference(np.float64).encoder(layer, x, mask)
    noise = np.abs(Reference(np.float32).encoder(layer, x, mask) - exact).mean()
    error = np.abs(array(compiled(layer)(x, padding_mask=numbers)) - exact).mean()
    assert error < 2 * noise


@pytest.mark.parametrize("normalize_first", [False, True])
def test_the_decoder_is_the_paper_s_up_to_rounding(perturb, normal, compiled, normalize_first):
    layer = TransformerDecoder(256, 4, 0.1, "gelu", 1e-12, "zeros", normalize_first=normalize_first)
    layer.build((None, None, 64), (None, None, 48))
    perturb(layer)
    x, source = normal(2, 32, 64), normal(2, 20, 48)
    real = np.ones((2, 20), "int32")
    real[0, 12:] = 0
    exact = Reference(np.float64).decoder(layer, x, source, real[:, None] == 1)
    noise = np.abs(Reference(np.float32).decoder(layer, x, source, real[:, None] == 1) - exact)
    error = np.abs(array(compiled(layer)(x, source, encoder_padding_mask=real)) - exact)
    assert error.mean() < 2 * noise.mean()


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([2, 4]), st.integers(0, 4), st.integers(0, 99))
def test_neither_the_number_nor_the_content_of_pads_reaches_a_token(
    encode, normal, pads, left, seed
):
    left = min(left, pads)
    x = normal(2, 4, DIM)
    alone = array(encode(x, padding_mask=np.ones((2, 4), "int32")))
    noise = 10 * normal(2, pads, DIM, seed=seed)
    padded = np.concatenate([noise[:, :left], x, noise[:, left:]], axis=1)
    mask = np.array([[0] * left + [1] * 4 + [0] * (pads - left)] * 2)
    output = array(encode(padded, padding_mask=mask))[:, left : left + 4]
    np.testing.assert_allclose(output, alone, atol=5e-6)


def test_sequences_packed_in_a_row_come_out_as_they_do_alone(encode, normal):
    first, second = normal(2, 4, DIM), normal(2, 3, DIM, seed=1)
    row = np.concatenate([first, second, normal(2, 1, DIM, seed=2)], axis=1)
    packed = array(encode(row, padding_mask=np.array([[1, 1, 1, 1, 2, 2, 2, 0]] * 2)))
    np.testing.assert_allclose(packed[:, :4], array(encode(first)), atol=5e-6)
    np.testing.assert_allclose(packed[:, 4:7], array(encode(second)), atol=5e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_row_of_padding_is_finite_and_so_are_its_gradients(perturb, normal, train, dropout):
    x, mask = keras.Input((4, DIM)), keras.Input((4,), dtype="int32")
    layer = TransformerEncoder(16, 2, dropout)
    model = keras.Model([x, mask], layer(keras.layers.Dense(DIM)(x), padding_mask=mask))
    perturb(layer)
    data = [normal(2, 4, DIM), np.array([[0, 0, 0, 0], [1, 1, 0, 0]])]
    assert np.isfinite(array(model(data))).all()
    before = [array(weight) for weight in model.trainable_weights]
    assert np.isfinite(train(model, data))
    after = [array(weight) for weight in model.trainable_weights]
    assert all(np.isfinite(weight).all() for weight in after)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_an_attention_mask_hides_what_it_says(encode, normal):
    x = normal(2, 4, DIM)
    other = x.copy()
    other[:, 3] += 1
    mask = np.tril(np.ones((2, 4, 4), bool))
    for rank in (mask, mask[:, None]):
        y, z = (array(encode(v, attention_mask=rank)) for v in (x, other))
        np.testing.assert_array_equal(y[:, :3], z[:, :3])
        assert np.abs(y[:, 3] - z[:, 3]).max() > 1e-3


def test_the_implicit_mask_of_an_embedding_counts_as_a_padding_mask(encoder, decoder, normal):
    ids = np.array([[3, 1, 2, 0], [4, 0, 0, 0]])
    x = keras.layers.Embedding(5, DIM, mask_zero=True)(ids)
    bare = array(x)
    mask = ids != 0
    source = normal(2, 3, 6)
    np.testing.assert_array_equal(array(encoder(x)), array(encoder(bare, padding_mask=mask)))
    np.testing.assert_array_equal(
        array(decoder(x, source)), array(decoder(bare, source, decoder_padding_mask=mask))
    )
    assert np.abs(array(encoder(x)) - array(encoder(bare))).max() > 1e-4


def test_attention_scores_come_with_the_output(encode, normal):
    x, mask = normal(2, 4, DIM), np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
    output, scores = encode(x, padding_mask=mask, return_attention_scores=True)
    assert scores.shape == (2, 2, 4, 4)
    assert (array(scores)[0, :, :3, 3] == 0).all()
    np.testing.assert_allclose(array(output), array(encode(x, padding_mask=mask)), atol=2e-6)


def test_the_two_dropouts_are_set_apart(perturb, normal):
    x = normal(2, 4, DIM)

    def spread(**rates):
        layer = TransformerEncoder(16, 2, **rates)
        layer.build((None, None, DIM))
        perturb(layer)
        return np.abs(array(layer(x, training=True)) - array(layer(x))).max()

    assert spread() < 1e-5
    assert spread(dropout=0.5, attention_dropout=0) > 1e-2
    assert spread(attention_dropout=0.5) > 1e-3


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 3), st.integers(0, 99))
def test_a_changed_future_never_changes_the_past(decode, normal, when, seed):
    x, source = normal(2, 4, DIM), normal(2, 3, 6)
    other = x.copy()
    other[:, when:] = normal(2, 4 - when, DIM, seed=seed + 1)
    y, z = array(decode(x, source)), array(decode(other, source))
    np.testing.assert_array_equal(y[:, :when], z[:, :when])
    assert np.abs(y[:, when:] - z[:, when:]).max() > 1e-4


def test_without_the_causal_mask_the_future_is_seen(decode, normal):
    x, source = normal(2, 4, DIM), normal(2, 3, 6)
    other = x.copy()
    other[:, 3] = normal(2, DIM, seed=7)
    y, z = (array(decode(v, source, use_causal_mask=False)) for v in (x, other))
    assert np.abs(y[:, 0] - z[:, 0]).max() > 1e-4


@pytest.mark.parametrize("pads", [None, 2])
def test_decoding_step_by_step_gives_the_full_pass(decode, normal, pads):
    x, source = normal(2, 5, DIM), normal(2, 3, 6)
    masks = {"encoder_padding_mask": np.array([[1, 1, 0], [1, 1, 1]])}
    if pads:
        masks["decoder_padding_mask"] = np.array([[0] * pads + [1] * (5 - pads), [1] * 5])
    full = array(decode(x, source, **masks))
    self_cache = np.zeros((2, 2, 5, 2, 4), "float32")
    cross_cache, fill = np.zeros((2, 2, 3, 2, 4), "float32"), 0
    for i in range(5):
        output, self_cache, cross_cache = decode(
            x[:, i : i + 1],
            source,
            self_attention_cache=self_cache,
            self_attention_cache_update_index=np.int32(i),
            cross_attention_cache=cross_cache,
            cross_attention_cache_update_index=fill,
            **masks,
        )
        fill = None
        tokens = slice(0 if i >= (pads or 0) else 1, None)
        np.testing.assert_allclose(array(output)[tokens, 0], full[tokens, i], atol=5e-6)


@pytest.mark.parametrize("first", [True, False])
def test_decoding_step_by_step_gives_the_full_pass_without_a_bias_on_keys(
    first, perturb, normal, compiled
):
    """As Whisper's, where no part of the input is padding."""
    layer = TransformerDecoder(16, 2, activation="gelu", normalize_first=first, key_bias=False)
    layer.build((None, None, DIM), (None, None, DIM))
    decode = compiled(perturb(layer))
    x, source = normal(2, 4, DIM), normal(2, 3, DIM)
    full = array(decode(x, source))
    own, cross = (np.zeros((2, 2, length, 2, 4), "float32") for length in (4, 3))
    fill = 0
    for i in range(4):
        output, own, cross = decode(
            x[:, i : i + 1],
            source,
            self_attention_cache=own,
            self_attention_cache_update_index=np.int32(i),
            cross_attention_cache=cross,
            cross_attention_cache_update_index=fill,
        )
        fill = None
        np.testing.assert_allclose(array(output)[:, 0], full[:, i], atol=5e-6)


def test_a_decoder_without_an_encoder_decodes_from_a_filled_cache(perturb, normal, compiled):
    layer = TransformerDecoder(16, 2)
    layer.build((None, None, DIM))
    perturb(layer)
    x = normal(2, 5, DIM)
    decode = compiled(layer)
    full = array(decode(x))
    cache = np.zeros((2, 2, 5, 2, 4), "float32")
    start = {"self_attention_cache": cache, "self_attention_cache_update_index": 0}
    head, cache = decode(x[:, :3], **start)
    rest = {"self_attention_cache": cache, "self_attention_cache_update_index": 3}
    tail, _ = decode(x[:, 3:], **rest)
    np.testing.assert_allclose(array(head), full[:, :3], atol=5e-6)
    np.testing.assert_allclose(array(tail), full[:, 3:], atol=5e-6)


def test_packed_pairs_are_decoded_as_they_are_alone(decode, normal):
    xs = [normal(2, 4, DIM), normal(2, 1, DIM, seed=1)]
    sources = [normal(2, 3, 6, seed=2), normal(2, 1, 6, seed=3)]
    packed = array(
        decode(
            np.concatenate(xs, axis=1),
            np.concatenate(sources, axis=1),
            decoder_padding_mask=np.array([[1, 1, 1, 1, 2]] * 2),
            encoder_padding_mask=np.array([[1, 1, 1, 2]] * 2),
        )
    )
    alone = [array(decode(x, source)) for x, source in zip(xs, sources, strict=True)]
    np.testing.assert_allclose(packed, np.concatenate(alone, axis=1), atol=5e-6)


def test_calls_that_cannot_be_meant_are_refused(decoder, normal):
    x, source, cache = normal(1, 2, DIM), normal(1, 3, 6), np.zeros((1, 2, 4, 2, 4), "float32")
    with pytest.raises(ValueError, match="built with cross-attention and called without"):
        decoder(x)
    with pytest.raises(ValueError, match="cross_attention_cache=None"):
        decoder(x, source, self_attention_cache=cache, self_attention_cache_update_index=0)
    alone = TransformerDecoder(16, 2)
    alone.build((None, None, DIM))
    with pytest.raises(ValueError, match="built without cross-attention and called with"):
        alone(x, source)
    with pytest.raises(ValueError, match="decoder_padding_mask of length 2 .* length 4"):
        alone(
            x,
            decoder_padding_mask=np.ones((1, 2), "int32"),
            self_attention_cache=cache,
            self_attention_cache_update_index=0,
        )
    with pytest.raises(ValueError, match=r"padding_mask of shape \(1, 2, 2\)"):
        TransformerEncoder(16, 2)(x, padding_mask=np.ones((1, 2, 2), "int32"))
    with pytest.raises(ValueError, match="num_heads=3 doesn't divide the hidden size 8"):
        TransformerEncoder(16, 3)(x)
    with pytest.raises(ValueError, match="activation='gelu_newest'"):
        TransformerEncoder(16, 2, activation="gelu_newest")


def names(layer):
    return [weight.path.split("/", 1)[1] for weight in layer.weights]


def test_variables_have_the_names_that_weight_maps_use(encoder, decoder):
    def of(parts, variables):
        return {f"{part}/{variable}" for part in parts for variable in variables}

    projections = ("query", "key", "value", "output")
    feed_forward = of(["feed_forward/up", "feed_forward/down"], ["kernel", "bias"])
    assert set(names(encoder)) == {
        *of(
            [f"attention/{p}" for p in projections] + ["feed_forward/up", "feed_forward/down"],
            ["kernel", "bias"],
        ),
        *of(["attention_norm", "feed_forward_norm"], ["gamma", "beta"]),
    }
    assert set(names(decoder)) == {
        *of([f"attention/{p}" for p in projections], ["kernel", "bias"]),
        *of([f"cross_attention/{p}" for p in projections], ["kernel", "bias"]),
        *feed_forward,
        *of(
            ["attention_norm", "cross_attention_norm", "feed_forward_norm"],
            ["gamma", "beta"],
        ),
    }


def test_biases_can_be_left_out_one_by_one_or_all():
    layer = TransformerDecoder(16, 2, key_bias=False)
    layer.build((None, None, DIM), (None, None, 6))
    missing = {"attention/key/bias", "cross_attention/key/bias"}
    assert not missing & set(names(layer))
    assert len(names(layer)) == 24
    layer = TransformerEncoder(16, 2, use_bias=False)
    layer.build((None, None, DIM))
    assert not [name for name in names(layer) if name.endswith("bias")]


@pytest.mark.parametrize("policy", ["float32", "bfloat16", "mixed_bfloat16"])
def test_an_encoder_survives_saving_in_every_precision(perturb, normal, encoder, reload, policy):
    x, mask = keras.Input((None, DIM)), keras.Input((None,), dtype="int32")
    layer = TransformerEncoder(
        16, 2, 0.1, "gelu", 1e-3, attention_dropout=0.2, bias_initializer="ones", dtype=policy
    )
    model = keras.Model([x, mask], layer(x, padding_mask=mask))
    perturb(layer)
    data = [normal(2, 4, DIM), np.array([[1, 1, 1, 0], [1, 1, 2, 2]])]
    output = model(data)
    again = reload(model)
    assert again.layers[-1].get_config() == layer.get_config()
    np.testing.assert_array_equal(array(again(data)), array(output))
    assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype
    assert {part.compute_dtype for part in layer._flatten_layers()} == {layer.compute_dtype}
    single = array(encoder(data[0], padding_mask=data[1]))
    np.testing.assert_allclose(array(output), single, atol=0.15 if policy != "float32" else 1e-6)


def test_a_decoder_survives_saving(perturb, normal, reload):
    x, source = keras.Input((None, DIM)), keras.Input((None, 6))
    layer = TransformerDecoder(16, 2, activation="gelu_approximate", normalize_first=True)
    model = keras.Model([x, source], layer(x, source))
    perturb(layer)
    data = [normal(2, 4, DIM), normal(2, 3, 6)]
    again = reload(model)
    assert again.layers[-1].get_config() == layer.get_config()
    np.testing.assert_array_equal(array(again(data)), array(model(data)))


def test_shapes_are_known_before_the_call(encoder, decoder, normal):
    x, source = keras.KerasTensor((None, None, DIM)), keras.KerasTensor((None, 3, 6))
    cache, cross = keras.KerasTensor((2, 2, 5, 2, 4)), keras.KerasTensor((2, 2, 3, 2, 4))
    assert encoder(x).shape == (None, None, DIM)
    output, scores = encoder(x, return_attention_scores=True)
    assert (output.shape, scores.shape) == ((None, None, DIM), (None, 2, None, None))
    assert decoder(x, source).shape == (None, None, DIM)
    outputs = decoder(x, source, self_attention_cache=cache, cross_attention_cache=cross)
    assert [y.shape for y in outputs] == [(None, None, DIM), cache.shape, cross.shape]


def test_lora_in_every_projection_starts_as_the_same_function(perturb, normal):
    layer = TransformerEncoder(16, 2)
    layer.build((None, None, DIM))
    perturb(layer)
    x = normal(2, 4, DIM)
    before = array(layer(x))
    attention = layer.attention
    for dense in (
        attention.query_dense,
        attention.value_dense,
        layer.feed_forward.up,
        layer.feed_forward.down,
    ):
        dense.enable_lora(2)
    np.testing.assert_array_equal(array(layer(x)), before)
    assert sum("lora" in weight.name for weight in layer.trainable_weights) == 8


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_eight_bit_weights_stay_near_and_their_policy_map_rebuilds_them(perturb, normal):
    x = keras.Input((None, DIM))
    layer = TransformerEncoder(16, 2, name="layer_0")
    model = keras.Model(x, layer(x))
    perturb(layer)
    data = normal(2, 4, DIM)
    before = array(model(data))
    model.quantize("int8")
    after = array(model(data))
    assert 0 < np.abs(after - before).max() < 0.2
    policies = keras.dtype_policies.DTypePolicyMap("float32")
    for part in layer._flatten_layers():
        if part.quantization_mode:
            policies[part.path] = part.dtype_policy
    again = TransformerEncoder(16, 2, name="layer_0", dtype=policies)
    again(data)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(again(data)), after)
