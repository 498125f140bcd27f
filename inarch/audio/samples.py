"""Samples in arrays: the scale of each dtype, the order of the axes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from inarch.errors import InputError, InputTypeError

# Samples per second of all audio in inarch.
SAMPLE_RATE = 16_000
# A float that overshoots full scale so far (12 dB) is taken for an integer that wasn't scaled.
LARGEST_FLOAT = 4.0
# The integers that sound is kept in, and the value of silence; bytes are as in WAV files.
SILENCE = {"int8": 0, "uint8": 128, "int16": 0, "int32": 0}


def mono(array: Any, name: str) -> np.ndarray:
    """Return samples as float32 `[samples]`, full scale at 1; channels are averaged.

    Args:
        array: `[samples]` or `[samples, channels]`, floats, or integers scaled by their range.
        name: what messages call it.

    Raises:
        InputTypeError: it is no array, or of a dtype that sound isn't kept in.
        InputError: its shape or its values are no sound, or a sample isn't finite.
    """
    samples = _floats(_array(array, name), name)
    check_finite(samples, name)
    peak = float(np.abs(samples).max(initial=0))
    if peak > LARGEST_FLOAT:
        raise InputError(
            f"{name} has a float sample of magnitude {peak:g}, and full scale is 1. If it holds "
            "16-bit integers, divide by 32768 or pass them as int16"
        )
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    return samples


def check_waveform(audio: Any, name: str = "audio") -> np.ndarray:
    """Return mono samples as an array of float32, or of float64 where they are that already.

    Raises:
        InputTypeError: they aren't floats.
        InputError: they aren't in one dimension, or one isn't finite.
    """
    samples = _array(audio, name)
    if samples.dtype.kind != "f":
        raise InputTypeError(
            f"{name} is of dtype {samples.dtype}; pass float samples, as load_audio gives them"
        )
    if samples.ndim != 1:
        raise InputError(f"{name} has the shape {samples.shape}; pass mono samples, [samples]")
    samples = samples.astype(np.float64 if samples.dtype.itemsize >= 8 else np.float32, copy=False)
    check_finite(samples, name)
    return samples


def check_finite(samples: np.ndarray, name: str) -> None:
    """Refuse NaN and infinite samples, saying how many there are and where the first is."""
    # A sum is finite wherever all samples are, but for huge ones; it needs no further memory.
    if np.isfinite(samples.sum(dtype=np.float64)):
        return
    bad = np.argwhere(~np.isfinite(samples))
    if len(bad):
        raise InputError(
            f"{name} has {len(bad):,} samples that are NaN or infinite, the first at sample "
            f"{bad[0][0]:,}. Replace them, for instance with np.nan_to_num"
        )


def _array(value: Any, name: str) -> np.ndarray:
    if not hasattr(value, "__array__"):
        raise InputTypeError(f"{name} is a {type(value).__name__}; pass an array of samples")
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as e:
        raise InputTypeError(f"{name} can't be read as a NumPy array: {e}") from e


def _floats(array: np.ndarray, name: str) -> np.ndarray:
    dtype = array.dtype
    if dtype.kind != "f" and dtype.name not in SILENCE:
        raise InputTypeError(
            f"{name} is of dtype {dtype}; sound is taken as floats with full scale at 1, or as "
            f"{', '.join(SILENCE)}. Cast it to the one that its values are of"
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and 0 in array.shape[1:]):
        raise InputError(
            f"{name} has the shape {array.shape}; pass [samples] or [samples, channels]"
        )
    if array.ndim == 2 and array.shape[1] > array.shape[0] > 0:
        raise InputError(
            f"{name} has the shape {array.shape}, more channels than samples; pass [samples, "
            "channels], for instance its transpose"
        )
    if dtype.kind == "f":
        # What float32 can't hold becomes infinite, and is refused by name.
        with np.errstate(over="ignore"):
            return array.astype(np.float32, copy=False)
    scale = np.float32(2.0 ** -(8 * dtype.itemsize - 1))
    return (array.astype(np.float32) - np.float32(SILENCE[dtype.name])) * scale
