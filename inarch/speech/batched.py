"""Many windows of many recordings at once: quick, and no window is prompted with another's text.

Silence between spans of speech isn't decoded. Windows are filled with neighbouring spans, so that
few are needed (WhisperX, arXiv:2303.00747, section 2). Where a model stops before the speech of a
window does, the rest is a window of a later batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from inarch.audio import HOP, WINDOW_FRAMES, merge_spans, speech_spans, voice_spans
from inarch.audio.speech import Span, cut_spans
from inarch.speech.decoding import decode_with_fallback
from inarch.speech.options import Decoded, DecodingOptions, Settings
from inarch.speech.sequential import add_word_timestamps, make_segments, text_tokens
from inarch.speech.transcript import Segment
from inarch.speech.windows import (
    FRAMES_PER_SECOND,
    Cut,
    Piece,
    Recording,
    WindowModel,
    cut,
    seconds,
)

# A window that ends early goes on where so much speech, in seconds, is left after its last time.
UNSPOKEN = 1.0
# Fewer tokens than this for each second of speech are too few: some of it was left out.
FEWEST_TOKENS = 1.0


@dataclass(frozen=True)
class Chunk:
    """A chunk of one of several recordings, in frames; at most a window long.

    Attributes:
        recording: index of the recording.
        start: first frame.
        size: number of frames.
        speech: spans of frames that may hold speech, in order; parts outside don't count.
        timed: whether it is decoded with timestamps even where the options have none.
    """

    recording: int
    start: int
    size: int
    speech: tuple[tuple[int, int], ...] = ()
    timed: bool = False

    def after(self, frames: int) -> Chunk:
        """The chunk without its first frames."""
        return replace(self, start=self.start + frames, size=self.size - frames)

    @property
    def spoken(self) -> float:
        """Seconds of the chunk that may be speech."""
        end = self.start + self.size
        inside = (min(b, end) - max(a, self.start) for a, b in self.speech)
        return seconds(sum(max(0, frames) for frames in inside))


@dataclass(frozen=True)
class ChunkResult:
    """The segments of a chunk, and the chunk that is still to be decoded, or None."""

    segments: list[Segment]
    rest: Chunk | None = None


def split_into_chunks(index: int, audio: np.ndarray, settings: Settings) -> list[Chunk]:
    """The chunks of recording `index`, samples at 16 kHz, that hold speech."""
    frames = len(audio) // HOP
    spans = _spans_to_decode(audio, settings)
    # Silence that is decoded on demand isn't speech that a window may leave out.
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
    """Spans of samples at 16 kHz, each short enough for a window."""
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

    All chunks of a batch are `timed`, or none is.
    """
    features = np.stack([recordings[s.recording].window(s.start, s.size) for s in batch])
    encoded = model.encode(features)
    prompt = settings.initial_prompt
    if prompt is not None:
        tokens = tuple(model.tokenizer.encode(" " + prompt.strip()).ids)
        options = replace(options, prompt=tokens)
    options = replace(options, timestamps=options.timestamps or batch[0].timed)
    results = decode_with_fallback(model, encoded, len(batch), options, settings)
    heard = []
    for row, (chunk, result) in enumerate(zip(batch, results, strict=True)):
        found, rest = _split_result(chunk, result, options, settings, model)
        segments = make_segments(found, result, chunk.start, model.tokenizer) if found else []
        if settings.words and segments:
            add_word_timestamps(
                model, model.take(encoded, [row]), segments, chunk.size, options,
                seconds(chunk.start), settings,
            )  # fmt: skip
        for segment in segments:
            segment.clear_if_empty()
        heard.append(ChunkResult([segment for segment in segments if segment.text], rest))
    return heard


def _split_result(
    chunk: Chunk,
    result: Decoded,
    options: DecodingOptions,
    settings: Settings,
    model: WindowModel,
) -> tuple[Cut | None, Chunk | None]:
    """The segments of a decoded chunk, None for a silent one, and the chunk left to decode."""
    if settings.thresholds.silent(result):
        return None, None
    if not options.timestamps:
        text = text_tokens(result.tokens, model.tokenizer)
        if len(text) < FEWEST_TOKENS * chunk.spoken:
            return None, replace(chunk, timed=True)
        return _whole(cut(result.tokens, model.tokenizer.timestamp_begin, chunk.size),
                      chunk, model), None  # fmt: skip
    found = cut(result.tokens, model.tokenizer.timestamp_begin, chunk.size)
    covered = covered_frames(found)
    if 0 < covered < chunk.size:
        rest = chunk.after(covered)
        if rest.spoken > (0 if found.rest else UNSPOKEN):
            return replace(found, rest=[]), rest
    return _whole(found, chunk, model), None


def covered_frames(found: Cut) -> int:
    """Frames of a window up to the last timestamp of its finished segments."""
    return round(max((piece.end for piece in found.pieces), default=0.0) * FRAMES_PER_SECOND)


def _whole(found: Cut, chunk: Chunk, model: WindowModel) -> Cut:
    """The pieces of a chunk up to its end: no later window hears the unfinished one again."""
    pieces = [*found.pieces]
    length = seconds(chunk.size)
    if found.rest:
        begins = pieces[-1].end
        if found.rest[0] >= model.tokenizer.timestamp_begin:
            (piece, *_) = cut(found.rest[:1], model.tokenizer.timestamp_begin, 0).pieces
            begins = piece.end
        pieces.append(Piece(begins, length, found.rest))
    kept = [replace(p, start=min(p.start, length), end=min(p.end, length)) for p in pieces]
    return replace(found, pieces=kept, rest=[])
