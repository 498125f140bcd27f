"""Batched transcription: chunks of speech of many recordings, without the text before as prompt.

Silence between spans of speech isn't decoded. Neighbouring spans share a chunk, so that there are
few (WhisperX, arXiv:2303.00747, section 2). Where a model stops before the speech of a chunk ends,
the remainder is a chunk of a later batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from inarch.audio import HOP, WINDOW_FRAMES, merge_spans, speech_spans, voice_spans
from inarch.audio.speech import Span, cut_spans
from inarch.speech.decoding import decode_with_fallback
from inarch.speech.options import DecodingOptions, DecodingResult, Settings
from inarch.speech.sequential import add_word_timestamps, make_segments, text_tokens
from inarch.speech.transcript import Segment
from inarch.speech.windows import (
    FRAMES_PER_SECOND,
    Recording,
    TimedTokens,
    TimestampSplit,
    WindowModel,
    seconds,
    split_at_timestamps,
    timestamp_seconds,
)

# Speech in seconds after the last timestamp of a chunk that may stay undecoded.
MAX_UNDECODED_SPEECH = 1.0
# With fewer tokens per second of speech, the model has left out some of it.
MIN_TOKENS_PER_SECOND = 1.0


@dataclass(frozen=True)
class Chunk:
    """Chunk of one of several recordings, in frames; at most a window long.

    Attributes:
        recording: index of the recording.
        start: first frame.
        size: number of frames.
        speech: spans of frames that may hold speech, in order; may extend beyond the chunk.
        with_timestamps: whether it is decoded with timestamps even where the options have none.
    """

    recording: int
    start: int
    size: int
    speech: tuple[tuple[int, int], ...] = ()
    with_timestamps: bool = False

    def without_first(self, frames: int) -> Chunk:
        """Return the chunk without its first frames."""
        return replace(self, start=self.start + frames, size=self.size - frames)

    @property
    def speech_seconds(self) -> float:
        """Length of the speech in the chunk, in seconds."""
        end = self.start + self.size
        inside = (min(b, end) - max(a, self.start) for a, b in self.speech)
        return seconds(sum(max(0, frames) for frames in inside))


@dataclass(frozen=True)
class ChunkResult:
    """Segments of a chunk, and the remainder that is still to be decoded, or None."""

    segments: list[Segment]
    remainder: Chunk | None = None


def split_into_chunks(index: int, audio: np.ndarray, settings: Settings) -> list[Chunk]:
    """Return the chunks of recording `index`, samples at 16 kHz, that hold speech."""
    frames = len(audio) // HOP
    spans = _spans_to_decode(audio, settings)
    # Silence that the options have decoded isn't speech that the model may have left out.
    spoken = spans if settings.skip_silence or settings.vad_filter else speech_spans(audio)
    speech = tuple((start // HOP, -(-end // HOP)) for start, end in spoken)
    found = []
    for start, end in merge_spans(spans):
        for first, last in settings.clips:
            low = max(start // HOP, round(first * FRAMES_PER_SECOND))
            high = min(-(-end // HOP), frames)
            high = high if last is None else min(high, round(last * FRAMES_PER_SECOND))
            for at in range(low, high, WINDOW_FRAMES):
                size = min(WINDOW_FRAMES, high - at)
                inside = tuple((a, b) for a, b in speech if a < at + size and b > at)
                found.append(Chunk(index, at, size, inside))
    return found


def _spans_to_decode(audio: np.ndarray, settings: Settings) -> list[Span]:
    """Return spans of samples at 16 kHz to decode, each at most a window long."""
    if settings.vad_filter:
        return cut_spans(voice_spans(audio, settings.vad_filter), audio)
    whole = [(0, len(audio))] if len(audio) else []
    return speech_spans(audio) if settings.skip_silence else cut_spans(whole, audio)


def transcribe_batch(
    model: WindowModel,
    batch: Sequence[Chunk],
    recordings: Sequence[Recording],
    options: DecodingOptions,
    settings: Settings,
) -> list[ChunkResult]:
    """Decode a batch of split_into_chunks; the segments are numbered later.

    All chunks of a batch are `with_timestamps`, or none is.
    """
    features = np.stack([recordings[s.recording].window(s.start, s.size) for s in batch])
    encoded = model.encode(features)
    prompt = settings.initial_prompt
    if prompt is not None:
        tokens = tuple(model.tokenizer.encode(" " + prompt.strip()).ids)
        options = replace(options, prompt=tokens)
    options = replace(options, timestamps=options.timestamps or batch[0].with_timestamps)
    results = decode_with_fallback(model, encoded, len(batch), options, settings)
    outputs = []
    for row, (chunk, result) in enumerate(zip(batch, results, strict=True)):
        found, remainder = _segments_and_remainder(chunk, result, options, settings, model)
        segments = make_segments(found, result, chunk.start, model.tokenizer) if found else []
        if settings.words and segments:
            add_word_timestamps(
                model, model.select(encoded, [row]), segments, chunk.size, options,
                seconds(chunk.start), settings,
            )  # fmt: skip
        for segment in segments:
            segment.clear_if_empty()
        kept = [segment for segment in segments if segment.text]
        outputs.append(ChunkResult(kept, remainder))
    return outputs


def _segments_and_remainder(
    chunk: Chunk,
    result: DecodingResult,
    options: DecodingOptions,
    settings: Settings,
    model: WindowModel,
) -> tuple[TimestampSplit | None, Chunk | None]:
    """Return the tokens of a chunk by segment, None if it is silent, and its remainder."""
    if settings.thresholds.is_silent(result):
        return None, None
    if not options.timestamps:
        text = text_tokens(result.tokens, model.tokenizer)
        if len(text) < MIN_TOKENS_PER_SECOND * chunk.speech_seconds:
            return None, replace(chunk, with_timestamps=True)
        found = split_at_timestamps(result.tokens, model.tokenizer.timestamp_begin, chunk.size)
        return _extend_to_end(found, chunk, model), None
    found = split_at_timestamps(result.tokens, model.tokenizer.timestamp_begin, chunk.size)
    covered = covered_frames(found)
    if 0 < covered < chunk.size:
        remainder = chunk.without_first(covered)
        if remainder.speech_seconds > (0 if found.unfinished else MAX_UNDECODED_SPEECH):
            return replace(found, unfinished=[]), remainder
    return _extend_to_end(found, chunk, model), None


def covered_frames(found: TimestampSplit) -> int:
    """Return the number of frames up to the last timestamp of the finished segments."""
    return round(max((part.end for part in found.finished), default=0.0) * FRAMES_PER_SECOND)


def _extend_to_end(found: TimestampSplit, chunk: Chunk, model: WindowModel) -> TimestampSplit:
    """Return a split that ends with the chunk: its unfinished tokens aren't decoded again."""
    finished = [*found.finished]
    length = seconds(chunk.size)
    if found.unfinished:
        begins = finished[-1].end
        if found.unfinished[0] >= model.tokenizer.timestamp_begin:
            begins = timestamp_seconds(found.unfinished[0], model.tokenizer.timestamp_begin)
        finished.append(TimedTokens(begins, length, found.unfinished))
    kept = [replace(p, start=min(p.start, length), end=min(p.end, length)) for p in finished]
    return replace(found, finished=kept, unfinished=[])
