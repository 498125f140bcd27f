"""Sounds to transcripts: one window after the other, or many windows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from inarch.audio import HOP
from inarch.speech.batched import Chunk, split_into_chunks, transcribe_batch
from inarch.speech.options import DecodingOptions, Settings
from inarch.speech.sequential import SequentialTranscription, text_tokens
from inarch.speech.timeline import Timeline
from inarch.speech.transcript import Segment, Transcript
from inarch.speech.whisper_runner import WhisperRunner
from inarch.speech.windows import Recording, seconds

# Called with the index of a sound and the share of its length that is done.
Bar = Callable[[int, float], None]


class Transcriber:
    """Transcripts of samples `[samples]` at 16 kHz; the language is detected where none is given.

    Args:
        runner: the model.
        make_recording: computes the features of samples.
    """

    def __init__(self, runner: WhisperRunner, make_recording: Callable[[np.ndarray], Recording]):
        self.runner = runner
        self._make_recording = make_recording

    def languages(self, audio: np.ndarray) -> dict[str, float]:
        """How likely each language is, likeliest first, by the first window with any sound."""
        return self._languages(self._make_recording(audio), skip_silence=True)

    def stream(
        self, audio: np.ndarray, decoding: DecodingOptions, settings: Settings
    ) -> Iterator[Segment]:
        """The segments of a sound, each as soon as its window was heard."""
        timeline, run = self._prepared(audio, decoding, settings)
        put_back = timeline.put_back if timeline else lambda segment: segment
        return (put_back(segment) for window in run.windows() for segment in window)

    def transcribe(
        self,
        audio: np.ndarray,
        decoding: DecodingOptions,
        settings: Settings,
        progress: Callable[[float], None],
        on_segment: Callable[[Segment], None] = lambda segment: None,
    ) -> Transcript:
        """The transcript of a sound, each window told the text before it."""
        timeline, run = self._prepared(audio, decoding, settings)
        segments = []
        for window in run.windows():
            for segment in window:
                segments.append(timeline.put_back(segment) if timeline else segment)
                on_segment(segment)
            progress(min(run.seek / max(run.recording.frames, 1), 1.0))
        progress(1.0)
        duration = seconds(len(audio) // HOP)
        return self._transcript(segments, run.options.language, duration)

    def transcribe_many(
        self,
        sounds: Sequence[np.ndarray],
        decoding: DecodingOptions,
        settings: Settings,
        batch_size: int,
        bar: Bar,
    ) -> list[Transcript]:
        """Transcribe several sounds in batches of `batch_size` chunks of speech."""
        recordings = [self._make_recording(audio) for audio in sounds]
        languages = [
            decoding.language or self._language(recording, settings) for recording in recordings
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
                heard = transcribe_batch(self.runner, batch, recordings, options, settings)
                for chunk, part in zip(batch, heard, strict=True):
                    found[chunk.recording] += part.segments
                    chosen += [] if part.rest is None else [part.rest]
                bar(batch[-1].recording, 1.0)
        bar(len(sounds) - 1, 1.0)
        return [
            self._transcript(_numbered(segments), language, recording.seconds)
            for segments, language, recording in zip(found, languages, recordings, strict=True)
        ]

    def _prepared(
        self, audio: np.ndarray, decoding: DecodingOptions, settings: Settings
    ) -> tuple[Timeline | None, SequentialTranscription]:
        """A run over a sound, and with `vad_filter` the timeline of its spans of speech."""
        timeline = None
        if settings.vad_filter:
            timeline = Timeline.of_speech(audio, settings)
            audio = timeline.joined(audio)
            settings = replace(settings, clips=((0.0, None),))
        recording = self._make_recording(audio)
        if decoding.language is None:
            decoding = replace(decoding, language=self._language(recording, settings))
        limit = self.runner.prompt_limit
        if settings.condition_on_previous_text:
            decoding = replace(decoding, prompt_room=limit)
        return timeline, SequentialTranscription(self.runner, recording, decoding, settings, limit)

    def _language(self, recording: Recording, settings: Settings) -> str:
        """The likeliest language, by the first window that is decoded."""
        return next(iter(self._languages(recording, settings.skip_silence)))

    def _languages(self, recording: Recording, skip_silence: bool) -> dict[str, float]:
        """Probabilities of languages, by the first window, or the first one with any sound."""
        start = recording.first_audible_window() if skip_silence else 0
        window = recording.language_window(start)[None]
        (found,) = self.runner.languages(self.runner.encode(window))
        return found

    def _transcript(
        self, segments: list[Segment], language: str | None, duration: float
    ) -> Transcript:
        for segment in segments:
            segment.clip_to(duration)
            segment.language = segment.language or language
        tokenizer = self.runner.tokenizer
        said = [token for segment in segments for token in text_tokens(segment.tokens, tokenizer)]
        return Transcript(tokenizer.decode(said), language or "", segments, duration)


def _next_batch(waiting: list[Chunk], size: int) -> tuple[list[Chunk], list[Chunk]]:
    """A batch of chunks that are decoded alike, and all others in their order."""
    batch = [s for s in waiting if s.timed == waiting[0].timed][:size]
    chosen = set(map(id, batch))
    return batch, [s for s in waiting if id(s) not in chosen]


def _numbered(segments: list[Segment]) -> list[Segment]:
    """Segments in the order of time; what was left of a window was decoded after later ones."""
    segments = sorted(segments, key=lambda segment: (segment.seek, segment.start))
    for number, segment in enumerate(segments):
        segment.id = number
    return segments
