"""A recording with only its speech, and times of its segments in the whole recording."""

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
    """Spans of a recording that are heard one after another, as if nothing lay between them.

    Times are put back as faster-whisper does it (faster_whisper/transcribe.py).

    Attributes:
        spans: `(start, end)` in samples, in order.
    """

    spans: Sequence[Span]

    @classmethod
    def of_speech(cls, audio: np.ndarray, settings: Settings) -> Timeline:
        """The spans of samples at 16 kHz in which someone speaks, within the clips."""
        return cls(speech_in_clips(voice_spans(audio, settings.vad_filter), settings))

    def joined(self, audio: np.ndarray) -> np.ndarray:
        """The samples of the spans, one after another."""
        return np.concatenate([audio[:0], *(audio[start:end] for start, end in self.spans)])

    def put_back(self, segment: Segment) -> Segment:
        """The segment, its times changed to those of the whole recording."""
        if not self.spans:
            return segment
        for word in segment.words or ():
            place = self._place((word.start + word.end) / 2)
            word.start, word.end = (self._time(t, place) for t in (word.start, word.end))
        if segment.words:
            segment.start, segment.end = segment.words[0].start, segment.words[-1].end
        else:
            start, end = segment.start, segment.end
            segment.start = self._time(start, self._place(start))
            segment.end = self._time(end, self._place(end, is_end=True))
        return segment

    @property
    def _ends(self) -> list[int]:
        return list(accumulate(end - start for start, end in self.spans))

    def _place(self, seconds: float, is_end: bool = False) -> int:
        """The span that a time of the joined samples lies in."""
        search = bisect_left if is_end else bisect_right
        return min(search(self._ends, int(seconds * SAMPLE_RATE)), len(self.spans) - 1)

    def _time(self, seconds: float, place: int) -> float:
        before = self._ends[place - 1] if place else 0
        return round((self.spans[place][0] - before) / SAMPLE_RATE + seconds, 2)


def speech_in_clips(spans: Sequence[Span], settings: Settings) -> list[Span]:
    """The parts of spans that lie within clips, in the order of the clips."""
    found = []
    for first, last in settings.clips:
        low = round(first * SAMPLE_RATE)
        for start, end in spans:
            high = end if last is None else min(end, round(last * SAMPLE_RATE))
            if max(start, low) < high:
                found.append((max(start, low), high))
    return found
