"""Sequential transcription: each window begins at the last timestamp of the one before.

It gives the segments of openai-whisper (whisper/transcribe.py), with three differences: with
`skip_silence` a window without any sound is skipped, no segment ends after the recording, and
every window moves on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inarch.audio import WINDOW_FRAMES
from inarch.speech.decoding import decode_with_fallback
from inarch.speech.hallucination import WindowSpan, skip_hallucination
from inarch.speech.options import DecodingOptions, DecodingResult, Settings
from inarch.speech.transcript import Segment, last_end
from inarch.speech.windows import (
    FRAMES_PER_SECOND,
    Recording,
    TimestampSplit,
    WindowModel,
    seconds,
    split_at_timestamps,
)
from inarch.speech.words import assign_words


class PromptHistory:
    """Tokens of the text so far, the last of which are the prompt of the next window.

    Args:
        initial: tokens of the initial prompt.
        limit: maximal number of tokens of a prompt.
        carry: whether every prompt begins with the initial prompt.
    """

    def __init__(self, initial: Sequence[int], limit: int, carry: bool):
        self._initial = list(initial)[-limit:]
        self._tokens: list[int] = []
        self._limit = limit
        self._carry = carry
        self._start = 0
        self._use_initial = True

    def prompt_tokens(self) -> tuple[int, ...]:
        """Return the prompt of the next window."""
        tokens = self._tokens[self._start :]
        if self._carry:
            room = self._limit - len(self._initial)
            return (*self._initial, *(tokens[-room:] if room else ()))
        return tuple((*(self._initial if self._use_initial else ()), *tokens)[-self._limit :])

    def add(self, tokens: Sequence[int], forget: bool) -> None:
        """Add tokens; with `forget`, later prompts have only what is added after them."""
        self._tokens.extend(tokens)
        if forget:
            self._start, self._use_initial = len(self._tokens), False


@dataclass
class SequentialTranscription:
    """Transcription of a recording, window by window.

    Attributes:
        seek: first frame of the next window.
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
        self.history = PromptHistory(initial, self.prompt_limit, carry)

    def windows(self) -> Iterator[list[Segment]]:
        """Yield the segments of each window, none where there is no speech."""
        for start, end in self.settings.clips:
            self.seek = round(start * FRAMES_PER_SECOND)
            frames = self.recording.frames
            limit = frames if end is None else min(round(end * FRAMES_PER_SECOND), frames)
            while self.seek < limit:
                seek, size = self.seek, min(WINDOW_FRAMES, limit - self.seek)
                yield self._transcribe_window(seek, size)
                if self.seek <= seek:
                    self.seek = seek + size

    def _transcribe_window(self, seek: int, size: int) -> list[Segment]:
        """Return the segments of one window, and advance to the next."""
        self.seek = seek + size
        if self.settings.skip_silence and self.recording.is_silent(seek, size):
            return []
        encoded = self.model.encode(self.recording.window(seek, size)[None])
        options = replace(self.options, prompt=self.history.prompt_tokens())
        if self.settings.multilingual:
            options = replace(options, language=next(iter(self.model.detect_languages(encoded)[0])))
        (result,) = decode_with_fallback(self.model, encoded, 1, options, self.settings)
        if self.settings.thresholds.is_silent(result):
            return []
        found = split_at_timestamps(result.tokens, self.model.tokenizer.timestamp_begin, size)
        self.seek = seek + found.seek_shift
        segments = make_segments(found, result, seek, self.model.tokenizer)
        if self.settings.words:
            add_word_timestamps(
                self.model, encoded, segments, size, options, self.last_speech, self.settings
            )
            decode_again = self._advance_seek(segments, found, seek, size)
            if decode_again:
                return []
        for segment in segments:
            segment.clear_if_empty()
            segment.clip_to(self.recording.seconds)
            segment.language = options.language
            segment.id = self.count
            self.count += 1
        forget = not self.settings.condition_on_previous_text or result.temperature > 0.5
        self.history.add([t for segment in segments for t in segment.tokens], forget)
        return segments

    def _advance_seek(
        self, segments: list[Segment], found: TimestampSplit, seek: int, size: int
    ) -> bool:
        """Advance past the last word and hallucinated ones; return True to decode again."""
        start, threshold = seconds(seek), self.settings.hallucination_silence_threshold
        span = WindowSpan(
            seek, start, seconds(seek + WINDOW_FRAMES), start + seconds(size),
            self.recording.frames, self.recording.seconds, self.last_speech,
        )  # fmt: skip
        end = last_end(segments)
        if not found.single_timestamp_ending and end is not None and end > start:
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


def make_segments(
    found: TimestampSplit, result: DecodingResult, seek: int, tokenizer: Any
) -> list[Segment]:
    """Return the segments of a window with times in the recording; they are numbered later."""
    offset = seconds(seek)
    return [
        Segment(
            0, seek, offset + part.start, offset + part.end,
            tokenizer.decode(text_tokens(part.tokens, tokenizer)), list(part.tokens),
            result.temperature, result.avg_logprob, result.compression_ratio,
            result.no_speech_prob,
        )
        for part in found.finished
    ]  # fmt: skip


def text_tokens(tokens: Sequence[int], tokenizer: Any) -> list[int]:
    """Return the tokens of text, without control tokens and timestamps."""
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
    """Add the words with their times to the segments of an encoded window of `size` frames."""
    if not segments:
        return
    texts = [text_tokens(segment.tokens, model.tokenizer) for segment in segments]
    whole = [token for tokens in texts for token in tokens]
    timings = model.align(encoded, whole, size, options) if whole else []
    assign_words(segments, texts, timings, seconds(segments[0].seek), last_speech, settings)
