"""Keras's `Dropout`, with random numbers that take JAX a fraction of the time."""

from __future__ import annotations

import math
from typing import Any

import keras

# A random number has 16 bits.
STEPS = 2**16
# Bits by which each round turns the second word, and the constant of the third key (Salmon et al.,
# 2011, "Parallel random numbers: as easy as 1, 2, 3"; Random123, threefry.h).
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout`, drawn on JAX from a quarter as many random blocks.

    Keras draws a float32 for each element, and JAX two words for each of these, in a loop, which on
    a CPU takes as long as attention itself. Here the two words of a block decide on four elements,
    by 16 bits each: the rate is rounded to a multiple of 2**-16, and what is kept is scaled by that
    rate, so that the mean stays.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        dropped = round(self.rate * STEPS)
        is_other = keras.backend.backend() != "jax" or self.noise_shape is not None
        if not training or is_other or not 0 < dropped < STEPS:
            return super().call(inputs, training=training)
        from jax import numpy as jnp

        is_kept = _is_kept(self.seed_generator.next(), inputs.shape, dropped)
        return jnp.where(is_kept, inputs * (STEPS / (STEPS - dropped)), 0)


def _is_kept(key: Any, shape: tuple[int, ...], dropped: int) -> Any:
    """Return a bool of a shape, each false in `dropped` of `STEPS` cases.

    Args:
        key: uint32 `[2]`.
    """
    import jax
    from jax import numpy as jnp

    *rows, length = shape
    blocks = (*rows, -(-length // 4))
    # A row's index is of the first axis alone, so that devices compute the numbers of their rows.
    row = jax.lax.broadcasted_iota("uint32", blocks, 0)
    place = jax.lax.iota("uint32", math.prod(blocks[1:])).reshape(blocks[1:])
    one, two = threefry((key[0], key[1]), (row, place))
    halves = [half for word in (one, two) for half in (word & (STEPS - 1), word >> 16)]
    return jnp.concatenate([half >= dropped for half in halves], axis=-1)[..., :length]


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the random words of a counter: Threefry-2x32 of 20 rounds, as JAX has it.

    JAX computes the rounds in a loop on a CPU, of which no compiler makes one pass over memory.

    Args:
        key, counter: two uint32 arrays each, of shapes that broadcast.
    """
    keys = (*key, key[0] ^ key[1] ^ PARITY)
    one, two = counter[0] + keys[0], counter[1] + keys[1]
    for step in range(5):
        for bits in ROTATIONS[step % 2]:
            one = one + two
            two = ((two << bits) | (two >> (32 - bits))) ^ one
        one = one + keys[(step + 1) % 3]
        two = two + keys[(step + 2) % 3] + (step + 1)
    return one, two
