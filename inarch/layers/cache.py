"""Key/value caches, in the memory order that attention reads fastest.

A cache is a pair of tensors `[batch * heads, d, S]`, of keys and of values, with the heads of a row
one after another. The sequence comes last, so that a step reads memory from end to end; with
another order it takes several times as long. Rows and heads are one axis, since XLA on a CPU copies
a whole cache for every step where it has to split or merge axes between writing and reading it.
One tensor `[batch, 2, S, heads, d]`, as KerasHub has it, is taken too, and given back as such.
"""

from numbers import Integral
from typing import Any

import keras

from inarch.errors import InputError

ops: Any = keras.ops  # Typed, every result may be None.


def empty_cache(
    rows: int, length: int, heads: int, key_dim: int, value_dim: int, dtype: Any
) -> tuple[Any, Any]:
    """Return a cache of zeros, for heads of `key_dim` and `value_dim` columns."""
    keys, values = (ops.zeros((rows * heads, d, length), dtype) for d in (key_dim, value_dim))
    return keys, values


def make_cache(keys: Any, values: Any) -> tuple[Any, Any]:
    """Return the cache that holds keys and values `[batch, S, heads, d]`."""
    keys, values = (_columns(x) for x in (keys, values))
    if keras.backend.backend() == "torch":
        # Its transpose leaves everything where it is.
        return keys.contiguous(), values.contiguous()
    return keys, values


def is_pair(cache: Any) -> bool:
    """Return whether a cache is a pair of tensors, not KerasHub's one."""
    return isinstance(cache, tuple | list)


def read_cache(cache: Any, heads: int) -> tuple[Any, Any]:
    """Return the keys and values `[batch, S, heads, d]` that a cache holds."""
    if not is_pair(cache):
        return cache[:, 0], cache[:, 1]
    # The backends read through a transpose; none of them copies here.
    keys, values = (
        ops.transpose(ops.reshape(x, (-1, heads, *x.shape[1:])), (0, 3, 1, 2)) for x in cache
    )
    return keys, values


def cache_length(cache: Any) -> Any:
    """Return how many tokens a cache has room for."""
    return cache[0].shape[-1] if is_pair(cache) else cache.shape[2]


def update_cache(cache: Any, keys: Any, values: Any, index: Any) -> Any:
    """Return a cache with keys and values `[batch, T, heads, d]` from the index on."""
    if not is_pair(cache):
        return _written(cache, ops.stack((keys, values), axis=1), index, axis=2)
    pairs = zip(cache, (keys, values), strict=True)
    return tuple(_written(old, _columns(new), index, axis=2) for old, new in pairs)


def select_rows(nest: Any, rows: int, indices: Any) -> Any:
    """Return a nest of tensors with the rows at `indices` alone, in that order.

    Args:
        nest: tensors that begin with `rows` or with `rows * n` entries, those of a row side by
            side, as caches have them.
        rows: number of rows.
        indices: int32 `[k]`.
    """

    def select(x: Any) -> Any:
        by_row = ops.reshape(x, (rows, -1, *x.shape[1:]))
        return ops.reshape(ops.take(by_row, indices, axis=0), (-1, *x.shape[1:]))

    return keras.tree.map_structure(select, nest)


def merge_rows_of_shared_keys(queries: Any, keys: Any) -> Any:
    """Concatenate the queries of the rows that share one row of keys."""
    rows, shared = queries.shape[0], keys.shape[0]
    if rows == shared or None in (rows, shared):
        return queries
    return ops.reshape(queries, (shared, -1, *queries.shape[2:]))


def check_room(cache: Any, length: Any, index: Any) -> None:
    """Raise if new keys would run over the cache's end, where backends shift them in silence."""
    room = cache_length(cache)
    known = all(isinstance(number, Integral) for number in (room, length, index))
    if known and index + length > room:
        raise InputError(
            f"{length} tokens from cache_update_index={index} on don't fit a cache of length "
            f"{room}. Make the cache as long as the longest sequence to be decoded."
        )


def _columns(x: Any) -> Any:
    """Transpose `[batch, S, heads, d]` to `[batch * heads, d, S]`."""
    batch, length, heads, width = x.shape
    return ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (batch * heads, width, length))


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
