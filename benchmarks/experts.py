"""Measure the ways to compute a mixture of experts, on the backend that KERAS_BACKEND names.

    KERAS_BACKEND=jax python benchmarks/experts.py [TOKENS ...]

A row is a way of `inarch.layers.expert_products`, or JAX's `ragged_dot`, with the median of some
calls in milliseconds, and in brackets with gradients of tokens and kernels. Sizes are 8 experts,
2 for each token, of 512 x 1536.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import ops

from inarch.layers import Experts, expert_products

EXPERTS, CHOSEN, DIM, INNER = 8, 2, 512, 1536
CALLS = 15


def ragged(_: Any, x: Any, kernels: Any, indices: Any, weights: Any) -> Any:
    """Multiply rows that are sorted by experts by JAX's own product of groups."""
    import jax
    from jax import numpy as jnp

    order = jnp.argsort(indices.reshape(-1))
    sizes = jnp.bincount(indices.reshape(-1), length=EXPERTS)
    gate, up, down = kernels
    rows = x[order // CHOSEN]
    inner = jax.nn.silu(jax.lax.ragged_dot(rows, gate, sizes)) * jax.lax.ragged_dot(rows, up, sizes)
    given = jax.lax.ragged_dot(inner, down, sizes)
    back = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)))
    return jnp.sum(given[back].reshape(*indices.shape, -1) * weights[..., None], axis=1)


def program(way: Any, with_gradients: bool) -> Any:
    """Return a compiled function of tokens and kernels, indices and weights."""
    backend = keras.backend.backend()

    def total(*given: Any) -> Any:
        return ops.sum(ops.square(way(*given)))

    if backend == "jax":
        import jax

        return jax.jit(jax.grad(total, (0, 1)) if with_gradients else way)
    if backend == "tensorflow":
        import tensorflow as tf

        def gradients(x: Any, kernels: Any, *choice: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x, *kernels])
                found = total(x, kernels, *choice)
            return tape.gradient(found, [x, *kernels])

        return tf.function(gradients if with_gradients else way, autograph=False)
    import torch

    def run(x: Any, kernels: Any, *choice: Any) -> Any:
        with torch.set_grad_enabled(with_gradients):
            leaves = [t.detach().requires_grad_(with_gradients) for t in (x, *kernels)]
            found = (total if with_gradients else way)(leaves[0], leaves[1:], *choice)
            return torch.autograd.grad(found, leaves) if with_gradients else found

    return run


def median(call: Any, *given: Any) -> float:
    """Return milliseconds."""
    call(*given)
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        for tensor in keras.tree.flatten(call(*given)):
            ops.convert_to_numpy(tensor)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def main(counts: list[int]) -> None:
    backend = keras.backend.backend()
    random = np.random.default_rng(0)
    experts = Experts(EXPERTS, CHOSEN, INNER, "silu")
    experts.build((None, DIM))
    kernels = [ops.convert_to_tensor(w) for w in experts.weights]
    ways = {"all experts": expert_products.all_experts}
    if backend == "jax":
        ways |= {"ragged_dot": ragged, "in blocks": expert_products.experts_in_blocks}
    elif backend == "torch":
        ways["in turn"] = expert_products.experts_in_turn
        ways["copied"] = expert_products.copied_experts
    for tokens in counts:
        x = ops.convert_to_tensor(random.standard_normal((tokens, DIM)), dtype="float32")
        logits = ops.convert_to_tensor(random.standard_normal((tokens, EXPERTS)), dtype="float32")
        for name, way in ways.items():
            if name == "copied" and tokens * CHOSEN >= EXPERTS:
                continue  # never computed so, and the copies are large
            given = (x, kernels, *experts.choose(logits))
            call = partial(way, experts.compute_expert)
            times = [median(program(call, grad), *given) for grad in (False, True)]
            print(f"{backend}, {tokens} tokens, {name}: {times[0]:.1f} ({times[1]:.1f})")


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [256, 1])
