"""The 30-second windows of Whisper's input.

Source: whisper/audio.py (`pad_or_trim`) and whisper/transcribe.py of openai-whisper.
"""

from __future__ import annotations

import numpy as np

from inarch.audio.mel import HOP
from inarch.audio.samples import SAMPLE_RATE
from inarch.errors import InputError

WINDOW_SAMPLES = 30 * SAMPLE_RATE
WINDOW_FRAMES = WINDOW_SAMPLES // HOP


def pad_or_trim(array: np.ndarray, length: int = WINDOW_SAMPLES, axis: int = -1) -> np.ndarray:
    """Return the first `length` entries along an axis, zero-padded at the end.

    Where nothing is to be added the result is a view.
    """
    array = np.moveaxis(array, axis, -1)[..., :length]
    if missing := length - array.shape[-1]:
        array = np.pad(array, [*[(0, 0)] * (array.ndim - 1), (0, missing)])
    return np.moveaxis(array, -1, axis)


def cut_window(
    log_mel: np.ndarray, start: int, stop: int | None = None, length: int = WINDOW_FRAMES
) -> np.ndarray:
    """Return the window at a frame: at most `length` frames of it before `stop`, then zeros.

    The reference takes the spectrogram of the sound with 30 s of silence behind it, and lets
    windows end where the sound does, so that their rest is zeros, not the silence's values:

        log_mel = log_mel_spectrogram(audio, padding=WINDOW_SAMPLES)
        content = log_mel.shape[-1] - WINDOW_FRAMES
        window = cut_window(log_mel, start, content)

    Args:
        log_mel: `[..., num_mels, frames]`.
        start: the first frame, from 0.
        stop: the frame that no window reaches; all frames by default.

    Returns:
        `[..., num_mels, length]`.
    """
    frames = log_mel.shape[-1]
    stop = frames if stop is None else min(stop, frames)
    if not 0 <= start < max(stop, 1):
        raise InputError(f"start={start} is no frame before {stop}; there are {frames} frames")
    return pad_or_trim(log_mel[..., start : min(start + length, stop)], length)
