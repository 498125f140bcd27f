"""Attention over packed rows on torch gives each sequence what it gets by itself."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import ops

from inarch.layers import RotaryEmbedding, packed_attention
from inarch.layers.attention import MultiHeadAttention
from inarch.layers.direct_calls import direct_calls
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
@pytest.mark.parametrize("fused", [False, True], ids=["", "fused"])
def test_sequences_get_what_they_get_alone(options, fused, monkeypatch):
    if fused:
        monkeypatch.setattr(packed_attention, "_fused", lambda *tensor: _by_offsets)
        monkeypatch.setattr(packed_attention, "FUSED_WIDTHS", [2])
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


def _by_offsets(queries, keys, values, starts, ends, longest, most, *, scale, window_size):
    """Attend as torch's `varlen_attn` does on a GPU."""
    import torch

    assert starts is ends
    assert longest == most == int(starts.diff().max())
    attended = torch.zeros_like(queries)
    for start, end in pairwise(starts.tolist()):
        index = torch.arange(end - start)
        distance = index[:, None] - index
        before, after = (size if size >= 0 else end for size in window_size)
        q, k, v = (x[start:end].transpose(0, 1) for x in (queries, keys, values))
        logits = (q @ k.transpose(1, 2) * scale).masked_fill(
            (distance > before) | (-distance > after), -torch.inf
        )
        attended[start:end] = (torch.softmax(logits, -1) @ v).transpose(0, 1)
    return attended


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
    assert packed_rows(tensor(ids), "float32") is None


def test_a_tensor_that_holds_another_mask_is_taken_apart_anew():
    mask = tensor([[1, 1, 1, 2]])
    sizes = [len(group.places[0]) for group in packed_rows(mask, "float32").groups[0]]
    assert sizes == [3, 1]
    mask.copy_(tensor([[1, 1, 2, 2]]))
    assert [group.places.shape for group in packed_rows(mask, "float32").groups[0]] == [(2, 2)]


def test_gradients_of_packed_rows_are_finite():
    import torch

    layer = MultiHeadAttention(2, window=1)
    layer.build_mixing((1, 16, 8), {})
    x = torch.randn(1, 16, 8, requires_grad=True)
    ids = tensor([[1] * 6 + [2] * 5 + [0] * 5])
    y, _ = layer.mix(x, {"padding_mask": ids}, training=True)
    y.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_rows_that_were_first_seen_in_inference_are_trained_on():
    import torch

    layer = MultiHeadAttention(2)
    layer.build_mixing((1, 16, 8), {})
    x = torch.randn(1, 16, 8, requires_grad=True)
    ids = tensor([[1] * 7 + [2] * 6 + [0] * 3])
    with torch.inference_mode(), direct_calls():
        expected, _ = layer.mix(x, {"padding_mask": ids.clone()})
    y, _ = layer.mix(x, {"padding_mask": ids.clone()}, training=True)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), expected.clone())
    assert torch.isfinite(x.grad).all()
    rows = packed_rows(ids, "float32")
    assert not rows.offsets.is_inference()
    assert not rows.groups[1].is_inference()


def test_kernels_over_several_lengths_need_a_gpu_that_has_them(monkeypatch):
    import torch

    found = {}
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        found[capability] = packed_attention._varlen_attention.__wrapped__("cuda:0")
    assert found[7, 5] is None
    assert found[8, 0] is found[9, 0]
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert packed_attention._varlen_attention.__wrapped__("cuda:0") is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_packed_rows_on_a_gpu_are_those_of_whole_rows(dtype):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    layer = MultiHeadAttention(4, dtype=dtype)
    x = torch.randn(2, 16, 64, dtype=getattr(torch, dtype), device="cuda")
    layer.build_mixing((2, 16, 64), {})
    ids = torch.as_tensor(IDS, device="cuda")
    assert packed_rows(ids, dtype) is not None
    packed, _ = layer.mix(x, {"padding_mask": ids})
    whole, _ = layer.mix(x, {"mask": (ids[:, None] == ids[:, :, None])})
    torch.testing.assert_close(packed, whole, rtol=0.02, atol=0.02)
