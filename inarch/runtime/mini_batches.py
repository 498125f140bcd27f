"""A model's outputs for a large batch, computed and differentiated a few rows at a time.

What layers compute on the way is thrown away and computed again for the gradient, so the memory
of a step is that of a few rows, and of the outputs of all. Source: GradCache, Gao et al., 2021,
arXiv:2101.06983.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

Part = Callable[[Sequence[Any], Sequence[Any], Mapping[str, Any]], Any]


def call_in_mini_batches(
    model: keras.Model,
    call: Callable[[Mapping[str, Any]], Any],
    inputs: Mapping[str, Any],
    size: int,
) -> Any:
    """Return `call(inputs)`, computed for `size` rows at a time.

    Values and gradients are those of all rows at once, to rounding, but for dropout, which draws
    other numbers. Variables that the call changes, such as the state of dropout, are changed by
    each part in turn.

    Args:
        model: whose variables the call uses.
        call: from inputs to one tensor of as many rows.
        inputs: arrays by name, all of the same number of rows.
        size: rows of a part.
    """
    trainable, state = model.trainable_variables, model.non_trainable_variables

    def part(weights: Sequence[Any], before: Sequence[Any], rows: Mapping[str, Any]) -> Any:
        # Without side effects, so that computing it again gives the same.
        mapping = [*zip(trainable, weights, strict=True), *zip(state, before, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            output = call(rows)
        return output, [scope.get_current_value(v) for v in state]

    weights = [ops.convert_to_tensor(v) for v in trainable]
    # Copies, since the variables are given new values before the gradient is computed.
    before = [ops.copy(v) for v in state]
    rows = ops.shape(next(iter(inputs.values())))[0]
    count = -(-rows // size)
    # The last row fills up the last part; its outputs are cut off, and so have no gradient.
    chosen = ops.minimum(ops.arange(count * size), rows - 1)
    parts = {
        name: ops.reshape(ops.take(x, chosen, axis=0), (-1, size, *ops.shape(x)[1:]))
        for name, x in inputs.items()
    }
    dtype = keras.backend.standardize_dtype(model.outputs[0].dtype)
    outputs, after = _RUNS[keras.backend.backend()](part, weights, before, parts, count, dtype)
    for variable, value in zip(state, after, strict=True):
        variable.assign(value)
    return ops.reshape(outputs, (-1, outputs.shape[-1]))[:rows]


def _jax(
    part: Part, weights: list[Any], before: list[Any], parts: Any, count: Any, dtype: str
) -> Any:
    import jax

    @jax.checkpoint
    def step(state: list[Any], rows: Any) -> Any:
        output, state = part(weights, state, rows)
        return state, output

    after, outputs = jax.lax.scan(step, before, parts)
    return outputs, after


def _torch(
    part: Part, weights: list[Any], before: list[Any], parts: Any, count: Any, dtype: str
) -> Any:
    step, outputs = keras.remat(part), []
    for i in range(count):
        output, before = step(weights, before, {name: x[i] for name, x in parts.items()})
        outputs.append(output)
    return ops.stack(outputs), before


def _tensorflow(
    part: Part, weights: list[Any], before: list[Any], parts: Any, count: Any, dtype: str
) -> Any:
    import tensorflow as tf

    def rows(i: Any) -> Any:
        return {name: x[i] for name, x in parts.items()}

    # Keras's own remat has no gradient in a loop of so many steps as there are rows.
    @tf.custom_gradient
    def run(*weights: Any) -> Any:
        def forward(i: Any, outputs: Any, *state: Any) -> Any:
            output, after = part(weights, state, rows(i))
            return (i + 1, outputs.write(i, output), *after)

        array = tf.TensorArray(dtype, size=count)
        start = (0, array, *before)
        _, outputs, *after = tf.while_loop(lambda i, *_: i < count, forward, start)

        def gradient(upstream: Any, *_: Any) -> Any:
            def backward(i: Any, sums: Any, state: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(weights)
                    output, after = part(weights, state, rows(i))
                found = tape.gradient(output, weights, upstream[i], "zero")
                return (
                    i + 1,
                    [s + tf.convert_to_tensor(g) for s, g in zip(sums, found, strict=True)],
                    after,
                )

            start = (0, [tf.zeros_like(w) for w in weights], before)
            return tf.while_loop(lambda i, *_: i < count, backward, start)[1]

        return (outputs.stack(), *after), gradient

    outputs, *after = run(*weights)
    return outputs, after


_RUNS = {"jax": _jax, "torch": _torch, "tensorflow": _tensorflow}
