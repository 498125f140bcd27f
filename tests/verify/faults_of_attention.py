"""Attention as it gets written wrongly: its heads, its scale, its softmax, its mask.

Every encoder layer runs the same code, so every one of them is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
from keras import ops

from inarch.layers import DisentangledSelfAttention
from inarch.layers.relative_position import distance_rows

from .fault import (
    NEVER_CALLED,
    Fault,
    Injection,
    calls,
    computes,
    everywhere,
    together,
    with_layers,
)

PLACES = everywhere("attention")


# --- attention in steps, each of which can be replaced -------------------------------------------


def split(x: Any, heads: int) -> Any:
    """`[batch, length, heads * d]` to `[batch, length, heads, d]`."""
    batch, length, width = x.shape
    return ops.reshape(x, (batch, length, heads, width // heads))


@dataclass(frozen=True)
class Queries:
    """Queries `[batch, length, heads, d]`, and what positions add to their products with keys.

    `terms` counts the products of which a score is the sum.
    """

    x: Any
    positions: Any = 0.0
    terms: int = 1

    def __rmul__(self, factor: float) -> Queries:
        return replace(self, x=factor * self.x, positions=factor * self.positions)

    def times(self, keys: Any) -> Any:
        return ops.einsum("bthd,bshd->bhts", self.x, keys) + self.positions

    @property
    def scale(self) -> float:
        return sqrt(self.terms * self.x.shape[-1])


def weigh(queries: Queries, keys: Any, mask: Any, scale: Any = None, axis: int = -1) -> Any:
    divisor = scale(*keys.shape[2:]) if scale else queries.scale
    logits = queries.times(keys) / divisor
    if mask is not None:
        logits = ops.where(ops.expand_dims(mask, 1), logits, -1e30)
    return ops.softmax(logits, axis=axis)


def located(
    layer: Any,
    queries: Any,
    keys: Any,
    table: Any,
    split: Any = split,
    rows: Any = None,
    terms: Any = lambda c2p, p2c: c2p + p2c,
    swapped: bool = False,
    transposed: bool = True,
) -> Queries:
    """The queries with what relative positions add, if no step is replaced.

    Args:
        rows: gives the rows of the table, for each distance from a query to a key.
    """
    if table is None:
        return Queries(queries, 0.0, 1 + len(layer.terms))
    whole = ops.expand_dims(table, 0)
    first, second = layer.position_query_dense(whole), layer.position_key_dense(whole)
    first, second = (second, first) if swapped else (first, second)
    first, second = (split(x, layer.num_heads)[0] for x in (first, second))
    index = np.arange(queries.shape[1])
    at = (rows or rows_of)(layer, index[:, None] - index)
    at = at if isinstance(at, tuple) else (at, at)
    c2p = ops.einsum("bthd,tshd->bhts", queries, ops.take(second, at[0], axis=0))
    p2c = ops.einsum("bshd,tshd->bhts", keys, ops.take(first, at[1], axis=0))
    p2c = p2c if transposed else ops.swapaxes(p2c, 2, 3)
    return Queries(queries, terms(c2p, p2c), 1 + len(layer.terms))


def rows_of(layer: Any, distances: Any) -> Any:
    found = distance_rows(layer.bucket_size, layer.max_relative_positions)
    return found[np.clip(distances + len(found) // 2, 0, len(found) - 1)]


def merge(x: Any) -> Any:
    """`[batch, length, heads, d]` to `[batch, length, heads * d]`."""
    batch, length, heads, d = x.shape
    return ops.reshape(x, (batch, length, heads * d))


def attend(
    layer: Any,
    query: Any,
    value: Any,
    attention_mask: Any = None,
    return_attention_scores: bool = False,
    split: Any = split,
    weigh: Any = weigh,
    merge: Any = merge,
    locate: Any = None,
    **others: Any,
) -> Any:
    """What our attention computes, if no step is replaced.

    Args:
        value: `query` once more, or what an encoder gives; or a table of relative positions, which
            `locate` reads.
    """
    disentangled = isinstance(layer, DisentangledSelfAttention)
    source = query if disentangled else value
    queries = split(layer.query_dense(query), layer.num_heads)
    keys = split(layer.key_dense(source), layer.num_heads)
    values = split(layer.value_dense(source), layer.num_heads)
    asked = Queries(queries)
    if disentangled:
        asked = (locate or located)(layer, queries, keys, value, split)
    scores = weigh(asked, keys, attention_mask)
    output = layer.output_dense(merge(ops.einsum("bhts,bshd->bthd", scores, values)))
    return (output, scores) if return_attention_scores else output


# --- wrong steps ---------------------------------------------------------------------------------


def interleaved(x: Any, heads: int) -> Any:
    """The width as `(d h)`."""
    batch, length, width = x.shape
    return ops.swapaxes(ops.reshape(x, (batch, length, width // heads, heads)), 2, 3)


def untransposed(x: Any, heads: int) -> Any:
    """Straight to `[batch, heads, length, d]`, which mixes tokens with heads."""
    batch, length, width = x.shape
    return ops.swapaxes(ops.reshape(x, (batch, heads, length, width // heads)), 1, 2)


def merged_interleaved(x: Any) -> Any:
    return merge(ops.reshape(ops.swapaxes(x, 2, 3), x.shape))


def on_the_diagonal(queries: Any, keys: Any, mask: Any) -> Any:
    return weigh(queries, keys, mask) * 0 + ops.eye(keys.shape[1])


def in_float16(queries: Any, keys: Any, mask: Any) -> Any:
    logits = queries.times(keys) / queries.scale
    logits = ops.cast(ops.where(ops.expand_dims(mask, 1), logits, -6e4), "float16")
    return ops.cast(ops.softmax(logits, axis=-1), keys.dtype)


def added(queries: Any, keys: Any, mask: Any) -> Any:
    """The mask as a term of 0 and -1, where minus infinity is meant."""
    seen = ops.cast(ops.expand_dims(mask, 1), keys.dtype)
    return ops.softmax(queries.times(keys) / queries.scale + seen - 1, axis=-1)


def masked_afterwards(queries: Any, keys: Any, mask: Any) -> Any:
    """Hidden keys get 0 after the softmax, and the rest no longer sums to 1."""
    return weigh(queries, keys, None) * ops.cast(ops.expand_dims(mask, 1), keys.dtype)


def keys_by_query_layer(layer: Any, query: Any, value: Any, **others: Any) -> Any:
    """A line copied and not changed: `key_dense` is never called."""
    names = [n for n in ("key_dense", "position_key_dense") if hasattr(layer, n)]
    right = {name: getattr(layer, name) for name in names}
    for name in names:
        setattr(layer, name, layer.query_dense)
    try:
        return attend(layer, query, value, **others)
    finally:
        for name in names:
            setattr(layer, name, right[name])


def masked(change: Any, places: frozenset[str] = PLACES) -> Injection:
    """Attention gets another mask `[batch, query, key]`."""

    def with_mask(call: Any, *args: Any, attention_mask: Any, **kwargs: Any) -> Any:
        return call(*args, attention_mask=change(attention_mask), **kwargs)

    return calls(places, with_mask)


def steps(places: frozenset[str] = PLACES, **replaced: Any) -> Injection:
    return computes(places, attend, **replaced)


def below_diagonal(mask: Any) -> Any:
    return ops.logical_and(mask, ops.tril(ops.ones_like(mask)))


def with_heads(change: Any, places: frozenset[str] = PLACES) -> Injection:
    def inject(layer: Any) -> None:
        layer.num_heads = change(layer.num_heads)

    return together(with_layers(places, inject), steps(places))


def unscaled(heads: int, d: int) -> float:
    return 1.0


def by_width(heads: int, d: int) -> float:
    return sqrt(heads * d)


def by_square(heads: int, d: int) -> float:
    return float(d)


HEADS = [
    Fault("Heads split in the wrong order", steps(split=interleaved), PLACES, r"heads?\b.*order"),
    Fault("Heads split without transposing", steps(split=untransposed), PLACES, "heads?"),
    Fault("Heads merged in the wrong order", steps(merge=merged_interleaved), PLACES,
        r"heads?\b.*order"),
    Fault("Twice as many heads", with_heads(lambda heads: 2 * heads), PLACES, r"\d heads"),
    Fault("One head too few", with_heads(lambda heads: heads - 1), PLACES, r"\d heads",
        fast=True),
    Fault("Keys projected by the query's layer", computes(PLACES, keys_by_query_layer), PLACES,
        NEVER_CALLED),
]  # fmt: skip

SCORES = [
    Fault("Attention unscaled", steps(weigh=partial(weigh, scale=unscaled)), PLACES, "scale",
        fast=True),
    Fault("Attention scaled by the hidden size", steps(weigh=partial(weigh, scale=by_width)),
        PLACES, "scale"),
    Fault("Attention scaled twice", steps(weigh=partial(weigh, scale=by_square)), PLACES,
        "scale"),
    Fault("Softmax over queries", steps(weigh=partial(weigh, axis=-2)), PLACES, "softmax"),
    Fault("Softmax in float16", steps(weigh=in_float16), PLACES, "float16|precision"),
    Fault("Attention uniform", steps(weigh=lambda q, k, mask: weigh(0 * q, k, mask)), PLACES,
        "uniform|mean"),
    Fault("Attention replaced by its values", steps(weigh=on_the_diagonal), PLACES, "values"),
]  # fmt: skip

MASKS = [
    Fault("Mask ignored", masked(lambda mask: None), PLACES, "mask", fast=True),
    Fault("Mask inverted", masked(ops.logical_not), PLACES, "mask"),
    Fault("Mask causal too", masked(below_diagonal), PLACES, "mask"),
    Fault("Mask off by one: first pad visible",
        masked(lambda mask: ops.logical_or(mask, ops.roll(mask, 1, axis=-1))), PLACES, "mask"),
    Fault("Mask off by one: last token hidden",
        masked(lambda mask: ops.logical_and(mask, ops.roll(mask, -1, axis=-1))), PLACES, "mask"),
    Fault("Mask applied after the softmax", steps(weigh=masked_afterwards), PLACES, "mask"),
    Fault("Mask added as 0 and -1", steps(weigh=added), PLACES, "mask"),
]  # fmt: skip


def only_without_scores(**wrong: Any) -> Injection:
    """The fault is in the path that runs where nobody asks for the probabilities."""

    def call(layer: Any, query: Any, value: Any, return_attention_scores: bool = False, **others):
        steps = {} if return_attention_scores else wrong
        return attend(
            layer, query, value, return_attention_scores=return_attention_scores, **steps, **others
        )

    return computes(PLACES, call)


PATHS = [
    Fault("Fused attention unscaled", only_without_scores(weigh=partial(weigh, scale=unscaled)),
        PLACES, "scale", fast=True),
    Fault("Fused attention without mask",
        only_without_scores(weigh=lambda q, k, mask: weigh(q, k, None)), PLACES, "mask"),
]  # fmt: skip


def faults(layers: set[str]) -> list[Fault]:
    if not layers >= PLACES:
        return []
    scores = SCORES
    if "relative_embedding" in layers:
        # Three products are scaled as the width of three heads is.
        scores = [fault for fault in SCORES if "hidden size" not in fault.name]
    return [*HEADS, *scores, *MASKS, *PATHS]
