"""Log-mel spectrograms as openai-whisper computes them, in plain NumPy.

Source: whisper/audio.py (`log_mel_spectrogram`) and librosa's `filters.mel` (Slaney's mel scale and
normalisation). Frames of 400 samples, 160 apart and centred, under a periodic Hann window; the
power of each frequency, summed by triangles; ten-based logarithms, at most 8 below the largest.

A transform of 400 samples is short enough for matrices of cosines and sines to beat an FFT, once
its symmetries have made four of 100 x 100 of them: sample n meets 400 - n, and n meets 200 - n.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from inarch.audio.samples import SAMPLE_RATE, check_waveform
from inarch.errors import InputError

FRAME = 400
HOP = 160
QUIETEST = 1e-10
RANGE = 8.0
# Frames at once: few enough to stay in the cache, enough for a matrix product.
BLOCK = 512
QUARTER = FRAME // 4


def log_mel_spectrogram(audio: np.ndarray, num_mels: int = 80, padding: int = 0) -> np.ndarray:
    """Return the log-mel spectrogram of sound at 16 kHz.

    Args:
        audio: float `[samples]` or `[batch, samples]`, full scale at 1. Float64 is computed in
            float64, everything else in float32.
        num_mels: 80, or 128 for large-v3; any number is computed.
        padding: samples of silence to append.

    Returns:
        `[num_mels, frames]` or `[batch, num_mels, frames]`, a frame for each 160 samples. Each
        sound of a batch has its own maximum (the reference takes one maximum for all).

    Raises:
        InputTypeError: the audio isn't of floats.
        InputError: it has another shape, samples that aren't finite, or with its padding fewer
            than the 201 that a frame reflects at the edges.
    """
    if getattr(audio, "ndim", 1) == 2:
        if not len(audio):
            raise InputError("audio is an empty batch; pass at least one sound")
        return np.stack([log_mel_spectrogram(one, num_mels, padding) for one in audio])
    samples = check_waveform(audio)
    check_length(len(samples) + padding, padding)
    return _log_mel(samples, num_mels, padding)


def check_length(samples: int, padding: int) -> None:
    """Refuse a padding below 0, and a sound too short to be reflected at its edges."""
    if padding < 0:
        raise InputError(f"padding={padding}; pass a number of samples, 0 or more")
    if samples <= FRAME // 2:
        raise InputError(
            f"audio has {samples} samples with its padding; a spectrogram takes at least "
            f"{FRAME // 2 + 1}. Append silence with padding"
        )


@functools.cache
def mel_filters(num_mels: int = 80) -> np.ndarray:
    """Return the triangles of Slaney's mel scale, each of area 1, float64 `[num_mels, 201]`.

    Source: Malcolm Slaney, Auditory Toolbox (1998), `mfcc.m`, as librosa gives it.
    """
    if isinstance(num_mels, bool) or not isinstance(num_mels, int) or num_mels < 1:
        raise InputError(f"num_mels={num_mels!r}; pass 80, 128 or another whole number above 0")
    frequencies = np.linspace(0, SAMPLE_RATE / 2, FRAME // 2 + 1)
    edges = _hertz(np.linspace(0, _mels(SAMPLE_RATE / 2), num_mels + 2))
    widths = np.diff(edges)[:, None]
    away = edges[:, None] - frequencies
    rising, falling = -away[:-2] / widths[:-1], away[2:] / widths[1:]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    filters.flags.writeable = False
    return filters


# Below 1 kHz a mel is 200/3 Hz; above, 27 of them are a factor of 6.4.
LINEAR, BREAK, STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def _mels(hertz: float) -> float:
    if hertz < BREAK:
        return hertz / LINEAR
    return BREAK / LINEAR + float(np.log(hertz / BREAK)) / STEP


def _hertz(mels: np.ndarray) -> np.ndarray:
    above = np.maximum(mels - BREAK / LINEAR, 0)
    return np.where(above > 0, BREAK * np.exp(STEP * above), LINEAR * mels)


class _Tables(NamedTuple):
    """Constants in one dtype; the frequencies are those between 0 and 8 kHz, even ones first.

    At 0 and at 8 kHz no triangle has a weight.
    """

    near: np.ndarray
    far: np.ndarray
    cosines: tuple[np.ndarray, np.ndarray]
    sines: tuple[np.ndarray, np.ndarray]
    filters: np.ndarray


@functools.lru_cache(maxsize=8)
def _tables(num_mels: int, dtype: str) -> _Tables:
    n = np.arange(QUARTER + 1)
    near = 0.5 - 0.5 * np.cos(2 * np.pi * n / FRAME)
    far = 0.5 + 0.5 * np.cos(2 * np.pi * n / FRAME)
    # These samples are their own partners, and come in twice.
    far[0] /= 2
    near[-1] /= 2
    far[-1] /= 2
    frequencies = [np.arange(first, FRAME // 2, 2) for first in (2, 1)]
    turns = [2 * np.pi * (np.outer(n, k) % FRAME) / FRAME for k in frequencies]
    filters = mel_filters(num_mels)[:, np.concatenate(frequencies)]
    return _Tables(
        near.astype(dtype),
        far.astype(dtype),
        (np.cos(turns[0]).astype(dtype), np.cos(turns[1]).astype(dtype)),
        (np.sin(turns[0]).astype(dtype), np.sin(turns[1]).astype(dtype)),
        filters.astype(dtype),
    )


def _log_mel(samples: np.ndarray, num_mels: int, padding: int) -> np.ndarray:
    padded = np.pad(samples, (0, padding)) if padding else samples
    padded = np.pad(padded, FRAME // 2, mode="reflect")
    # The reference drops the last frame, which is centred on the end.
    frames = (len(samples) + padding) // HOP
    tables = _tables(num_mels, samples.dtype.name)
    out = np.empty((num_mels, frames), samples.dtype)
    for start in range(0, frames, BLOCK):
        count = min(BLOCK, frames - start)
        first = start * HOP
        piece = padded[first : first + (count - 1) * HOP + FRAME]
        # NumPy's natural logarithm is many times faster than its ten-based one.
        mel = tables.filters @ _powers(piece, count, tables).T
        np.log(np.maximum(mel, QUIETEST, out=mel), out=out[:, start : start + count])
    out *= 1 / (4 * np.log(10))
    if frames:
        np.maximum(out, out.max() - RANGE / 4, out=out)
    out += 1
    return out


def _powers(piece: np.ndarray, count: int, tables: _Tables) -> np.ndarray:
    """Return the power of each frequency in each frame of a piece, `[count, 199]`."""
    a, b, c, d = _partners(piece, count)
    sums, differences = (a + b) * tables.near, (a - b) * tables.near
    far_sums, far_differences = (c + d) * tables.far, (c - d) * tables.far
    half = tables.cosines[0].shape[1]
    power = np.empty((count, FRAME // 2 - 1), piece.dtype)
    np.matmul(sums + far_sums, tables.cosines[0], out=power[:, :half])
    np.matmul(sums - far_sums, tables.cosines[1], out=power[:, half:])
    imaginary = np.empty_like(power)
    np.matmul(differences - far_differences, tables.sines[0], out=imaginary[:, :half])
    np.matmul(differences + far_differences, tables.sines[1], out=imaginary[:, half:])
    power *= power
    imaginary *= imaginary
    power += imaginary
    return power


def _partners(piece: np.ndarray, count: int) -> list[np.ndarray]:
    """Return samples n, 400 - n, 200 - n and 200 + n of each frame, `[count, 101]` each.

    Those that run backwards are taken from the reversed piece, where they run forwards: that is
    faster by far. Sample 400 is under a window of 0.
    """
    forwards = np.append(piece, piece[-1:])
    backwards = forwards[::-1].copy()
    last, size = len(backwards) - 1, piece.itemsize

    def view(array: np.ndarray, first: int, step: int) -> np.ndarray:
        shape, strides = (count, QUARTER + 1), (step * size, size)
        return as_strided(array[first:], shape, strides, writeable=False)

    return [
        view(forwards, 0, HOP),
        view(backwards, last - FRAME, -HOP),
        view(backwards, last - FRAME // 2, -HOP),
        view(forwards, FRAME // 2, HOP),
    ]
