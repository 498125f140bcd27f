"""Dot-product attention with the fastest kernel for backend and shape."""

import functools
from typing import Any

import keras

from inarch.backend import runs_on_cpu
from inarch.layers.cache import cache_length, own_slots

ops: Any = keras.ops  # Typed, every result may be None.

# Finite, so that a query that may attend to nothing averages over all instead of dividing 0 by 0.
MASKED_LOGIT = -1e30

# From this many pairs of tokens on, XLA on a CPU takes twice as long and more over all heads
# together as over one after another, whose probabilities fit into the cache of a core.
MANY_PAIRS = 128 * 128

# Up to this many queries, plain products on a CPU are quicker than torch's fused attention.
FEW_QUERIES = 8


def dot_product_attention(
    queries: Any,
    keys: Any,
    values: Any,
    mask: Any,
    scale: float,
    bias: Any = None,
    soft_cap: float | None = None,
) -> Any:
    """Return scaled dot-product attention; on a CPU with the kernel that suits the shape.

    Args:
        queries: float `[batch, T, heads, d]`.
        keys, values: float `[batch, S, heads, d]`.
        mask: bool, broadcast to `[batch, heads, T, S]`, or None.
        scale: factor on the products.
        bias: float, broadcast to `[batch, heads, T, S]`, added to the scaled products; or None.
        soft_cap: what the scaled products approach, of either sign (`cap_softly`); None for none.

    Returns:
        float `[batch, T, heads, d]`.
    """
    backend = keras.backend.backend()
    if soft_cap is not None:  # the kernels have none
        weights = masked_softmax(attention_logits(queries, keys, scale, bias, soft_cap), mask)
        return ops.einsum("bhts,bshd->bthd", ops.cast(weights, values.dtype), values)
    if backend == "torch":
        return _torch(queries, keys, values, mask, scale, bias)
    if backend == "jax" and runs_on_cpu():
        return _jax_on_cpu(queries, keys, values, mask, scale, bias)
    return ops.dot_product_attention(queries, keys, values, bias=bias, mask=mask, scale=scale)


def split_heads(x: Any, heads: int) -> Any:
    """Reshape `[batch, T, heads * d]` to `[batch, T, heads, d]`."""
    shape = (heads, x.shape[-1] // heads)
    # Torch's own function takes a tenth of the time of Keras's.
    if hasattr(x, "unflatten"):
        return x.unflatten(-1, shape)
    return ops.reshape(x, (*ops.shape(x)[:2], *shape))


def join_heads(x: Any, query: Any) -> Any:
    """Reshape `[..., heads, d]` to the rows and tokens of `query`, `[batch, T, heads * d]`."""
    width = x.shape[-2] * x.shape[-1]
    if hasattr(x, "unflatten"):
        return x.reshape(*query.shape[:2], width)
    return ops.reshape(x, (*ops.shape(query)[:2], width))


def cap_softly(x: Any, cap: float | None) -> Any:
    """Return `cap * tanh(x / cap)`, within `cap` of 0 and near `x` where that is small.

    Bello et al., 2016, arXiv:1611.09940; `None` returns `x` as it is.
    """
    return x if cap is None else ops.tanh(x / cap) * cap


def attention_logits(
    queries: Any, keys: Any, scale: float, bias: Any = None, soft_cap: float | None = None
) -> Any:
    """Return scaled scores `[batch, heads, T, S]`, capped, with their bias, in float32 at least."""
    logits = ops.einsum("bthd,bshd->bhts", queries, keys)
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")) * scale
    logits = cap_softly(logits, soft_cap)
    return logits if bias is None else logits + ops.cast(bias, logits.dtype)


def masked_softmax(logits: Any, mask: Any) -> Any:
    """Return probabilities over the last axis, in float32 at least; `mask` may be None."""
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    if mask is not None:
        logits = ops.where(mask, logits, MASKED_LOGIT)
    return ops.softmax(logits, axis=-1)


def attend_to_cache(
    queries: Any,
    cache: Any,
    mask: Any,
    scale: float,
    bias: Any = None,
    soft_cap: float | None = None,
) -> Any:
    """Return scaled dot-product attention over a cache, without a transpose of it.

    Args:
        queries: float `[batch, T, heads, d]`.
        cache: keys and values, float `[batch * key/value heads, d, S]` each, or a cache that beams
            share, as in `inarch.layers.cache`; each of their heads serves the same number of
            neighboring heads.
        mask: bool, broadcast to `[batch, heads, T, S]`, or None.
        scale: factor on the products.
        bias: float, broadcast to `[batch, heads, T, S]`, added to the scaled products; or None.
        soft_cap: what the scaled products approach, of either sign (`cap_softly`); None for none.

    Returns:
        float `[batch, T, heads, d]`.
    """
    own = own_slots(cache)
    beams = 1 if own is None else own.shape[1]
    (keys, values), size = cache[:2], cache_length(cache)
    values = ops.swapaxes(values, 1, 2) if own is None else values
    batch, length, heads, width = queries.shape
    # The queries of all heads and beams that share keys lie one after another.
    rows = ops.reshape(queries, (batch // beams, beams, length, heads, width))
    rows = ops.reshape(ops.transpose(rows, (0, 3, 1, 2, 4)), (keys.shape[0], -1, width))
    logits = _exact_product(rows, keys) * scale
    shape = (batch // beams, heads, beams, length, size, beams)
    logits = ops.reshape(logits, shape)
    if own is None:
        logits = logits[..., 0]
    else:
        own = own[:, None, :, None]
        logits = ops.sum(ops.where(own, logits, 0), axis=-1)  # of each place the slot that is read
    logits = cap_softly(logits, soft_cap)
    logits = logits if bias is None else logits + ops.cast(_by_beam(bias, beams), logits.dtype)
    logits = logits if mask is None else ops.where(_by_beam(mask, beams), logits, MASKED_LOGIT)
    weights = ops.expand_dims(ops.cast(ops.softmax(logits, axis=-1), values.dtype), -1)
    weights = weights if own is None else ops.where(own, weights, 0)
    attended = _exact_product(ops.reshape(weights, (keys.shape[0], -1, size * beams)), values)
    attended = ops.reshape(ops.cast(attended, queries.dtype), (*shape[:4], -1))
    return ops.reshape(ops.transpose(attended, (0, 2, 3, 1, 4)), (batch, length, heads, -1))


def _by_beam(x: Any, beams: int) -> Any:
    """Reshape `[1 or batch, 1 or heads, T, S]` to `[1 or rows, 1 or heads, 1 or beams, T, S]`."""
    if beams == 1 or x.shape[0] == 1:
        return ops.expand_dims(x, 2)
    return ops.swapaxes(ops.reshape(x, (-1, beams, *x.shape[1:])), 1, 2)


def _exact_product(a: Any, b: Any) -> Any:
    """Multiply matrices with sums and result in float32 at least, if the backend can."""
    exact = keras.backend.result_type(a.dtype, "float32")
    if keras.backend.backend() == "jax":
        import jax

        if runs_on_cpu() and keras.backend.standardize_dtype(a.dtype) == "float16":
            # XLA compiles no product of float16 on a CPU that is summed in float32.
            a, b = (ops.cast(x, exact) for x in (a, b))
        return jax.numpy.matmul(a, b, preferred_element_type=exact)
    return ops.cast(ops.matmul(a, b), exact)


def _jax_on_cpu(queries: Any, keys: Any, values: Any, mask: Any, scale: float, bias: Any) -> Any:
    dtype = keras.backend.standardize_dtype(queries.dtype)
    if dtype == "float16":
        # XLA compiles no product of float16 on a CPU that is summed in float32, as jax asks for.
        queries, keys, values = (ops.cast(x, "float32") for x in (queries, keys, values))
    if _many_pairs(queries, keys):
        attended = _head_by_head(queries, keys, values, mask, scale, bias)
    else:
        attended = _as_one_program()(queries, keys, values, bias=bias, mask=mask, scale=scale)
    return ops.cast(attended, dtype)


@functools.cache
def _as_one_program() -> Any:
    """Return attention that is traced once for all layers of a shape.

    JAX's own is traced in every call, and outside of a compiled function compiled in every call.
    """
    import jax

    return jax.jit(ops.dot_product_attention, static_argnames="scale")


def _many_pairs(queries: Any, keys: Any) -> bool:
    is_static = all(isinstance(size, int) for size in (*queries.shape, *keys.shape))
    return is_static and queries.shape[1] * keys.shape[1] >= MANY_PAIRS


def _torch(queries: Any, keys: Any, values: Any, mask: Any, scale: float, bias: Any) -> Any:
    """Attend without contiguous copies of the heads, which dominate the time of a step."""
    import torch
    from torch.nn import functional

    # Promoted as on other backends: a layer of positions may have narrowed queries and keys.
    dtype = torch.promote_types(queries.dtype, torch.promote_types(keys.dtype, values.dtype))
    queries, keys, values = (x.to(dtype) for x in (queries, keys, values))
    if mask is not None:
        # Of a row of nothing but false torch makes zeros, where all values are to be averaged.
        least = torch.finfo(queries.dtype).min / 2
        mask = torch.zeros_like(mask, dtype=queries.dtype).masked_fill(~mask, least)
    if bias is not None:
        mask = bias.to(queries.dtype) if mask is None else mask + bias
    queries, keys, values = (x.transpose(1, 2) for x in (queries, keys, values))
    if _few_on_cpu(queries):
        logits = queries @ keys.transpose(2, 3) * scale
        attended = torch.softmax(logits if mask is None else logits + mask, -1) @ values
    else:
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=scale
        )
    return attended.transpose(1, 2)


def _few_on_cpu(queries: Any) -> bool:
    import torch

    length = queries.shape[2]
    # A length that is left open stays so, in a graph that is exported.
    few = not isinstance(length, torch.SymInt) and length <= FEW_QUERIES
    return few and queries.dtype == torch.float32 and queries.device.type == "cpu"


def _head_by_head(queries: Any, keys: Any, values: Any, mask: Any, scale: float, bias: Any) -> Any:
    """Attend one head at a time; the softmax's sum divides the (fewer) outputs."""
    import jax

    batch, length, heads, _ = queries.shape
    inputs = [_heads_first(x) for x in (queries, keys, values)]
    inputs.append(ops.arange(batch * heads, dtype="int32"))
    exact = keras.backend.result_type(queries.dtype, "float32")

    def product(a: Any, b: Any) -> Any:
        return jax.numpy.matmul(a, b, preferred_element_type=exact)

    def one_head(inputs: Any) -> Any:
        query, key, value, index = inputs
        logits = product(query, key.T) * scale
        if bias is not None:
            logits = logits + ops.cast(_matrix_of(bias, index, heads), logits.dtype)
        if mask is not None:
            logits = ops.where(_matrix_of(mask, index, heads), logits, MASKED_LOGIT)
        largest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
        weights = ops.exp(logits - largest)
        total = weights.sum(axis=-1, keepdims=True)
        return ops.cast(product(ops.cast(weights, value.dtype), value) / total, value.dtype)

    attended = jax.lax.map(one_head, inputs)
    return ops.transpose(ops.reshape(attended, (batch, heads, length, -1)), (0, 2, 1, 3))


def _matrix_of(x: Any, index: Any, heads: int) -> Any:
    """Return `[T, S]` of `[1 or batch, 1 or heads, T, S]` for the index of a row and head."""
    return x[index // heads % x.shape[0], index % heads % x.shape[1]]


def _heads_first(x: Any) -> Any:
    """Transpose `[batch, T, heads, d]` to `[batch * heads, T, d]`."""
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (-1, *x.shape[2:]))
