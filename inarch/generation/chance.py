"""Random numbers that depend on a seed and a place alone, the same on every backend."""

from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.


def gumbel_noise(seeds: Any, count: Any, size: int) -> Any:
    """Standard Gumbel noise: a sample of a softmax is the argmax of its logits with this added.

    A number is a hash of its row's seed, of the step and of its column, so a row's noise doesn't
    depend on the rows beside it. Gumbel-max: Maddison et al., 2014, arXiv:1411.0030, section 2.

    Args:
        seeds: int32 `[rows]`.
        count: int32, the step.
        size: number of columns.

    Returns:
        float32 `[rows, size]`.
    """
    rows = _mixed(_mixed(seeds) + ops.cast(count, "int32"))
    columns = _mixed(ops.arange(size, dtype="int32"))
    bits = _mixed(ops.bitwise_xor(ops.expand_dims(rows, 1), ops.expand_dims(columns, 0)))
    # 23 bits, and half a unit off, so that neither 0 nor 1 comes out.
    uniform = (ops.cast(_shifted(bits, 9), "float32") + 0.5) * 2.0**-23
    return -ops.log(-ops.log(uniform))


def _mixed(x: Any) -> Any:
    """A hash of int32 that wraps around (Wellons' `lowbias32`, nullprogram.com/blog/2018/07/31)."""
    x = ops.bitwise_xor(x, _shifted(x, 16)) * ops.cast(0x7FEB352D, "int32")
    x = ops.bitwise_xor(x, _shifted(x, 15)) * ops.cast(0x846CA68B - 2**32, "int32")
    return ops.bitwise_xor(x, _shifted(x, 16))


def _shifted(x: Any, by: int) -> Any:
    """A logical shift to the right of int32, made of the arithmetic one that backends have."""
    return ops.bitwise_and(ops.right_shift(x, by), (1 << (32 - by)) - 1)
