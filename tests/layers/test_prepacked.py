"""Kernels in oneDNN's layout give the products of the layer's own values, whatever changes them."""

import gc

import keras
import numpy as np
import pytest

from inarch.layers import prepacked
from inarch.layers.activation import gelu_approximate
from inarch.layers.dense import Dense
from inarch.layers.prepacked import (
    given_kernels,
    noted_layers,
    prepacked_kernel,
    prepacked_kernels,
    prepacked_logits,
)
from inarch.runtime import forward

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch" or prepacked._functions() is None,
    reason="oneDNN's products are torch's on x86 alone",
)

X = np.random.default_rng(1).normal(size=(2, 3, 6)).astype("float32")


@pytest.fixture
def products(monkeypatch):
    """Return a list that gets the activation of each product that oneDNN computes."""
    names = []
    reorder, product = prepacked._functions()

    def noted(*given):
        names.append(given[3])
        return product(*given)

    monkeypatch.setattr(prepacked, "_functions", lambda: (reorder, noted))
    return names


def dense(activation=None, use_bias=True, dtype="float32"):
    layer = Dense(8, activation, use_bias=use_bias, dtype=dtype)
    layer.build((None, None, 6))
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
    return layer


def call(layer, x=X):
    import torch

    with torch.inference_mode():
        expected = layer(torch.tensor(x))
        with prepacked_kernels():
            found = layer(torch.tensor(x))
    assert found.dtype == expected.dtype
    return found.float().numpy(), expected.float().numpy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("activation", "name"),
    [(None, "none"), ("relu", "relu"), ("gelu", "gelu"), (gelu_approximate, "gelu"),
     ("tanh", "none"), ("silu", "none")],
)  # fmt: skip
def test_values_and_activations_are_keras_own(activation, name, bias, products):
    found, expected = call(dense(activation, bias))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert products == [name]


def test_any_number_of_rows_and_axes_is_taken(products):
    layer = dense("gelu")
    for shape in ((1, 6), (2, 6), (0, 3, 6), (3, 6), (70, 2, 6), (2, 3, 2, 6)):
        x = np.random.default_rng(1).normal(size=shape).astype("float32")
        np.testing.assert_allclose(*call(layer, x), rtol=1e-5, atol=1e-6)
    assert len(products) == 3  # of three rows and more


def test_logits_are_products_with_a_table(products):
    import torch

    table = keras.layers.ReversibleEmbedding(11, 6)
    table.build()
    with torch.inference_mode(), prepacked_kernels():
        found = prepacked_logits(table, torch.tensor(X))
    np.testing.assert_allclose(found, X @ table.get_weights()[0].T, rtol=1e-5, atol=1e-6)
    assert products == ["none"]


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_a_graph_has_the_kernels_as_its_inputs(products):
    """A step of generation is traced once, and its weights may change."""
    import torch

    layer = dense(use_bias=False)
    with torch.inference_mode(), prepacked_kernels():
        with noted_layers() as layers:
            layer(torch.tensor(X))
            layer(torch.tensor(X))
        assert layers == [layer]

        def step(x, kernel):
            with given_kernels({layer: kernel}):
                return layer(x)

        given = torch.tensor(X), prepacked_kernel(layer)
        graph = torch.jit.trace(step, given, check_trace=False)
        layer.kernel.assign(layer.kernel * 2)
        found = graph(torch.tensor(X), prepacked_kernel(layer))
    np.testing.assert_allclose(found, call(layer)[1], rtol=1e-5, atol=1e-6)


def test_of_given_kernels_others_are_not_used(products):
    import torch

    layer = dense()
    with torch.inference_mode(), prepacked_kernels(), given_kernels({}):
        layer(torch.tensor(X))
    assert products == []


@pytest.mark.parametrize("change", ["assign", "optimizer", "fused", "data", "set_weights"])
def test_a_kernel_that_has_changed_is_laid_out_anew(change, products):
    import torch

    layer = dense()
    before, _ = call(layer)
    kernel = layer.kernel
    if change == "assign":
        kernel.assign(kernel + 1)
    elif change == "optimizer":
        keras.optimizers.SGD(1.0).apply([keras.ops.ones(kernel.shape)], [kernel])
    elif change == "fused":  # which torch doesn't count
        kernel.value.grad = torch.ones(kernel.shape)
        torch.optim.Adam([kernel.value], lr=1.0, fused=True).step()
    elif change == "data":
        kernel.value.data = kernel.value.data + 1
    else:
        layer.set_weights([np.asarray(w) * 2 for w in layer.get_weights()])
    found, expected = call(layer)
    assert np.abs(found - before).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(products) == 2


def test_an_unchanged_kernel_is_laid_out_once(monkeypatch):
    laid_out = []
    reorder, product = prepacked._functions()
    monkeypatch.setattr(
        prepacked, "_functions", lambda: (lambda k: laid_out.append(1) or reorder(k), product)
    )
    layer = dense()
    for _ in range(3):
        call(layer)
    assert laid_out == [1]


def test_low_rank_updates_and_other_dtypes_are_left_to_torch(products):
    layer = dense()
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    np.testing.assert_allclose(*call(layer), rtol=1e-6)
    np.testing.assert_allclose(*call(dense(dtype="bfloat16")), rtol=1e-6)
    assert products == []


def test_copies_go_with_their_layer():
    gc.collect()
    before = len(prepacked._kept)
    layer = dense()
    call(layer)
    assert len(prepacked._kept) == before + 1
    del layer
    gc.collect()
    assert len(prepacked._kept) == before


def test_a_model_of_many_bytes_keeps_no_second_copy(products, monkeypatch):
    inputs = keras.Input((6,), name="x")
    model = keras.Model({"x": inputs}, Dense(8)(inputs))
    given = {"x": X[0]}
    small = forward.compiled(model)(given)
    monkeypatch.setattr(prepacked, "MOST_PREPACKED", 6 * 8 * 4)
    large = forward.compiled(model)(given)
    np.testing.assert_allclose(large, small, rtol=1e-5)
    assert products == ["none"]
