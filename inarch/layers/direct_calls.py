"""Calls of layers without what Keras does around each, on torch, where nothing is compiled away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

from inarch.keras_private import is_autocasting

# Policies of one dtype, and of int8 products among float32 values.
POLICIES = ("float32", "bfloat16", "float16", "int8_from_float32")

# What is known of tensors in this call: each tensor with its facts, by its identity, or by LATEST.
_known: ContextVar[dict[int, tuple[Any, dict[str, Any]]] | None] = ContextVar("known", default=None)
LATEST = 0


@contextmanager
def direct_calls() -> Iterator[None]:
    """Call layers directly within this block, in inference, and let them share what they find.

    Keras checks, converts and inspects the arguments of every call, which takes longer than a short
    text's products. Layers of one dtype that are built need none of it, nor do those with products
    in int8. Hooks of `torch.nn.Module` aren't called.
    """
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def facts_of(tensor: Any) -> dict[str, Any] | None:
    """Return what layers have found out about this very tensor; `None` outside `direct_calls()`.

    Nothing changes a tensor between layers. "values" is its array, where it isn't on the CPU.
    """
    known = _known.get()
    return None if known is None else known.setdefault(id(tensor), (tensor, {}))[1]


def facts_of_latest(tensor: Any) -> dict[str, Any] | None:
    """Return what `facts_of` does, until this is called with another tensor, which is then known.

    For large tensors, which aren't kept alive while layers compute what comes after them.
    """
    known = _known.get()
    if known is None:
        return None
    if LATEST not in known or known[LATEST][0] is not tensor:
        known[LATEST] = tensor, {}
    return known[LATEST][1]


class DirectCall(keras.layers.Layer):
    """Layer that is called directly within `direct_calls()`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _known.get() is None or not _is_plain(self) or is_autocasting():
            return super().__call__(*args, **kwargs)
        kwargs.pop("training", None)  # which not every layer takes, and is false here
        if self.autocast:
            args, kwargs = _cast([*args], self.compute_dtype), _cast(kwargs, self.compute_dtype)
        call = self.call if self.quantization_mode is None else self.quantized_call
        return call(*args, **kwargs)


def call_norm(norm: keras.layers.Layer, x: Any) -> Any:
    """Call a norm, directly within `direct_calls()` if it is Keras's layer normalization.

    Its 16-bit inputs aren't widened, which Keras does in kernels of their own: torch sums them in
    float32 anyway.
    """
    is_known = type(norm) is keras.layers.LayerNormalization
    if _known.get() is None or not (is_known and _is_plain(norm)) or is_autocasting():
        return norm(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    if dtype != norm.compute_dtype or norm.axis not in ([-1], [x.ndim - 1]) or norm.rms_scaling:
        return norm.call(x)
    from torch.nn.functional import layer_norm

    weights = (None if w is None else w.value for w in (norm.gamma, norm.beta))
    return layer_norm(x, x.shape[-1:], *weights, norm.epsilon)


def _is_plain(layer: keras.layers.Layer) -> bool:
    return layer.built and layer.dtype_policy.name in POLICIES


def _cast(given: Any, dtype: str) -> Any:
    """Return what a layer is given with its floats in its own dtype, as Keras casts them."""
    if isinstance(given, Mapping):
        return {name: _cast(value, dtype) for name, value in given.items()}
    if isinstance(given, list):
        return [_cast(value, dtype) for value in given]
    import torch

    is_float = isinstance(given, torch.Tensor) and given.is_floating_point()
    return given.to(getattr(torch, dtype)) if is_float else given
