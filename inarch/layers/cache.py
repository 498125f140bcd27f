"""Keys and values of tokens read before, in memory as attention reads them quickest.

A cache is a pair of tensors `[batch, heads, d, S]`, of keys and of values: the sequence comes last,
so that a step reads memory from end to end. With another order it takes several times as long.
One tensor `[batch, 2, S, heads, d]`, as KerasHub has it, is taken too, and given back as such.
"""

from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.


def empty_cache(rows: int, length: int, heads: int, width: int, dtype: Any) -> tuple[Any, Any]:
    """A cache of zeros, for heads of `width` columns."""
    keys, values = (ops.zeros((rows, heads, width, length), dtype) for _ in range(2))
    return keys, values


def cache_of(keys: Any, values: Any) -> tuple[Any, Any]:
    """The cache that holds keys and values `[batch, S, heads, d]`."""
    keys, values = (ops.transpose(x, (0, 2, 3, 1)) for x in (keys, values))
    if keras.backend.backend() == "torch":
        # Its transpose leaves everything where it is.
        return keys.contiguous(), values.contiguous()
    return keys, values


def cached(cache: Any) -> tuple[Any, Any]:
    """The keys and values `[batch, S, heads, d]` that a cache holds."""
    if not isinstance(cache, tuple | list):
        return cache[:, 0], cache[:, 1]
    # The backends read through a transpose; none of them copies here.
    keys, values = (ops.transpose(x, (0, 3, 1, 2)) for x in cache)
    return keys, values


def cache_length(cache: Any) -> Any:
    """How many tokens a cache has room for."""
    return cache[0].shape[3] if isinstance(cache, tuple | list) else cache.shape[2]


def with_written(cache: Any, keys: Any, values: Any, index: Any) -> Any:
    """A cache with keys and values `[batch, T, heads, d]` from the index on."""
    if not isinstance(cache, tuple | list):
        return _written(cache, ops.stack((keys, values), axis=1), index, axis=2)
    pairs = zip(cache, (keys, values), strict=True)
    return tuple(
        _written(old, ops.transpose(new, (0, 2, 3, 1)), index, axis=3) for old, new in pairs
    )


def _written(old: Any, new: Any, index: Any, axis: int) -> Any:
    new = ops.cast(new, old.dtype)
    if keras.backend.backend() == "torch":
        import torch

        # keras.ops turns the index into an int, which a graph can't follow.
        steps = torch.arange(new.shape[axis], device=new.device) + index
        return torch.index_copy(ops.convert_to_tensor(old), axis, steps, new)
    starts = [0] * len(new.shape)
    starts[axis] = index
    return ops.slice_update(old, starts, new)
