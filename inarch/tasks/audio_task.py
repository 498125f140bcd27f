"""Tasks of models that read samples: sounds in batches through the compiled forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from inarch.data import by_length
from inarch.errors import InputError
from inarch.models.loading import Checkpoint
from inarch.preprocessors.audio_preprocessor import AudioPreprocessor, check_duration
from inarch.preprocessors.speech_preprocessor import load_audio_input
from inarch.preprocessors.text_source import TextChoice, TextSource
from inarch.runtime.forward import as_float32, compiled, compiles_per_shape
from inarch.speech.configs import PREPROCESSOR
from inarch.tasks.task_mixin import TaskMixin

# Sounds that are in memory at once, for each of a batch.
CHUNK_BATCHES = 8


class AudioTask(TaskMixin):
    """Inputs, outputs and files of tasks that read samples.

    Mixed in before `Task`. Rows are padded, which has no part in the numbers of a sound.
    """

    required_input: ClassVar[str] = "input_values"
    preprocessor_class: ClassVar[Any] = AudioPreprocessor
    # Whether a sound may be too short for a frame, and then has no outputs.
    takes_short_sounds: ClassVar[bool] = False
    _forward: Callable[..., Any] | None = None

    @classmethod
    def open_source(cls, choice: TextChoice, checkpoint: Checkpoint) -> TextSource:
        """Return the folder of the preprocessor's settings; there is no tokenizer in it."""
        if choice.tokenizer is not None:
            raise InputError(f"{cls.__name__} reads sounds and has no tokenizer; leave it out")
        return TextSource(choice.settings or checkpoint.folder, None)  # type: ignore[arg-type]

    @classmethod
    def preprocessor_of(cls, checkpoint: Any, arguments: Any, source: TextSource) -> Any:
        return cls.preprocessor_class(**cls.preprocessor_class.settings_in(source.folder))

    @classmethod
    def has_source(cls, checkpoint: Checkpoint) -> bool:
        return True

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        if self.preprocessor is None:
            return
        path = folder / PREPROCESSOR
        # The checkpoint's own is there already, where it still holds.
        held = self.preprocessor_class.settings_in(folder) if path.is_file() else {}
        if held.get("normalize") != self.preprocessor.normalize:
            returns_mask = not self.backbone.reference_reads_padding
            path.write_text(self.preprocessor.settings_text(returns_mask), "utf-8")

    # --- sounds in batches ---------------------------------------------------------------------

    def audio_preprocessor(self) -> Any:
        """Return the preprocessor; InputError where there is none."""
        if self.preprocessor is None:
            raise InputError("this task has no preprocessor; feed prepared arrays")
        return self.preprocessor

    def waveform_of(self, source: Any, place: int, sample_rate: int | None = None) -> np.ndarray:
        """Load one of several sounds, as the model reads it.

        Raises:
            InputError: it is too short for the model, or as `load_audio_input`.
        """
        audio = load_audio_input(source, place, sample_rate)
        waveform = self.audio_preprocessor().waveform(audio)
        if not self.takes_short_sounds:
            check_duration(waveform, self.backbone.row_length(1), f"sound {place}")
        return waveform

    def sound_outputs(
        self,
        sources: Sequence[Any],
        batch_size: int,
        sample_rate: int | None = None,
        done: Callable[[int, float], None] = lambda place, share: None,
    ) -> Iterator[np.ndarray]:
        """Yield the outputs for each sound, in order; those of frames without padding.

        Args:
            sources: paths, bytes, file objects, or arrays of samples.
            batch_size: sounds of a batch, in which they are alike in length.
            sample_rate: samples per second of arrays.
            done: called with the index of each sound that is done, and 1.
        """
        size = CHUNK_BATCHES * batch_size
        for start in range(0, len(sources), size):
            part = sources[start : start + size]
            waveforms = [self.waveform_of(x, start + i, sample_rate) for i, x in enumerate(part)]
            for place, output in enumerate(self.waveform_outputs(waveforms, batch_size), start):
                yield output
                done(place, 1)

    def waveform_outputs(
        self, waveforms: Sequence[np.ndarray], batch_size: int, limit: int | None = None
    ) -> list[np.ndarray]:
        """Return the outputs for each waveform, in order; those of frames without padding.

        Args:
            limit: the most frames of a waveform, where rows need never be longer.
        """
        if self._forward is None:
            object.__setattr__(self, "_forward", compiled(self))
        forward: Any = self._forward
        found: list[Any] = [None] * len(waveforms)
        exact = not compiles_per_shape()
        lengths = [*map(self.frames_to_hold, waveforms)]
        for batch in by_length(lengths, batch_size, limit, exact):
            chosen = [waveforms[i] for i in batch.indices]
            length = self.backbone.row_length(batch.length)
            outputs = as_float32(
                forward(self.audio_preprocessor().batch(chosen, batch.rows, length))
            )
            for index, output in zip(batch.indices, outputs, strict=False):
                count = max(self.backbone.position_count(len(waveforms[index])), 0)
                found[index] = output[:count] if output.ndim > 1 else output
        return found

    def audio_inputs(self, waveforms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the inputs for waveforms in one batch, in their order."""
        lengths = [*map(self.frames_to_hold, waveforms)]
        (batch,) = by_length(lengths, len(lengths), exact=not compiles_per_shape())
        length = self.backbone.row_length(batch.length)
        return self.audio_preprocessor().batch(waveforms, len(waveforms), length)

    def frames_to_hold(self, waveform: np.ndarray) -> int:
        """Return the fewest frames whose samples hold a waveform."""
        count = max(self.backbone.position_count(len(waveform)), 1)
        return count + (self.backbone.row_length(count) < len(waveform))
