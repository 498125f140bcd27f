"""One compiled forward pass per shape, that never takes the weights away from the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np


def compiled(model: keras.Model) -> Callable[[Mapping[str, np.ndarray]], Any]:
    """`model` in inference mode, as a function of its inputs that returns backend tensors.

    Keras's own `predict` on JAX donates the weights' buffers to each step; here they stay with
    the model, so an interrupt at any moment harms nothing.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        return _jax(model)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda inputs: model(inputs, training=False))
    if backend == "torch":
        return _torch(model)
    return lambda inputs: model(inputs, training=False)


def _jax(model: keras.Model) -> Callable[[Mapping[str, np.ndarray]], Any]:
    import jax

    @jax.jit
    def step(trainable: list, fixed: list, inputs: Mapping) -> Any:
        outputs, _ = model.stateless_call(trainable, fixed, inputs, training=False)
        return outputs

    def run(inputs: Mapping[str, np.ndarray]) -> Any:
        trainable = [v.value for v in model.trainable_variables]
        fixed = [v.value for v in model.non_trainable_variables]
        return step(trainable, fixed, dict(inputs))

    return run


def _torch(model: keras.Model) -> Callable[[Mapping[str, np.ndarray]], Any]:
    import torch

    def run(inputs: Mapping[str, np.ndarray]) -> Any:
        with torch.inference_mode():
            return model(dict(inputs), training=False)

    return run


def compiles_per_shape() -> bool:
    """Whether a new shape costs a compilation on this backend."""
    return keras.backend.backend() != "torch"


def as_float32(tensor: Any) -> np.ndarray:
    """A tensor as a float32 array, whatever the compute dtype was."""
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
