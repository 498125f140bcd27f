"""The products of attention in the order that is quickest, and writing to a cache."""

from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.

# Finite, so that a row that may see nothing averages over all instead of dividing 0 by 0.
HIDDEN = -1e30

# From this many pairs of tokens on, XLA on a CPU takes several times as long over all heads
# together as over one after another, whose probabilities fit into the cache of a core.
MANY_PAIRS = 256 * 256

# Up to this many queries of all heads, it is quicker to multiply whole vectors, with zeros for the
# other heads, than to turn the keys so that those of a head lie together.
FEW_QUERIES = 64


def attend(queries: Any, keys: Any, values: Any, mask: Any, scale: float) -> Any:
    """Scaled dot-product attention, on JAX on a CPU in the order that suits the shape.

    Args:
        queries: float `[batch, T, heads, d]`.
        keys, values: float `[batch, S, heads, d]`.
        mask: bool, broadcast to `[batch, heads, T, S]`, or None.
        scale: factor on the products.

    Returns:
        float `[batch, T, heads, d]`.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        return _torch(queries, keys, values, mask, scale)
    _, length, heads, _ = queries.shape
    if backend == "jax" and _is_static(queries, keys) and _on_cpu():
        if length * heads <= FEW_QUERIES:
            return _whole_vectors(queries, keys, values, mask, scale)
        if length * keys.shape[1] >= MANY_PAIRS:
            return _head_by_head(queries, keys, values, mask, scale)
    return ops.dot_product_attention(queries, keys, values, mask=mask, scale=scale)


def _is_static(*tensors: Any) -> bool:
    return all(isinstance(size, int) for tensor in tensors for size in tensor.shape)


def _on_cpu() -> bool:
    import jax

    return jax.default_backend() == "cpu"


def _torch(queries: Any, keys: Any, values: Any, mask: Any, scale: float) -> Any:
    """Without the copies that make heads contiguous: in a step they take longer than the rest."""
    import torch
    from torch.nn import functional

    if mask is not None:
        # Of a row of nothing but false torch makes zeros, where all values are to be averaged.
        least = torch.finfo(queries.dtype).min / 2
        mask = torch.zeros_like(mask, dtype=queries.dtype).masked_fill(~mask, least)
    attended = functional.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (queries, keys, values)), attn_mask=mask, scale=scale
    )
    return attended.transpose(1, 2)


def _whole_vectors(queries: Any, keys: Any, values: Any, mask: Any, scale: float) -> Any:
    batch, length, heads, width = queries.shape
    keys, values = (ops.reshape(x, (batch, -1, heads * width)) for x in (keys, values))
    own = ops.reshape(ops.eye(heads, dtype="bool"), (1, 1, heads, heads, 1))
    spread = ops.where(own, ops.expand_dims(queries, 3), 0)
    spread = ops.reshape(spread, (batch, length * heads, heads * width))
    logits = ops.einsum("bqd,bsd->bqs", spread, keys)
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32")) * scale
    logits = ops.reshape(logits, (batch, length, heads, -1))
    if mask is not None:
        logits = ops.where(ops.transpose(mask, (0, 2, 1, 3)), logits, HIDDEN)
    scores = ops.cast(ops.softmax(logits, axis=-1), values.dtype)
    scores = ops.reshape(scores, (batch, length * heads, -1))
    attended = ops.einsum("bqs,bsd->bqd", scores, values)
    attended = ops.reshape(attended, (batch, length, heads, heads, width))
    return ops.sum(ops.where(own, attended, 0), axis=3)


def _head_by_head(queries: Any, keys: Any, values: Any, mask: Any, scale: float) -> Any:
    import jax

    batch, length, heads, _ = queries.shape
    inputs = [_heads_first(x) for x in (queries, keys, values)]
    if mask is not None:
        shape = (batch, heads, length, keys.shape[1])
        inputs.append(ops.reshape(ops.broadcast_to(mask, shape), (-1, *shape[2:])))

    def one_head(inputs: Any) -> Any:
        query, key, value = (x[None, :, None] for x in inputs[:3])
        mask = inputs[3][None, None] if len(inputs) > 3 else None
        return jax.nn.dot_product_attention(query, key, value, mask=mask, scale=scale)[0, :, 0]

    attended = jax.lax.map(one_head, inputs)
    return ops.transpose(ops.reshape(attended, (batch, heads, length, -1)), (0, 2, 1, 3))


def _heads_first(x: Any) -> Any:
    """`[batch, T, heads, d]` to `[batch * heads, T, d]`."""
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (-1, *x.shape[2:]))


def with_written(cache: Any, new: Any, index: Any) -> Any:
    """A cache `[batch, 2, S, heads, d]` with the tokens of `new` from the index on."""
    if keras.backend.backend() == "torch":
        import torch

        # keras.ops turns the index into an int, which a graph can't follow.
        steps = torch.arange(new.shape[2], device=cache.device) + index
        return torch.index_copy(ops.convert_to_tensor(cache), 2, steps, ops.cast(new, cache.dtype))
    return ops.slice_update(cache, (0, 0, index, 0, 0), ops.cast(new, cache.dtype))
