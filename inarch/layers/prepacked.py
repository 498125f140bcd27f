"""Products with kernels in oneDNN's own layout, on torch on a CPU.

Once a kernel is laid out, a product takes less time than torch's own, most of all one of a few
tokens, and the activation hardly any.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import keras

from inarch.layers.activation import gelu_approximate

# Bytes of the weights of which a second copy is kept.
MOST_PREPACKED = 2**31
# With fewer rows torch's own products, which read a kernel once, take less time.
FEWEST_ROWS = 3
# Activations that oneDNN computes within a product, by its names for them.
WITHIN = {
    keras.activations.linear: ("none", ""),
    keras.activations.relu: ("relu", ""),
    keras.activations.gelu: ("gelu", "none"),
    gelu_approximate: ("gelu", "tanh"),
}

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)
# Layers whose kernels a block has multiplied with, and kernels that a block is given.
_noted: ContextVar[list[Any] | None] = ContextVar("noted", default=None)
_given: ContextVar[Mapping[Any, Any] | None] = ContextVar("given", default=None)

# Of each layer its kernel, what changes with the kernel's values, and the kernel in the layout.
_kept: WeakKeyDictionary[Any, tuple[Any, tuple[int, int], Any]] = WeakKeyDictionary()


@contextmanager
def prepacked_kernels() -> Iterator[None]:
    """Let layers keep a second copy of their kernels, in oneDNN's layout, in inference.

    A copy is made anew when the values have changed. A change through `tensor.data` isn't noticed,
    as it isn't by torch's own gradients.
    """
    count_fused_updates()
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


def prepacked_where_small(variables: Iterable[Any]) -> Callable[[], AbstractContextManager[None]]:
    """Return `prepacked_kernels`, or for a model of more than 2 GiB what keeps no copies."""
    is_small = sum(v.value.nbytes for v in variables) <= MOST_PREPACKED
    return prepacked_kernels if is_small else nullcontext


@contextmanager
def noted_layers() -> Iterator[list[Any]]:
    """Note in a list, each once, the layers with whose prepacked kernels this block multiplies."""
    layers: list[Any] = []
    token = _noted.set(layers)
    try:
        yield layers
    finally:
        _noted.reset(token)


@contextmanager
def given_kernels(kernels: Mapping[Any, Any]) -> Iterator[None]:
    """Multiply in this block with these prepacked kernels of layers, and no others.

    So a graph that is traced has them as its inputs.
    """
    token = _given.set(kernels)
    try:
        yield
    finally:
        _given.reset(token)


def prepacked_product(layer: keras.layers.Dense, inputs: Any) -> Any | None:
    """Return `activation(inputs @ kernel + bias)` of a dense layer of torch.

    Returns:
        float32 `[..., units]`; None outside of the blocks above, where torch has no oneDNN, for
        one or two rows, and where inputs and kernel aren't float32 on an x86 CPU.
    """
    bias = None if layer.bias is None else layer.bias.value
    return _product(layer, inputs, bias, layer.activation or keras.activations.linear)


def prepacked_logits(table: keras.layers.Embedding, inputs: Any) -> Any | None:
    """Return `inputs @ embeddings.T` of a table, or None, as `prepacked_product` does."""
    return _product(table, inputs, None, keras.activations.linear)


def prepacked_kernel(layer: Any) -> Any:
    """Return a layer's kernel in the layout, which is made anew where the values have changed."""
    kernel, reorder = _kernel(layer), _functions()[0]  # type: ignore[index]
    seen, mark, prepacked = _kept.get(layer, (None, None, None))
    now = kernel._version, kernel.data_ptr()
    if seen is not kernel or mark != now:
        rows = kernel.detach()
        prepacked = reorder(rows if isinstance(layer, keras.layers.Embedding) else rows.t())
        _kept[layer] = kernel, now, prepacked
    return prepacked


def _product(layer: Any, inputs: Any, bias: Any, activation: Any) -> Any | None:
    given = _given.get()
    if (given is None and not _allowed.get()) or (functions := _functions()) is None:
        return None
    if not _fits(inputs) or inputs.numel() < FEWEST_ROWS * inputs.shape[-1]:
        return None
    if given is not None:
        if (prepacked := given.get(layer)) is None:
            return None
    elif _fits(_kernel(layer)):
        prepacked = prepacked_kernel(layer)
        noted = _noted.get()
        if noted is not None and layer not in noted:
            noted.append(layer)
    else:
        return None
    name, algorithm = WITHIN.get(activation, WITHIN[keras.activations.linear])
    x = functions[1](inputs, prepacked, bias, name, algorithm)
    return x if activation in WITHIN else activation(x)


def _kernel(layer: Any) -> Any:
    """Return the tensor of a kernel or of a table; None where there is a low-rank update."""
    variable = getattr(
        layer, "embeddings" if isinstance(layer, keras.layers.Embedding) else "kernel"
    )
    return getattr(variable, "value", None)


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
    """Return what lays a kernel out and what multiplies by it, if torch has such functions."""
    import torch

    is_x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    if not is_x86 or not torch.backends.mkldnn.is_available():
        return None
    namespace = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise")
    if not all(hasattr(namespace, name) for name in names):
        return None
    return namespace._reorder_linear_weight, _own_operations().linear


@functools.cache
def _own_operations() -> Any:
    """Register an operation with torch, and return what holds it.

    It is torch's own product, which takes a list of scalars, as a traced graph can have it.
    """
    import torch

    def linear(x: Any, kernel: Any, bias: Any, name: str, algorithm: str) -> Any:
        return torch.ops.mkldnn._linear_pointwise(x, kernel, bias, name, [], algorithm)

    given = "Tensor x, Tensor kernel, Tensor? bias, str name, str algorithm"
    library = torch.library.Library("inarch", "FRAGMENT")
    library.define(f"linear({given}) -> Tensor")
    library.impl("linear", linear, "CompositeExplicitAutograd")
    # The operation goes with the library.
    return SimpleNamespace(linear=torch.ops.inarch.linear, library=library)
