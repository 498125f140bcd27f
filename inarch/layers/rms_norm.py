"""Normalization by the root mean square."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import keras

from inarch.errors import InputError
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
        num_axes: number of the last axes that are normalized as one, such as 2 for all heads of a
            token together. `gamma` is a vector with an element for each of theirs.

    Call arguments:
        inputs: float `[..., dim]`.

    Returns:
        float `[..., dim]`.

    Raises:
        InputError: `num_axes` isn't positive, or more than the inputs have.
    """

    axes: ClassVar = {"gamma": (EMBED,)}

    def __init__(
        self, epsilon: float = 1e-6, offset: float = 0.0, num_axes: int = 1, **kwargs: Any
    ):
        if num_axes < 1:
            raise InputError(f"num_axes={num_axes}. Pass a positive int.")
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        if self.num_axes > len(inputs_shape):
            raise InputError(
                f"num_axes={self.num_axes}, and the inputs have {len(inputs_shape)}: pass at most "
                "as many."
            )
        initial = keras.initializers.Constant(1.0 - self.offset)
        self.gamma = self.add_weight(
            name="gamma",
            shape=(prod(inputs_shape[-self.num_axes :]),),
            initializer=initial,
            autocast=False,
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self._scaled(inputs, self._mean_square)

    @property
    def _together(self) -> tuple[int, ...]:
        """The axes that are normalized as one."""
        return tuple(range(-self.num_axes, 0))

    def _mean_square(self, x: Any) -> Any:
        return ops.mean(ops.square(x), axis=self._together, keepdims=True)

    def _scaled(self, inputs: Any, mean_square: Any) -> Any:
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        gamma = ops.cast(self.gamma, x.dtype) + self.offset
        if self.num_axes > 1:
            gamma = ops.reshape(gamma, x.shape[-self.num_axes :])
        x = x * ops.rsqrt(mean_square(x) + self.epsilon) * gamma
        return ops.cast(x, inputs.dtype)

    def alternatives(self) -> Alternatives:
        scaled, axes, mean_square = self._scaled, self._together, self._mean_square

        def by(mean_square: Any) -> dict[str, Any]:
            return {"call": lambda x: scaled(x, mean_square)}

        alone = {"the last axis by itself": by(lambda x: ops.mean(x * x, axis=-1, keepdims=True))}
        return {
            **{
                f"an epsilon of {value:g}": {"epsilon": value}
                for value in EPSILONS
                if value != self.epsilon
            },
            "layer normalization in place of the root mean square": {
                "call": lambda x: scaled(x - ops.mean(x, axis=axes, keepdims=True), mean_square)
            },
            "the sum of squares in place of their mean": by(
                lambda x: ops.sum(ops.square(x), axis=axes, keepdims=True)
            ),
            "the variance in place of the mean square": by(
                lambda x: ops.var(x, axis=axes, keepdims=True)
            ),
            **(alone if self.num_axes > 1 else {}),
            f"gamma with {1.0 - self.offset:g} added": {"offset": 1.0 - self.offset},
            "no normalization": {"call": lambda x: x},
        }
