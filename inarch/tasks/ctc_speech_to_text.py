"""Speech to text by a CTC model: transcription of sound of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from inarch.answers.labels import trained_classes
from inarch.data.columns import values_of
from inarch.errors import InputError
from inarch.losses.ctc import CTCLoss, ctc_targets
from inarch.models.backbone import Backbone
from inarch.models.language_adapter import choose_language
from inarch.models.loading import Checkpoint
from inarch.models.saving import HeadToSave
from inarch.preprocessors.ctc_preprocessor import CTCPreprocessor
from inarch.preprocessors.speech_preprocessor import as_sound_list, load_audio_input
from inarch.preprocessors.text_source import TextChoice, TextSource
from inarch.speech.ctc import TIMESTAMPS, Frames, hop_of, split_sound, transcript_of
from inarch.speech.transcript import Segment, Transcript
from inarch.tasks.audio_task import CHUNK_BATCHES, AudioTask
from inarch.tasks.progress import progress_bar
from inarch.tasks.task import Task
from inarch.text.ctc import VOCABULARY, CTCTokenizer
from inarch.training.objective import Objective
from inarch.training.speech_examples import named_example, sound_text_pairs
from inarch.training.training_batches import Batch, MakeBatch
from inarch.validation import COUNT, check_count, optional

BATCH_SIZE = optional(COUNT)
CHUNK_SECONDS = 30.0


class CTCSpeechToText(AudioTask, Task):
    """Transcripts of sound, by a model with a CTC head such as wav2vec 2.0.

    As a Keras model it gives logits `[batch, frames, vocabulary]` of
    `{"input_values", "padding_mask"}`. `predict` and `stream` take sounds: paths, bytes, file
    objects, or arrays of samples. `fit` takes pairs of such a sound and its text.
    `SpeechToText.from_preset` gives this task where a checkpoint is of such a model; of one with
    adapters for languages (MMS) it takes a `language`, whose adapters, head and tokens are loaded.

    Args:
        backbone: the encoder, such as a `Wav2Vec2Backbone`.
        preprocessor: sound and text to inputs; None to feed prepared arrays.
        vocabulary_size: number of tokens, the blank among them.
        dropout: rate before the last layer.

    Raises:
        InputError: the tokenizer has more tokens than the model.
    """

    head = "ctc"
    pipeline_tag = "automatic-speech-recognition"
    preprocessor_class: ClassVar[Any] = CTCPreprocessor
    takes_short_sounds = True

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: CTCPreprocessor | None = None,
        vocabulary_size: int = 32,
        dropout: float = 0.1,
        **kwargs: Any,
    ):
        check_count("vocabulary_size", vocabulary_size)
        if preprocessor is not None:
            tokens = preprocessor.tokenizer.vocabulary_size
            if tokens > vocabulary_size:
                raise InputError(
                    f"the tokenizer has token ids up to {tokens - 1}, and the model has "
                    f"{vocabulary_size} tokens; give vocabulary_size={tokens}, or the model's own "
                    "tokenizer"
                )
        super().__init__(
            backbone,
            lambda outputs: backbone.ctc(outputs, vocabulary_size, dropout),
            preprocessor,  # type: ignore[arg-type]
            **kwargs,
        )
        self.vocabulary_size = vocabulary_size
        self.dropout = dropout

    @classmethod
    def choose_variant(cls, checkpoint: Checkpoint, given: Mapping[str, Any]) -> Mapping[str, Any]:
        language = given.get("language")
        if language is not None:
            choose_language(checkpoint, cls.head, language)
        return {name: value for name, value in given.items() if name != "language"}

    @classmethod
    def open_source(cls, choice: TextChoice, checkpoint: Checkpoint) -> TextSource:
        folder = choice.settings or checkpoint.folder
        where: Any = choice.tokenizer or folder
        tokenizer = CTCTokenizer.from_folder(where, checkpoint.language)
        return TextSource(folder, tokenizer)  # type: ignore[arg-type]

    @classmethod
    def has_source(cls, checkpoint: Checkpoint) -> bool:
        return (checkpoint.folder / VOCABULARY).is_file()

    @classmethod
    def preprocessor_of(cls, checkpoint: Any, arguments: Any, source: TextSource) -> Any:
        settings = cls.preprocessor_class.settings_in(source.folder)
        return cls.preprocessor_class(source.tokenizer, **settings)

    def head_misfit(self, checkpoint: Checkpoint) -> str | None:
        trained = trained_classes(checkpoint, self.head)
        if trained not in (None, self.vocabulary_size):
            return f"its {self.head} head has {trained} tokens, not {self.vocabulary_size}"
        return super().head_misfit(checkpoint)

    def head_to_save(self) -> HeadToSave | None:
        given = {"vocabulary_size": self.vocabulary_size, "dropout": self.dropout}
        blank = self.preprocessor.tokenizer.blank_id if self.preprocessor else None
        config = self.layout.config if self.layout else {}
        is_new = blank is not None and config.get("pad_token_id", 0) != blank
        return HeadToSave(self.head, given, {"pad_token_id": blank} if is_new else {})

    # --- transcribing --------------------------------------------------------------------------

    def predict(  # type: ignore[override]
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        *,
        timestamps: str | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        stride_seconds: float | None = None,
        sample_rate: int | None = None,
        on_segment: Callable[[Segment], None] | None = None,
    ) -> Any:
        """Transcribe each sound, in the caller's order, by the likeliest token of each frame.

        A sound that is longer than a chunk is computed in chunks that overlap, as by transformers'
        pipeline with `chunk_length_s`.

        Args:
            x: a list of paths, bytes, file objects, or arrays of samples; prepared arrays give
                logits, as `keras.Model.predict`.
            batch_size: chunks of a batch; 8 by default.
            verbose: progress bar; by default on a terminal only.
            steps, callbacks: of prepared inputs alone.
            timestamps: `"word"` for times of words, `"char"` for those of characters; segments,
                which are parted by pauses, have times in any case.
            chunk_seconds: length of a chunk.
            stride_seconds: what a chunk sees of its neighbors on either side; a sixth of a chunk
                by default.
            sample_rate: samples per second of arrays, 16,000 by default.
            on_segment: called with each segment once its sound is transcribed.

        Returns:
            a list of `Transcript`.

        Raises:
            AudioFileError: a file is absent, or no sound.
            InputError, InputTypeError: a sound or an option can't be used.
        """
        if self.preprocessor is None or isinstance(x, Mapping):
            return keras.Model.predict(self, x, batch_size, verbose, steps, callbacks)
        BATCH_SIZE.check("batch_size", batch_size)
        TIMESTAMPS.check("timestamps", timestamps)
        stride = chunk_seconds / 6 if stride_seconds is None else stride_seconds
        sources = as_sound_list(x)
        bar = progress_bar(verbose, len(sources))
        size = batch_size or self.preprocessor.batch_size
        found: list[Transcript] = []
        for start in range(0, len(sources), CHUNK_BATCHES * size):
            part = sources[start : start + CHUNK_BATCHES * size]
            sounds = [load_audio_input(s, start + i, sample_rate) for i, s in enumerate(part)]
            for one in self._transcripts(sounds, size, timestamps, chunk_seconds, stride):
                for segment in one.segments if on_segment else ():
                    on_segment(segment)  # type: ignore[misc]
                bar(len(found), 1)
                found.append(one)
        return found

    def stream(  # type: ignore[override]  # of one sound its segments
        self, source: Any, *, sample_rate: int | None = None, **options: Any
    ) -> Iterator[Segment]:
        """Yield the segments of one sound; for `options` see `predict`."""
        (transcript,) = self.predict([source], verbose=0, sample_rate=sample_rate, **options)
        yield from transcript.segments

    def _transcripts(
        self,
        sounds: Sequence[np.ndarray],
        batch_size: int,
        timestamps: str | None,
        chunk_seconds: float,
        stride_seconds: float,
    ) -> Iterator[Transcript]:
        preprocessor, hop = self.audio_preprocessor(), hop_of(self.backbone.windows[1])
        chunks = [split_sound(len(s), hop, chunk_seconds, stride_seconds) for s in sounds]
        waveforms = [
            preprocessor.waveform(sound[chunk.start : chunk.end])
            for sound, own in zip(sounds, chunks, strict=True)
            for chunk in own
        ]
        limit = max((self.frames_to_hold(w) for w in waveforms), default=1)
        logits = iter(self.waveform_outputs(waveforms, batch_size, limit))
        for sound, own in zip(sounds, chunks, strict=True):
            frames = Frames.joined([Frames.of_logits(next(logits)) for _ in own], own)
            yield transcript_of(frames, preprocessor.tokenizer, hop, len(sound), timestamps)

    # --- training ------------------------------------------------------------------------------

    def objective(self) -> Objective:
        blank = self.preprocessor.tokenizer.blank_id if self.preprocessor else 0
        return Objective(CTCLoss(blank), learning_rate=3e-5, reads_logits=False)

    def collate(self, texts: Sequence[Any], y: Any, sample_weight: Any) -> MakeBatch:
        if sample_weight is not None:
            raise InputError("speech is trained without sample weights; leave them out")
        pairs, preprocessor = sound_text_pairs(texts, values_of(y)), self.audio_preprocessor()
        tokenizer = preprocessor.tokenizer
        width = 0
        for place, (_, text) in enumerate(pairs):
            with named_example(place):
                width = max(width, len(tokenizer.encode(text)))

        def make(indices: np.ndarray, random: np.random.Generator) -> Batch:
            waveforms, labels, frames = [], [], []
            for i in indices:
                with named_example(i):
                    audio = load_audio_input(pairs[i][0], i)
                    frames.append(self.backbone.position_count(len(audio)))
                    labels.append(preprocessor.labels(pairs[i][1], frames[-1]))
                    waveforms.append(preprocessor.waveform(audio))
            targets = ctc_targets(labels, frames, width, tokenizer.blank_id)
            return self.audio_inputs(waveforms), targets

        return make
