"""What encoders and decoders share."""

from typing import Any

import keras

from inarch.layers.activation import Activation
from inarch.layers.attention import MultiHeadAttention
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer


class FeedForwardBlock(Layer):
    """What every block has, however it mixes tokens: the bricks and the feed-forward half.

    The half is `x = norm(x + dropout(down(up(x))))`.

    Args:
        intermediate_dim: width between the two feed-forward projections.
        dropout: rate of dropout on what the half adds.
        activation: between the feed-forward projections; a name or a function (`get_activation`).
        layer_norm_epsilon: added to the variance in layer normalisation.
        kernel_initializer: of all kernels.
        bias_initializer: of all biases.
    """

    normalize_first = False
    use_bias = True
    # The rate of dropout between the two projections.
    activation_dropout: float = 0

    def __init__(
        self,
        intermediate_dim: int,
        dropout: float = 0,
        activation: Activation = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        self.supports_masking = True

    def _norm_and_dropout(self, name: str, shape: Any) -> tuple[Any, Any]:
        dropout = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name=f"{name}_dropout"
        )
        return self._norm(name, shape), dropout

    def _norm(self, name: str, shape: Any, **options: Any) -> keras.layers.LayerNormalization:
        norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon,
            dtype=self.dtype_policy,
            name=f"{name}_norm",
            **options,
        )
        norm.build(shape)
        return norm

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

    def _build_feed_forward(self, shape: Any) -> None:
        self.up = self._dense("up", self.intermediate_dim, self.activation)
        self.down = self._dense("down", shape[-1])
        self.up.build(shape)
        self.down.build((*shape[:-1], self.intermediate_dim))
        self.up_drop = keras.layers.Dropout(
            self.activation_dropout, dtype=self.dtype_policy, name="up_dropout"
        )
        self.output_norm, self.output_drop = self._norm_and_dropout("output", shape)

    def _feed_forward(self, x: Any) -> Any:
        y = self.down(self.up_drop(self.up(self._before(self.output_norm, x))))
        return self._after(self.output_norm, x + self.output_drop(y))

    def _before(self, norm: Any, x: Any) -> Any:
        return norm(x) if self.normalize_first else x

    def _after(self, norm: Any, x: Any) -> Any:
        return x if self.normalize_first else norm(x)


class TransformerBlock(FeedForwardBlock):
    """What encoder and decoder share: the options, the bricks and the feed-forward half.

    Each half is `x = norm(x + dropout(f(x)))`, or `x = x + dropout(f(norm(x)))` with
    `normalize_first` (Xiong et al., 2020, arXiv:2002.04745).

    Args:
        intermediate_dim: width between the two feed-forward projections.
        num_heads: number of attention heads; must divide the width of the inputs.
        dropout: rate of dropout on what each half adds.
        activation: between the feed-forward projections; a name or a function (`get_activation`).
        layer_norm_epsilon: added to the variance in layer normalisation.
        kernel_initializer: of all kernels.
        bias_initializer: of all biases.
        normalize_first: whether to normalise what a half reads, rather than what it gives.
        attention_dropout: rate of dropout on attention probabilities; `None` is `dropout`.
        use_bias: whether projections have biases, those of the feed-forward half included.
        query_bias, key_bias, value_bias, output_bias: overrides of `use_bias` for one projection
            of attention (Whisper has no bias on keys).
        activation_dropout: rate of dropout between the feed-forward projections.
    """

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0,
        activation: Activation = "relu",
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        normalize_first: bool = False,
        *,
        attention_dropout: float | None = None,
        use_bias: bool = True,
        query_bias: bool | None = None,
        key_bias: bool | None = None,
        value_bias: bool | None = None,
        output_bias: bool | None = None,
        activation_dropout: float = 0,
        **kwargs: Any,
    ):
        self.supports_masking = True

    def _attention(self, name: str) -> MultiHeadAttention:
        rate = self.dropout if self.attention_dropout is None else self.attention_dropout
        return MultiHeadAttention(
            self.num_heads,
            dropout=rate,
            use_bias=self.use_bias,
            query_bias=self.query_bias,
            key_bias=self.key_bias,
            value_bias=self.value_bias,
            output_bias=self.output_bias,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            dtype=self.dtype_policy,
            name=name,
        )
