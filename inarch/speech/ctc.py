"""Transcripts from the likeliest tokens of frames, with their times; long sounds in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from inarch.audio import SAMPLE_RATE
from inarch.errors import InputError
from inarch.speech.options import compression_ratio
from inarch.speech.transcript import Segment, Transcript, Word
from inarch.text.ctc import CTCTokenizer, Decoded, Span
from inarch.validation import one_of, optional

# Words further apart than this begin a new segment.
PAUSE_SECONDS = 0.5
# What times are given of, besides segments.
TIMESTAMPS = optional(one_of(("segment", "word", "char")))


@dataclass(frozen=True)
class Chunk:
    """Part of a sound, and which of its frames count.

    Attributes:
        start, end: samples of the sound.
        first, last: frames of the chunk; those before `first` and from `last` on are of other
            chunks. None is the last of all.
    """

    start: int
    end: int
    first: int
    last: int | None


def split_sound(length: int, hop: int, chunk_seconds: float, stride_seconds: float) -> list[Chunk]:
    """Return the chunks of a sound: each sees `stride_seconds` of its neighbors on either side.

    Source: transformers, pipelines/automatic_speech_recognition.py, `chunk_iter`.

    Args:
        length: samples of the sound; one that isn't longer than a chunk is one.
        hop: samples from frame to frame.
        chunk_seconds: length of a chunk.

    Raises:
        InputError: chunks of which nothing would be left.
    """
    size, stride = (round(s * SAMPLE_RATE / hop) * hop for s in (chunk_seconds, stride_seconds))
    step = size - 2 * stride
    if step <= 0:
        raise InputError(
            f"chunk_seconds={chunk_seconds} leaves nothing between two strides of "
            f"stride_seconds={stride_seconds}; give chunks of more than twice the stride"
        )
    if length <= size:
        return [Chunk(0, length, 0, None)]
    found = []
    for start in range(0, length, step):
        end, is_last = min(start + size, length), start + size >= length
        first = 0 if start == 0 else stride // hop
        if end - start > first * hop:
            last = None if is_last else round((end - start) / hop) - stride // hop
            found.append(Chunk(start, end, first, last))
        if is_last:
            break
    return found


@dataclass(frozen=True)
class Frames:
    """The likeliest token of each frame of a sound, and the natural log of its probability."""

    ids: np.ndarray
    log_probabilities: np.ndarray

    @classmethod
    def of_logits(cls, logits: np.ndarray) -> Frames:
        """Return the frames of logits `[frames, vocabulary]`."""
        wide = logits.astype(np.float64)
        wide -= wide.max(axis=-1, keepdims=True)
        return cls(logits.argmax(axis=-1), -np.log(np.exp(wide).sum(axis=-1)))

    @classmethod
    def joined(cls, parts: Sequence[Frames], chunks: Sequence[Chunk]) -> Frames:
        """Return the frames of a sound from those of its chunks."""
        kept = [slice(chunk.first, chunk.last) for chunk in chunks]
        pairs = [*zip(parts, kept, strict=True)]
        return cls(
            np.concatenate([p.ids[k] for p, k in pairs]),
            np.concatenate([p.log_probabilities[k] for p, k in pairs]),
        )


def transcript_of(
    frames: Frames, tokenizer: CTCTokenizer, hop: int, samples: int, timestamps: str | None
) -> Transcript:
    """Return the transcript of a sound.

    Args:
        frames: of the whole sound.
        hop: samples from frame to frame.
        samples: of the sound.
        timestamps: `"word"` for words with their times in the segments, `"char"` for characters;
            `"segment"` or None for segments alone.
    """
    decoded = tokenizer.decode(frames.ids)
    reader = _Reader(frames, tokenizer, decoded, hop / SAMPLE_RATE, samples / SAMPLE_RATE)
    return Transcript(decoded.text, "", reader.segments(timestamps), reader.duration)


@dataclass(frozen=True)
class _Reader:
    frames: Frames
    tokenizer: CTCTokenizer
    decoded: Decoded
    seconds: float
    duration: float

    def segments(self, timestamps: str | None) -> list[Segment]:
        """Return runs of words with no pause between them."""
        groups: list[list[Span]] = []
        for word in self.decoded.words:
            gap = (word.start - groups[-1][-1].end) * self.seconds if groups else np.inf
            if gap > PAUSE_SECONDS:
                groups.append([])
            groups[-1].append(word)
        return [self._segment(i, group, timestamps) for i, group in enumerate(groups)]

    def _segment(self, index: int, words: Sequence[Span], timestamps: str | None) -> Segment:
        first, last = words[0].start, words[-1].end
        ids = self.frames.ids[first:last]
        changes = np.flatnonzero(np.diff(ids, prepend=-1))
        tokens = [int(i) for i in ids[changes] if i != self.tokenizer.blank_id]
        text = " " + self._spelled(self.tokenizer.space.join(word.text for word in words))
        spans: Sequence[Span] = words
        if timestamps == "char":
            inside = (c for c in self.decoded.characters if first <= c.start and c.end <= last)
            spans = [*inside]
        has_spans = timestamps in ("word", "char")
        return Segment(
            id=index,
            seek=round(first * self.seconds * 100),
            start=self._time(first),
            end=self._time(last),
            text=text,
            tokens=tokens,
            temperature=0.0,
            avg_logprob=float(self.frames.log_probabilities[first:last].mean()),
            compression_ratio=compression_ratio(text),
            no_speech_prob=0.0,
            words=[self._word(span, timestamps) for span in spans] if has_spans else None,
        )

    def _word(self, span: Span, timestamps: str | None) -> Word:
        frames = slice(span.start, span.end)
        blank = self.frames.ids[frames] == self.tokenizer.blank_id
        probabilities = np.exp(self.frames.log_probabilities[frames])
        text = self._spelled(span.text)
        return Word(
            text if timestamps == "char" else f" {text}",
            self._time(span.start),
            self._time(span.end),
            float(probabilities[~blank].mean()),
        )

    def _spelled(self, text: str) -> str:
        return text.lower() if self.tokenizer.is_lower else text

    def _time(self, frame: int) -> float:
        return min(float(frame) * self.seconds, self.duration)


def hop_of(strides: Sequence[int]) -> int:
    """Return the samples from frame to frame of convolutions with these strides."""
    return prod(strides)
