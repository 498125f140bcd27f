"""Word timestamps assigned to segments, with implausible ones corrected (whisper/timing.py)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inarch.speech.options import Settings
from inarch.speech.transcript import Segment, Word

SENTENCE_ENDS = ".。!！?？"


@dataclass
class WordTiming:
    """Aligned word, with times in seconds from the start of its window."""

    word: str
    tokens: list[int]
    start: float
    end: float
    probability: float

    @property
    def duration(self) -> float:
        return self.end - self.start


def merge_punctuations(words: Sequence[WordTiming], prepended: str, appended: str) -> None:
    """Move punctuation to the word after or before it; emptied words stay."""
    following = len(words) - 1
    for i in range(len(words) - 2, -1, -1):
        mark, word = words[i], words[following]
        if mark.word.startswith(" ") and mark.word.strip() in prepended:
            word.word, word.tokens = mark.word + word.word, mark.tokens + word.tokens
            mark.word, mark.tokens = "", []
        else:
            following = i
    previous = 0
    for i in range(1, len(words)):
        word, mark = words[previous], words[i]
        if not word.word.endswith(" ") and mark.word in appended:
            word.word, word.tokens = word.word + mark.word, word.tokens + mark.tokens
            mark.word, mark.tokens = "", []
        else:
            previous = i


def assign_words(
    segments: Sequence[Segment],
    texts: Sequence[Sequence[int]],
    timings: Sequence[WordTiming],
    offset: float,
    last_speech: float,
    settings: Settings,
) -> None:
    """Assign the timed words of a window to its segments, and adjust their times.

    Args:
        segments: the segments of one window.
        texts: the text tokens of each.
        timings: the words of all of them in order; changed in place.
        offset: start of the window in seconds.
        last_speech: end of the last speech before the window, in seconds.
    """
    durations = np.array([t.duration for t in timings])
    durations = durations[durations.nonzero()]
    median = min(0.7, float(np.median(durations))) if len(durations) else 0.0
    if len(durations):
        _shorten_at_sentence_ends(timings, 2 * median)
    merge_punctuations(timings, settings.prepend_punctuations, settings.append_punctuations)
    place = 0
    for segment, tokens in zip(segments, texts, strict=True):
        words, saved = [], 0
        while place < len(timings) and saved < len(tokens):
            timing = timings[place]
            if timing.word:
                start, end = round(offset + timing.start, 2), round(offset + timing.end, 2)
                words.append(Word(timing.word, start, end, timing.probability))
            saved += len(timing.tokens)
            place += 1
        segment.words = words
        if words:
            _shorten_after_pause(words, last_speech, median)
            _agree_on_start(segment, words[0], median)
            _agree_on_end(segment, words[-1], median)
            last_speech = segment.end


def _shorten_at_sentence_ends(timings: Sequence[WordTiming], longest: float) -> None:
    """Shorten long words at the end of sentences, which include a pause."""
    for previous, timing in itertools.pairwise(timings):
        if timing.duration > longest:
            if timing.word in SENTENCE_ENDS:
                timing.end = timing.start + longest
            elif previous.word in SENTENCE_ENDS:
                timing.start = timing.end - longest


def _shorten_after_pause(words: list[Word], last_speech: float, median: float) -> None:
    """Shorten the first two words after a pause to twice the median each."""
    longest = 2 * median
    first, second = words[0], words[1] if len(words) > 1 else None
    paused = first.end - last_speech > median * 4
    long = first.end - first.start > longest
    if not (paused and (long or (second and second.end - first.start > longest * 2))):
        return
    if second and second.end - second.start > longest:
        first.end = second.start = max(second.end / 2, second.end - longest)
    first.start = max(0, first.end - longest)


def _agree_on_start(segment: Segment, first: Word, median: float) -> None:
    """Start the segment with its first word, unless that starts far too early."""
    if segment.start < first.end and segment.start - 0.5 > first.start:
        first.start = max(0, min(first.end - median, segment.start))
    else:
        segment.start = first.start


def _agree_on_end(segment: Segment, last: Word, median: float) -> None:
    """End the segment with its last word, unless that ends far too late."""
    if segment.end > last.start and segment.end + 0.5 < last.end:
        last.end = max(last.start + median, segment.end)
    else:
        segment.end = last.end
