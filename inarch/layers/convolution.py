"""Convolution over time, padded as the published models are."""

from typing import Any, ClassVar

import keras

from inarch.errors import InputError
from inarch.layers.activation import Activation
from inarch.layers.alternatives import Alternatives, activation_alternatives
from inarch.layers.axes import EMBED
from inarch.layers.layer import Layer

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


@keras.saving.register_keras_serializable(package="inarch")
class ConvolutionalPositions(Layer):
    """Positions from a convolution over the neighbors of each frame (Baevski et al., 2020,
    arXiv:2006.11477, section 2), with weight normalization (Salimans & Kingma, 2016,
    arXiv:1602.07868).

    The kernel is divided by its norm over features and multiplied by `scale`, for each of its
    places by itself. Before the first frame are `kernel_size // 2` zeros, so that with an even
    size a frame sees one frame more before it than after it.

    Args:
        kernel_size: length of the window.
        groups: parts of the features that are convolved apart; must divide their number.
        activation: of the outputs; a name or a function (`get_activation`).

    Call arguments:
        inputs: float `[batch, frames, dim]`; zeros where there is padding.

    Returns:
        float `[batch, frames, dim]`, to be added to the inputs.

    Raises:
        InputError: `groups` doesn't divide `dim`.
    """

    axes: ClassVar = {"kernel": (None, None, EMBED), "scale": (None, None, None), "bias": (EMBED,)}

    def __init__(
        self, kernel_size: int, groups: int = 1, activation: Activation = "gelu", **kwargs: Any
    ):
        pass

    def build(self, inputs_shape: Any) -> None:
        dim, size = inputs_shape[-1], self.kernel_size
        if dim % self.groups:
            raise InputError(
                f"groups={self.groups} doesn't divide the width {dim}. Pass a number that does."
            )
        # As the reference draws them: each place has the norm that its values are drawn with.
        deviation = 2 / (size * dim) ** 0.5
        norm = deviation * (dim * dim // self.groups) ** 0.5
        self.kernel = self.add_weight(
            name="kernel",
            shape=(size, dim // self.groups, dim),
            initializer=keras.initializers.RandomNormal(stddev=deviation),
        )
        self.scale = self.add_weight(
            name="scale", shape=(size, 1, 1), initializer=keras.initializers.Constant(norm)
        )
        self.bias = self.add_weight(name="bias", shape=(dim,), initializer="zeros")
        self.built = True

    def call(self, inputs: Any) -> Any:
        before = self.kernel_size // 2
        margin = (before, self.kernel_size - 1 - before)
        x = ops.pad(inputs, ((0, 0), margin, (0, 0)))
        x = ops.conv(x, self._normalized_kernel((1, 2)), padding="valid") + self.bias
        return self.activation(x)

    def _normalized_kernel(self, axes: tuple[int, ...]) -> Any:
        """Return the kernel, scaled to a norm over `axes`, which float16 couldn't square."""
        kernel = ops.cast(self.kernel, keras.backend.result_type(self.compute_dtype, "float32"))
        norm = ops.sqrt(ops.sum(ops.square(kernel), axis=axes, keepdims=True))
        return ops.cast(kernel * (ops.cast(self.scale, kernel.dtype) / norm), self.compute_dtype)

    def alternatives(self) -> Alternatives:
        call, normalized, size = self.call, self._normalized_kernel, self.kernel_size

        def shifted(steps: int) -> Any:
            # What a window that is shifted sees is what the right one sees of shifted frames.
            margin = (max(-steps, 0), max(steps, 0))
            return lambda x: call(
                ops.pad(x, ((0, 0), margin, (0, 0)))[:, margin[1] :][:, : x.shape[1]]
            )

        return {
            "windows that are a frame later": {"call": shifted(1)},
            "windows that are a frame earlier": {"call": shifted(-1)},
            "windows of what comes before": {"call": shifted(-(size - 1 - size // 2))},
            "a kernel that isn't normalized": {
                "_normalized_kernel": lambda axes: self.kernel * self.scale
            },
            "a kernel without its scale": {
                "_normalized_kernel": lambda axes: normalized(axes) / self.scale
            },
            "a kernel that is normalized as a whole": {
                "_normalized_kernel": lambda axes: normalized((0, 1, 2))
            },
            "a kernel that is normalized for each of its outputs": {
                "_normalized_kernel": lambda axes: normalized((0, 1))
            },
            "a kernel that is reversed in time": {
                "_normalized_kernel": lambda axes: ops.flip(normalized(axes), axis=0)
            },
            **activation_alternatives(self),
        }
