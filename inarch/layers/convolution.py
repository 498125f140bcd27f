"""Convolution over time, padded as the published models are."""

from typing import Any

import keras

from inarch.errors import InputError
from inarch.layers.alternatives import Alternatives

ops: Any = keras.ops  # Typed, every result may be None.


@keras.saving.register_keras_serializable(package="inarch")
class SymmetricConv1D(keras.layers.Conv1D):
    """A convolution whose windows are centered on the inputs, whatever the stride.

    Zeros are put before and after the input alike, `(kernel_size - 1) / 2` of each, as torch's
    `padding=kernel_size // 2` does. With a stride, Keras's `padding="same"` puts fewer before than
    after, and shifts every window.

    Args:
        filters: width of the outputs.
        kernel_size: length of the window; odd.
        strides: steps between windows.
        kwargs: as `keras.layers.Conv1D`'s, but for `padding`.

    Call arguments:
        inputs: float `[batch, length, dim]`.

    Returns:
        float `[batch, ceil(length / strides), filters]`.

    Raises:
        InputError: `kernel_size` is even.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs: Any):
        width = kernel_size if isinstance(kernel_size, int) else kernel_size[0]
        if width % 2 == 0:
            raise InputError(f"kernel_size={width} has no middle. Pass an odd one.")
        kwargs.pop("padding", None)
        super().__init__(filters, width, strides, padding="valid", **kwargs)

    def call(self, inputs: Any) -> Any:
        return super().call(ops.pad(inputs, ((0, 0), self._margin, (0, 0))))

    def alternatives(self) -> Alternatives:
        size, convolve = self.kernel_size[0] - 1, super().call
        return {
            f"windows with {before} zeros before the first frame": {
                "call": lambda x, before=before: convolve(
                    ops.pad(x, ((0, 0), (before, size - before), (0, 0)))
                )
            }
            for before in range(size + 1)
            if before != self._margin[0]
        }

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, length, dim = input_shape
        padded = None if length is None else length + sum(self._margin)
        return super().compute_output_shape((batch, padded, dim))

    @property
    def _margin(self) -> tuple[int, int]:
        return (self.kernel_size[0] // 2,) * 2
