"""Attention with linear biases (ALiBi): a penalty on scores that grows with the distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives
from inarch.layers.layer import Layer
from inarch.layers.mask import position_range

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class AlibiBias(Layer):
    """Bias on the scores of causal attention: a slope for each head times the distance of tokens.

    A key before a query gets minus the slope for each token of their distance. Slopes fall
    geometrically with the head (`alibi_slopes`) and aren't trained. The layer is the `score_bias`
    of `MultiHeadAttention`. Keys after a query, which causal attention masks, would get a positive
    bias.

    A softmax ignores what all keys of a query share. So in float32 the bias is of the positions of
    keys alone, as in published code, and takes no memory for pairs of tokens. In 16 bits, where
    large numbers are coarse, it is of distances, which are small where they matter.

    Source: Press et al., 2022, arXiv:2108.12409; ofirpress/attention_with_linear_biases,
    fairseq/models/transformer.py.

    Args:
        num_heads: number of attention heads.
        max_bias: the exponent, base 1/2, of the last slope where `num_heads` is a power of two
            (`alibi_bias_max` in configs of MPT).

    Call arguments:
        key_positions: int `[S]` or `[batch, S]`.
        start_index: index of the first query among the keys, for decoding with a cache.
        length: number T of queries; `None` where there is one for each key.

    Returns:
        float `[1 or batch, num_heads, 1 or T, S]`, in float32 at least.

    Raises:
        InputError: `num_heads` or `max_bias` isn't positive.
    """

    def __init__(self, num_heads: int, max_bias: float = 8.0, **kwargs: Any):
        for name in ("num_heads", "max_bias"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)!r}. Pass a positive number.")

    def build(self, *shapes: Any) -> None:
        self.built = True

    def call(self, key_positions: Any, start_index: Any = 0, length: Any = None) -> Any:
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        keys = ops.cast(key_positions, dtype)
        keys = ops.expand_dims(keys, 0) if len(keys.shape) == 1 else keys
        distances = ops.expand_dims(keys, 1)
        if self.compute_dtype in ("float16", "bfloat16"):
            queries = keys
            if length is not None:
                queries = ops.take(keys, position_range(length, start_index), axis=1)
            distances = distances - ops.expand_dims(queries, 2)
        slopes = ops.convert_to_tensor(self.slopes(), dtype)
        return ops.reshape(slopes, (1, -1, 1, 1)) * ops.expand_dims(distances, 1)

    def slopes(self) -> np.ndarray:
        """Return the slope of each head, float32 `[num_heads]`."""
        return alibi_slopes(self.num_heads, self.max_bias)

    def alternatives(self) -> Alternatives:
        slopes, heads, most = self.slopes(), self.num_heads, self.max_bias
        others = {
            "scores without ALiBi": 0 * slopes,
            "ALiBi that is subtracted": -slopes,
            "slopes of ALiBi in the opposite order": slopes[::-1],
            "one slope of ALiBi for all heads": np.full_like(slopes, slopes.mean()),
            "slopes of ALiBi one head too late": np.roll(slopes, 1),
            "slopes of ALiBi that fall by equal factors for any number of heads": (
                2.0 ** (-most / heads * np.arange(1, heads + 1))
            ),
            **{
                f"slopes of ALiBi down to 1 / 2 ** {exponent:g}": alibi_slopes(heads, exponent)
                for exponent in (most / 2, most - 1, most + 1, most * 2)
                if exponent > 0
            },
        }
        return {
            name: {"slopes": lambda other=other: other.astype("float32")}
            for name, other in others.items()
            if not np.array_equal(other, slopes)
        }


def alibi_slopes(num_heads: int, max_bias: float = 8.0) -> np.ndarray:
    """Return the slopes of ALiBi: `1 / 2 ** (max_bias * i / n)` for head `i`, counted from 1.

    `n` is `num_heads` where that is a power of two. Otherwise it is the next smaller one for as
    many heads, and the others have every other slope of the next larger one, from the first on.
    The ratio is rounded to float32 before its powers are taken, as in published code.

    Returns:
        float32 `[num_heads]`.
    """
    fewer = 1 << (num_heads.bit_length() - 1)

    def powers(heads: int, exponents: np.ndarray) -> np.ndarray:
        ratio = np.float32(2.0 ** (-max_bias / heads)).astype("float64")
        return ratio**exponents

    odd = 2 * np.arange(num_heads - fewer) + 1
    slopes = [powers(fewer, np.arange(1, fewer + 1)), powers(2 * fewer, odd)]
    return np.concatenate(slopes).astype("float32")


def add_score_bias(
    bias: Any, layer: Any, keys: Any, key_positions: Any, start_index: Any, length: Any
) -> Any:
    """Return a bias on scores with that of a layer such as `AlibiBias` added.

    Args:
        bias: float `[1 or batch, 1 or heads, T, S]`, or `None`.
        layer: called as an `AlibiBias`; `None` adds nothing.
        keys: `[batch, S, ...]`.
        key_positions: int `[S]` or `[batch, S]`; `None` for their indices.
        start_index, length: as of `AlibiBias`.
    """
    if layer is None:
        return bias
    if key_positions is None:
        key_positions = position_range(ops.shape(keys)[1])
    own = layer(key_positions, start_index=start_index, length=length)
    return own if bias is None else own + ops.cast(bias, own.dtype)


def key_positions_of(layer: Any, context: Mapping[str, Any]) -> Any:
    """Return the positions of keys for a layer such as `AlibiBias`, from the context of a `Block`.

    They count how many tokens a row has up to each. Padding isn't counted, wherever it is. Counting
    goes on over the sequences that are packed into a row: distances within each are the same.

    Returns:
        int32 `[batch, S]`; `None` for the indices of keys, where the context has no `padding_mask`,
        and for no layer.
    """
    padding_mask = None if layer is None else context.get("padding_mask")
    if padding_mask is None:
        return None
    is_token = ops.cast(ops.not_equal(padding_mask, 0), "int32")
    return ops.cast(ops.cumsum(is_token, axis=1), "int32")
