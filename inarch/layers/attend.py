"""The products of attention in the order that is quickest, and writing to a cache."""

from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.

# From this many pairs of tokens on, XLA on a CPU takes several times as long over all heads
# together as over one after another, whose probabilities fit into the cache of a core.
MANY_PAIRS = 256 * 256


def attend(queries: Any, keys: Any, values: Any, mask: Any, scale: float) -> Any:
    """Scaled dot-product attention.

    Args:
        queries: float `[batch, T, heads, d]`.
        keys, values: float `[batch, S, heads, d]`.
        mask: bool, broadcast to `[batch, heads, T, S]`, or None.
        scale: factor on the products.

    Returns:
        float `[batch, T, heads, d]`.
    """
    if _is_better_looped(queries, keys):
        return _head_by_head(queries, keys, values, mask, scale)
    return ops.dot_product_attention(queries, keys, values, mask=mask, scale=scale)


def _is_better_looped(queries: Any, keys: Any) -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    lengths = (queries.shape[1], keys.shape[1])
    known = all(isinstance(length, int) for length in (*lengths, queries.shape[0]))
    return known and jax.default_backend() == "cpu" and lengths[0] * lengths[1] >= MANY_PAIRS


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
