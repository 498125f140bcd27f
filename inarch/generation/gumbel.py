"""Gumbel noise that depends on seed, step and column alone, the same on every backend."""

from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.


def gumbel_noise(seeds: Any, count: Any, size: int) -> Any:
    """Return standard Gumbel noise: the argmax of logits plus noise is a sample of their softmax.

    A number is a hash of the seed of its row, the step and the column, so the noise of a row
    doesn't depend on the other rows. Gumbel-max: Maddison et al., 2014, arXiv:1411.0030, section 2.

    Args:
        seeds: int32 `[rows]`.
        count: int32, the step.
        size: number of columns.

    Returns:
        float32 `[rows, size]`.
    """
    rows = _hash(_hash(seeds) + ops.cast(count, "int32"))
    columns = _hash(ops.arange(size, dtype="int32"))
    bits = _hash(ops.bitwise_xor(ops.expand_dims(rows, 1), ops.expand_dims(columns, 0)))
    # 23 bits, and half a unit off, so that neither 0 nor 1 comes out.
    uniform = (ops.cast(_shift_right(bits, 9), "float32") + 0.5) * 2.0**-23
    return -ops.log(-ops.log(uniform))


def _hash(x: Any) -> Any:
    """Return a hash of int32 with wraparound.

    Source: Wellons' `lowbias32`, nullprogram.com/blog/2018/07/31.
    """
    x = ops.bitwise_xor(x, _shift_right(x, 16)) * ops.cast(0x7FEB352D, "int32")
    x = ops.bitwise_xor(x, _shift_right(x, 15)) * ops.cast(0x846CA68B - 2**32, "int32")
    return ops.bitwise_xor(x, _shift_right(x, 16))


def _shift_right(x: Any, by: int) -> Any:
    """Return int32 logically shifted to the right, by the arithmetic shift that backends have."""
    return ops.bitwise_and(ops.right_shift(x, by), (1 << (32 - by)) - 1)
