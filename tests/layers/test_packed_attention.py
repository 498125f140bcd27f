"""Attention over packed rows on torch gives each sequence what it gets by itself."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.layers import RotaryEmbedding
from inarch.layers.attention import MultiHeadAttention
from inarch.layers.packed_attention import packed_rows

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="other backends compute whole rows"
)
IDS = np.array([[1] * 7 + [2] * 5 + [3] + [0] * 3, [1] * 9 + [2] * 7], np.int32)


def tensor(ids):
    return ops.convert_to_tensor(np.asarray(ids, np.int32))


@pytest.mark.parametrize(
    "options",
    [{}, {"window": 2}, {"num_key_value_heads": 2}, {"position": RotaryEmbedding()}],
    ids=["plain", "window", "shared_keys", "rotary"],
)
def test_sequences_get_what_they_get_alone(options, monkeypatch):
    layer = MultiHeadAttention(4, **options)
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 16, 8)).astype("float32"))
    layer.build_mixing((2, 16, 8), {})
    positions = tensor([[*range(7), *range(5), 0, 0, 0, 0], [*range(9), *range(7)]])
    calls = []
    monkeypatch.setattr(layer, "_attend_to_packed", _counted(layer._attend_to_packed, calls))
    packed, _ = layer.mix(x, {"padding_mask": tensor(IDS), "positions": positions})
    assert calls
    packed = ops.convert_to_numpy(packed)
    for row, start, end in ((0, 0, 7), (0, 7, 12), (0, 12, 13), (1, 0, 9), (1, 9, 16)):
        alone, _ = layer.mix(x[row : row + 1, start:end], {})
        np.testing.assert_allclose(
            packed[row, start:end], ops.convert_to_numpy(alone)[0], rtol=1e-4, atol=1e-5
        )
    assert np.isfinite(packed).all()


def _counted(function, calls):
    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counted


@pytest.mark.parametrize(
    "ids",
    [[[1, 1, 0, 0]], [[1, 2, 1, 0]], [[1, -1, 2, -2]], [[0, 0, 0, 0]]],
    ids=["one", "two_pieces", "not_attended", "padding"],
)
def test_rows_that_cannot_be_taken_apart_are_left(ids):
    assert packed_rows(tensor(ids)) is None


def test_a_tensor_that_holds_another_mask_is_taken_apart_anew():
    mask = tensor([[1, 1, 1, 2]])
    sizes = [len(group.places[0]) for group in packed_rows(mask).groups]
    assert sizes == [3, 1]
    mask.copy_(tensor([[1, 1, 2, 2]]))
    assert [group.places.shape for group in packed_rows(mask).groups] == [(2, 2)]


def test_gradients_of_packed_rows_are_finite():
    import torch

    layer = MultiHeadAttention(2, window=1)
    layer.build_mixing((1, 16, 8), {})
    x = torch.randn(1, 16, 8, requires_grad=True)
    ids = tensor([[1] * 6 + [2] * 5 + [0] * 5])
    y, _ = layer.mix(x, {"padding_mask": ids}, training=True)
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
