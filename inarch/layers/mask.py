"""Who sees whom, and where a token stands, from masks that carry sequence numbers.

A `padding_mask` is int or bool `[batch, length]`: 0 for padding, 1 for tokens, and 2, 3, ... for
the tokens of further sequences packed into the same row. A token sees those of its own number.
Pads see pads, so a row of nothing but padding stays finite.
"""

from functools import reduce
from typing import Any

import keras

# Keras names no public way to read the mask that `mask_zero=True` leaves on a tensor.
from keras.src.backend import get_keras_mask

from inarch.errors import InputError
from inarch.layers.cache import cache_length

ops: Any = keras.ops  # Typed, every result may be None.


def padding_mask_of(inputs: Any, padding_mask: Any = None) -> Any:
    """The given mask, else the implicit Keras mask of `inputs`: int32 `[batch, length]` or `None`.

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
    """The position of each token in its own sequence.

    Tokens numbered 0 or 1 keep their index in the row, so that left padding shifts positions as it
    does in the published models. Tokens numbered 2 and up count from the first of their number.

    Args:
        padding_mask: int or bool `[batch, length]`, sequence numbers.

    Returns:
        int32 `[batch, length]`.
    """
    numbers = ops.cast(padding_mask, "int32")
    index = steps(ops.shape(numbers)[1])
    # argmax gives the first of equal values: the first index that has the token's number.
    first = ops.argmax(ops.cast(same_sequence(numbers, numbers), "int32"), axis=-1)
    return index - ops.where(numbers > 1, ops.cast(first, "int32"), 0)


def token_positions(token_ids: Any, padding_id: int, padding_mask: Any) -> Any:
    """The position of each token, counted from `padding_id + 1` on; that of padding is its id.

    Padding is what has the id `padding_id`, wherever it stands, so left padding shifts nothing.
    Sequences packed into a row are counted each by itself.

    Source: facebookresearch/fairseq, fairseq/utils.py, make_positions.

    Args:
        token_ids: int `[batch, length]`.
        padding_mask: int or bool `[batch, length]`, sequence numbers.

    Returns:
        int32 `[batch, length]`.
    """
    counted = ops.cast(ops.not_equal(token_ids, padding_id), "int32")
    # Tokens numbered 0 or 1 are one row, as the original sees it; 2 and up begin anew.
    numbers = ops.maximum(ops.cast(padding_mask, "int32"), 1)
    index = steps(ops.shape(numbers)[1])
    # As a sum over pairs, and not by a lookup: that would fix the length of an exported graph.
    earlier = ops.logical_and(
        same_sequence(numbers, numbers), ops.expand_dims(index, 1) >= ops.expand_dims(index, 0)
    )
    place = ops.sum(ops.cast(earlier, "int32") * ops.expand_dims(counted, 1), axis=-1)
    return ops.cast(place, "int32") * counted + padding_id


def same_sequence(queries: Any, keys: Any) -> Any:
    """Which query is of the same sequence as which key.

    Args:
        queries: int32 `[batch, T]`, sequence numbers; `None` if all are tokens of one sequence.
        keys: int32 `[batch, S]`, sequence numbers, or `None`.

    Returns:
        bool `[batch, T, S]`; `[batch, 1, S]` if `queries` is `None`; `None` if `keys` is.
    """
    if keys is None:
        return None
    if queries is None:
        return ops.expand_dims(ops.not_equal(keys, 0), 1)
    return ops.equal(ops.expand_dims(queries, 2), ops.expand_dims(keys, 1))


def steps(length: Any, start: Any = 0) -> Any:
    """int32 `[length]`: the indices from `start` on."""
    return ops.arange(length, dtype="int32") + ops.cast(start, "int32")


def causal_mask(target_length: Any, source_length: Any, start: Any = 0) -> Any:
    """bool `[T, S]`: query `i`, which stands at `start + i`, sees keys up to itself."""
    return ops.expand_dims(steps(target_length, start), 1) >= steps(source_length)


def combine_masks(*masks: Any) -> Any:
    """Logical AND of the masks that aren't `None`, or `None` if none is left.

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
    """Which token sees which in self-attention.

    Args:
        padding_mask: int or bool `[batch, T]`, sequence numbers, or `None`.
        attention_mask: bool or int `[batch, T, T]` or `[batch, 1, T, T]`, or `None`.

    Returns:
        bool `[batch, T, T]` (of rank 4 if `attention_mask` is), or `None` if neither is given.
    """
    numbers = None if padding_mask is None else ops.cast(padding_mask, "int32")
    return combine_masks(same_sequence(numbers, numbers), attention_mask)


def decoder_masks(
    inputs: Any,
    padding_mask: Any,
    attention_mask: Any,
    encoder_numbers: Any,
    encoder_attention_mask: Any,
    cache: Any,
    start: Any,
    causal: bool,
) -> tuple[Any, Any]:
    """Which key a decoder's token sees in self-attention, and which in cross-attention.

    Args:
        inputs: float `[batch, T, dim]`, the decoder's tokens of this call.
        padding_mask: sequence numbers of the keys of self-attention, `[batch, S]`, or `None`.
        attention_mask: bool or int `[batch, T, S]`, or `None`.
        encoder_numbers: int32 sequence numbers of the encoder, or `None`.
        encoder_attention_mask: bool or int `[batch, T, encoder length]`, or `None`.
        cache: keys and values of S tokens; `None` makes the keys those of `inputs`.
        start: index of the first of `inputs` among the keys; `None` is 0.
        causal: whether tokens see none of those after them.

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
            queries = ops.take(keys, steps(length, start), axis=1)

    return (
        combine_masks(
            causal_mask(length, source_length, start) if causal else None,
            same_sequence(queries, keys),
            attention_mask,
        ),
        combine_masks(same_sequence(queries, encoder_numbers), encoder_attention_mask),
    )


def _check_covers_cache(padding_mask: Any, cache: Any) -> None:
    lengths = (padding_mask.shape[1], cache_length(cache))
    if None not in lengths and lengths[0] != lengths[1]:
        raise InputError(
            f"decoder_padding_mask of length {lengths[0]} doesn't cover the cache of length "
            f"{lengths[1]}. Pass the mask of all positions of the cache, not of the new tokens."
        )
