"""The dense layer of the bricks is Keras's, in values, quantization and low-rank updates."""

import gc

import keras
import numpy as np
import pytest
from keras import ops

from inarch.layers.dense import Dense
from inarch.layers.direct_calls import direct_calls, facts_of_latest


@pytest.fixture
def pair():
    ours, keras_own = Dense(8, "relu"), keras.layers.Dense(8, "relu")
    for layer in (ours, keras_own):
        layer.build((None, None, 6))
        random = np.random.default_rng(0)
        layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    return ours, keras_own


def both(pair):
    x = np.random.default_rng(1).normal(size=(2, 3, 6)).astype("float32")
    return [ops.convert_to_numpy(layer(x)) for layer in pair]


def test_values_are_keras_own(pair):
    np.testing.assert_allclose(*both(pair), rtol=1e-5, atol=1e-6)


def test_it_is_quantized_as_keras_own(pair):
    before, _ = both(pair)
    for layer in pair:
        layer.quantize("int8")
    ours, keras_own = both(pair)
    assert np.abs(ours - before).max() > 0
    np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=1e-6)


def test_quantizing_collects_no_garbage_of_the_whole_process(pair, monkeypatch):
    layer, _ = pair
    monkeypatch.setattr(gc, "collect", lambda *given: pytest.fail("collects"))
    layer.quantize("int8")
    assert [weight.name for weight in layer.weights].count("kernel") == 1


def test_a_low_rank_update_counts(pair):
    before, _ = both(pair)
    for layer in pair:
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
        layer.lora_kernel_a.assign(np.ones(layer.lora_kernel_a.shape))
    ours, keras_own = both(pair)
    assert np.abs(ours - before).max() > 0
    np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras's own elsewhere")
@pytest.mark.parametrize("bias", [True, False])
def test_integers_multiplied_by_torch_are_keras_own(bias, monkeypatch):
    import torch

    layer = Dense(8, "relu", use_bias=bias)
    layer.build((None, None, 6))
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    layer.quantize("int8")
    # One row is of zeros, and one has all of its size in one number.
    x = torch.tensor(np.stack([random.normal(size=(3, 6)), np.diag([0, 50, 1])[:, [0, 1, 2] * 2]]))
    x = x.float()
    expected = ops.convert_to_numpy(layer(x))  # with a gradient
    products = []
    product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda *x: products.append(1) or product(*x))
    for context in (torch.inference_mode, torch.no_grad):
        with context():
            found = layer(x).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(products) == 2
    with torch.inference_mode(), direct_calls():  # queries, keys and values share the integers
        again = [layer(x).numpy() for _ in range(2)]
        assert facts_of_latest(x)["int8"][0].dtype == torch.int8
        layer(x + 1)
        assert "int8" not in facts_of_latest(x)  # else every layer's inputs were kept to the end
    np.testing.assert_array_equal(again, [found, found])


class Around(keras.layers.Layer):
    """A layer with a dense one of float32 in it."""

    def __init__(self, dtype):
        super().__init__(dtype=dtype)
        self.dense = Dense(8, dtype="float32")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="calls are direct on torch alone")
@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_a_layer_within_one_of_another_dtype_is_called_directly_as_by_keras(policy):
    import torch

    layer, x = Around(policy), torch.randn(2, 6)
    layer.build((None, 6))
    with torch.inference_mode():
        expected = layer(x)
        with direct_calls():
            found = layer(x)
    assert found.dtype == expected.dtype == torch.float32
    np.testing.assert_array_equal(found, expected)
