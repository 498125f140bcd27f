"""Attention masks and positions from padding masks that carry sequence ids.

A `padding_mask` is int or bool `[batch, length]`: 0 for padding, 1 for tokens, and 2, 3, ... for
the tokens of further sequences packed into the same row. The number is the token's sequence id, and
a token attends to the tokens of its own sequence only. Pads attend to pads, so a row of padding
alone stays finite. A token of the id -1 attends to those of the id 1, one of -2 to those of 2,
and so on, and none attends to it: ColBERT's queries end in such tokens (Khattab & Zaharia, 2020,
arXiv:2004.12832, section 3.2).
"""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import keras

from inarch.errors import InputError
from inarch.keras_private import get_keras_mask
from inarch.layers.cache import cache_length
from inarch.layers.direct_calls import facts_of

ops: Any = keras.ops  # Typed, every result may be None.


def padding_mask_of(inputs: Any, padding_mask: Any = None) -> Any:
    """Return the given mask, else the implicit Keras mask: int32 `[batch, length]` or `None`.

    Raises:
        InputError: the mask isn't of rank 2.
    """
    mask = get_keras_mask(inputs) if padding_mask is None else padding_mask
    if mask is None:
        return None
    if len(mask.shape) != 2:
        raise InputError(
            f"padding_mask of shape {tuple(mask.shape)} isn't [batch, length]. "
            "Pass masks of pairs of tokens as attention_mask."
        )
    return ops.cast(mask, "int32")


def sequence_positions(padding_mask: Any) -> Any:
    """Return the position of each token in its own sequence.

    Tokens with ids 0 or 1 keep their index in the row, so that left padding shifts positions as it
    does in the published models. Those with ids 2 and up count from the first of their sequence.

    Args:
        padding_mask: int or bool `[batch, length]`, sequence ids.

    Returns:
        int32 `[batch, length]`.
    """
    sequence_ids = ops.cast(padding_mask, "int32")
    index = position_range(ops.shape(sequence_ids)[1])
    # argmax gives the first of equal values: the first index that has the token's sequence id.
    first = ops.argmax(ops.cast(same_sequence(sequence_ids, sequence_ids), "int32"), axis=-1)
    return index - ops.where(ops.abs(sequence_ids) > 1, ops.cast(first, "int32"), 0)


def positions_and_lengths(padding_mask: Any) -> Any:
    """Return `sequence_positions`, each with the number of tokens of its sequence.

    Args:
        padding_mask: int or bool `[batch, length]`, sequence ids.

    Returns:
        int32 `[batch, length, 2]`.
    """
    ids = ops.cast(padding_mask, "int32")
    lengths = ops.sum(ops.cast(same_sequence(ids, ids), "int32"), axis=-1)
    return ops.stack([sequence_positions(ids), ops.cast(lengths, "int32")], axis=-1)


def token_positions(token_ids: Any, padding_id: int, padding_mask: Any) -> Any:
    """Return positions that count from `padding_id + 1`; padding has the position `padding_id`.

    Every token with the id `padding_id` is padding, wherever it is in the row, so left padding
    shifts no position. Each sequence packed into a row is counted by itself.

    Source: facebookresearch/fairseq, fairseq/utils.py, make_positions.

    Args:
        token_ids: int `[batch, length]`.
        padding_mask: int or bool `[batch, length]`, sequence ids.

    Returns:
        int32 `[batch, length]`.
    """
    counted = ops.cast(ops.not_equal(token_ids, padding_id), "int32")
    return _count_of(counted, padding_mask) * counted + padding_id


def masked_positions(padding_mask: Any) -> Any:
    """Return positions that count from 0 over tokens alone; padding has the position -1.

    Left padding shifts no position. Each sequence packed into a row is counted by itself.

    Source: facebookresearch/metaseq; transformers, models/opt/modeling_opt.py.

    Args:
        padding_mask: int or bool `[batch, length]`, sequence ids.

    Returns:
        int32 `[batch, length]`.
    """
    counted = ops.cast(ops.not_equal(padding_mask, 0), "int32")
    return _count_of(counted, padding_mask) * counted - 1


def _count_of(counted: Any, padding_mask: Any) -> Any:
    """Return how many of the counted tokens `[batch, length]` a sequence has up to each token."""
    # Ids 0 and 1 are one sequence, as in the reference; each further id starts a new one.
    sequence_ids = ops.maximum(ops.abs(ops.cast(padding_mask, "int32")), 1)
    index = position_range(ops.shape(sequence_ids)[1])
    # A sum over pairs instead of a lookup, which would fix the length of an exported graph.
    earlier = ops.logical_and(
        same_sequence(sequence_ids, sequence_ids),
        ops.expand_dims(index, 1) >= ops.expand_dims(index, 0),
    )
    place = ops.sum(ops.cast(earlier, "int32") * ops.expand_dims(counted, 1), axis=-1)
    return ops.cast(place, "int32")


def same_sequence(queries: Any, keys: Any) -> Any:
    """Return the mask of queries and keys that belong to the same sequence.

    Args:
        queries: int32 `[batch, T]`, sequence ids; `None` if all are tokens of one sequence.
        keys: int32 `[batch, S]`, sequence ids, or `None`.

    Returns:
        bool `[batch, T, S]`; `[batch, 1, S]` if `queries` is `None`; `None` if `keys` is.
    """
    if keys is None:
        return None
    if queries is None:
        return ops.expand_dims(ops.not_equal(keys, 0), 1)
    return ops.equal(ops.expand_dims(ops.abs(queries), 2), ops.expand_dims(keys, 1))


def _own_sequence(ids: Any) -> Any:
    """Return `same_sequence(ids, ids)`, or `None` where all are known to be of one sequence."""
    facts = None if ids is None else facts_of(ids)
    if facts is None:
        return same_sequence(ids, ids)
    if "pairs" not in facts:
        is_one = ids.device.type == "cpu" and bool((ids == 1).all())
        facts["pairs"] = None if is_one else same_sequence(ids, ids)
    return facts["pairs"]


def position_range(length: Any, start: Any = 0) -> Any:
    """Return the indices from `start` on, int32 `[length]`."""
    return ops.arange(length, dtype="int32") + ops.cast(start, "int32")


def causal_mask(target_length: Any, source_length: Any, start: Any = 0) -> Any:
    """Return bool `[T, S]`: query `i`, at position `start + i`, attends to keys up to itself."""
    return ops.expand_dims(position_range(target_length, start), 1) >= position_range(source_length)


def window_mask(queries: Any, keys: Any, window: int | None, start: Any = 0) -> Any:
    """Return the mask of keys that are at most `window` tokens away, on either side.

    Args:
        queries: `[batch, T, ...]`, the first at position `start`.
        keys: `[batch, S, ...]`, the first at position 0.

    Returns:
        bool `[T, S]`, or `None` if no distance can be larger than `window`, or `window` is `None`.
    """
    length = keys.shape[1]
    if window is None or (isinstance(length, int) and length <= window + 1):
        return None
    positions = ops.expand_dims(position_range(ops.shape(queries)[1], start), 1)
    distances = ops.abs(positions - position_range(ops.shape(keys)[1]))
    return ops.less_equal(distances, window)


def combine_masks(*masks: Any) -> Any:
    """Return the logical AND of the masks that aren't `None`, or `None` if none is left.

    Args:
        masks: bool or int, `[T, S]`, `[batch, T, S]` or `[batch, heads or 1, T, S]`.

    Returns:
        bool, of the largest rank given.

    Raises:
        InputError: a mask is of another rank.
    """
    given = [ops.cast(mask, "bool") for mask in masks if mask is not None]
    for mask in given:
        if len(mask.shape) not in (2, 3, 4):
            raise InputError(
                f"attention_mask of shape {tuple(mask.shape)} isn't [batch, target, source] or "
                "[batch, 1, target, source]. Pass masks of single tokens as padding_mask."
            )
    if any(len(mask.shape) == 4 for mask in given):
        given = [ops.expand_dims(mask, 1) if len(mask.shape) == 3 else mask for mask in given]
    return reduce(ops.logical_and, given) if given else None


def self_attention_mask(padding_mask: Any = None, attention_mask: Any = None) -> Any:
    """Return the mask of self-attention.

    Args:
        padding_mask: int or bool `[batch, T]`, sequence ids, or `None`.
        attention_mask: bool or int `[batch, T, T]` or `[batch, 1, T, T]`, or `None`.

    Returns:
        bool `[batch, T, T]` (of rank 4 if `attention_mask` is), or `None` if neither is given.
    """
    ids = None if padding_mask is None else ops.cast(padding_mask, "int32")
    return combine_masks(_own_sequence(ids), attention_mask)


def decoder_masks(
    inputs: Any,
    padding_mask: Any,
    attention_mask: Any,
    encoder_sequence_ids: Any,
    encoder_attention_mask: Any,
    cache: Any,
    start: Any,
    causal: bool,
) -> tuple[Any, Any]:
    """Return the masks of a decoder's self-attention and cross-attention.

    Args:
        inputs: float `[batch, T, dim]`, the decoder's tokens of this call.
        padding_mask: sequence ids of the keys of self-attention, `[batch, S]`, or `None`.
        attention_mask: bool or int `[batch, T, S]`, or `None`.
        encoder_sequence_ids: int32 sequence ids of the encoder, or `None`.
        encoder_attention_mask: bool or int `[batch, T, encoder length]`, or `None`.
        cache: keys and values of S tokens; `None` makes the keys those of `inputs`.
        start: index of the first of `inputs` among the keys; `None` is 0.
        causal: whether tokens attend to none of those after them.

    Returns:
        bool `[batch, T, S]` and `[batch, T, encoder length]`, or what broadcasts to it, or `None`.
    """
    start = 0 if start is None else start
    length = ops.shape(inputs)[1]
    source_length = length if cache is None else cache_length(cache)
    queries = keys = padding_mask_of(inputs, padding_mask)
    if cache is not None and keys is not None:
        if padding_mask is None and keys.shape[1] != cache_length(cache):
            queries = keys = None  # An implicit mask of new tokens says nothing of earlier ones.
        else:
            _check_covers_cache(keys, cache)
            queries = ops.take(keys, position_range(length, start), axis=1)

    return (
        combine_masks(
            causal_mask(length, source_length, start) if causal else None,
            _own_sequence(keys) if queries is keys else same_sequence(queries, keys),
            attention_mask,
        ),
        combine_masks(same_sequence(queries, encoder_sequence_ids), encoder_attention_mask),
    )


def mask_of_context(inputs: Any, context: Mapping[str, Any]) -> Any:
    """Return the mask of attention that the context of a `Block` describes, or `None`.

    Args:
        inputs: float `[batch, T, dim]`.
        context: `padding_mask`, `attention_mask`, `causal`, `cache` and `cache_index` are read; of
            cross-attention `padding_mask` and `source_padding_mask`.

    Returns:
        bool `[batch, T, S]`, where S is T, the length of the cache or that of the other sequence,
        or what broadcasts to it.
    """
    if "source_padding_mask" in context:
        return same_sequence(context["padding_mask"], context["source_padding_mask"])
    mask, _ = decoder_masks(
        inputs,
        context.get("padding_mask"),
        context.get("attention_mask"),
        encoder_sequence_ids=None,
        encoder_attention_mask=None,
        cache=context.get("cache"),
        start=context.get("cache_index"),
        causal=context.get("causal", False),
    )
    return mask


def _check_covers_cache(padding_mask: Any, cache: Any) -> None:
    lengths = (padding_mask.shape[1], cache_length(cache))
    if None not in lengths and lengths[0] != lengths[1]:
        raise InputError(
            f"decoder_padding_mask of length {lengths[0]} doesn't cover the cache of length "
            f"{lengths[1]}. Pass the mask of all positions of the cache, not of the new tokens."
        )
