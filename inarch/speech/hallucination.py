"""Silence skipped where the words beside it look invented (whisper/transcribe.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inarch.speech.transcript import Segment, Word
from inarch.speech.windows import FRAMES_PER_SECOND

PUNCTUATION = "\"'“¿([{-\"'.。,，!！?？:：”)]}、"
FIRST_WORDS = 8
NEAR = 2.0  # seconds from the edge of a window


@dataclass(frozen=True)
class Span:
    """A window in its recording; times in seconds, `seek` and `frames` in frames.

    Attributes:
        seek: where it begins.
        start, end: when it begins and ends, 30 s later.
        heard: when the recording ends in it.
        frames, duration: length of the whole recording.
        last_speech: when speech ended before it.
    """

    seek: int
    start: float
    end: float
    heard: float
    frames: int
    duration: float
    last_speech: float


@dataclass(frozen=True)
class Skip:
    """Where to go on, and how many segments of the window stay; None drops the window whole."""

    seek: int
    kept: int | None


def word_anomaly_score(word: Word) -> float:
    """How odd a word is: improbable, very short or very long."""
    duration = word.end - word.start
    score = 1.0 if word.probability < 0.15 else 0.0
    if duration < 0.133:
        score += (0.133 - duration) * 15
    if duration > 2.0:
        score += duration - 2.0
    return score


def is_segment_anomaly(segment: Segment | None) -> bool:
    """Whether the first words of a segment look invented."""
    if segment is None or not segment.words:
        return False
    words = [word for word in segment.words if word.word not in PUNCTUATION][:FIRST_WORDS]
    score = sum(map(word_anomaly_score, words))
    return score >= 3 or score + 0.01 >= len(words)


def skip_hallucination(segments: Sequence[Segment], span: Span, threshold: float) -> Skip | None:
    """Where to go on if words of the window look invented, None where they don't.

    Args:
        segments: the segments of the window, with words.
        span: the window.
        threshold: seconds of silence that are worth skipping.
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
    segment: Segment, rest: Sequence[Segment], before: float, span: Span, threshold: float
) -> bool:
    """Whether silence, or more that is invented, lies on both sides of a segment."""
    following = _with_words(rest)
    after = following.words[0].start if following and following.words else span.heard
    silent_before = (
        segment.start - before > threshold
        or segment.start < threshold
        or segment.start - span.start < NEAR
    )
    silent_after = (
        after - segment.end > threshold
        or is_segment_anomaly(following)
        or span.end - segment.end < NEAR
    )
    return silent_before and silent_after
