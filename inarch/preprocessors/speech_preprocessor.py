"""Sound and text to a Whisper model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from inarch.audio import (
    HOP,
    SAMPLE_RATE,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    load_audio,
    log_mel_spectrogram,
    pad_or_trim,
)
from inarch.data import pad
from inarch.data.columns import refuse_table, values_of
from inarch.errors import CheckpointError, InputError, InputTypeError
from inarch.json_fields import OBJECT, read_field
from inarch.models.arguments import MutableArgument, ReadOnlyArguments
from inarch.models.stored_config import check_arguments
from inarch.preprocessors.preprocessor import checked_length
from inarch.speech.windows import Recording
from inarch.text import Tokenizer, WhisperTokenizer

# Zeros behind a sound, so that its last frames see silence, not a reflection, and the last frame
# sees silence alone; more would change nothing.
SILENCE = 800
# Each log-mel feature of a recording that is silent throughout.
ALL_SILENT = -1.5


class SpeechPreprocessor(ReadOnlyArguments):
    """Preprocessor from sound and text to log-mel features and token ids.

    Args:
        tokenizer: the checkpoint's tokenizer.
        num_mels: mel bands of the model's input.
        sequence_length: the longest sequence of tokens, the start and the end included.

    Raises:
        InputError: `sequence_length` is below 1.
        CheckpointError: the tokenizer isn't Whisper's.
    """

    example_noun: ClassVar[str] = "sounds"
    batch_size: ClassVar[int] = 8
    sequence_length = MutableArgument(checked_length)

    def __init__(self, tokenizer: Tokenizer, num_mels: int = 80, sequence_length: int = 448):
        if not isinstance(tokenizer, WhisperTokenizer):
            raise CheckpointError(
                f"the tokenizer is a {type(tokenizer).__name__}, which has no tokens of "
                "languages, tasks and times; a Whisper needs a WhisperTokenizer"
            )
        self.tokenizer = tokenizer
        self.num_mels = num_mels
        self.sequence_length = sequence_length

    def examples(self, x: Any, of_batch: bool = False) -> list[Any] | None:
        """Return `x` as a list of sounds, or of pairs of sound and text; None for a data set.

        Args:
            of_batch: whether `x` is of one batch, which may be an array, and is no data set.
        """
        x = values_of(x)
        return list(x) if of_batch or isinstance(x, list | tuple) else None

    def recording(self, audio: np.ndarray) -> Recording:
        """Return the features of samples `[samples]` at 16 kHz."""
        if audio.any():
            mel = log_mel_spectrogram(audio, self.num_mels, padding=SILENCE)
        else:
            frames = (len(audio) + SILENCE) // HOP
            mel = np.full((self.num_mels, frames), ALL_SILENT, np.float32)
        return Recording.from_audio(audio, mel)

    def features(self, audio: np.ndarray) -> np.ndarray:
        """Return features float32 `[frames, mels]` of one window for training, padded with silence.

        Raises:
            InputError: it is longer than a window.
        """
        if len(audio) > WINDOW_SAMPLES:
            raise InputError(
                f"it is {len(audio) / SAMPLE_RATE:.1f} s long, and a model is trained on at most "
                f"{WINDOW_SAMPLES // SAMPLE_RATE} s; cut it up, and its text with it"
            )
        mel = log_mel_spectrogram(pad_or_trim(audio, WINDOW_SAMPLES), self.num_mels)
        return np.ascontiguousarray(mel[:, :WINDOW_FRAMES].T)

    def labels(self, text: str, language: str | None, task: str) -> list[int]:
        """Return the target tokens of a text: the start, the text, the end.

        Raises:
            InputError: there are more than the model has positions for.
        """
        start = self.tokenizer.start_sequence(language, task, timestamps=False)
        ids = [*start, *self.tokenizer.encode(text).ids, self.tokenizer.end_of_text]
        if len(ids) - 1 > self.sequence_length:
            raise InputError(
                f"its text is {len(ids) - 1} tokens with the start, and the model has "
                f"{self.sequence_length} positions; cut it up, and the sound with it"
            )
        return ids

    def batch(
        self, features: Sequence[np.ndarray], labels: Sequence[Sequence[int]], length: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return `(x, y, sample_weight)` of teacher forcing: each token predicts the next.

        Args:
            features: of each window.
            labels: of each window.
            length: tokens of a row; what is padding weighs nothing.
        """
        rows, end = len(labels), self.tokenizer.end_of_text
        mask = pad([[1] * (len(ids) - 1) for ids in labels], rows, length)
        x = {
            "encoder_features": np.stack(features),
            "decoder_token_ids": pad([ids[:-1] for ids in labels], rows, length, end),
            "decoder_padding_mask": mask,
        }
        y = pad([ids[1:] for ids in labels], rows, length, end)
        return x, y, mask.astype(np.float32)

    def get_config(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer.get_config(),
            "num_mels": self.num_mels,
            "sequence_length": self.sequence_length,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SpeechPreprocessor:
        where = f"the config of a {cls.__name__}"
        tokenizer = WhisperTokenizer.from_config(
            read_field(config, "tokenizer", OBJECT, where=where)
        )
        check_arguments(cls, config, where)
        return cls(**{**config, "tokenizer": tokenizer})


def as_sound_list(x: Any) -> list[Any]:
    """Return several sounds as a list, from a list or a column of them.

    Raises:
        InputTypeError: a single one, or a table.
    """
    refuse_table("x", x)
    x = values_of(x)
    if isinstance(x, list | tuple):
        return list(x)
    if isinstance(x, Iterable) and not isinstance(x, str | bytes) and not hasattr(x, "read"):
        if str(getattr(x, "dtype", "object")) != "object" and getattr(x, "ndim", 1) == 1:
            raise InputTypeError("got the samples of one sound; give a list of sounds: [samples]")
        return list(x)
    raise InputTypeError(f"got one {type(x).__name__}; give a list of files or arrays: [file]")


def load_audio_input(source: Any, place: int, sample_rate: int | None = None) -> np.ndarray:
    """Load the samples of one of several sounds; errors call it by name or position.

    Raises:
        AudioFileError, InputError, InputTypeError, MissingExtraError: as `load_audio`.
    """
    named = isinstance(source, str) or hasattr(source, "__fspath__")
    rate = sample_rate if hasattr(source, "__array__") else None
    return load_audio(source, sample_rate=rate, name=None if named else f"sound {place}")
