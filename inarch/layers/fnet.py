"""Fourier mixing, and FNet's encoder layer of it."""

from collections.abc import Mapping
from typing import Any

import keras

from inarch.layers.activation import Activation
from inarch.layers.block import Block
from inarch.layers.feed_forward import FeedForward
from inarch.layers.layer import Layer

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class FourierMixing(Layer):
    """Fourier transform over both length and width (Lee-Thorp et al., 2021, arXiv:2105.03824).

    There is no mask: every position takes part in the numbers of every other one, padding too.

    Call arguments:
        inputs: float `[batch, length, dim]`.

    Returns:
        float `[batch, length, dim]`, float32 at least (see `fourier_mixing`).
    """

    gives_float32 = True
    residual_dropout = False

    def __init__(self, **kwargs: Any):
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        return fourier_mixing(ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32")))

    def compute_output_spec(self, inputs: Any) -> Any:
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        return keras.KerasTensor(inputs.shape, dtype=dtype)

    def build_mixing(self, shape: Any, context_shapes: Mapping[str, Any]) -> None:
        self.build(shape)

    def mix(self, x: Any, context: Mapping[str, Any], training: Any = None) -> tuple[Any, dict]:
        return self(x), {}


@keras.saving.register_keras_serializable(package="inarch")
class FNetEncoder(Block):
    """Fourier mixing, then a feed-forward network (Lee-Thorp et al., 2021, arXiv:2105.03824).

    Args:
        intermediate_dim: width between the two feed-forward projections.
        dropout: rate of dropout on what the feed-forward network adds.
        activation: between the feed-forward projections; a name or a function (`get_activation`).
        layer_norm_epsilon: added to the variance in layer normalization.
        kernel_initializer: of all kernels.
        bias_initializer: of all biases.

    Call arguments:
        inputs: float `[batch, length, dim]`.

    Returns:
        float `[batch, length, dim]`.
    """

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
        feed_forward = FeedForward(
            intermediate_dim, activation, kernel_initializer, bias_initializer,
            dtype=self.dtype_policy, name="feed_forward",
        )  # fmt: skip
        mixing = FourierMixing(dtype=self.dtype_policy, name="attention")
        norm = keras.layers.LayerNormalization(epsilon=layer_norm_epsilon)
        super().__init__(mixing, feed_forward, norm, dropout=dropout)

    def build(self, inputs_shape: Any) -> None:  # type: ignore[override]
        super().build(inputs_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # type: ignore[override]
        return super().call(inputs, training=training)


def fourier_mixing(x: Any) -> Any:
    """Return the real part of the discrete Fourier transform over both length and width.

    The sum of all positions and features is among the results, so they may be as large as length
    times width.

    Args:
        x: float32 or float64 `[batch, length, dim]`.

    Returns:
        the same shape and dtype.
    """
    # Rather than by matrices of sines: at a width of 768 and lengths of 16 to 512, odd and prime
    # ones too, the best of these take 1.3 to 6 times as long on two CPU cores, on every backend,
    # with twice the rounding (`benchmarks/run.py --only fourier`).
    real, _ = ops.fft2((x, ops.zeros_like(x)))
    return real
