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
    """

    def __init__(self, max_wavelength: float = 10000, interleaved: bool = True):
        self.max_wavelength = max_wavelength
        self.interleaved = interleaved

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        if len(shape) != 2:
            raise InputError(
                f"shape={tuple(shape)} isn't [length, dim]. SinePositions fills tables alone."
            )
        length, dim = shape
        positions = np.arange(length)[:, None]
        if self.interleaved:
            angles = positions / wavelengths(dim, self.max_wavelength)
            table = np.where(np.arange(dim) % 2 == 0, np.sin(angles), np.cos(angles))
        else:
            angles = positions / np.geomspace(1, self.max_wavelength, dim // 2)
            table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        return ops.convert_to_tensor(table, dtype=dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        return {"max_wavelength": self.max_wavelength, "interleaved": self.interleaved}


def fresh_initializer(initializer: Any) -> Any:
    """Return a copy of an initializer with a seed of its own.

    An unseeded Keras initializer keeps one hidden seed, so that two kernels of a shape that share
    it would start equal.
    """
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.__class__.from_config(initializer.get_config())
    return initializer
