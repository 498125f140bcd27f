"""One compiled forward pass per shape, that never takes the weights away from the model."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from inarch.layers.direct_calls import direct_calls

Call = Callable[[Mapping[str, Any]], Any]


def compiled(model: keras.Model, call: Call | None = None) -> Call:
    """Return `model` in inference mode, as a function from inputs to backend tensors.

    Keras's own `predict` on JAX donates the weights' buffers to each step; here they stay with
    the model, so an interrupt at any moment harms nothing. A program is compiled anew where the
    model has come to have other variables, or in another order, since then: a layer was frozen,
    quantized or given a low-rank update.

    Args:
        call: what to compute with the variables of `model`, such as a part of its graph; all of
            it where not given.
    """
    call = call or (lambda inputs: model(inputs, training=False))
    backend = keras.backend.backend()
    if backend == "jax":
        return _jax(model, call)
    if backend == "tensorflow":
        return _tensorflow(model, call)
    if backend == "torch":
        return _torch(call)
    return call


def _jax(model: keras.Model, call: Call) -> Call:
    import jax

    def step(variables: list, values: list, inputs: Mapping) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return call(inputs)

    @functools.lru_cache(maxsize=1)
    def program(identity: tuple[int, ...]) -> Any:
        # A separate function, whose traces are of these variables alone.
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        return jax.jit(functools.partial(step, variables))

    def run(inputs: Mapping[str, Any]) -> Any:
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        compiled_step = program(tuple(map(id, variables)))
        return compiled_step([v.value for v in variables], dict(inputs))

    return run


def _tensorflow(model: keras.Model, call: Call) -> Call:
    import tensorflow as tf

    @functools.lru_cache(maxsize=1)
    def program(variables: tuple[int, ...]) -> Any:
        return tf.function(lambda inputs: call(inputs))

    return lambda inputs: program(tuple(map(id, model.variables)))(dict(inputs))


def _torch(call: Call) -> Call:
    import torch

    def run(inputs: Mapping[str, Any]) -> Any:
        with torch.inference_mode(), direct_calls():
            return call(dict(inputs))

    return run


def compiles_per_shape() -> bool:
    """Return whether a new shape costs a compilation on this backend."""
    return keras.backend.backend() != "torch"


def as_float32(tensor: Any) -> np.ndarray:
    """Return a tensor as a float32 array, whatever the compute dtype was."""
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits over the last axis, in NumPy."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def callback_list(model: keras.Model, callbacks: Any, verbose: Any, steps: int) -> Any:
    """Return the callbacks of a run of `predict`, with a progress bar if `verbose`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() and steps > 1 else 0
    return keras.callbacks.CallbackList(
        callbacks, add_progbar=verbose != 0, verbose=verbose, epochs=1, steps=steps, model=model
    )
