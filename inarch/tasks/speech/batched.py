"""Many windows of many recordings at once: quick, and each window hears itself alone.

Silence between spans of speech isn't heard. Windows are filled with neighbouring spans, so that
few are needed (WhisperX, arXiv:2303.00747, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from inarch.audio import HOP, WINDOW_FRAMES, merge_spans, speech_spans
from inarch.tasks.speech.decoding import decode_with_fallback
from inarch.tasks.speech.options import Decoded, DecodingOptions, Settings
from inarch.tasks.speech.sequential import segments_of, time_segments
from inarch.tasks.speech.transcript import Segment
from inarch.tasks.speech.windows import (
    FRAMES_PER_SECOND,
    Cut,
    Piece,
    Recording,
    WindowModel,
    cut,
    seconds,
)


@dataclass(frozen=True)
class Stretch:
    """A stretch of one of several recordings, in frames; at most a window long."""

    recording: int
    start: int
    size: int


def stretches(index: int, audio: np.ndarray, settings: Settings) -> list[Stretch]:
    """The stretches of recording `index`, samples at 16 kHz, that hold speech."""
    frames = len(audio) // HOP
    found = []
    for start, end in merge_spans(speech_spans(audio)):
        for first, last in settings.clips:
            low = max(start // HOP, round(first * FRAMES_PER_SECOND))
            high = min(-(-end // HOP), frames)
            high = high if last is None else min(high, round(last * FRAMES_PER_SECOND))
            found += [
                Stretch(index, at, min(WINDOW_FRAMES, high - at))
                for at in range(low, high, WINDOW_FRAMES)
            ]
    return found


def hear_batch(
    model: WindowModel,
    batch: Sequence[Stretch],
    recordings: Sequence[Recording],
    options: DecodingOptions,
    settings: Settings,
) -> list[list[Segment]]:
    """The segments of each stretch of a batch, numbered later."""
    features = np.stack([recordings[s.recording].window(s.start, s.size) for s in batch])
    encoded = model.encode(features)
    prompt = settings.initial_prompt
    if prompt is not None:
        tokens = tuple(model.tokenizer.encode(" " + prompt.strip()).ids)
        options = replace(options, prompt=tokens)
    results = decode_with_fallback(model, encoded, len(batch), options, settings)
    heard = []
    for row, (stretch, result) in enumerate(zip(batch, results, strict=True)):
        segments = _segments(model, stretch, result, settings)
        if settings.words and segments:
            time_segments(
                model, model.take(encoded, [row]), segments, stretch.size, options,
                seconds(stretch.start), settings,
            )  # fmt: skip
        for segment in segments:
            segment.clear_if_empty()
        heard.append([segment for segment in segments if segment.text])
    return heard


def _segments(
    model: WindowModel, stretch: Stretch, result: Decoded, settings: Settings
) -> list[Segment]:
    if settings.thresholds.silent(result):
        return []
    found = cut(result.tokens, model.tokenizer.timestamp_begin, stretch.size)
    return segments_of(_whole(found, stretch, model), result, stretch.start, model.tokenizer)


def _whole(found: Cut, stretch: Stretch, model: WindowModel) -> Cut:
    """The pieces of a stretch up to its end: no later window hears the unfinished one again."""
    pieces = [*found.pieces]
    length = seconds(stretch.size)
    if found.rest:
        begins = pieces[-1].end
        if found.rest[0] >= model.tokenizer.timestamp_begin:
            (piece, *_) = cut(found.rest[:1], model.tokenizer.timestamp_begin, 0).pieces
            begins = piece.end
        pieces.append(Piece(begins, length, found.rest))
    kept = [replace(p, start=min(p.start, length), end=min(p.end, length)) for p in pieces]
    return replace(found, pieces=kept, rest=[])
