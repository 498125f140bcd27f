"""Products of tokens with the experts that were chosen for them, as each backend does it fastest.

All of them give the same sums but for rounding. Each token is computed by itself, so that padding
and other tokens change nothing. Measured by `benchmarks/experts.py` on two cores, 2 of 8 experts of
512 x 1536 take for 256 tokens, and for one, in milliseconds: on torch in turn 27 and 1.4, with all
experts 57 and 3.6; on JAX in blocks 34 and 1.7, with all experts 61 and 3.0, by `ragged_dot` 136
and 33, since XLA multiplies with all experts there too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.

# One expert's function of `x` `[rows, dim]` and of its kernels; also of stacks of all of these.
Expert = Callable[..., Any]

# Most tokens that JAX multiplies with one expert in one step.
MOST_ROWS = 16


def weighted_experts(
    expert: Expert, x: Any, kernels: Sequence[Any], indices: Any, weights: Any, training: bool
) -> Any:
    """Return the weighted sum of what the chosen experts give, for each token.

    Args:
        expert: the function of one expert: `expert(x, *kernels)`.
        x: float `[tokens, dim]`.
        kernels: stacks of the kernels of all experts, `[experts, in, out]`.
        indices: int `[tokens, chosen]`, the numbers of the experts.
        weights: float `[tokens, chosen]`.
        training: whether gradients are taken: then JAX multiplies with all experts, whose
            gradients it would otherwise add up once for each step.

    Returns:
        float `[tokens, dim]`, in the dtype of the weights.
    """
    way = all_experts
    if keras.backend.backend() == "torch" and not _is_recorded():
        way = experts_in_turn
    elif keras.backend.backend() == "torch" and _is_few(x, kernels, indices):
        way = copied_experts
    elif keras.backend.backend() == "jax" and not training and _is_compiled(x):
        way = experts_in_blocks
    return way(expert, x, kernels, indices, weights)


def all_experts(expert: Expert, x: Any, kernels: Sequence[Any], indices: Any, weights: Any) -> Any:
    """Multiply each token with every expert; those that weren't chosen have no part in the sum.

    Shapes may be open, so that graphs of other runtimes have it, and TensorFlow.
    """
    count = kernels[0].shape[0]
    chosen = ops.one_hot(indices, count, dtype=weights.dtype)
    shares = ops.transpose(ops.sum(chosen * weights[..., None], axis=1))[..., None]
    # Repeated, since OpenVINO's products take no row of one for all.
    given = ops.cast(expert(ops.repeat(x[None], count, axis=0), *kernels), weights.dtype)
    # What isn't chosen may be infinite in 16 bits.
    return ops.sum(ops.where(shares > 0, given * shares, ops.zeros_like(given)), axis=0)


def copied_experts(
    expert: Expert, x: Any, kernels: Sequence[Any], indices: Any, weights: Any
) -> Any:
    """Multiply each token with copies of the kernels of its experts, whatever the choice is.

    In a step of generation that torch records, where fewer are chosen than there are.
    """
    rows = ops.expand_dims(ops.repeat(x, indices.shape[1], axis=0), 1)
    numbers = ops.reshape(indices, (-1,))
    given = expert(rows, *(ops.take(kernel, numbers, axis=0) for kernel in kernels))
    given = ops.reshape(ops.cast(given, weights.dtype), (*indices.shape, x.shape[-1]))
    return ops.sum(given * ops.expand_dims(weights, -1), axis=1)


def experts_in_turn(
    expert: Expert, x: Any, kernels: Sequence[Any], indices: Any, weights: Any
) -> Any:
    """Multiply each expert of torch with the tokens that chose it, one expert after another."""
    import torch

    chosen = indices.shape[1]
    numbers = indices.reshape(-1)
    order = torch.argsort(numbers, stable=True)
    counts = torch.bincount(numbers, minlength=kernels[0].shape[0]).tolist()
    rows = torch.split(x[torch.div(order, chosen, rounding_mode="floor")], counts)
    given = [
        expert(part, *(kernel[number] for kernel in kernels))
        for number, part in enumerate(rows)
        if len(part)
    ]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    found = (torch.cat(given) if given else x)[back].reshape(*indices.shape, x.shape[-1])
    return torch.sum(found.to(weights.dtype) * weights[..., None], dim=1)


def experts_in_blocks(
    expert: Expert, x: Any, kernels: Sequence[Any], indices: Any, weights: Any
) -> Any:
    """Multiply blocks of as many tokens of one expert, one block after another.

    Tokens are sorted by their experts, and those of each fill whole blocks, of which the last has
    empty rows. So shapes are known before the choice is, as JAX needs it, and there are at most so
    many blocks as any choice can fill (Gale et al., 2022, arXiv:2211.15841, have blocks alike).
    """
    import jax
    from jax import numpy as jnp

    experts, chosen = kernels[0].shape[0], indices.shape[1]
    numbers = indices.reshape(-1)
    pairs = len(numbers)
    size = block_size(pairs, experts)
    blocks = (pairs + min(experts, pairs) * (size - 1)) // size
    order = jnp.argsort(numbers, stable=True)
    counts = jnp.bincount(numbers, length=experts)
    filled = -(-counts // size)  # blocks of each expert
    ends = jnp.cumsum(filled)
    sorted_numbers = numbers[order]
    # Each pair's place in its expert, then among the rows of all blocks.
    place = jnp.arange(pairs) - (jnp.cumsum(counts) - counts)[sorted_numbers]
    rows = (ends - filled)[sorted_numbers] * size + place
    tokens = jnp.zeros(blocks * size, order.dtype).at[rows].set(order // chosen)
    owners = jnp.searchsorted(ends, jnp.arange(blocks), side="right")
    owners = jnp.minimum(owners, experts - 1)  # of blocks that nothing fills

    def step(_: None, block: tuple[Any, Any]) -> tuple[None, Any]:
        part, owner = block
        return None, expert(x[part], *(kernel[owner] for kernel in kernels))

    _, given = jax.lax.scan(step, None, (tokens.reshape(blocks, size), owners))
    back = jnp.zeros(pairs, rows.dtype).at[order].set(rows)
    found = given.reshape(blocks * size, -1)[back].reshape(*indices.shape, -1)
    return jnp.sum(found.astype(weights.dtype) * weights[..., None], axis=1)


def top_k(scores: Any, count: int) -> tuple[Any, Any]:
    """Return the largest scores of each row and their places; of equal ones the first come first.

    Where JAX leaves the number of rows open, as in a graph for TensorFlow, they are sorted: its own
    operation is then one that TensorFlow's StableHLO may not know yet.
    """
    if keras.backend.backend() != "jax" or isinstance(scores.shape[0], int):
        return ops.top_k(scores, count)
    from jax import numpy as jnp

    places = jnp.argsort(-scores, axis=-1, stable=True)[:, :count]
    return jnp.take_along_axis(scores, places, axis=-1), places


def block_size(pairs: int, experts: int) -> int:
    """Return how many tokens are multiplied with one expert in one step.

    Half of what an expert gets on average, so that few rows are empty; where most experts get no
    token or one, as in a step of generation, a token alone.
    """
    if pairs <= experts:
        return 1
    size = 8
    while size < MOST_ROWS and 4 * size * experts <= pairs:
        size *= 2
    return size


def _is_compiled(x: Any) -> bool:
    """Return whether JAX compiles a program for one shape; outside it would compile each call."""
    import jax

    return isinstance(x, jax.core.Tracer) and isinstance(x.shape[0], int)


def _is_recorded() -> bool:
    """Return whether torch records a graph, which can't depend on how many tokens chose what."""
    import torch

    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _is_few(x: Any, kernels: Sequence[Any], indices: Any) -> bool:
    """Return whether a graph of one shape has fewer choices than there are experts."""
    import torch

    if torch.compiler.is_compiling():  # for other runtimes, and any number of tokens
        return False
    return int(x.shape[0]) * int(indices.shape[1]) < int(kernels[0].shape[0])
