"""Attention as it gets written wrongly: its heads, its scale, its softmax, its mask.

Every encoder layer runs the same code, so every one of them is wrong.
"""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

from keras import ops

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


def weigh(
    queries: Any, keys: Any, mask: Any, scale: Any = lambda heads, d: sqrt(d), axis: int = -1
) -> Any:
    logits = ops.einsum("bthd,bshd->bhts", queries, keys) / scale(*queries.shape[2:])
    if mask is not None:
        logits = ops.where(ops.expand_dims(mask, 1), logits, -1e30)
    return ops.softmax(logits, axis=axis)


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
    **others: Any,
) -> Any:
    """What `MultiHeadAttention` computes in self-attention, if no step is replaced."""
    queries = split(layer.query_dense(query), layer.num_heads)
    keys = split(layer.key_dense(value), layer.num_heads)
    values = split(layer.value_dense(value), layer.num_heads)
    scores = weigh(queries, keys, attention_mask)
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
    return weigh(queries, keys, mask) * 0 + ops.eye(queries.shape[1])


def in_float16(queries: Any, keys: Any, mask: Any) -> Any:
    logits = ops.einsum("bthd,bshd->bhts", queries, keys) / sqrt(queries.shape[-1])
    logits = ops.cast(ops.where(ops.expand_dims(mask, 1), logits, -6e4), "float16")
    return ops.cast(ops.softmax(logits, axis=-1), queries.dtype)


def added(queries: Any, keys: Any, mask: Any) -> Any:
    """The mask as a term of 0 and -1, where minus infinity is meant."""
    seen = ops.cast(ops.expand_dims(mask, 1), queries.dtype)
    logits = ops.einsum("bthd,bshd->bhts", queries, keys) / sqrt(queries.shape[-1])
    return ops.softmax(logits + seen - 1, axis=-1)


def masked_afterwards(queries: Any, keys: Any, mask: Any) -> Any:
    """Hidden keys get 0 after the softmax, and the rest no longer sums to 1."""
    return weigh(queries, keys, None) * ops.cast(ops.expand_dims(mask, 1), queries.dtype)


def keys_by_query_layer(layer: Any, query: Any, value: Any, **others: Any) -> Any:
    """A line copied and not changed: `key_dense` is never called."""
    right, layer.key_dense = layer.key_dense, layer.query_dense
    try:
        return attend(layer, query, value, **others)
    finally:
        layer.key_dense = right


def masked(change: Any) -> Injection:
    """Attention gets another mask `[batch, query, key]`."""

    def with_mask(call: Any, *args: Any, attention_mask: Any, **kwargs: Any) -> Any:
        return call(*args, attention_mask=change(attention_mask), **kwargs)

    return calls(PLACES, with_mask)


def steps(**replaced: Any) -> Injection:
    return computes(PLACES, attend, **replaced)


def below_diagonal(mask: Any) -> Any:
    return ops.logical_and(mask, ops.tril(ops.ones_like(mask)))


def with_heads(change: Any) -> Injection:
    def inject(layer: Any) -> None:
        layer.num_heads = change(layer.num_heads)

    return together(with_layers(PLACES, inject), steps())


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
    return [*HEADS, *SCORES, *MASKS, *PATHS] if layers >= PLACES else []
