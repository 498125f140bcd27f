"""What was said and when: words, segments, and the transcript of one recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Word:
    """One spoken word with the space before it and the punctuation around it.

    Attributes:
        word: its text.
        start: when it begins, in seconds from the start of the recording.
        end: when it ends.
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
    """Speech between two timestamps; the fields are openai-whisper's.

    Attributes:
        id: its place in the transcript.
        seek: frame (of 10 ms) at which the window begins that it was heard in.
        start: when it begins, in seconds from the start of the recording.
        end: when it ends.
        text: what was said, with the space before it.
        tokens: token ids, timestamps included.
        temperature: the one that its window was decoded at.
        avg_logprob: mean log-probability of its window's tokens.
        compression_ratio: how well the text of its window compresses; repetition does very well.
        no_speech_prob: probability that nothing is said in its window.
        words: its words, where they were asked for.
        language: code of the language that it was decoded as.
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
        """Let nothing begin or end after the recording of so many seconds."""
        for part in (self, *(self.words or ())):
            part.start, part.end = min(part.start, seconds), min(part.end, seconds)

    def clear_if_empty(self) -> None:
        """A segment without text or without duration holds nothing."""
        if self.start == self.end or not self.text.strip():
            self.text, self.tokens = "", []
            self.words = None if self.words is None else []

    def to_json(self, language: bool = False) -> dict[str, Any]:
        """The fields in openai-whisper's layout, with `language` also that of the segment."""
        found = dict(vars(self))
        words = found.pop("words")
        if not language:
            del found["language"]
        return found if words is None else {**found, "words": [w.to_json() for w in words]}


@dataclass
class Transcript:
    """All that was said in one recording. As a string it is the text.

    Attributes:
        text: the whole text.
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
        """Text, segments and language, in openai-whisper's layout.

        Where segments differ in language, each has its own.
        """
        several = any(s.language not in (None, self.language) for s in self.segments)
        segments = [segment.to_json(several) for segment in self.segments]
        return {"text": self.text, "segments": segments, "language": self.language}


def last_end(segments: list[Segment]) -> float | None:
    """When the last word of `segments` ends, or the last segment where there are no words."""
    for segment in reversed(segments):
        if segment.words:
            return segment.words[-1].end
    return segments[-1].end if segments else None
