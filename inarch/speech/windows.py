"""Windows of a recording, and their tokens split at timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from inarch.audio import HOP, SAMPLE_RATE, WINDOW_FRAMES
from inarch.speech.options import DecodingOptions, DecodingResult
from inarch.speech.words import WordTiming

FRAMES_PER_SECOND = SAMPLE_RATE // HOP
FRAMES_PER_TIMESTAMP = 2  # a timestamp token is 20 ms
SECONDS_PER_TIMESTAMP = FRAMES_PER_TIMESTAMP * HOP / SAMPLE_RATE

# Three steps of 16-bit audio; samples below are silence.
AUDIBLE = 1e-4


class WindowModel(Protocol):
    """Protocol of a model that decodes batches of windows."""

    tokenizer: Any

    def encode(self, features: np.ndarray) -> Any:
        """Encode features `[batch, mels, frames]` for the other methods."""

    def select(self, encoded: Any, rows: Sequence[int]) -> Any:
        """Return some rows of an encoded batch."""

    def decode(self, encoded: Any, options: DecodingOptions) -> list[DecodingResult]:
        """Decode each window."""

    def detect_languages(self, encoded: Any) -> list[dict[str, float]]:
        """Return the probabilities of languages for each window, likeliest first."""

    def align(
        self, encoded: Any, tokens: Sequence[int], frames: int, options: DecodingOptions
    ) -> list[WordTiming]:
        """Return the words of `tokens` with their times in the single window."""


@dataclass(frozen=True)
class Recording:
    """Features of a recording.

    Attributes:
        mel: log-mel features float32 `[mels, frames]`.
        audible: bool `[frames]`, whether a frame has any sound.
        after: features `[mels, n]` of the silence after its end, whose last frame is repeated.
    """

    mel: np.ndarray
    audible: np.ndarray
    after: np.ndarray | None = None

    @classmethod
    def from_audio(cls, audio: np.ndarray, mel: np.ndarray) -> Recording:
        """Return the recording of samples `[samples]` at 16 kHz with the features `mel`.

        Features after the end of the samples are those of silence.
        """
        frames = len(audio) // HOP
        whole = np.abs(audio[: frames * HOP]).reshape(frames, HOP)
        return cls(mel[:, :frames], whole.max(axis=1, initial=0.0) > AUDIBLE, mel[:, frames:])

    @property
    def frames(self) -> int:
        return self.mel.shape[1]

    @property
    def seconds(self) -> float:
        return seconds(self.frames)

    def window(self, start: int, size: int) -> np.ndarray:
        """Return features `[mels, WINDOW_FRAMES]` from `start` on, zero after `size` frames."""
        features = np.zeros((len(self.mel), WINDOW_FRAMES), np.float32)
        features[:, :size] = self.mel[:, start : start + size]
        return features

    def language_window(self, start: int) -> np.ndarray:
        """Return features `[mels, WINDOW_FRAMES]` from `start` on for language detection.

        They are filled with silence, where `window` has zeros (whisper/transcribe.py).
        """
        size = min(WINDOW_FRAMES, self.frames - start)
        features = self.window(start, size)
        if self.after is not None and self.after.shape[1]:
            features[:, size:] = self.after[:, -1:]
            near = self.after[:, : WINDOW_FRAMES - size]
            features[:, size : size + near.shape[1]] = near
        return features

    def is_silent(self, start: int, size: int) -> bool:
        """Return whether `size` frames from `start` on have no sound at all."""
        return not self.audible[start : start + size].any()

    def first_audible_window(self) -> int:
        """Return the first frame of the first window with any sound; 0 without any."""
        frames = np.flatnonzero(self.audible)
        return int(frames[0]) // WINDOW_FRAMES * WINDOW_FRAMES if len(frames) else 0


def seconds(frame: int) -> float:
    """Return the start of a frame in seconds."""
    return float(frame * HOP / SAMPLE_RATE)


@dataclass(frozen=True)
class TimedTokens:
    """Tokens between two timestamps, with the times in their window in seconds."""

    start: float
    end: float
    tokens: list[int]


@dataclass(frozen=True)
class TimestampSplit:
    """Tokens of a window, split at timestamps (whisper/transcribe.py).

    Attributes:
        finished: parts that end with a timestamp.
        unfinished: tokens after the last finished part, cut off by the end of the window.
        seek_shift: number of frames up to the next window.
        single_timestamp_ending: whether the last token is a single timestamp, after which there
            is no speech.
    """

    finished: list[TimedTokens]
    unfinished: list[int]
    seek_shift: int
    single_timestamp_ending: bool


def timestamp_seconds(token: int, timestamp_begin: int) -> float:
    """Return the time of a timestamp token in its window."""
    return (token - timestamp_begin) * SECONDS_PER_TIMESTAMP


def split_at_timestamps(tokens: Sequence[int], timestamp_begin: int, size: int) -> TimestampSplit:
    """Split the tokens of a window of `size` frames where two timestamps meet.

    Without such a pair the window is one piece, up to its last timestamp if it has one.
    """
    tokens = list(tokens)
    stamped = [token >= timestamp_begin for token in tokens]
    single_ending = stamped[-2:] == [False, True]
    ends = [i for i in range(1, len(tokens)) if stamped[i - 1] and stamped[i]]

    if not ends:
        last = next((t for t, is_time in zip(tokens[::-1], stamped[::-1], strict=True) if is_time),
                    timestamp_begin)  # fmt: skip
        end = timestamp_seconds(last, timestamp_begin) if last != timestamp_begin else seconds(size)
        return TimestampSplit([TimedTokens(0.0, end, tokens)], [], size, single_ending)
    if single_ending:
        ends.append(len(tokens))
    starts = [0, *ends[:-1]]
    parts = [tokens[start:end] for start, end in zip(starts, ends, strict=True)]
    finished = [
        TimedTokens(
            timestamp_seconds(part[0], timestamp_begin),
            timestamp_seconds(part[-1], timestamp_begin),
            part,
        )
        for part in parts
    ]
    last = parts[-1][-1] - timestamp_begin
    seek_shift = size if single_ending else last * FRAMES_PER_TIMESTAMP
    return TimestampSplit(finished, tokens[ends[-1] :], seek_shift, single_ending)
