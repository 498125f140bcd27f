"""Normalization by the root mean square."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from inarch.layers.alternatives import EPSILONS, Alternatives
from inarch.layers.axes import EMBED
from inarch.layers.layer import Layer

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class RMSNorm(Layer):
    """Root mean square normalization (Zhang & Sennrich, 2019, arXiv:1910.07467).

    The last axis is divided by its root mean square and multiplied by `offset + gamma`, in float32
    at least. `keras.layers.RMSNormalization` is the same without an offset.

    Args:
        epsilon: added to the mean square.
        offset: added to `gamma`, which is trained from `1 - offset`; Gemma stores it with 1.

    Call arguments:
        inputs: float `[..., dim]`.

    Returns:
        float `[..., dim]`.
    """

    axes: ClassVar = {"gamma": (EMBED,)}

    def __init__(self, epsilon: float = 1e-6, offset: float = 0.0, **kwargs: Any):
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        initial = keras.initializers.Constant(1.0 - self.offset)
        self.gamma = self.add_weight(
            name="gamma", shape=(inputs_shape[-1],), initializer=initial, autocast=False
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self._scaled(inputs, lambda x: ops.mean(ops.square(x), axis=-1, keepdims=True))

    def _scaled(self, inputs: Any, mean_square: Any) -> Any:
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        gamma = ops.cast(self.gamma, x.dtype) + self.offset
        x = x * ops.rsqrt(mean_square(x) + self.epsilon) * gamma
        return ops.cast(x, inputs.dtype)

    def alternatives(self) -> Alternatives:
        scaled = self._scaled

        def by(mean_square: Any) -> dict[str, Any]:
            return {"call": lambda x: scaled(x, mean_square)}

        return {
            **{
                f"an epsilon of {value:g}": {"epsilon": value}
                for value in EPSILONS
                if value != self.epsilon
            },
            "layer normalization in place of the root mean square": {
                "call": lambda x: scaled(
                    x - ops.mean(x, axis=-1, keepdims=True),
                    lambda x: ops.mean(ops.square(x), axis=-1, keepdims=True),
                )
            },
            "the sum of squares in place of their mean": by(
                lambda x: ops.sum(ops.square(x), axis=-1, keepdims=True)
            ),
            "the variance in place of the mean square": by(
                lambda x: ops.var(x, axis=-1, keepdims=True)
            ),
            f"gamma with {1.0 - self.offset:g} added": {"offset": 1.0 - self.offset},
            "no normalization": {"call": lambda x: x},
        }
