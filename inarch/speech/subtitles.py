"""Subtitles of segments, with line breaks between timed words (whisper/utils.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from inarch.errors import InputError
from inarch.speech.transcript import Segment, Word

UNBOUNDED = 1000
LONG_PAUSE = 3.0  # seconds


@dataclass(frozen=True)
class SubtitleLayout:
    """Layout of subtitles of timed words; without word timestamps it has no effect.

    Attributes:
        max_line_width: maximal number of characters of a line.
        max_line_count: maximal number of lines of a subtitle; with a width, they span segments.
        max_words_per_line: maximal number of words of a subtitle.
        highlight_words: whether each word is underlined while it is spoken.
    """

    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None
    highlight_words: bool = False

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")

    @property
    def keeps_segments(self) -> bool:
        return self.max_line_count is None or self.max_line_width is None


@dataclass(frozen=True)
class Cue:
    """Subtitle with its times in seconds."""

    start: float
    end: float
    text: str


def cues(segments: Sequence[Segment], layout: SubtitleLayout) -> Iterator[Cue]:
    """Yield the subtitles of a transcript in order."""
    if any(segment.words for segment in segments):
        for words in _Lines(layout).broken(segments):
            yield from _highlighted(words) if layout.highlight_words else [_cue(words)]
        return
    for segment in segments:
        if segment.text.strip():
            yield Cue(segment.start, segment.end, _safe(segment.text.strip()))


def _safe(text: str) -> str:
    """Replace arrows, which separate the times of a subtitle."""
    return text.replace("-->", "->")


def _cue(words: Sequence[Word]) -> Cue:
    return Cue(words[0].start, words[-1].end, _safe("".join(w.word for w in words)))


def _highlighted(words: Sequence[Word]) -> Iterator[Cue]:
    """Yield a subtitle for each of its words, and without underline for each pause."""
    texts = [_safe(word.word) for word in words]
    last = round(words[0].start, 3)
    for i, word in enumerate(words):
        if last != round(word.start, 3):
            yield Cue(last, word.start, "".join(texts))
        marked = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", texts[i])
        yield Cue(word.start, word.end, "".join([*texts[:i], marked, *texts[i + 1 :]]))
        last = round(word.end, 3)


@dataclass
class _Lines:
    """Words collected into lines, and lines into subtitles."""

    layout: SubtitleLayout
    words: list[Word] = field(default_factory=list)
    width: int = 0
    lines: int = 1

    def broken(self, segments: Sequence[Segment]) -> Iterator[list[Word]]:
        """Yield the words of each subtitle, with line breaks before words."""
        size = self.layout.max_words_per_line or UNBOUNDED
        last = next((w.start for s in segments for w in s.words or ()), 0.0)
        for segment in segments:
            for place, word in enumerate(segment.words or ()):
                pause = not self.layout.keeps_segments and word.start - last > LONG_PAUSE
                yield from self._add(word, first=place % size == 0, pause=pause)
                last = word.start
        if self.words:
            yield self.words

    def _add(self, word: Word, first: bool, pause: bool) -> Iterator[list[Word]]:
        """Add a word; yield the subtitle before it, if the word begins another."""
        layout = self.layout
        ends = first and bool(self.words) and layout.keeps_segments
        fits = self.width + len(word.word) <= (layout.max_line_width or UNBOUNDED)
        if self.width > 0 and fits and not pause and not ends:
            self.width += len(word.word)
            self.words.append(word)
            return
        text = word.word.strip()
        full = layout.max_line_count is not None and self.lines >= layout.max_line_count
        if ends or (self.words and (full or (pause and layout.max_line_count is not None))):
            yield self.words
            self.words, self.lines = [], 1
        elif self.width > 0:
            self.lines += 1
            text = "\n" + text
        self.width = len(text.strip())
        self.words.append(replace(word, word=text))
