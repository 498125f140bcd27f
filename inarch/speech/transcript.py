"""Transcripts: words, segments, and the transcript of one recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Word:
    """Word with the space before it and the punctuation around it.

    Attributes:
        word: its text.
        start: start in seconds from the start of the recording.
        end: end in seconds.
        probability: mean probability of its tokens.
    """

    word: str
    start: float
    end: float
    probability: float

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class Segment:
    """Speech between two timestamps, with the fields of openai-whisper.

    Attributes:
        id: its index in the transcript.
        seek: first frame (of 10 ms) of its window.
        start: start in seconds from the start of the recording.
        end: end in seconds.
        text: its text, with the space before it.
        tokens: token ids, timestamps included.
        temperature: of the decoding of its window.
        avg_logprob: mean log-probability of its window's tokens.
        compression_ratio: of the text of its window; high for repetitive text.
        no_speech_prob: probability of no speech in its window.
        words: its words; None without word timestamps.
        language: code of the language of its decoding.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None = None
    language: str | None = None

    def clip_to(self, seconds: float) -> None:
        """Limit all times to the length of the recording in seconds."""
        for part in (self, *(self.words or ())):
            part.start, part.end = min(part.start, seconds), min(part.end, seconds)

    def clear_if_empty(self) -> None:
        """Clear a segment without text or without duration."""
        if self.start == self.end or not self.text.strip():
            self.text, self.tokens = "", []
            self.words = None if self.words is None else []

    def to_json(self, language: bool = False) -> dict[str, Any]:
        """Return the fields in openai-whisper's layout, with the language if `language`."""
        found = dict(vars(self))
        words = found.pop("words")
        if not language:
            del found["language"]
        return found if words is None else {**found, "words": [w.to_json() for w in words]}


@dataclass
class Transcript:
    """Transcript of one recording; as a string it is the text.

    Attributes:
        text: all text.
        language: code of the spoken language, such as "en".
        segments: the segments in order.
        duration: length of the recording in seconds.
    """

    text: str
    language: str
    segments: list[Segment] = field(default_factory=list)
    duration: float = 0.0

    def __str__(self) -> str:
        return self.text.strip()

    def to_json(self) -> dict[str, Any]:
        """Return text, segments and language in openai-whisper's layout.

        Segments have their language where they differ in it.
        """
        several = any(s.language not in (None, self.language) for s in self.segments)
        segments = [segment.to_json(several) for segment in self.segments]
        return {"text": self.text, "segments": segments, "language": self.language}


def last_end(segments: list[Segment]) -> float | None:
    """Return the end of the last word, or of the last segment without words."""
    for segment in reversed(segments):
        if segment.words:
            return segment.words[-1].end
    return segments[-1].end if segments else None
