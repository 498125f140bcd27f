"""Initializers: the sinusoidal position table, and copies with seeds of their own."""

from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.errors import InputError


def wavelengths(dim: int, max_wavelength: float) -> np.ndarray:
    """Return the columns' wavelengths over 2 pi, float64 `[dim]`; sine and cosine share each.

    Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.5.
    """
    return np.power(float(max_wavelength), 2 * (np.arange(dim) // 2) / dim)


@keras.saving.register_keras_serializable(package="inarch")
class SinePositions(keras.initializers.Initializer):
    """Sinusoidal position table `[length, dim]`: sine in even columns, cosine in odd ones.

    The angle at position `p` and column `j` is `p / max_wavelength ** (2 * (j // 2) / dim)`,
    computed in float64 (Vaswani et al., 2017, arXiv:1706.03762; DistilBERT's
    `sinusoidal_pos_embds`). Where not `interleaved`, the sines are the first half of the columns,
    the cosines the other, and the last of each has the longest wavelength (openai/whisper,
    whisper/model.py, `sinusoids`).

    Args:
        max_wavelength: the longest wavelength over 2 pi, in tokens.
        interleaved: whether sines and cosines take turns.
        reaches_maximum: whether the last column of each has `max_wavelength`, and not the column
            after it; `None` for where not `interleaved`.
        single_precision: whether angles are products in float32, as fairseq computes them
            (fairseq/modules/sinusoidal_positional_embedding.py).
    """

    def __init__(
        self,
        max_wavelength: float = 10000,
        interleaved: bool = True,
        reaches_maximum: bool | None = None,
        single_precision: bool = False,
    ):
        self.max_wavelength = max_wavelength
        self.interleaved = interleaved
        self.reaches_maximum = reaches_maximum
        self.single_precision = single_precision

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        if len(shape) != 2:
            raise InputError(
                f"shape={tuple(shape)} isn't [length, dim]. SinePositions fills tables alone."
            )
        return ops.convert_to_tensor(self.table(*shape), dtype=dtype or keras.config.floatx())

    def table(self, length: int, dim: int) -> np.ndarray:
        """Return the table, float32 `[length, dim]`."""
        reaches = not self.interleaved if self.reaches_maximum is None else self.reaches_maximum
        positions, half = np.arange(length)[:, None], (dim + 1) // 2
        if not reaches:
            angles = positions / wavelengths(dim, self.max_wavelength)[::2]
        elif self.single_precision:
            step = np.float32(np.log(self.max_wavelength) / (half - 1))
            frequencies = np.exp((np.arange(half, dtype=np.float32) * -step).astype(np.float64))
            angles = positions.astype(np.float32) * frequencies.astype(np.float32)
        else:
            angles = positions / np.geomspace(1, self.max_wavelength, half)
        angles = angles.astype(np.float64)
        parts = np.sin(angles), np.cos(angles)
        if self.interleaved:
            table = np.stack(parts, axis=-1).reshape(length, -1)
        else:
            table = np.concatenate(parts, axis=1)
        return table[:, :dim].astype(np.float32)

    def get_config(self) -> dict[str, Any]:
        return {
            "max_wavelength": self.max_wavelength,
            "interleaved": self.interleaved,
            "reaches_maximum": self.reaches_maximum,
            "single_precision": self.single_precision,
        }


def fresh_initializer(initializer: Any) -> Any:
    """Return a copy of an initializer with a seed of its own.

    An unseeded Keras initializer keeps one hidden seed, so that two kernels of a shape that share
    it would start equal.
    """
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.__class__.from_config(initializer.get_config())
    return initializer
