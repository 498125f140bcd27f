"""Silence around probable hallucinations, which is skipped (whisper/transcribe.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inarch.speech.transcript import Segment, Word
from inarch.speech.windows import FRAMES_PER_SECOND

PUNCTUATION = "\"'“¿([{-\"'.。,，!！?？:：”)]}、"
MAX_WORDS = 8
EDGE_SECONDS = 2.0  # seconds from the edge of a window


@dataclass(frozen=True)
class WindowSpan:
    """Window of a recording; times in seconds.

    Attributes:
        seek: its first frame.
        start, end: its times; they differ by 30 s.
        content_end: end of the recording's part in it.
        frames, duration: length of the whole recording, in frames and seconds.
        last_speech: end of the last speech before it.
    """

    seek: int
    start: float
    end: float
    content_end: float
    frames: int
    duration: float
    last_speech: float


@dataclass(frozen=True)
class Skip:
    """Next frame to decode, and number of segments to keep; None drops the whole window."""

    seek: int
    kept: int | None


def word_anomaly_score(word: Word) -> float:
    """Return how anomalous a word is: improbable, very short or very long."""
    duration = word.end - word.start
    score = 1.0 if word.probability < 0.15 else 0.0
    if duration < 0.133:
        score += (0.133 - duration) * 15
    if duration > 2.0:
        score += duration - 2.0
    return score


def is_segment_anomaly(segment: Segment | None) -> bool:
    """Return whether the first words of a segment look hallucinated."""
    if segment is None or not segment.words:
        return False
    words = [word for word in segment.words if word.word not in PUNCTUATION][:MAX_WORDS]
    score = sum(map(word_anomaly_score, words))
    return score >= 3 or score + 0.01 >= len(words)


def skip_hallucination(
    segments: Sequence[Segment], span: WindowSpan, threshold: float
) -> Skip | None:
    """Return where to go on if words of the window look hallucinated, else None.

    Args:
        segments: the segments of the window, with words.
        span: the window.
        threshold: silence in seconds that is skipped.
    """
    first = _with_words(segments)
    if first is not None and is_segment_anomaly(first) and first.start - span.start > threshold:
        gap = first.start - span.start
        return Skip(span.seek + round(gap * FRAMES_PER_SECOND), None)
    before = span.last_speech
    for i, segment in enumerate(segments):
        if not segment.words:
            continue
        if is_segment_anomaly(segment) and _alone(
            segment, segments[i + 1 :], before, span, threshold
        ):
            if span.duration - segment.end < threshold:
                return Skip(span.frames, i)
            return Skip(round(max(span.start + 1, segment.start) * FRAMES_PER_SECOND), i)
        before = segment.end
    return None


def _with_words(segments: Sequence[Segment]) -> Segment | None:
    return next((segment for segment in segments if segment.words), None)


def _alone(
    segment: Segment, rest: Sequence[Segment], before: float, span: WindowSpan, threshold: float
) -> bool:
    """Return whether silence or further hallucinations are on both sides of a segment."""
    following = _with_words(rest)
    after = following.words[0].start if following and following.words else span.content_end
    silent_before = (
        segment.start - before > threshold
        or segment.start < threshold
        or segment.start - span.start < EDGE_SECONDS
    )
    silent_after = (
        after - segment.end > threshold
        or is_segment_anomaly(following)
        or span.end - segment.end < EDGE_SECONDS
    )
    return silent_before and silent_after
