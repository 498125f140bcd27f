"""The log-mel spectrogram as a Keras layer, for sound that is on the device already."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from inarch.audio.mel import FRAME, HOP, QUIETEST, RANGE, check_length, mel_filters


@keras.saving.register_keras_serializable(package="inarch")
class LogMelSpectrogram(keras.layers.Layer):
    """`log_mel_spectrogram` in `keras.ops`: compilable, differentiable, on every backend.

    It computes in float32 whatever the dtype policy. Triangles are summed without a matrix
    product, which some accelerators round to fewer bits. On the CPU the NumPy function is faster.

    Args:
        num_mels: 80, or 128 for large-v3.
        padding: samples of silence to append.

    Call arguments:
        inputs: float `[batch, samples]` or `[samples]` at 16 kHz, full scale at 1.

    Returns:
        float32 `[batch, num_mels, frames]` or `[num_mels, frames]`, frames = samples // 160.
    """

    def __init__(self, num_mels: int = 80, padding: int = 0, **kwargs: Any):
        super().__init__(**{"autocast": False, **kwargs})
        self.num_mels, self.padding = num_mels, padding
        self._bins, self._weights = _bands(mel_filters(num_mels))
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
        self._window = window.astype("float32")
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32")
        if len(x.shape) == 1:
            return self._of_batch(x[None])[0]
        return self._of_batch(x)

    def _of_batch(self, x: Any) -> Any:
        if x.shape[1] is not None:
            check_length(x.shape[1] + self.padding, self.padding)
        x = ops.pad(x, [(0, 0), (0, self.padding)])
        half = FRAME // 2
        before, after = x[:, 1 : half + 1], x[:, -half - 1 : -1]
        x = ops.concatenate([ops.flip(before, 1), x, ops.flip(after, 1)], axis=1)
        frames = ops.extract_sequences(x, FRAME, HOP)[:, :-1]
        real, imaginary = ops.rfft(frames * self._window)
        power = ops.square(real) + ops.square(imaginary)
        bands = ops.take(power, self._bins, axis=-1)
        mel = ops.transpose(ops.sum(bands * self._weights, axis=-1), (0, 2, 1))
        log = ops.log10(ops.maximum(mel, QUIETEST))
        log = ops.maximum(log, ops.max(log, axis=(1, 2), keepdims=True) - RANGE)
        return (log + 4) / 4

    def compute_output_shape(self, inputs_shape: Any) -> Any:
        *batch, samples = inputs_shape
        frames = None if samples is None else (samples + self.padding) // HOP
        return (*batch, self.num_mels, frames)

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_mels": self.num_mels, "padding": self.padding}


def _bands(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the few bins that each triangle covers and their weights, `[num_mels, width]`."""
    width = int((filters > 0).sum(axis=1).max())
    first = np.minimum((filters > 0).argmax(axis=1), filters.shape[1] - width)
    bins = (first[:, None] + np.arange(width)).astype("int32")
    return bins, np.take_along_axis(filters, bins, axis=1).astype("float32")
