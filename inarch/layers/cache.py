"""Key/value caches, in the memory order that attention reads fastest.

A cache is a pair of tensors `[batch * heads, d, S]`, of keys and of values, with the heads of a row
one after another. The sequence comes last, so that a step reads memory from end to end; with
another order it takes several times as long. Rows and heads are one axis, since XLA on a CPU copies
a whole cache for every step where it has to split or merge axes between writing and reading it.
One tensor `[batch, 2, S, heads, d]`, as KerasHub has it, is taken too, and given back as such.

The beams of a row share a cache, in which each has a slot at every place: keys
`[rows * heads, d, S * beams]`, values `[rows * heads, S * beams, d]`, and the numbers of the slots
that each beam reads, int32 `[rows * beams, S]`. A beam writes to its own slot, and one that goes on
from another takes over which slots that one reads, so that no key is moved.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import Any

import keras

from inarch.errors import InputError

ops: Any = keras.ops  # Typed, every result may be None.

_in_place: ContextVar[bool] = ContextVar("in_place", default=False)


@contextmanager
def overwritten_caches() -> Iterator[None]:
    """Let torch write new keys and values into the caches themselves, which the caller gives up.

    Otherwise every step copies each cache whole. The other backends see to that themselves.
    """
    token = _in_place.set(True)
    try:
        yield
    finally:
        _in_place.reset(token)


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


def share_cache(cache: tuple[Any, Any], heads: int, beams: int) -> tuple[Any, Any, Any]:
    """Return the cache of `beams` sequences for each row, all of which go on from what it holds."""

    def widened(x: Any) -> Any:
        others = ops.zeros((*x.shape, beams - 1), x.dtype)
        x = ops.concatenate((ops.expand_dims(x, 3), others), axis=3)
        return ops.reshape(x, (*x.shape[:2], -1))

    keys, values = cache
    slots = ops.zeros((keys.shape[0] // heads * beams, keys.shape[2]), "int32")
    return widened(keys), ops.swapaxes(widened(values), 1, 2), slots


def is_pair(cache: Any) -> bool:
    """Return whether a cache is keys and values apart, not KerasHub's one tensor."""
    return isinstance(cache, tuple | list)


def own_slots(cache: Any) -> Any:
    """Return which slots each beam reads of a cache that beams share, `None` of another.

    Returns:
        bool `[rows, beams, S, beams]`, the slots last.
    """
    if not is_shared(cache):
        return None
    keys, _, slots = cache
    beams = keys.shape[2] // slots.shape[1]
    slots = ops.reshape(slots, (-1, beams, slots.shape[1], 1))
    return ops.equal(slots, ops.arange(beams, dtype="int32"))


def is_shared(cache: Any) -> bool:
    """Return whether a cache is one that the beams of a row share."""
    return is_pair(cache) and len(cache) == 3


def read_cache(cache: Any, heads: int) -> tuple[Any, Any]:
    """Return the keys and values `[batch, S, heads, d]` that a cache holds."""
    if not is_pair(cache):
        return cache[:, 0], cache[:, 1]
    if is_shared(cache):
        cache = _of_each_beam(cache, heads)
    # The backends read through a transpose; none of them copies here.
    keys, values = (
        ops.transpose(ops.reshape(x, (-1, heads, *x.shape[1:])), (0, 3, 1, 2)) for x in cache
    )
    return keys, values


def cache_length(cache: Any) -> Any:
    """Return how many tokens a cache has room for."""
    return cache[-1].shape[-1] if is_pair(cache) else cache.shape[2]


def update_cache(cache: Any, keys: Any, values: Any, index: Any) -> Any:
    """Return a cache with keys and values `[batch, T, heads, d]` from the index on."""
    if not is_pair(cache):
        return _written(cache, ops.stack((keys, values), axis=1), index, axis=2)
    if is_shared(cache):
        return _written_by_beams(cache, keys, values, index)
    pairs = zip(cache, (keys, values), strict=True)
    return tuple(_written(old, _columns(new), index, axis=2) for old, new in pairs)


def reorder_cache(cache: Any, rows: int, indices: Any) -> Any:
    """Return a cache of `rows` sequences with those at `indices` alone, in that order.

    Of one that beams share the indices are as many, and of the same row each.
    """
    if not is_shared(cache):
        return select_rows(cache, rows, indices)
    keys, values, slots = cache
    return keys, values, ops.take(slots, indices, axis=0)


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


def check_is_given(cache: Any, index: Any) -> None:
    """Raise InputError where new keys have a place and no cache."""
    if cache is None and index is not None:
        raise InputError(
            f"cache_update_index={index} without a cache. Pass cache (see `init_cache`), or "
            "leave the index out."
        )


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


def _written_by_beams(cache: Any, keys: Any, values: Any, index: Any) -> Any:
    """Return a cache that beams share with `[rows * beams, T, heads, d]` from the index on."""
    (batch, length, *_), beams = keys.shape, cache[0].shape[2] // cache_length(cache)

    def by_place(x: Any) -> Any:  # [rows * heads, T * beams, d]
        x = ops.reshape(x, (-1, beams, *x.shape[1:]))
        x = ops.transpose(x, (0, 3, 2, 1, 4))
        return ops.reshape(x, (-1, length * beams, x.shape[-1]))

    own = ops.expand_dims(ops.arange(batch, dtype="int32") % beams, 1)
    news = ops.swapaxes(by_place(keys), 1, 2), by_place(values), ops.tile(own, (1, length))
    places = zip((index * beams, index * beams, index), (2, 1, 1), strict=True)
    return tuple(
        _written(old, new, place, axis)
        for old, new, (place, axis) in zip(cache, news, places, strict=True)
    )


def _of_each_beam(cache: Any, heads: int) -> tuple[Any, Any]:
    """Return the pair of keys and values `[rows * beams * heads, d, S]` that each beam reads."""
    own = own_slots(cache)
    rows, beams, length, _ = own.shape
    keys, values, _ = cache

    def read(x: Any) -> Any:
        x = ops.reshape(x, (rows, 1, heads, -1, length, beams))
        x = ops.sum(ops.where(own[:, :, None, None], x, 0), axis=-1)
        return ops.reshape(x, (rows * beams * heads, -1, length))

    return read(keys), read(ops.swapaxes(values, 1, 2))


def _written(old: Any, new: Any, index: Any, axis: int) -> Any:
    new = ops.cast(new, old.dtype)
    if keras.backend.backend() == "torch":
        import torch

        # keras.ops turns the index into an int, which a graph can't follow.
        steps = torch.arange(new.shape[axis], device=new.device) + index
        old = ops.convert_to_tensor(old)
        return (old.index_copy_ if _in_place.get() else old.index_copy)(axis, steps, new)
    starts = [0] * len(new.shape)
    starts[axis] = index
    return ops.slice_update(old, starts, new)
