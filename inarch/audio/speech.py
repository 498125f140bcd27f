"""Detection of possible speech by loudness alone.

No model is available here, so the rule loses nothing: what isn't clearly silence, or a hiss
softer than it, counts as speech, and Whisper itself judges the rest. A 10 ms frame is taken for
speech where it is `ABOVE_NOISE` dB above the noise around it, or near the loudness of the whole.
The noise is the least loudness within some seconds (minimum statistics; Martin, "Noise power
spectral density estimation based on optimal smoothing and minimum statistics", 2001): speech,
however dense, leaves gaps. Spans are cut and joined as faster-whisper's batches are used to
(faster_whisper/vad.py): at most 30 s each, cut where it is quietest, and joined greedily.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from inarch.audio.samples import SAMPLE_RATE, check_waveform
from inarch.errors import InputError

Span = tuple[int, int]

# 10 ms, in samples.
FRAME = SAMPLE_RATE // 100
# Decibels, of full scale where they aren't differences.
SILENT = -80.0
ABOVE_NOISE = 9.0
BELOW_LOUD = 25.0
# A steady sound softer than this may be hiss; a louder one is never dropped.
HISS = -60.0
# The noise is the least of so many seconds before and after.
NOISE_SECONDS = 8
LONGEST = 30.0


def speech_spans(
    audio: Any,
    *,
    min_speech: float = 0.05,
    min_silence: float = 0.3,
    margin: float = 0.2,
    longest: float = LONGEST,
) -> list[Span]:
    """Return spans of sound that may be speech.

    Args:
        audio: float `[samples]` at 16 kHz, full scale at 1.
        min_speech: seconds; what is shorter is dropped.
        min_silence: seconds; a shorter gap doesn't part two spans.
        margin: seconds that each span is given before and after.
        longest: seconds; a longer span is cut at the quietest place of its second half.

    Returns:
        A list of `(start, end)` in samples, in order, apart or touching, inside the audio.

    Raises:
        InputTypeError, InputError: the audio isn't float `[samples]`, or not finite; a duration
            is negative, or `longest` below a second.
    """
    samples = check_waveform(audio)
    if min(min_speech, min_silence, margin) < 0 or longest < 1:
        raise InputError(
            f"min_speech={min_speech}, min_silence={min_silence}, margin={margin}, "
            f"longest={longest}; durations are in seconds, 0 or more, and longest is at least 1"
        )
    levels = _levels(samples)
    if not levels.size:
        return []
    runs = _runs(levels > _threshold(levels))
    runs = _joined(runs, round(100 * min_silence))
    runs = runs[runs[:, 1] - runs[:, 0] >= 100 * min_speech]
    runs = runs + np.array([-1, 1]) * round(100 * margin)
    runs = _joined(runs.clip(0, len(levels)), 0)
    spans = [(int(start) * FRAME, min(int(end) * FRAME, len(samples))) for start, end in runs]
    return _cut_spans(spans, levels, longest)


def cut_spans(spans: Iterable[Span], audio: Any, longest: float = LONGEST) -> list[Span]:
    """Split spans to at most `longest` seconds each, where it is quietest.

    Args:
        spans: of the audio, in samples.
        audio: float `[samples]` at 16 kHz.
        longest: seconds, at least 1.
    """
    return _cut_spans(spans, _levels(check_waveform(audio)), longest)


def _cut_spans(spans: Iterable[Span], levels: np.ndarray, longest: float) -> list[Span]:
    found: list[Span] = []
    for start, end in spans:
        first, last = start // FRAME, -(-end // FRAME)
        edges = [part[1] * FRAME for part in _cut(first, last, levels, int(100 * longest))]
        found += zip([start, *edges[:-1]], [*edges[:-1], end], strict=True)
    return found


def merge_spans(spans: Iterable[Span], longest: float = LONGEST) -> list[Span]:
    """Join neighbouring spans, with the silence between them, up to `longest` seconds.

    Args:
        spans: in order, as `speech_spans` gives them.
        longest: seconds. A single span that is longer stays as it is.
    """
    merged: list[Span] = []
    for start, end in spans:
        if merged and end - merged[-1][0] <= longest * SAMPLE_RATE:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _levels(samples: np.ndarray) -> np.ndarray:
    """Return the loudness in dB of each 10 ms, over 50 ms; a constant signal has none."""
    count = -(-len(samples) // FRAME)
    power = np.empty(count)
    step = 1 << 13
    for first in range(0, count, step):
        piece = samples[first * FRAME : (first + step) * FRAME].astype(np.float64)
        whole = len(piece) // FRAME
        power[first : first + whole] = piece[: whole * FRAME].reshape(-1, FRAME).var(axis=1)
        if rest := len(piece) - whole * FRAME:
            power[first + whole] = piece[-rest:].var()
    if count:
        power = sliding_window_view(np.pad(power, 2, mode="edge"), 5).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 1e-12))


def _threshold(levels: np.ndarray) -> np.ndarray:
    """Return the level in dB above which a frame may be speech."""
    second = 100
    count = -(-len(levels) // second)
    filled = np.pad(levels, (0, count * second - len(levels)), mode="edge")
    least = filled.reshape(count, second).min(axis=1)
    around = sliding_window_view(np.pad(least, NOISE_SECONDS, mode="edge"), 2 * NOISE_SECONDS + 1)
    noise = np.repeat(around.min(axis=1), second)[: len(levels)]
    audible = levels[levels > SILENT]
    loud = np.percentile(audible, 95) if audible.size else SILENT
    return np.clip(noise + ABOVE_NOISE, SILENT, max(loud - BELOW_LOUD, HISS))


def _runs(mask: np.ndarray) -> np.ndarray:
    """Return runs of true values of a mask, `[runs, 2]`: first frames, and those after the last."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2)


def _joined(runs: np.ndarray, gap: int) -> np.ndarray:
    """Join runs that are at most `gap` frames apart."""
    if not len(runs):
        return runs
    apart = runs[1:, 0] - runs[:-1, 1] > gap
    return np.stack([runs[np.r_[True, apart], 0], runs[np.r_[apart, True], 1]], axis=1)


def _cut(start: int, end: int, levels: np.ndarray, longest: int) -> list[Span]:
    parts = []
    while end - start > longest:
        middle = start + longest // 2
        # Of equally quiet places the last, so that there are few parts.
        quietest = start + longest - int(levels[middle : start + longest][::-1].argmin())
        parts.append((start, quietest))
        start = quietest
    return [*parts, (start, end)]
