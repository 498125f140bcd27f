"""Recordings cut to their speech, and the original times of its segments."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from inarch.audio import SAMPLE_RATE, voice_spans
from inarch.audio.speech import Span
from inarch.speech.options import Settings
from inarch.speech.transcript import Segment


@dataclass(frozen=True)
class Timeline:
    """Spans of speech of a recording that are transcribed without what is between them.

    Original times are restored as in faster-whisper (faster_whisper/transcribe.py).

    Attributes:
        spans: `(start, end)` in samples, in order.
    """

    spans: Sequence[Span]

    @classmethod
    def of_speech(cls, audio: np.ndarray, settings: Settings) -> Timeline:
        """Return the spans of speech of samples at 16 kHz within the clips."""
        return cls(speech_in_clips(voice_spans(audio, settings.vad_filter), settings))

    def concatenate(self, audio: np.ndarray) -> np.ndarray:
        """Return the samples of the spans, concatenated."""
        return np.concatenate([audio[:0], *(audio[start:end] for start, end in self.spans)])

    def restore_times(self, segment: Segment) -> Segment:
        """Return the segment with its times in the whole recording."""
        if not self.spans:
            return segment
        for word in segment.words or ():
            place = self._span_index((word.start + word.end) / 2)
            word.start, word.end = (self._time(t, place) for t in (word.start, word.end))
        if segment.words:
            segment.start, segment.end = segment.words[0].start, segment.words[-1].end
        else:
            start, end = segment.start, segment.end
            segment.start = self._time(start, self._span_index(start))
            segment.end = self._time(end, self._span_index(end, is_end=True))
        return segment

    @property
    def _ends(self) -> list[int]:
        return list(accumulate(end - start for start, end in self.spans))

    def _span_index(self, seconds: float, is_end: bool = False) -> int:
        """Return the index of the span that holds a time of the concatenated samples."""
        search = bisect_left if is_end else bisect_right
        return min(search(self._ends, int(seconds * SAMPLE_RATE)), len(self.spans) - 1)

    def _time(self, seconds: float, place: int) -> float:
        before = self._ends[place - 1] if place else 0
        return round((self.spans[place][0] - before) / SAMPLE_RATE + seconds, 2)


def speech_in_clips(spans: Sequence[Span], settings: Settings) -> list[Span]:
    """Return the parts of spans within clips, in the order of the clips."""
    found = []
    for first, last in settings.clips:
        low = round(first * SAMPLE_RATE)
        for start, end in spans:
            high = end if last is None else min(end, round(last * SAMPLE_RATE))
            if max(start, low) < high:
                found.append((max(start, low), high))
    return found
