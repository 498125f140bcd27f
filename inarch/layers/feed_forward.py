"""Position-wise feed-forward network."""

from typing import Any

import keras

from inarch.layers.activation import Activation
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer


@keras.saving.register_keras_serializable(package="inarch")
class FeedForward(Layer):
    """Two projections with an activation between: `down(activation(up(x)))`.

    Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.3. `keras.layers.Dense` named `up` and
    `down`, so that `enable_lora` and `quantize` work on each.

    Args:
        intermediate_dim: width between the two projections.
        activation: between them; a name or a function (`get_activation`).
        kernel_initializer: of the kernels.
        bias_initializer: of the biases.
        use_bias: whether the projections have biases.
        activation_dropout: rate of dropout between the projections.

    Call arguments:
        inputs: float `[batch, length, dim]`.

    Returns:
        float `[batch, length, dim]`.
    """

    def __init__(
        self,
        intermediate_dim: int,
        activation: Activation = "relu",
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        use_bias: bool = True,
        activation_dropout: float = 0.0,
        **kwargs: Any,
    ):
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        self.up = self._dense("up", self.intermediate_dim, self.activation)
        self.down = self._dense("down", inputs_shape[-1])
        self.up.build(inputs_shape)
        self.down.build((*inputs_shape[:-1], self.intermediate_dim))
        self.up_dropout = keras.layers.Dropout(
            self.activation_dropout, dtype=self.dtype_policy, name="up_dropout"
        )
        self.built = True

    def _dense(self, name: str, units: int, activation: Any = None) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer=fresh_initializer(self.kernel_initializer),
            bias_initializer=fresh_initializer(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.down(self.up_dropout(self.up(inputs), training=training))
