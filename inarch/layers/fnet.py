"""Fourier mixing, and FNet's encoder layer of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras

from inarch.layers.activation import Activation
from inarch.layers.alternatives import Alternatives
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
        return fourier_mixing(_wide(inputs))

    def compute_output_spec(self, inputs: Any) -> Any:
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        return keras.KerasTensor(inputs.shape, dtype=dtype)

    def alternatives(self) -> Alternatives:
        call = self.call

        def divided(size: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda x: call(x) / size(x)

        def shifted(axis: int) -> Callable[[Any], Any]:
            return lambda x: ops.roll(call(x), x.shape[axis] // 2, axis=axis)

        root = divided(lambda x: (x.shape[1] * x.shape[2]) ** 0.5)
        ways = {
            **_OTHER_TRANSFORMS,
            "a transform divided by the root of length times width (ortho)": root,
            "a transform divided by length times width (the inverse)": divided(
                lambda x: x.shape[1] * x.shape[2]
            ),
            "a transform divided by the length": divided(lambda x: x.shape[1]),
            "a transform divided by the width": divided(lambda x: x.shape[2]),
            "frequencies shifted along the length": shifted(1),
            "frequencies shifted along the width": shifted(2),
            "no transform": ops.zeros_like,
            "the transform applied twice": lambda x: call(call(x)),
        }
        return {name: {"call": lambda x, way=way: way(_wide(x))} for name, way in ways.items()}

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


def _wide(x: Any) -> Any:
    """Return a tensor in float32 at least; backends have no transform of 16 bits."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def _transform(x: Any, axes: Sequence[int], padded: int = 0) -> Any:
    """Return the real part of a transform over axes; the first one padded, and then cut."""
    values = (x, ops.zeros_like(x))
    for axis in axes:
        turned = tuple(ops.swapaxes(value, axis, -1) for value in values)
        size = turned[0].shape[-1]
        room = ((0, 0), (0, 0), (0, max(padded - size, 0) if axis == axes[0] else 0))
        turned = ops.fft(tuple(ops.pad(value, room) for value in turned))
        values = tuple(ops.swapaxes(value[..., :size], axis, -1) for value in turned)
    return values[0]


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
    return _parts(x)[0]


def _parts(x: Any) -> Any:
    """Return the real and the imaginary part of the transform."""
    return ops.fft2((x, ops.zeros_like(x)))


def _power(size: int) -> int:
    """Return the smallest power of two that is at least `size`."""
    return 1 << (size - 1).bit_length()


_OTHER_TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "the imaginary part": lambda x: _parts(x)[1],
    "the magnitude": lambda x: ops.sqrt(sum(ops.square(part) for part in _parts(x))),
    "the sum of real and imaginary part": lambda x: sum(_parts(x)),
    "the difference of real and imaginary part (Hartley's transform)": lambda x: ops.subtract(
        *_parts(x)
    ),
    **{
        f"a transform over {name}": partial(_transform, axes=axes)
        for name, axes in {
            "the length alone": (1,),
            "the width alone": (2,),
            "the batch too": (2, 1, 0),
            "batch and width": (2, 0),
            "batch and length": (1, 0),
        }.items()
    },
    "the real part after each axis": lambda x: _transform(_transform(x, (2,)), (1,)),
    "a length padded to a power of two": lambda x: _transform(x, (1, 2), _power(x.shape[1])),
    "a width padded to a power of two": lambda x: _transform(x, (2, 1), _power(x.shape[2])),
}
