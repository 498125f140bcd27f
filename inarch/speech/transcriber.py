"""Transcription of recordings, sequential or batched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from inarch.audio import HOP
from inarch.speech.batched import Chunk, split_into_chunks, transcribe_batch
from inarch.speech.options import DecodingOptions, Settings
from inarch.speech.sequential import SequentialTranscription, text_tokens
from inarch.speech.timeline import Timeline
from inarch.speech.transcript import Segment, Transcript
from inarch.speech.whisper_runner import WhisperRunner
from inarch.speech.windows import Recording, seconds

# Called with the index of a sound and the fraction of its length that is done.
ProgressCallback = Callable[[int, float], None]


class Transcriber:
    """Transcription of samples `[samples]` at 16 kHz; detects the language where none is given.

    Args:
        runner: the model.
        make_recording: computes the features of samples.
    """

    def __init__(self, runner: WhisperRunner, make_recording: Callable[[np.ndarray], Recording]):
        self.runner = runner
        self._make_recording = make_recording

    def detect_languages(self, audio: np.ndarray) -> dict[str, float]:
        """Return probabilities of languages by the first window with any sound, likeliest first."""
        return self._detect_languages(self._make_recording(audio), skip_silence=True)

    def stream(
        self, audio: np.ndarray, decoding: DecodingOptions, settings: Settings
    ) -> Iterator[Segment]:
        """Yield the segments of a sound, each as soon as its window is decoded."""
        timeline, run = self._prepare(audio, decoding, settings)
        restore_times = timeline.restore_times if timeline else lambda segment: segment
        return (restore_times(segment) for window in run.windows() for segment in window)

    def transcribe(
        self,
        audio: np.ndarray,
        decoding: DecodingOptions,
        settings: Settings,
        progress: Callable[[float], None],
        on_segment: Callable[[Segment], None] = lambda segment: None,
    ) -> Transcript:
        """Transcribe a sound sequentially, with the text before each window as prompt."""
        timeline, run = self._prepare(audio, decoding, settings)
        segments = []
        for window in run.windows():
            for segment in window:
                segments.append(timeline.restore_times(segment) if timeline else segment)
                on_segment(segment)
            progress(min(run.seek / max(run.recording.frames, 1), 1.0))
        progress(1.0)
        duration = seconds(len(audio) // HOP)
        return self._transcript(segments, run.options.language, duration)

    def transcribe_all(
        self,
        sounds: Iterable[np.ndarray],
        decoding: DecodingOptions,
        settings: Settings,
        batch_size: int | None,
        bar: ProgressCallback,
        on_segment: Callable[[Segment], None],
    ) -> list[Transcript]:
        """Transcribe sounds in batches of so many chunks, or sequentially for `None`."""
        if batch_size is not None:
            return self.transcribe_many(
                list(sounds), decoding, settings, batch_size, bar, on_segment
            )
        return [
            self.transcribe(audio, decoding, settings, partial(bar, i), on_segment)
            for i, audio in enumerate(sounds)
        ]

    def transcribe_many(
        self,
        sounds: Sequence[np.ndarray],
        decoding: DecodingOptions,
        settings: Settings,
        batch_size: int,
        bar: ProgressCallback,
        on_segment: Callable[[Segment], None] = lambda segment: None,
    ) -> list[Transcript]:
        """Transcribe several sounds in batches of `batch_size` chunks of speech."""
        recordings = [self._make_recording(audio) for audio in sounds]
        languages = [
            decoding.language or self._detect_language(recording, settings)
            for recording in recordings
        ]
        waiting = [
            s for i, audio in enumerate(sounds) for s in split_into_chunks(i, audio, settings)
        ]
        found: list[list[Segment]] = [[] for _ in sounds]
        for language in dict.fromkeys(languages):
            options = replace(decoding, language=language)
            chosen = [s for s in waiting if languages[s.recording] == language]
            while chosen:
                batch, chosen = _next_batch(chosen, batch_size)
                results = transcribe_batch(self.runner, batch, recordings, options, settings)
                for chunk, part in zip(batch, results, strict=True):
                    found[chunk.recording] += part.segments
                    chosen += [] if part.remainder is None else [part.remainder]
                bar(batch[-1].recording, 1.0)
        bar(len(sounds) - 1, 1.0)
        transcripts = [
            self._transcript(_renumber(segments), language, recording.seconds)
            for segments, language, recording in zip(found, languages, recordings, strict=True)
        ]
        for transcript in transcripts:
            for segment in transcript.segments:
                on_segment(segment)
        return transcripts

    def _prepare(
        self, audio: np.ndarray, decoding: DecodingOptions, settings: Settings
    ) -> tuple[Timeline | None, SequentialTranscription]:
        """Return the transcription of a sound, and with `vad_filter` the timeline of its speech."""
        timeline = None
        if settings.vad_filter:
            timeline = Timeline.of_speech(audio, settings)
            audio = timeline.concatenate(audio)
            settings = replace(settings, clips=((0.0, None),))
        recording = self._make_recording(audio)
        if decoding.language is None:
            decoding = replace(decoding, language=self._detect_language(recording, settings))
        limit = self.runner.prompt_limit
        if settings.condition_on_previous_text:
            decoding = replace(decoding, prompt_room=limit)
        return timeline, SequentialTranscription(self.runner, recording, decoding, settings, limit)

    def _detect_language(self, recording: Recording, settings: Settings) -> str:
        """Return the likeliest language of the first window that is decoded."""
        return next(iter(self._detect_languages(recording, settings.skip_silence)))

    def _detect_languages(self, recording: Recording, skip_silence: bool) -> dict[str, float]:
        """Return probabilities of languages by the first window, or the first with any sound."""
        start = recording.first_audible_window() if skip_silence else 0
        window = recording.language_window(start)[None]
        (found,) = self.runner.detect_languages(self.runner.encode(window))
        return found

    def _transcript(
        self, segments: list[Segment], language: str | None, duration: float
    ) -> Transcript:
        for segment in segments:
            segment.clip_to(duration)
            segment.language = segment.language or language
        tokenizer = self.runner.tokenizer
        text = [token for segment in segments for token in text_tokens(segment.tokens, tokenizer)]
        return Transcript(tokenizer.decode(text), language or "", segments, duration)


def _next_batch(waiting: list[Chunk], size: int) -> tuple[list[Chunk], list[Chunk]]:
    """Return a batch of chunks that agree in `with_timestamps`, and the other chunks."""
    batch = [s for s in waiting if s.with_timestamps == waiting[0].with_timestamps][:size]
    chosen = set(map(id, batch))
    return batch, [s for s in waiting if id(s) not in chosen]


def _renumber(segments: list[Segment]) -> list[Segment]:
    """Number segments in order of time: remainders of chunks were decoded after later ones."""
    segments = sorted(segments, key=lambda segment: (segment.seek, segment.start))
    for number, segment in enumerate(segments):
        segment.id = number
    return segments
