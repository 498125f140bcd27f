"""A recording from beginning to end, each window where the last one stopped to make sense.

The rules are openai-whisper's (whisper/transcribe.py), and so are the segments. What differs: with
`skip_silence` a window without any sound is passed over, no segment ends after the recording, and
a window always takes the transcript on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inarch.audio import WINDOW_FRAMES
from inarch.speech.decoding import decode_with_fallback
from inarch.speech.hallucination import Span, skip_hallucination
from inarch.speech.options import Decoded, DecodingOptions, Settings
from inarch.speech.transcript import Segment, last_end
from inarch.speech.windows import (
    FRAMES_PER_SECOND,
    Cut,
    Recording,
    WindowModel,
    cut,
    seconds,
)
from inarch.speech.words import assign_words


class PromptHistory:
    """The tokens said so far, of which the next window is told some.

    Args:
        initial: tokens of the initial prompt.
        limit: most tokens that a window is told.
        carry: whether every window is told the initial prompt.
    """

    def __init__(self, initial: Sequence[int], limit: int, carry: bool):
        self._initial = list(initial)[-limit:]
        self._said: list[int] = []
        self._limit = limit
        self._carry = carry
        self._told_from = 0
        self._tell_initial = True

    def prompt(self) -> tuple[int, ...]:
        """The tokens to tell the next window."""
        said = self._said[self._told_from :]
        if self._carry:
            room = self._limit - len(self._initial)
            return (*self._initial, *(said[-room:] if room else ()))
        return tuple((*(self._initial if self._tell_initial else ()), *said)[-self._limit :])

    def add(self, tokens: Sequence[int], forget: bool) -> None:
        """Remember tokens; with `forget` the next windows aren't told what was said up to here."""
        self._said.extend(tokens)
        if forget:
            self._told_from, self._tell_initial = len(self._said), False


@dataclass
class SequentialTranscription:
    """The segments of a recording, window by window.

    Attributes:
        seek: the frame that the next window begins at.
    """

    model: WindowModel
    recording: Recording
    options: DecodingOptions
    settings: Settings
    prompt_limit: int
    seek: int = 0
    last_speech: float = field(default=0.0, init=False)
    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        prompt = self.settings.initial_prompt
        initial = [] if prompt is None else self.model.tokenizer.encode(" " + prompt.strip()).ids
        carry = self.settings.carry_initial_prompt
        self.memory = PromptHistory(initial, self.prompt_limit, carry)

    def windows(self) -> Iterator[list[Segment]]:
        """The segments of each window in turn; empty where nothing was said."""
        for start, end in self.settings.clips:
            self.seek = round(start * FRAMES_PER_SECOND)
            frames = self.recording.frames
            limit = frames if end is None else min(round(end * FRAMES_PER_SECOND), frames)
            while self.seek < limit:
                seek, size = self.seek, min(WINDOW_FRAMES, limit - self.seek)
                yield self._hear(seek, size)
                if self.seek <= seek:
                    self.seek = seek + size

    def _hear(self, seek: int, size: int) -> list[Segment]:
        """The segments of one window; moves on to the next."""
        self.seek = seek + size
        if self.settings.skip_silence and self.recording.silent(seek, size):
            return []
        encoded = self.model.encode(self.recording.window(seek, size)[None])
        options = replace(self.options, prompt=self.memory.prompt())
        if self.settings.multilingual:
            options = replace(options, language=next(iter(self.model.languages(encoded)[0])))
        (result,) = decode_with_fallback(self.model, encoded, 1, options, self.settings)
        if self.settings.thresholds.silent(result):
            return []
        found = cut(result.tokens, self.model.tokenizer.timestamp_begin, size)
        self.seek = seek + found.heard
        segments = make_segments(found, result, seek, self.model.tokenizer)
        if self.settings.words:
            add_word_timestamps(
                self.model, encoded, segments, size, options, self.last_speech, self.settings
            )
            heard_again = self._settle(segments, found, seek, size)
            if heard_again:
                return []
        for segment in segments:
            segment.clear_if_empty()
            segment.clip_to(self.recording.seconds)
            segment.language = options.language
            segment.id = self.count
            self.count += 1
        forget = not self.settings.condition_on_previous_text or result.temperature > 0.5
        self.memory.add([t for segment in segments for t in segment.tokens], forget)
        return segments

    def _settle(self, segments: list[Segment], found: Cut, seek: int, size: int) -> bool:
        """Go on after the last word, past silence around invented ones; True to hear again."""
        start, threshold = seconds(seek), self.settings.hallucination_silence_threshold
        span = Span(
            seek, start, seconds(seek + WINDOW_FRAMES), start + seconds(size),
            self.recording.frames, self.recording.seconds, self.last_speech,
        )  # fmt: skip
        end = last_end(segments)
        if not found.ended and end is not None and end > start:
            self.seek = round(end * FRAMES_PER_SECOND)
            if threshold is not None and span.end - end <= threshold:
                self.seek = seek + size
        if threshold is not None:
            skip = skip_hallucination(segments, span, threshold)
            if skip is not None:
                self.seek = skip.seek
                if skip.kept is None:
                    return True
                del segments[skip.kept :]
        end = last_end(segments)
        self.last_speech = self.last_speech if end is None else end
        return False


def make_segments(found: Cut, result: Decoded, seek: int, tokenizer: Any) -> list[Segment]:
    """The pieces of a window as segments of the recording, numbered later."""
    offset = seconds(seek)
    return [
        Segment(
            0, seek, offset + piece.start, offset + piece.end,
            tokenizer.decode(text_tokens(piece.tokens, tokenizer)), list(piece.tokens),
            result.temperature, result.avg_logprob, result.compression_ratio,
            result.no_speech_prob,
        )
        for piece in found.pieces
    ]  # fmt: skip


def text_tokens(tokens: Sequence[int], tokenizer: Any) -> list[int]:
    """The tokens that are text, neither control tokens nor timestamps."""
    return [token for token in tokens if token < tokenizer.end_of_text]


def add_word_timestamps(
    model: WindowModel,
    encoded: Any,
    segments: Sequence[Segment],
    size: int,
    options: DecodingOptions,
    last_speech: float,
    settings: Settings,
) -> None:
    """Time the words of the segments of one encoded window of `size` frames."""
    if not segments:
        return
    texts = [text_tokens(segment.tokens, model.tokenizer) for segment in segments]
    whole = [token for tokens in texts for token in tokens]
    timings = model.align(encoded, whole, size, options) if whole else []
    assign_words(segments, texts, timings, seconds(segments[0].seek), last_speech, settings)
