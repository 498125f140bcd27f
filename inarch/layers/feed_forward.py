"""Position-wise feed-forward network."""

from typing import Any, ClassVar

import keras

from inarch.layers.activation import Activation
from inarch.layers.alternatives import Alternatives, changed_call
from inarch.layers.axes import EMBED, MLP
from inarch.layers.direct_calls import call_norm
from inarch.layers.dropout import Dropout
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
        down_bias: override of `use_bias` for the projection back.

    Call arguments:
        inputs: float `[batch, length, dim]`.

    Returns:
        float `[batch, length, dim]`.
    """

    axes: ClassVar = {"gate": (EMBED, MLP), "up": (EMBED, MLP), "down": (MLP, EMBED)}

    def __init__(
        self,
        intermediate_dim: int,
        activation: Activation = "relu",
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        use_bias: bool = True,
        activation_dropout: float = 0.0,
        down_bias: bool | None = None,
        **kwargs: Any,
    ):
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        self._build_up(inputs_shape)
        inner = (*inputs_shape[:-1], self.intermediate_dim)
        bias = self.use_bias if self.down_bias is None else self.down_bias
        self.down = self.make_dense("down", inputs_shape[-1], inner, bias)
        self.activation_dropout_layer = Dropout(
            self.activation_dropout, dtype=self.dtype_policy, name="activation_dropout"
        )
        self.built = True

    def _build_up(self, inputs_shape: Any) -> None:
        sizes = (self.intermediate_dim, inputs_shape, self.use_bias)
        self.up = self.make_dense("up", *sizes, self.activation)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = self._intermediate(inputs)
        return self.down(self.activation_dropout_layer(x, training=training) if training else x)

    def _intermediate(self, inputs: Any) -> Any:
        return self.up(inputs)

    def alternatives(self) -> Alternatives:
        """Return what is wrong between the projections, besides the activation of one (`up`)."""
        activation, linear = self.activation, {"activation": keras.activations.linear}
        return {
            "the activation applied twice": {"_intermediate": lambda x: activation(self.up(x))},
            "the activation before the first projection": {
                "_intermediate": lambda x: changed_call(self.up, linear)(activation(x))
            },
        }


@keras.saving.register_keras_serializable(package="inarch")
class GatedFeedForward(FeedForward):
    """Feed-forward network with a gate: `down(activation(gate(x)) * up(x))`.

    Source: Shazeer, 2020, arXiv:2002.05202. With `"gelu"` it is GEGLU. A third
    `keras.layers.Dense` is named `gate`. Inputs, outputs and further arguments are those of
    `FeedForward`.

    Args:
        residual_dropout: whether a `Block` has dropout on what the network gives.
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
        down_bias: bool | None = None,
        residual_dropout: bool = False,
        **kwargs: Any,
    ):
        self.supports_masking = True

    def _build_up(self, inputs_shape: Any) -> None:
        sizes = (self.intermediate_dim, inputs_shape, self.use_bias)
        self.gate = self.make_dense("gate", *sizes, self.activation)
        self.up = self.make_dense("up", *sizes)

    def _intermediate(self, inputs: Any) -> Any:
        return self.gate(inputs) * self.up(inputs)

    def alternatives(self) -> Alternatives:
        activation, gate, up = self.activation, self.gate, self.up
        ungated = changed_call(gate, {"activation": keras.activations.linear})
        ways = {
            "the activation on the values alone": lambda x: ungated(x) * activation(up(x)),
            "an activation on the values too": lambda x: gate(x) * activation(up(x)),
            "the activation of the product": lambda x: activation(ungated(x) * up(x)),
            "the sum of gate and values": lambda x: gate(x) + up(x),
            "the values in place of their product with the gate": up,
            "the gate in place of its product with the values": gate,
        }
        return {name: {"_intermediate": way} for name, way in ways.items()}


@keras.saving.register_keras_serializable(package="inarch")
class Adapter(FeedForward):
    """Feed-forward network of its normalized input; a model adds what it gives to that input.

    Source: Houlsby et al., 2019, arXiv:1902.00751; the norm comes first in MMS (Pratap et al.,
    2023, arXiv:2305.13516), which has adapters for each language. A `LayerNormalization` is named
    `norm`. Arguments, inputs and outputs are those of `FeedForward`.
    """

    def build(self, inputs_shape: Any) -> None:
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )
        self.norm.build(inputs_shape)
        super().build(inputs_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return super().call(call_norm(self.norm, inputs), training=training)


def make_feed_forward(
    name: str, intermediate_dim: int, kernel_initializer: Any, dropout: float
) -> FeedForward:
    """Return a network without biases of an activation, gated where `gated_` is before its name.

    Source: Raffel et al., 2020, arXiv:1910.10683; Shazeer, 2020, arXiv:2002.05202.
    """
    activation = name.removeprefix("gated_")
    options: dict[str, Any] = {"use_bias": False, "activation_dropout": dropout}
    if activation == name:
        return FeedForward(intermediate_dim, activation, kernel_initializer, **options)
    return GatedFeedForward(
        intermediate_dim, activation, kernel_initializer, **options, residual_dropout=True
    )
