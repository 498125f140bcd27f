"""Calls of layers without what Keras does around each, on torch, where nothing is compiled away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

_DIRECT = ContextVar("direct", default=False)


@contextmanager
def direct_calls() -> Iterator[None]:
    """Call the layers of this library directly within this block, in inference.

    Keras checks, converts and inspects the arguments of every call, which on a CPU takes longer
    than a short text's products. Layers in float32 that are built and not quantized need none of
    it. Hooks of `torch.nn.Module` aren't called.
    """
    token = _DIRECT.set(True)
    try:
        yield
    finally:
        _DIRECT.reset(token)


class DirectCall(keras.layers.Layer):
    """Layer that is called directly within `direct_calls()`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _DIRECT.get() and self.built and self.dtype_policy.name == "float32":
            kwargs.pop("training", None)  # which not every layer takes, and is false here
            return self.call(*args, **kwargs)
        return super().__call__(*args, **kwargs)
