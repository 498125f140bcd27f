"""Frames that convolutions make of samples of sound, and which of them are padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from inarch.errors import InputError
from inarch.layers.activation import Activation
from inarch.layers.alternatives import ACTIVATIONS, EPSILONS, Alternatives
from inarch.layers.axes import EMBED
from inarch.layers.initializer import fresh_initializer
from inarch.layers.layer import Layer
from inarch.layers.mask import position_range

ops: Any = keras.ops  # Typed, every result may be None.


NORMS = ("group", "layer")


def frame_count(samples: Any, kernel_sizes: Sequence[int], strides: Sequence[int]) -> Any:
    """Return how many frames convolutions make of so many samples; 0 or less of too few.

    Args:
        samples: a whole number, or an integer array or tensor of them.
        kernel_sizes, strides: of the convolutions, which have no padding; the first one first.
    """
    for size, stride in zip(kernel_sizes, strides, strict=True):
        samples = (samples - size) // stride + 1
    return samples


def sample_count(frames: int, kernel_sizes: Sequence[int], strides: Sequence[int]) -> int:
    """Return the fewest samples of which convolutions make so many frames (see `frame_count`)."""
    for size, stride in zip(reversed(kernel_sizes), reversed(strides), strict=True):
        frames = (frames - 1) * stride + size
    return frames


def frame_mask(
    padding_mask: np.ndarray, kernel_sizes: Sequence[int], strides: Sequence[int]
) -> np.ndarray:
    """Return what `FrameMask` gives, in NumPy."""
    real = (padding_mask != 0).sum(axis=1, keepdims=True)
    counts = np.maximum(frame_count(real, kernel_sizes, strides), 1)
    frames = np.arange(frame_count(padding_mask.shape[1], kernel_sizes, strides))
    return (frames < counts).astype("int32")


@keras.saving.register_keras_serializable(package="inarch")
class FrameMask(Layer):
    """Padding mask of the frames that convolutions make of samples.

    A frame is padding if a sample of its window is. Padding is at the end of a row; the first frame
    never is, so that a row has one to attend to.

    Args:
        kernel_sizes, strides: of the convolutions, which have no padding; the first one first.

    Call arguments:
        inputs: int or bool `[batch, samples]`, 0 for padding.

    Returns:
        int32 `[batch, frames]`, 0 for padding and 1 for frames.
    """

    def __init__(self, kernel_sizes: Sequence[int], strides: Sequence[int], **kwargs: Any):
        self.built = True

    def call(self, inputs: Any) -> Any:
        real = ops.sum(ops.cast(ops.not_equal(inputs, 0), "int32"), axis=1, keepdims=True)
        count = ops.maximum(frame_count(real, self.kernel_sizes, self.strides), 1)
        frames = position_range(frame_count(ops.shape(inputs)[1], self.kernel_sizes, self.strides))
        return ops.cast(ops.expand_dims(frames, 0) < count, "int32")

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:  # type: ignore[override]
        batch, samples = inputs.shape
        frames = None if samples is None else frame_count(samples, self.kernel_sizes, self.strides)
        return keras.KerasTensor((batch, frames), dtype="int32")


@keras.saving.register_keras_serializable(package="inarch")
class TimeNormalization(Layer):
    """Normalization of each feature over the frames of its row (Ulyanov et al., 2016,
    arXiv:1607.08022), which is group normalization with a group for each feature.

    Padding has no part in mean and variance, which are those of the row by itself.

    Args:
        epsilon: added to the variance.

    Call arguments:
        inputs: float `[batch, frames, dim]`.
        padding_mask: int `[batch, frames]`, 0 for padding, or `None`.

    Returns:
        float `[batch, frames, dim]`.
    """

    axes: ClassVar = {"gamma": (EMBED,), "beta": (EMBED,)}

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any):
        pass

    def build(self, inputs_shape: Any) -> None:
        shape = (inputs_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", autocast=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", autocast=False)
        self.built = True

    def call(self, inputs: Any, padding_mask: Any = None) -> Any:
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        share = self._share(x, padding_mask)
        x = x - ops.sum(x * share, axis=1, keepdims=True)
        variance = ops.sum(ops.square(x) * share, axis=1, keepdims=True)
        x = x * ops.rsqrt(variance + self.epsilon)
        x = x * ops.cast(self.gamma, x.dtype) + ops.cast(self.beta, x.dtype)
        return ops.cast(x, inputs.dtype)

    def _share(self, x: Any, padding_mask: Any) -> Any:
        """Return the share `[batch, frames, 1]` of each frame in the mean of its row."""
        if padding_mask is None:
            real = ops.ones_like(x[..., :1])
        else:
            real = ops.expand_dims(ops.cast(ops.not_equal(padding_mask, 0), x.dtype), -1)
        return real / ops.sum(real, axis=1, keepdims=True)

    def alternatives(self) -> Alternatives:
        share = self._share

        def over(axis: int) -> Any:
            def call(inputs: Any, padding_mask: Any = None) -> Any:
                x = inputs - ops.mean(inputs, axis=axis, keepdims=True)
                variance = ops.mean(ops.square(x), axis=axis, keepdims=True)
                return x * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta

            return call

        return {
            **{
                f"an epsilon of {value:g}": {"epsilon": value}
                for value in EPSILONS
                if value != self.epsilon
            },
            "padding that counts as frames": {"_share": lambda x, mask: share(x, None)},
            "layer normalization": {"call": over(-1)},
            "the statistics of all rows": {"call": over(0)},
            "no normalization": {"call": lambda inputs, padding_mask=None: inputs},
        }


@keras.saving.register_keras_serializable(package="inarch")
class ConvolutionStem(Layer):
    """Features of samples by convolutions without padding (Baevski et al., 2020, arXiv:2006.11477,
    section 2), each followed by the activation.

    The layers in it are named `conv_0` and so on, their norms `conv_0_norm`. A norm is between
    convolution and activation: a `TimeNormalization` after the first ("group"), or layer norms
    after all ("layer").

    Args:
        dims: widths of the convolutions.
        kernel_sizes: lengths of their windows.
        strides: steps between their windows.
        use_bias: whether they have biases.
        norm: `"group"` or `"layer"`.
        activation: a name or a function (`get_activation`).
        kernel_initializer: of all kernels.

    Call arguments:
        inputs: float `[batch, samples]`.
        padding_mask: int `[batch, samples]`, 0 for padding, or `None`.

    Returns:
        float `[batch, frames, dims[-1]]`; `FrameMask` gives the mask of these frames.

    Raises:
        InputError: `norm` is unknown, or the lists have different lengths.
    """

    def __init__(
        self,
        dims: Sequence[int],
        kernel_sizes: Sequence[int],
        strides: Sequence[int],
        use_bias: bool = False,
        norm: str = "group",
        activation: Activation = "gelu",
        kernel_initializer: Any = "he_normal",
        **kwargs: Any,
    ):
        if norm not in NORMS:
            raise InputError(f"norm={norm!r}; pass one of {NORMS}.")
        if len({len(dims), len(kernel_sizes), len(strides)}) > 1:
            raise InputError(
                f"dims has {len(dims)} values, kernel_sizes {len(kernel_sizes)} and strides "
                f"{len(strides)}. Pass one of each for every convolution."
            )

    def build(self, inputs_shape: Any) -> None:
        shape, dtype = (*inputs_shape, 1), self.dtype_policy
        self._function = self.activation
        windows = zip(self.dims, self.kernel_sizes, self.strides, strict=True)
        for i, (dim, size, stride) in enumerate(windows):
            norm = self._norm_after(i)
            convolution = keras.layers.Conv1D(
                dim,
                size,
                stride,
                use_bias=self.use_bias,
                activation=self.activation if norm is None else None,
                kernel_initializer=fresh_initializer(self.kernel_initializer),
                dtype=dtype,
                name=f"conv_{i}",
            )
            convolution.build(shape)
            setattr(self, convolution.name, convolution)
            shape = (shape[0], None, dim)
            if norm is not None:
                norm.build(shape)
                setattr(self, norm.name, norm)
        self.built = True

    def call(self, inputs: Any, padding_mask: Any = None) -> Any:
        x = ops.expand_dims(inputs, -1)
        for i in range(len(self.dims)):
            x = getattr(self, f"conv_{i}")(x)
            if (norm := getattr(self, f"conv_{i}_norm", None)) is not None:
                x = self._activated(self._normalized(norm, x, padding_mask))
        return x

    def compute_output_shape(self, inputs_shape: Any, *others: Any, **more: Any) -> Any:
        batch, samples = inputs_shape
        known = samples is not None
        frames = frame_count(samples, self.kernel_sizes, self.strides) if known else None
        return batch, frames, self.dims[-1]

    def alternatives(self) -> Alternatives:
        normalized = self._normalized
        return {
            "norms that take padding for frames": {
                "_normalized": lambda norm, x, mask: normalized(norm, x, None)
            },
            "norms after the activation": {
                "_normalized": lambda norm, x, mask: normalized(norm, self._function(x), mask),
                "_activated": lambda x: x,
            },
            **{
                f"{name} after the norms": {"_activated": function}
                for name, function in ACTIVATIONS.items()
                if function is not self._function
            },
        }

    def _norm_after(self, i: int) -> Any:
        options = {"dtype": self.dtype_policy, "name": f"conv_{i}_norm"}
        if self.norm == "layer":
            return keras.layers.LayerNormalization(epsilon=1e-5, **options)
        return TimeNormalization(**options) if i == 0 else None

    def _normalized(self, norm: Any, x: Any, padding_mask: Any) -> Any:
        if not isinstance(norm, TimeNormalization) or padding_mask is None:
            return norm(x)
        return norm(x, FrameMask(self.kernel_sizes[:1], self.strides[:1])(padding_mask))

    def _activated(self, x: Any) -> Any:
        # Past a trace, which takes what `activation` is given for the layer's own last product.
        return self._function(x)
