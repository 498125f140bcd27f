"""Speech to text: transcription of sound of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras

from inarch.data.columns import values_of
from inarch.errors import InputError
from inarch.models.arguments import MutableArgument
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.preprocessors.ctc_preprocessor import CTCPreprocessor
from inarch.preprocessors.speech_preprocessor import (
    SpeechPreprocessor,
    as_sound_list,
    load_audio_input,
)
from inarch.preprocessors.text_source import TextSource
from inarch.speech.configs import GENERATION, config_files, declared_generation
from inarch.speech.options import DecodingOptions, Settings
from inarch.speech.resolve_options import resolve_language, resolve_options
from inarch.speech.transcriber import Transcriber
from inarch.speech.transcript import Segment
from inarch.speech.whisper_runner import WhisperRunner
from inarch.tasks.ctc_speech_to_text import CTCSpeechToText
from inarch.tasks.progress import progress_bar
from inarch.tasks.settings_file import read_settings
from inarch.tasks.speech_arguments import checked_generation, checked_language, checked_task
from inarch.tasks.task import Task
from inarch.text import WhisperTokenizer
from inarch.training.objective import Objective, token_objective
from inarch.training.speech_examples import batch_maker, sound_text_pairs
from inarch.training.training_batches import MakeBatch
from inarch.transcription_defaults import TEMPERATURES
from inarch.validation import COUNT, optional

BATCH_SIZE = optional(COUNT)


class SpeechToText(Task):
    """Transcripts of sound, by a Whisper.

    As a Keras model it gives logits `[batch, length, vocabulary]` of the token after each of
    `decoder_token_ids`. `predict`, `stream` and `detect_language` take sounds: paths, bytes,
    file objects, or arrays of samples. `fit` takes pairs of such a sound and its text.

    Args:
        backbone: a `WhisperBackbone`.
        preprocessor: sound and text to inputs; None to feed prepared arrays.
        tie_word_embeddings: whether the output embeddings are the input embeddings.
        generation: the content of generation_config.json.
        files: further JSON files of the checkpoint, to be written back as they are.
        language: of the texts that `fit` is given; none for an English-only model.
        task: "transcribe", or "translate" where `fit` is given translations.

    Raises:
        InputError: the language or the task isn't known to the preprocessor's tokenizer.
    """

    head = "speech_to_text"
    pipeline_tag = "automatic-speech-recognition"
    required_input = "encoder_features"
    preprocessor_class: ClassVar[Any] = SpeechPreprocessor
    tokenizer_class = WhisperTokenizer
    other_preprocessors = (CTCPreprocessor,)
    saved_settings = ("language", "task")
    generation = MutableArgument(checked_generation)
    language = MutableArgument(checked_language)
    task = MutableArgument(checked_task)

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
        if preprocessor is not None:
            resolve_language(preprocessor.tokenizer, language, task)
        super().__init__(
            backbone,
            lambda outputs: backbone.speech_to_text(outputs, tie_word_embeddings),
            preprocessor,  # type: ignore[arg-type]
            **kwargs,
        )
        self.tie_word_embeddings = tie_word_embeddings
        self.generation = generation
        self.files = dict(files or {})
        self.language = language
        self.task = task
        self._engine: tuple[Transcriber, tuple[int, ...]] | None = None

    @classmethod
    def class_for(cls, checkpoint: Checkpoint, given: Mapping[str, Any]) -> type[Task]:
        is_ctc = cls is SpeechToText and CTCSpeechToText.head in checkpoint.source.heads
        return CTCSpeechToText if is_ctc else cls

    @classmethod
    def arguments_of(cls, checkpoint: Checkpoint, given: dict[str, Any]) -> dict[str, Any]:
        found = {
            "generation": declared_generation(
                checkpoint.read_sidecar(GENERATION), checkpoint.config
            ),
            # Author formats have no complete generation_config.json for transformers.
            "files": {} if checkpoint.author_checkpoint else checkpoint.sidecar_texts(),
        }
        return found | super().arguments_of(checkpoint, given)

    @classmethod
    def preprocessor_of(  # type: ignore[override]
        cls, checkpoint: Checkpoint, arguments: Mapping[str, Any], source: TextSource
    ) -> SpeechPreprocessor:
        limit = arguments["max_decoder_sequence_length"]
        length = read_settings(source.folder).sequence_length or limit
        return SpeechPreprocessor(source.tokenizer, arguments["num_mels"], min(length, limit))

    def argument_changed(self, name: str) -> None:
        super().argument_changed(name)
        if name in ("generation", "preprocessor"):
            self._engine = None

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        tokenizer = self.preprocessor.tokenizer if self.preprocessor else None
        texts = config_files(tokenizer, self.backbone.arguments, self.generation, self.files)
        for name, text in texts.items():
            (folder / name).write_bytes(text.encode())

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
        task: str | None = None,
        timestamps: str | None = None,
        temperature: float | Sequence[float] = TEMPERATURES,
        batched: bool = False,
        sample_rate: int | None = None,
        on_segment: Callable[[Segment], None] | None = None,
        **options: Any,
    ) -> Any:
        """Transcribe each sound, in the caller's order.

        A long sound is transcribed window by window like openai-whisper's `transcribe`, each with
        the text before it as prompt, to the same segments. `batched` transcribes chunks of speech
        of all sounds in batches: faster, and without the text before as prompt.

        Args:
            x: a list of paths, bytes, file objects, or arrays of samples; prepared arrays and
                data sets of them give logits, as `keras.Model.predict`.
            batch_size: number of windows of a batch with `batched`; 8 by default.
            verbose: progress bar; by default on a terminal only.
            steps, callbacks: of prepared inputs alone.
            language: code or English name; "auto" detects it by the first window with any sound,
                or by the first 30 s with `skip_silence=False`. By default that of
                generation_config.json, else "auto".
            task: "transcribe", or "translate" into English; by default that of
                generation_config.json, else "transcribe".
            timestamps: "word" for word timestamps; "segment" for timestamps of segments with
                `batched`, which are always there without it.
            temperature: 0 for the likeliest tokens; of several, the next is used where the result
                of a window is repetitive or improbable.
            batched: whether windows are decoded in batches, all with `initial_prompt` as prompt.
            sample_rate: samples per second of arrays, 16,000 by default.
            on_segment: called with each segment once it is decoded; with `batched`, once all are.
            options: fields of `DecodingOptions` and `Settings`, where tokens may be texts;
                `without_timestamps`; `compression_ratio_threshold`, `logprob_threshold` and
                `no_speech_threshold`.

        Raises:
            AudioFileError: a file is absent, or no sound.
            InputError, InputTypeError: a sound or an option can't be used.
        """
        if self.preprocessor is None or isinstance(x, Mapping):
            return keras.Model.predict(self, x, batch_size, verbose, steps, callbacks)
        given = (language, task, timestamps, temperature, options, batched)
        decoding, settings = self._resolve_options(*given)
        BATCH_SIZE.check("batch_size", batch_size)
        sources = as_sound_list(x)
        bar = progress_bar(verbose, len(sources))
        sounds = (load_audio_input(source, i, sample_rate) for i, source in enumerate(sources))
        size = (batch_size or 8) if batched else None
        on_segment = on_segment or (lambda segment: None)
        return self._transcriber.transcribe_all(sounds, decoding, settings, size, bar, on_segment)

    def stream(  # type: ignore[override]  # of one sound its segments
        self,
        source: Any,
        *,
        language: str | None = None,
        task: str | None = None,
        timestamps: str | None = None,
        temperature: float | Sequence[float] = TEMPERATURES,
        sample_rate: int | None = None,
        **options: Any,
    ) -> Iterator[Segment]:
        """Yield the segments of one sound as its windows are decoded; see `predict`."""
        decoding, settings = self._resolve_options(language, task, timestamps, temperature, options)
        return self._transcriber.stream(
            load_audio_input(source, 0, sample_rate), decoding, settings
        )

    def detect_language(self, x: Any, sample_rate: int | None = None) -> list[dict[str, float]]:
        """Return probabilities of languages for each sound, likeliest first.

        They are those of its first window of 30 s with any sound.

        Raises:
            InputError: an English-only model.
        """
        if not self._preprocessor().tokenizer.is_multilingual:
            raise InputError("this is an English-only model, which can't detect languages")
        sounds = [
            load_audio_input(source, i, sample_rate) for i, source in enumerate(as_sound_list(x))
        ]
        return [self._transcriber.detect_languages(audio) for audio in sounds]

    def _preprocessor(self) -> SpeechPreprocessor:
        if self.preprocessor is None:
            raise InputError("this task has no preprocessor; pass prepared arrays")
        return self.preprocessor

    @property
    def _transcriber(self) -> Transcriber:
        # Compiled programs are of these variables alone; LoRA and quantization bring others.
        variables = tuple(map(id, self.variables))
        if self._engine is None or self._engine[1] != variables:
            preprocessor = self._preprocessor()
            tokenizer = preprocessor.tokenizer
            rows = self.backbone.arguments["vocabulary_size"]
            last = tokenizer.timestamp_begin + 1500
            if last >= rows:
                raise InputError(
                    f"the tokenizer has token ids up to {last}, and the model has {rows} tokens: "
                    "the tokenizer belongs to another model"
                )
            head = None if self.tie_word_embeddings else self.get_layer("logits")
            runner = WhisperRunner(self.backbone, tokenizer, self.generation, head)
            # Not tracked by Keras: its layers are those of this model.
            made = Transcriber(runner, preprocessor.recording)
            object.__setattr__(self, "_engine", (made, variables))
        assert self._engine is not None
        return self._engine[0]

    def _resolve_options(self, *given: Any) -> tuple[DecodingOptions, Settings]:
        return resolve_options(self._preprocessor().tokenizer, self.generation, *given)

    # --- training ------------------------------------------------------------------------------

    def objective(self) -> Objective:
        return token_objective(learning_rate=1e-5)

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        if sample_weight is not None:
            raise InputError("speech is trained without sample weights; padding weighs nothing")
        y = values_of(y)
        pairs = sound_text_pairs(texts, y)
        return batch_maker(self._preprocessor(), pairs, self.language, self.task)
