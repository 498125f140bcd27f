"""The recording as its windows see it, and the tokens of a window as segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from inarch.audio import HOP, SAMPLE_RATE, WINDOW_FRAMES
from inarch.speech.options import Decoded, DecodingOptions
from inarch.speech.words import WordTiming

FRAMES_PER_SECOND = SAMPLE_RATE // HOP
FRAMES_PER_TIMESTAMP = 2  # a timestamp token is 20 ms
SECONDS_PER_TIMESTAMP = FRAMES_PER_TIMESTAMP * HOP / SAMPLE_RATE

# Three steps of 16-bit audio; what stays below them all through is silence.
AUDIBLE = 1e-4


class WindowModel(Protocol):
    """What transcription asks of a model, one batch of windows at a time."""

    tokenizer: Any

    def encode(self, features: np.ndarray) -> Any:
        """Features `[batch, mels, frames]` as whatever the other methods take."""

    def take(self, encoded: Any, rows: Sequence[int]) -> Any:
        """Some rows of an encoded batch."""

    def decode(self, encoded: Any, options: DecodingOptions) -> list[Decoded]:
        """What is said in each window."""

    def languages(self, encoded: Any) -> list[dict[str, float]]:
        """How likely each language is, likeliest first, for each window."""

    def align(
        self, encoded: Any, tokens: Sequence[int], frames: int, options: DecodingOptions
    ) -> list[WordTiming]:
        """When each word of `tokens` is said, in seconds from the start of the one window."""


@dataclass(frozen=True)
class Recording:
    """The features of a recording.

    Attributes:
        mel: log-mel features float32 `[mels, frames]`.
        audible: bool `[frames]`, whether a frame holds any sound.
        after: features `[mels, n]` of the silence after its end; the last frame's go on for ever.
    """

    mel: np.ndarray
    audible: np.ndarray
    after: np.ndarray | None = None

    @classmethod
    def of(cls, audio: np.ndarray, mel: np.ndarray) -> Recording:
        """A recording of samples `[samples]` at 16 kHz whose features are `mel`.

        Features of padding at the end are no part of its windows.
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
        """Features `[mels, WINDOW_FRAMES]` from frame `start` on, zero after `size` frames."""
        features = np.zeros((len(self.mel), WINDOW_FRAMES), np.float32)
        features[:, :size] = self.mel[:, start : start + size]
        return features

    def language_window(self, start: int) -> np.ndarray:
        """Features `[mels, WINDOW_FRAMES]` from frame `start` on that a language is detected by.

        Silence fills it up, where `window` has zeros (whisper/transcribe.py).
        """
        size = min(WINDOW_FRAMES, self.frames - start)
        features = self.window(start, size)
        if self.after is not None and self.after.shape[1]:
            features[:, size:] = self.after[:, -1:]
            near = self.after[:, : WINDOW_FRAMES - size]
            features[:, size : size + near.shape[1]] = near
        return features

    def silent(self, start: int, size: int) -> bool:
        """Whether there is no sound at all in `size` frames from `start` on."""
        return not self.audible[start : start + size].any()

    def first_audible_window(self) -> int:
        """The frame at which the first window with any sound in it begins; 0 where none does."""
        heard = np.flatnonzero(self.audible)
        return int(heard[0]) // WINDOW_FRAMES * WINDOW_FRAMES if len(heard) else 0


def seconds(frame: int) -> float:
    """When a frame begins."""
    return float(frame * HOP / SAMPLE_RATE)


@dataclass(frozen=True)
class Piece:
    """Tokens of a window between two timestamps, and its times in the window in seconds."""

    start: float
    end: float
    tokens: list[int]


@dataclass(frozen=True)
class Cut:
    """The tokens of a window, cut into pieces (whisper/transcribe.py).

    Attributes:
        pieces: the finished pieces.
        rest: tokens after the last finished piece, said where the window ends.
        heard: how many frames of the window the pieces cover; the next window begins there.
        ended: whether the last token is a single timestamp: nothing is said after it.
    """

    pieces: list[Piece]
    rest: list[int]
    heard: int
    ended: bool


def cut(tokens: Sequence[int], timestamp_begin: int, size: int) -> Cut:
    """Cut the tokens of a window of `size` frames where two timestamps meet.

    Without such a pair the window is one piece, up to its last timestamp if it has one.
    """
    tokens = list(tokens)
    stamped = [token >= timestamp_begin for token in tokens]
    ended = stamped[-2:] == [False, True]
    ends = [i for i in range(1, len(tokens)) if stamped[i - 1] and stamped[i]]

    def time(token: int) -> float:
        return (token - timestamp_begin) * SECONDS_PER_TIMESTAMP

    if not ends:
        last = next((t for t, is_time in zip(tokens[::-1], stamped[::-1], strict=True) if is_time),
                    timestamp_begin)  # fmt: skip
        end = time(last) if last != timestamp_begin else seconds(size)
        return Cut([Piece(0.0, end, tokens)], [], size, ended)
    if ended:
        ends.append(len(tokens))
    starts = [0, *ends[:-1]]
    parts = [tokens[start:end] for start, end in zip(starts, ends, strict=True)]
    pieces = [Piece(time(part[0]), time(part[-1]), part) for part in parts]
    last = parts[-1][-1] - timestamp_begin
    heard = size if ended else last * FRAMES_PER_TIMESTAMP
    return Cut(pieces, tokens[ends[-1] :], heard, ended)
