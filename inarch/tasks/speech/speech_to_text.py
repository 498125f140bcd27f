"""Speech to text: transcripts of sound of any length."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from inarch.audio import WINDOW_FRAMES
from inarch.errors import InputError
from inarch.models.backbone import Backbone
from inarch.models.preset import Checkpoint, HeadToSave
from inarch.tasks.feeding import Prepared, TextBatches, prepared
from inarch.tasks.speech.asked import options_of
from inarch.tasks.speech.batched import hear_batch, stretches
from inarch.tasks.speech.configs import (
    GENERATION,
    PREPROCESSOR,
    generation_config,
    preprocessor_config,
)
from inarch.tasks.speech.examples import batch_maker, pairs_of
from inarch.tasks.speech.listener import Listener
from inarch.tasks.speech.options import TEMPERATURES, DecodingOptions, Settings
from inarch.tasks.speech.preprocessor import SpeechPreprocessor, heard, sources_of
from inarch.tasks.speech.sequential import Sequential, text_of
from inarch.tasks.speech.transcript import Segment, Transcript
from inarch.tasks.speech.windows import Recording
from inarch.tasks.task import Task
from inarch.text import WhisperTokenizer


class SpeechToText(Task):
    """Transcripts of sound, by a Whisper.

    As a Keras model it gives logits `[batch, length, vocabulary]` of the token after each of
    `decoder_token_ids`. `predict`, `stream` and `detect_language` take sounds: paths, bytes,
    file objects, or arrays of samples.

    Args:
        backbone: a `WhisperBackbone`.
        preprocessor: sound and text to inputs; None to feed prepared arrays.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
        generation: the content of generation_config.json.
        files: further JSON files of the checkpoint, to be written back as they are.
        language: of the texts that `fit` is given; none for an English-only model.
        task: "transcribe", or "translate" where `fit` is given translations.
    """

    head = "speech_to_text"
    reads = "encoder_features"
    preprocessor_class: ClassVar[Any] = SpeechPreprocessor
    preprocessor: SpeechPreprocessor | None  # type: ignore[assignment]

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: SpeechPreprocessor | None = None,
        tie_word_embeddings: bool = True,
        generation: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        language: str | None = None,
        task: str = "transcribe",
        **kwargs: Any,
    ):
        super().__init__(
            backbone,
            lambda outputs: backbone.speech_to_text(outputs, tie_word_embeddings),
            preprocessor,  # type: ignore[arg-type]
            **kwargs,
        )
        self.tie_word_embeddings = tie_word_embeddings
        self.generation = dict(generation or {})
        self.files = dict(files or {})
        self.language = language
        self.task = task
        self._hearing: Listener | None = None

    # --- from a checkpoint and back ------------------------------------------------------------

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        there = {name: checkpoint.folder / name for name in (GENERATION, PREPROCESSOR)}
        if checkpoint.original is not None:
            there = {}
        found = {
            "tie_word_embeddings": checkpoint.tie,
            "generation": checkpoint.beside(GENERATION),
            "files": {n: p.read_text("utf-8") for n, p in there.items() if p.is_file()},
        }
        return found | super().arguments_of(checkpoint, given)

    @classmethod
    def preprocessor_of(  # type: ignore[override]
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any]
    ) -> SpeechPreprocessor:
        size = arguments["vocabulary_size"]
        tokenizer = WhisperTokenizer.from_folder(checkpoint.folder, vocabulary_size=size)
        return SpeechPreprocessor(
            tokenizer, arguments["num_mels"], arguments["max_decoder_sequence_length"]
        )

    @property
    def tie(self) -> bool:
        return self.tie_word_embeddings

    def head_to_save(self) -> HeadToSave:
        return HeadToSave("speech_to_text", {}, {})

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        sizes = self.backbone.arguments
        tokenizer = self.preprocessor.tokenizer if self.preprocessor else None
        generation = generation_config(tokenizer, sizes["max_decoder_sequence_length"])
        made = {
            GENERATION: generation | self.generation,
            PREPROCESSOR: preprocessor_config(sizes["num_mels"]),
        }
        for name, content in made.items():
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(self.files.get(name, text), "utf-8")

    # --- transcribing --------------------------------------------------------------------------

    def predict(  # type: ignore[override]
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        *,
        language: str | None = None,
        task: str = "transcribe",
        timestamps: str | None = None,
        temperature: float | Sequence[float] = TEMPERATURES,
        batched: bool = False,
        sample_rate: int | None = None,
        **options: Any,
    ) -> Any:
        """The transcript of each sound, in the caller's order.

        A long sound is heard window by window as openai-whisper's `transcribe` does, each told
        the text before it, with the same segments for result. `batched` hears the stretches that
        hold speech, of all sounds, many at once: quicker, and no window knows of another.

        Args:
            x: a list of paths, bytes, file objects, or arrays of samples; prepared arrays and
                data sets of them give logits, as `keras.Model.predict`.
            batch_size: windows that are heard at once, 8 where not given; where `batched`.
            verbose: progress bar; by default on a terminal only.
            steps, callbacks: of prepared inputs alone.
            language: code or English name; it is detected where not given.
            task: "transcribe", or "translate" into English.
            timestamps: "word" times words; "segment" has every batched window tell times, which
                None leaves out. Without `batched` there are always times of segments.
            temperature: 0 for the likeliest tokens; of several, the next is tried when a text
                repeats itself or is improbable.
            batched: whether windows are heard in batches.
            sample_rate: samples per second of arrays, 16,000 by default.
            options: `beam_size`, `initial_prompt`, and all else of `Settings` and
                `DecodingOptions`; `compression_ratio_threshold`, `logprob_threshold` and
                `no_speech_threshold`.

        Raises:
            AudioFileError: a file is absent, or no sound.
            InputError, InputTypeError: a sound or an option can't be used.
        """
        if self.preprocessor is None or isinstance(x, Mapping):
            return keras.Model.predict(self, x, batch_size, verbose, steps, callbacks)
        decoding, settings = self._asked(language, task, timestamps, temperature, options)
        sources = sources_of(x)
        bar = _bar(verbose, len(sources))
        if batched:
            decoding = replace(decoding, timestamps=timestamps is not None)
            sounds = [heard(source, i, sample_rate) for i, source in enumerate(sources)]
            return self._in_batches(sounds, decoding, settings, batch_size or 8, bar)
        found = []
        for place, source in enumerate(sources):
            audio = heard(source, place, sample_rate)
            found.append(self._one(audio, decoding, settings, partial(bar, place)))
        return found

    def stream(
        self,
        source: Any,
        *,
        language: str | None = None,
        task: str = "transcribe",
        timestamps: str | None = None,
        temperature: float | Sequence[float] = TEMPERATURES,
        sample_rate: int | None = None,
        **options: Any,
    ) -> Iterator[Segment]:
        """The segments of one sound, each as soon as its window was heard; see `predict`."""
        decoding, settings = self._asked(language, task, timestamps, temperature, options)
        recording = self._preprocessor().recording(heard(source, 0, sample_rate))
        run = self._sequential(recording, decoding, settings)
        return (segment for window in run.windows() for segment in window)

    def detect_language(self, x: Any, sample_rate: int | None = None) -> list[dict[str, float]]:
        """How likely each language is, likeliest first, for each sound, by its first 30 s.

        Raises:
            InputError: an English-only model.
        """
        if not self._preprocessor().tokenizer.is_multilingual:
            raise InputError("this is an English-only model, which can't tell languages")
        sounds = [heard(source, i, sample_rate) for i, source in enumerate(sources_of(x))]
        return [self._languages(self._preprocessor().recording(audio)) for audio in sounds]

    def _preprocessor(self) -> SpeechPreprocessor:
        if self.preprocessor is None:
            raise InputError("this task has no preprocessor; feed prepared arrays")
        return self.preprocessor

    @property
    def _listener(self) -> Listener:
        if self._hearing is None:
            tokenizer = self._preprocessor().tokenizer
            rows = self.backbone.arguments["vocabulary_size"]
            last = tokenizer.timestamp_begin + 1500
            if last >= rows:
                raise InputError(
                    f"the tokenizer has token ids up to {last}, and the model has {rows} tokens: "
                    "the tokenizer belongs to another model"
                )
            head = None if self.tie_word_embeddings else self.get_layer("logits")
            # Past Keras's tracking: what it holds is this model's already.
            hearing = Listener(self.backbone, tokenizer, self.generation, head)
            object.__setattr__(self, "_hearing", hearing)
        assert self._hearing is not None
        return self._hearing

    def _asked(self, *asked: Any) -> tuple[DecodingOptions, Settings]:
        return options_of(self._preprocessor().tokenizer, self.generation, *asked)

    def _one(
        self,
        audio: np.ndarray,
        decoding: DecodingOptions,
        settings: Settings,
        progress: Callable[[float], None],
    ) -> Transcript:
        recording = self._preprocessor().recording(audio)
        run = self._sequential(recording, decoding, settings)
        segments = []
        for window in run.windows():
            segments += window
            progress(min(run.seek / max(recording.frames, 1), 1.0))
        progress(1.0)
        return self._transcript(segments, run.options.language, recording)

    def _sequential(
        self, recording: Recording, decoding: DecodingOptions, settings: Settings
    ) -> Sequential:
        listener = self._listener
        if decoding.language is None:
            decoding = replace(decoding, language=next(iter(self._languages(recording))))
        return Sequential(listener, recording, decoding, settings, listener.prompt_limit)

    def _languages(self, recording: Recording) -> dict[str, float]:
        start = recording.first_sound()
        size = min(WINDOW_FRAMES, recording.frames - start)
        window = recording.window(start, size)[None]
        (found,) = self._listener.languages(self._listener.encode(window))
        return found

    def _in_batches(
        self,
        sounds: Sequence[np.ndarray],
        decoding: DecodingOptions,
        settings: Settings,
        batch_size: int,
        bar: Callable[[int, float], None],
    ) -> list[Transcript]:
        recordings = [self._preprocessor().recording(audio) for audio in sounds]
        waiting = [s for i, audio in enumerate(sounds) for s in stretches(i, audio, settings)]
        languages = [
            decoding.language or next(iter(self._languages(recording))) for recording in recordings
        ]
        found: list[list[Segment]] = [[] for _ in sounds]
        for language in dict.fromkeys(languages):
            options = replace(decoding, language=language)
            chosen = [s for s in waiting if languages[s.recording] == language]
            for at in range(0, len(chosen), batch_size):
                batch = chosen[at : at + batch_size]
                parts = hear_batch(self._listener, batch, recordings, options, settings)
                for stretch, segments in zip(batch, parts, strict=True):
                    found[stretch.recording] += segments
                bar(batch[-1].recording, 1.0)
        bar(len(sounds) - 1, 1.0)
        for segments in found:
            for number, segment in enumerate(segments):
                segment.id = number
        return [
            self._transcript(segments, language, recording)
            for segments, language, recording in zip(found, languages, recordings, strict=True)
        ]

    def _transcript(
        self, segments: list[Segment], language: str | None, recording: Recording
    ) -> Transcript:
        tokenizer = self._preprocessor().tokenizer
        said = [token for segment in segments for token in text_of(segment.tokens, tokenizer)]
        return Transcript(tokenizer.decode(said), language or "", segments, recording.seconds)

    # --- training ------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`; `"auto"` is Adam at 1e-5 and cross entropy over tokens."""
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(1e-5)
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        if weighted_metrics == "auto":
            weighted_metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)

    def _fed(self, x: Any, y: Any, weight: Any, batch_size: int | None, shuffle: bool) -> Any:
        """Sounds with their texts as batches; features are computed when a batch is fed."""
        if not isinstance(x, list | tuple):
            return prepared(x, self._prepare), y
        if not x:
            raise InputError("x holds no sounds")
        make = self.example_maker(x, y, weight)
        return TextBatches(len(x), make, batch_size or 8, shuffle), None

    def _prepare(self, batch: Any) -> Prepared:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        if isinstance(x, Mapping):
            return batch
        make = self.example_maker(list(x), y, weight)
        return make(np.arange(len(x)), np.random.default_rng(0))

    def example_maker(
        self, texts: Sequence[Any], y: Any, sample_weight: Any
    ) -> Callable[[np.ndarray, np.random.Generator], Prepared]:
        if sample_weight is not None:
            raise InputError("speech is trained without sample weights; padding weighs nothing")
        pairs = pairs_of(texts, y)
        return batch_maker(self._preprocessor(), pairs, self.language, self.task)


def _bar(verbose: Any, count: int) -> Callable[[int, float], None]:
    """Shows how far which of `count` sounds is."""
    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() else 0
    if not verbose or not count:
        return lambda place, share: None
    bar = keras.utils.Progbar(count, unit_name="sound")
    return lambda place, share: bar.update(place + share, finalize=place + share >= count)
