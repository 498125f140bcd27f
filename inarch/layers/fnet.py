"""FNet's encoder layer."""

from typing import Any

import keras

from inarch.layers.block import FeedForwardBlock

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class FNetEncoder(FeedForwardBlock):
    """Fourier mixing, then a feed-forward half (Lee-Thorp et al., 2021, arXiv:2105.03824).

    Its arguments are those of `FeedForwardBlock`. There are no attention and no mask: every
    position takes part in the numbers of every other one, padding too.

    Call arguments:
        inputs: float `[batch, length, dim]`.

    Returns:
        float `[batch, length, dim]`.
    """

    def build(self, inputs_shape: Any) -> None:
        # What is mixed may be too large for 16 bits, so it comes to the norm in float32.
        self.mixing_norm = self._norm("mixing", inputs_shape, autocast=False)
        self._build_feed_forward(inputs_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        return self._feed_forward(self.mixing_norm(x + fourier_mixing(x)))


def fourier_mixing(x: Any) -> Any:
    """The real part of the discrete Fourier transform over both length and width.

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
