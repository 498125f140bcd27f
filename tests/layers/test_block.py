"""Blocks of parts that are put together by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError
from inarch.layers import (
    Block,
    FeedForward,
    FourierMixing,
    GatedFeedForward,
    MultiHeadAttention,
    ParallelBlock,
    TransformerDecoder,
    TransformerEncoder,
)
from inarch.layers.alternatives import changed

pytestmark = pytest.mark.turns(2)

DIM = 8
MASK = np.array([[1, 1, 1, 0], [1, 2, 2, 2]], "int32")


def array(x):
    return ops.convert_to_numpy(x)


def parts(**options):
    attention = MultiHeadAttention(2, **options)
    return attention, FeedForward(16, "gelu"), keras.layers.LayerNormalization(epsilon=1e-5)


@pytest.mark.parametrize("order", ["post", "pre"])
def test_a_block_of_attention_is_an_encoder_layer(order, normal, perturb):
    x = normal(2, 4, DIM)
    named = TransformerEncoder(16, 2, 0, "gelu", normalize_first=order == "pre")
    block = Block(*parts(), order=order)
    expected = named(x, padding_mask=MASK)
    block(x, context={"padding_mask": MASK})
    perturb(named)
    paths = [v.path.partition("/")[2] for v in block.variables]
    assert paths == [v.path.partition("/")[2] for v in named.variables]
    block.set_weights(named.get_weights())
    expected = array(named(x, padding_mask=MASK))
    np.testing.assert_array_equal(array(block(x, context={"padding_mask": MASK})), expected)
    _, found = block(x, context={"padding_mask": MASK}, return_attention_scores=True)
    assert found["attention"]["scores"].shape == (2, 2, 4, 4)


def test_a_block_with_cross_attention_is_a_decoder_layer(normal, perturb):
    x, source = normal(2, 4, DIM), normal(2, 3, 6)
    named = TransformerDecoder(16, 2, 0, "gelu", normalize_first=True)
    attention, feed_forward, norm = parts()
    block = Block(attention, feed_forward, norm, attention, order="pre")
    context = {"causal": True, "cross": {"source": source}}
    named(x, source)
    block.build(x.shape, {"cross": {"source": source.shape}})
    perturb(named)
    block.set_weights(named.get_weights())
    np.testing.assert_array_equal(array(block.apply(x, context)[0]), array(named(x, source)))

    cache = block.init_cache(2, 4) | named.make_cross_attention_cache(source)
    cross = {"cache": cache["cross_attention"]}
    context |= {"cache": cache["attention"], "cache_index": np.int32(0), "cross": cross}
    y, found = block.apply(x, context)
    np.testing.assert_allclose(array(y), array(named(x, source)), rtol=1e-5, atol=1e-5)
    assert list(found) == ["attention", "cross_attention"]
    assert np.any(array(found["attention"]["cache"][0]))


def test_blocks_that_share_the_arguments_of_a_part_have_weights_of_their_own(normal):
    attention, feed_forward, norm = parts(kernel_initializer="glorot_uniform")
    blocks = [Block(attention, feed_forward, norm) for _ in range(2)]
    x = normal(1, 3, DIM)
    for block in blocks:
        block(x)
        assert block.attention.name == "attention"
        assert len(block.variables) == 16
    kernels = [array(block.attention.query_dense.kernel) for block in blocks]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1


def test_a_model_of_blocks_is_saved_and_loaded(normal, tmp_path):
    tokens, mask = keras.Input((None, DIM)), keras.Input((None,), dtype="int32")
    attention, feed_forward, norm = parts()
    x = Block(attention, feed_forward, norm, name="first")(tokens, context={"padding_mask": mask})
    x = Block(FourierMixing(), feed_forward, norm, dropout=0.1, name="second")(x)
    model = keras.Model([tokens, mask], x)
    inputs = [normal(2, 4, DIM), MASK]
    expected = array(model(inputs))
    assert model.output.shape == (None, None, DIM)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(again(inputs)), expected)


def test_outputs_of_a_symbolic_call_are_those_of_a_computation(normal):
    block = Block(*parts())
    x = keras.KerasTensor((2, 4, DIM))
    y, found = block(x, return_attention_scores=True)
    assert (y.shape, found["attention"]["scores"].shape) == ((2, 4, DIM), (2, 2, 4, 4))


def test_an_unknown_order_is_refused():
    with pytest.raises(InputError, match="order='sideways'"):
        Block(*parts(), order="sideways")


def test_the_first_norm_may_be_another(normal, perturb):
    x = normal(2, 4, DIM)
    plain = Block(*parts(), order="pre")
    bare = Block(*parts(), order="pre", first_norm=keras.layers.Identity())
    plain(x), bare(x)
    assert [
        v.path.partition("/")[2] for v in plain.variables if "attention_norm" not in v.path
    ] == [v.path.partition("/")[2] for v in bare.variables]
    perturb(bare)
    mixed = x + array(bare.attention(x, x))
    expected = mixed + array(bare.feed_forward(bare.feed_forward_norm(mixed)))
    np.testing.assert_allclose(array(bare(x)), expected, atol=1e-5)
    again = Block.from_config(bare.get_config())
    again(x)
    assert len(again.variables) == len(bare.variables)


@pytest.mark.parametrize("shared", [False, True])
def test_sublayers_of_a_parallel_block_read_the_same_input(shared, normal, perturb):
    x, context = normal(2, 4, DIM), {"padding_mask": MASK}
    block = ParallelBlock(*parts(), shared_norm=shared)
    block(x, context=context)
    assert all(layer.built for layer in block._flatten_layers())
    perturb(block)
    norm = block.attention_norm if shared else block.feed_forward_norm
    mixed, _ = block.attention.mix(block.attention_norm(x), context)
    expected = x + array(mixed) + array(block.feed_forward(norm(x)))
    np.testing.assert_allclose(array(block(x, context=context)), expected, atol=1e-5)
    names = {v.path.split("/")[-2] for v in block.variables}
    assert ("feed_forward_norm" in names) is not shared
    again = type(block).from_config(block.get_config())
    again(x, context=context)
    assert [v.shape for v in again.variables] == [v.shape for v in block.variables]
    _, found = block(x, context=context, return_attention_scores=True)
    assert found["attention"]["scores"].shape == (2, 2, 4, 4)


def test_a_cached_step_of_a_parallel_block_is_that_of_the_whole(normal, perturb):
    x = normal(1, 4, DIM)
    block = ParallelBlock(*parts(causal=True))
    whole = array(block(x))
    cache = block.init_cache(1, 4)
    for i in range(4):
        context = {"cache": cache["attention"], "cache_index": i}
        step, found = block.apply(x[:, i : i + 1], context)
        cache = {"attention": found["attention"]["cache"]}
        np.testing.assert_allclose(array(step)[:, 0], whole[:, i], atol=1e-5)


def test_the_projection_back_may_have_a_bias_of_its_own():
    for bias, down in ((False, True), (True, False)):
        layer = FeedForward(6, "relu", use_bias=bias, down_bias=down)
        layer.build((None, None, 4))
        assert (layer.up.use_bias, layer.down.use_bias) == (bias, down)


def test_a_sandwich_has_norms_of_what_its_sublayers_give(normal, perturb):
    x = normal(2, 4, DIM)
    block = Block(*parts(), order="sandwich")
    block(x)
    perturb(block)
    names = {v.path.split("/")[1] for v in block.variables}
    assert names == {f"{name}{end}" for name in ("attention", "feed_forward")
                     for end in ("", "_norm", "_output_norm")}  # fmt: skip
    inner = array(block.attention_norm(x))
    mixed = x + array(block.attention_output_norm(block.attention(inner, inner)))
    given = block.feed_forward(block.feed_forward_norm(mixed))
    expected = mixed + array(block.feed_forward_output_norm(given))
    np.testing.assert_allclose(array(block(x)), expected, atol=1e-5)
    for phrase, attributes in block.alternatives().items():
        with changed(block, attributes):
            assert np.abs(array(block(x)) - expected).max() > 1e-3, phrase


def test_norms_of_outputs_alone_are_those_of_other_orders(normal, perturb):
    x = normal(2, 4, DIM)
    block, other = Block(*parts(), order="output"), Block(*parts(), order="pre")
    block(x), other(x)
    perturb(block)
    mixed = x + array(block.attention_norm(block.attention(x, x)))
    expected = mixed + array(block.feed_forward_norm(block.feed_forward(mixed)))
    np.testing.assert_allclose(array(block(x)), expected, atol=1e-5)
    ways = block.alternatives()
    assert {"order='pre'", "order='post'"} <= {*ways}
    for phrase, attributes in ways.items():
        with changed(block, attributes):
            assert np.abs(array(block(x)) - expected).max() > 1e-3, phrase
    other.set_weights(block.get_weights())
    with changed(other, other.alternatives()["norms of what sublayers give, before it is added"]):
        np.testing.assert_allclose(array(other(x)), expected, atol=1e-5)


def test_a_gated_feed_forward_layer_multiplies_its_activated_gate(normal, perturb):
    x = normal(2, 4, DIM)
    layer = GatedFeedForward(6, "relu", use_bias=False)
    layer(x)
    perturb(layer)
    gate, up, down = (array(dense.kernel) for dense in (layer.gate, layer.up, layer.down))
    expected = (np.maximum(x @ gate, 0) * (x @ up)) @ down
    np.testing.assert_allclose(array(layer(x)), expected, atol=1e-5)
