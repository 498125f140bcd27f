"""Any sound as mono samples at 16 kHz."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from inarch.audio.decode import HIGHEST_RATE, LOWEST_RATE, decode, resample
from inarch.audio.samples import SAMPLE_RATE, mono
from inarch.errors import AudioFileError, InputError, InputTypeError

AudioSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Any


def load_audio(
    source: AudioSource,
    *,
    sample_rate: int | None = None,
    name: str | None = None,
    max_seconds: float = 1800,
) -> np.ndarray:
    """Load audio in Whisper's format: one channel, 16,000 samples a second, full scale at 1.

    Files are decoded, mixed to one channel and resampled by FFmpeg through PyAV, in 16 bits, as
    openai-whisper does (whisper/audio.py). A file with several sound streams gives the one that
    FFmpeg holds for the best. What is left of a damaged file is taken, with a warning.

    Arrays are `[samples]` or `[samples, channels]`; their channels are averaged. Floats have full
    scale at 1, and keep an overshoot; int8, int16 and int32 are divided by 2^7, 2^15 and 2^31,
    and uint8 has its silence at 128. Another rate than 16 kHz is resampled in float32, by FFmpeg.

    Args:
        source: a path, the bytes of a file, a binary file object, or an array.
        sample_rate: samples per second of an array, 16,000 by default. A file states its own.
        name: what messages call the source; its path by default.
        max_seconds: the longest sound that is taken from a file of fewer than 500 bytes per
            second, which can be little but silence.

    Returns:
        float32 `[samples]`; empty where the source holds no samples.

    Raises:
        AudioFileError: the file is absent, empty or damaged, or no sound can be decoded from it.
        InputTypeError: the source is of another kind, or the array of a dtype that isn't sound's.
        InputError: an array has another shape, a sample that isn't finite, or floats far beyond
            full scale; or the rate is none; or a file object is closed.
        MissingExtraError: PyAV is needed and not installed.
    """
    if hasattr(source, "__array__"):
        return _from_array(source, sample_rate, name or "the array")
    if sample_rate is not None:
        raise InputError(
            f"sample_rate={sample_rate} goes with an array; {name or 'a file'} states its own "
            "rate. Leave it out"
        )
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), name or os.fspath(source), max_seconds)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode(io.BytesIO(source), name or "the bytes", max_seconds)
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        name = name or str(getattr(source, "name", "the file object"))
        if getattr(source, "closed", False):
            raise InputError(f"{name} is a closed file; pass one that is open, or its path")
        return decode(source, name, max_seconds)
    raise InputTypeError(
        f"{name or 'source'} is a {type(source).__name__}; pass a path, the bytes of a file, a "
        "file opened in binary mode, or a NumPy array of samples"
    )


def _from_array(array: Any, sample_rate: int | None, name: str) -> np.ndarray:
    rate = SAMPLE_RATE if sample_rate is None else _rate(sample_rate)
    samples = mono(array, name)
    return samples if rate == SAMPLE_RATE or not samples.size else resample(samples, rate)


def _rate(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise InputTypeError(f"sample_rate is a {type(value).__name__}; pass samples per second")
    if not LOWEST_RATE <= value <= HIGHEST_RATE or value != int(value):
        raise InputError(
            f"sample_rate={value}; it is a whole number of samples per second from "
            f"{LOWEST_RATE:,} to {HIGHEST_RATE:,}, for instance 44100"
        )
    return int(value)


def _from_path(path: Path, name: str, max_seconds: float) -> np.ndarray:
    # Opened here, and not by FFmpeg, to which some names are addresses or commands.
    try:
        file = path.open("rb")
    except (OSError, ValueError) as e:
        raise AudioFileError(f"{name} can't be read: {getattr(e, 'strerror', None) or e}") from e
    with file:
        return decode(file, name, max_seconds)
