"""Products with kernels in oneDNN's own layout, on torch on a CPU.

Once a kernel is laid out, a product takes less time than torch's own, most of all one of a few
tokens, and the activation hardly any.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import keras

from inarch.layers.activation import gelu_approximate

# Activations that oneDNN computes within a product, by its names for them.
WITHIN = {
    keras.activations.linear: ("none", ""),
    keras.activations.relu: ("relu", ""),
    keras.activations.gelu: ("gelu", "none"),
    gelu_approximate: ("gelu", "tanh"),
}

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)

# Of each layer its kernel, what changes with the kernel's values, and the kernel in the layout.
_kept: WeakKeyDictionary[Any, tuple[Any, tuple[int, int], Any]] = WeakKeyDictionary()


@contextmanager
def prepacked_kernels() -> Iterator[None]:
    """Let dense layers keep a second copy of their kernels, in oneDNN's layout, in inference.

    A copy is made anew when the values have changed. A change through `tensor.data` isn't noticed,
    as it isn't by torch's own gradients.
    """
    count_fused_updates()
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


def prepacked_product(layer: keras.layers.Dense, inputs: Any) -> Any | None:
    """Return `activation(inputs @ kernel + bias)` of a dense layer of torch.

    Returns:
        float32 `[..., units]`; None outside `prepacked_kernels()`, where torch has no oneDNN, and
        where inputs and kernel aren't float32 on an x86 CPU.
    """
    if not _allowed.get() or (functions := _functions()) is None:
        return None
    kernel: Any = getattr(layer.kernel, "value", None)  # none of a low-rank update
    if not (_fits(kernel) and _fits(inputs)):
        return None
    reorder, product = functions
    seen, mark, prepacked = _kept.get(layer, (None, None, None))
    now = kernel._version, kernel.data_ptr()
    if seen is not kernel or mark != now:
        prepacked = reorder(kernel.detach().t())
        _kept[layer] = kernel, now, prepacked
    activation: Any = layer.activation or keras.activations.linear
    name, algorithm = WITHIN.get(activation, WITHIN[keras.activations.linear])
    bias = None if layer.bias is None else layer.bias.value
    x = product(inputs, prepacked, bias, name, [], algorithm)
    return x if activation in WITHIN else activation(x)


@functools.cache
def count_fused_updates() -> None:
    """Have torch count changes of its fused optimizers in `tensor._version`, as it does others."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(_count)


def _count(optimizer: Any, args: Any, kwargs: Any) -> None:
    from torch.autograd.graph import increment_version

    for group in optimizer.param_groups:
        if group.get("fused"):
            increment_version([tensor for tensor in group["params"] if tensor.grad is not None])


def _fits(tensor: Any) -> bool:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.device.type != "cpu":
        return False
    is_known = not tensor.is_inference() or not isinstance(tensor, torch.nn.Parameter)
    return is_known and tensor.dtype == torch.float32


@functools.cache
def _functions() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Return torch's functions that lay a kernel out and multiply by it, if it has them."""
    import torch

    is_x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    if not is_x86 or not torch.backends.mkldnn.is_available():
        return None
    namespace = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise")
    if not all(hasattr(namespace, name) for name in names):
        return None
    return namespace._reorder_linear_weight, namespace._linear_pointwise
